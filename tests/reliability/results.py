"""What a sweep found out, from its last line of output to the file that keeps it until the report is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

Figure = int | float | str

SKIPPED_STATUS = 77
"""How a sweep ends that cannot run here: who is not root cuts no power."""

PREFIX = "RESULT "
"""How the line begins by which a sweep tells its figures, as JSON."""


class NoResultError(Exception):
    """A sweep ended without telling what it did."""


@attrs.frozen
class SweepResult:
    """One run of one sweep."""

    name: str
    figures: Mapping[str, Figure]
    """What the sweep counted, in its own words, and its seed."""
    scale: float
    """Which part of its full size it was asked for."""
    rows: Sequence[Sequence[str]]
    """A table, for a sweep whose outcome is one: the mutants and who caught them."""
    seconds: float
    exit_status: int
    commit: str
    """The commit it ran on; with a ``+`` when the work tree had changes."""
    python: str
    day: str

    @property
    def passed(self) -> bool:
        """Whether the sweep itself called its outcome good."""
        return self.exit_status == 0

    @property
    def outcome(self) -> str:
        """In a word."""
        if self.exit_status == SKIPPED_STATUS:
            return "not possible here"
        return "good" if self.passed else "**failed**"


def print_figures(*, rows: Sequence[Sequence[str]] = (), **figures: Figure) -> None:
    """Print the line that `figures_of` reads. Called by a sweep at its end, whatever it found."""
    print(PREFIX + json.dumps({"figures": figures, "rows": rows}), flush=True)


def figures_of(output: str) -> tuple[dict[str, Figure], list[list[str]]]:
    """Return the figures and rows that a sweep printed last. Raises NoResultError when there are none."""
    for line in reversed(output.splitlines()):
        if line.startswith(PREFIX):
            found = json.loads(line[len(PREFIX) :])
            return found["figures"], found["rows"]
    raise NoResultError(f"no line that begins with {PREFIX!r}")


def load(path: Path) -> dict[str, SweepResult]:
    """Return the results kept in *path* by sweep; none when there is no such file."""
    if not path.exists():
        return {}
    return {entry["name"]: SweepResult(**entry) for entry in json.loads(path.read_text())}


def save(path: Path, results: Mapping[str, SweepResult]) -> None:
    """Keep *results* in *path*, sorted by sweep."""
    entries = [attrs.asdict(results[name]) for name in sorted(results)]
    path.write_text(json.dumps(entries, indent=1) + "\n")

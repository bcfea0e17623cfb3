"""All broken builds there are, and which part of the net caught each.

``python -m tests.crash.mutant_table [NAME ...]`` tries all of them, or those named, and prints a table; the exit status is 1 when
one escaped. Three kinds, by what it takes to see that they are broken: crash states (`mutants`), damage (`damage_mutants`), and a process
that dies, forks or meets errors (`process_mutants`).
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.crash import (
    compaction_mutants,
    damage_mutants,
    mutants,
    process_mutants,
    transaction_state_mutants,
)
from tests.crash.explorer import SHALLOW, CrashStateError, Effort, Explorer
from tests.crash.programs import program
from tests.reliability.results import print_figures

CAUGHT_BY = {
    **mutants.CAUGHT_BY,
    **transaction_state_mutants.CAUGHT_BY,
    **compaction_mutants.CAUGHT_BY,
}
"""The program that each of those for crash states is explored in."""


class Row(NamedTuple):
    """What became of one broken build."""

    name: str
    why: str
    caught_by: str
    """The part of the net and what it saw first; empty when it escaped."""


def try_crash_states(name: str) -> str:
    """Explore the program in which the breakage shows soon; return what was seen."""
    effort = Effort() if name in mutants.IN_RECOVERY else SHALLOW
    try:
        with mutants.MUTANTS[name]():
            Explorer(1, effort).explore(program(CAUGHT_BY[name]))
    except CrashStateError as error:
        return f"crash states, program `{CAUGHT_BY[name]}`: {first_line(str(error))}"
    return ""


def try_damage(name: str) -> str:
    """Damage a directory until something is wrong; return what."""
    attempt = damage_mutants.attempt(name)
    if attempt.found is None:
        return ""
    case, wrong = attempt.found
    return f"damage {attempt.damages:,}, `{case}`: {first_line(wrong)}"


def try_process(name: str) -> str:
    """Run the script or test that has to catch it; return what it said."""
    attempt = process_mutants.attempt(name)
    if not attempt.caught:
        return ""
    return f"`{process_mutants.MUTANTS[name].catcher}`: {first_line(attempt.found)}"


def first_line(text: str) -> str:
    """Return the first line, short and without what would break a table."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return re.sub(r", (?:disk|directory) [^:]*", "", line).replace("|", "/")[:160]


class Build(NamedTuple):
    """One broken build and how to try it."""

    name: str
    why: str
    attempt: Callable[[str], str]


def everything() -> list[Build]:
    """Return all broken builds; the same breakage may be there for two parts of the net."""
    return [
        *(
            Build(name, one.__doc__ or "", try_crash_states)
            for name, one in mutants.MUTANTS.items()
        ),
        *(Build(name, one.why, try_damage) for name, one in damage_mutants.MUTANTS.items()),
        *(Build(name, one.why, try_process) for name, one in process_mutants.MUTANTS.items()),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args(argv).names
    builds = everything()
    unknown = sorted(set(names) - {build.name for build in builds})
    if unknown:
        parser.error(f"unknown broken build {unknown[0]!r}")
    logging.getLogger("streamlog").setLevel(logging.CRITICAL)
    rows = []
    for name, why, attempt in builds:
        if names and name not in names:
            continue
        started = time.monotonic()
        row = Row(name, " ".join(why.split()), attempt(name))
        rows.append(row)
        outcome = "caught " if row.caught_by else "ESCAPED"
        print(f"{outcome} {time.monotonic() - started:5.1f} s  {row.name}: {row.why}")
        print(f"          by {row.caught_by or 'nobody'}", flush=True)
    escaped = [row.name for row in rows if not row.caught_by]
    print(f"{len(rows) - len(escaped)} of {len(rows)} caught")
    print_figures(
        rows=[("broken build", "what is wrong with it", "caught by"), *rows],
        mutants=len(rows),
        caught=len(rows) - len(escaped),
    )
    return bool(escaped)


if __name__ == "__main__":
    sys.exit(main())

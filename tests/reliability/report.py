"""RELIABILITY.md from results, promises and what was found: text in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.reliability.promises import PROMISES, Promise
from tests.reliability.results import SweepResult
from tests.reliability.sweeps import SWEEPS

INTRODUCTION = """\
# Reliability

<!-- Written by `make reliability` from tests/reliability; change that instead. -->

What streamlog promises about the records it was given, how each promise is tested, and what the last full run counted.
`make check` runs a few minutes' share of each sweep; `make reliability` runs them all in full and writes this file; each can be
run by itself with any size, and prints its seed.
"""


def render(results: Mapping[str, SweepResult], findings: str) -> str:
    """Return the whole report. *findings* is Markdown, put in as it is."""
    return "\n".join(
        [
            INTRODUCTION,
            "## Promises\n",
            *_promise_lines(PROMISES, results),
            "",
            "## The last full run\n",
            *_sweep_lines(results),
            "",
            *_table_lines(results),
            findings.strip(),
            "",
        ]
    )


def _promise_lines(
    promises: Iterable[Promise], results: Mapping[str, SweepResult]
) -> Iterable[str]:
    yield "| | promise | shown by |"
    yield "|---|---|---|"
    for promise in promises:
        shown = [_standing(name, results.get(name)) for name in promise.sweeps]
        shown += [f"[{path}]({path})" for path in promise.tests]
        yield f"| {promise.id} | {promise.text} | {'; '.join(shown)} |"


def _standing(name: str, result: SweepResult | None) -> str:
    target = f"`make {name}`"
    if result is None:
        return f"{target} (not run)"
    return f"{target} ({_first_figure(result)}{'' if result.passed else ', ' + result.outcome})"


def _first_figure(result: SweepResult) -> str:
    sweep = SWEEPS[result.name]
    return f"{_number(result.figures.get(sweep.counted, 0))} {sweep.unit}"


def _sweep_lines(results: Mapping[str, SweepResult]) -> Iterable[str]:
    yield "| sweep | what it does | outcome | figures | time | commit, Python, day |"
    yield "|---|---|---|---|---|---|"
    for sweep in SWEEPS.values():
        result = results.get(sweep.name)
        if result is None:
            yield f"| `make {sweep.name}` | {sweep.title} | not run | | | |"
            continue
        figures = ", ".join(f"{name} {_number(value)}" for name, value in result.figures.items())
        yield (
            f"| `make {sweep.name}` | {sweep.title} | {result.outcome}{_part(result)} | {figures} "
            f"| {_duration(result.seconds)} | {result.commit}, {result.python}, {result.day} |"
        )


def _part(result: SweepResult) -> str:
    return "" if result.scale == 1 else f", {result.scale:g} of the full size"


def _table_lines(results: Mapping[str, SweepResult]) -> Iterable[str]:
    """Yield a section for each result that is a table."""
    for name, result in results.items():
        if result.rows:
            header, *rows = result.rows
            yield f"## `make {name}`\n"
            yield f"| {' | '.join(header)} |"
            yield f"|{'---|' * len(header)}"
            for row in rows:
                yield f"| {' | '.join(row)} |"
            yield ""


def _number(value: float | str) -> str:
    """Return *value* as people write it; a seed is no quantity and comes as text."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

"""Printing what was measured: a table by rich where it is installed, a plain one otherwise, JSON for keeping."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.harness import Row, format_value

HEADINGS = (
    "case",
    "what",
    "min",
    "median",
    "against",
    "its median",
    "ratio (middle half)",
    "of min",
    "target",
    "",
)
_RIGHT = {2, 3, 5, 6, 7, 8}


def cells(row: Row) -> tuple[str, ...]:
    """Return the ten columns of *row* as text."""
    if row.subject is None:
        return (row.topic, row.what, "", "", "", "", "", "", "", row.note)
    ratio = ratio_of_minima = ""
    if row.ratio is not None and row.ratio_of_minima is not None:
        middle, low, high, ratio_of_minima = (
            _ratio(value, row.yardstick)
            for value in (row.ratio.median, row.ratio.low, row.ratio.high, row.ratio_of_minima)
        )
        ratio = f"{middle} ({low}-{high})"
    mark = {True: "ok", False: "MISSED", None: ""}[row.met]
    if row.met is False and row.met_by_minima:
        mark += ", the minima meet it"
    return (
        row.topic,
        row.what,
        format_value(row.subject.minimum, row.unit),
        format_value(row.subject.median, row.unit),
        row.against or "",
        format_value(row.other.median, row.unit) if row.other else "",
        ratio,
        ratio_of_minima,
        row.target or "",
        " ".join(filter(None, (mark, row.note))),
    )


def _ratio(value: float, yardstick: float | None) -> str:
    if yardstick is not None:
        return format_value(value * yardstick, "s")
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def print_table(rows: Sequence[Row]) -> None:
    """Print *rows*; the last line counts the targets that were met."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _print_plain(rows)
        return
    table = Table(header_style="bold", title_justify="left")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if number in _RIGHT else "left", overflow="fold")
    topic = None
    for row in rows:
        if topic is not None and row.topic != topic:
            table.add_section()
        topic = row.topic
        table.add_row(*cells(row), style={False: "red", True: None, None: "dim"}[row.met])
    # Into a pipe or a file: as wide as it gets, a wrapped table cannot be read.
    console = Console() if sys.stdout.isatty() else Console(width=260)
    console.print(table)


def _print_plain(rows: Sequence[Row]) -> None:
    lines = [HEADINGS, *map(cells, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEADINGS))]
    for line in lines:
        text = "  ".join(
            cell.rjust(width) if number in _RIGHT else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print(text.rstrip())


def summary(rows: Sequence[Row]) -> str:
    """Return how many targets were met, and which were not."""
    judged = [row for row in rows if row.met is not None]
    missed = [row for row in judged if not row.met]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets met"
    for row in missed:
        against = f" {row.against}" if row.against and row.yardstick is None else ""
        _, _, _, middle, _, _, ratio, _, target, _ = cells(row)
        text += f"\n  missed: {row.topic}: {row.what}: {ratio or middle}, target {target}{against}"
    return text


def noise_line(noise: Sequence[float]) -> str:
    """Return how much a loop that never changes varied: with a lot, the minima tell more than the medians."""
    if not noise:
        return ""
    middle, worst = (sorted(noise)[len(noise) * tenths // 10] / min(noise) for tenths in (5, 9))
    return f"noise: the same loop took {middle:.2f} times its least time in half of the rounds, {worst:.2f} in every tenth"


def write_json(path: Path, rows: Sequence[Row], **about: object) -> None:
    """Write *rows* and what is known of the machine to *path*. Times are in seconds."""
    document = {
        "about": {
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            **about,
        },
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def plain_line(row: Row) -> str:
    """Return *row* as one line, for progress while the rest is still running."""
    case, what, _, middle, against, its, ratio, _, target, mark = cells(row)
    compared = f"against {against} {its}: {ratio}" if against else ""
    return "  ".join(filter(None, (f"{case}: {what}", middle, compared, target, mark)))

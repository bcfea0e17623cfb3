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

from benchmarks.harness import Row, Spread, format_value

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
    ratio = (
        f"{_ratio(row.ratio.median)} ({_ratio(row.ratio.low)}-{_ratio(row.ratio.high)})"
        if row.ratio
        else ""
    )
    mark = {True: "ok", False: "MISSED", None: ""}[row.met]
    return (
        row.topic,
        row.what,
        format_value(row.subject.minimum, row.unit),
        format_value(row.subject.median, row.unit),
        row.against or "",
        format_value(row.other.median, row.unit) if row.other else "",
        ratio,
        _ratio(row.ratio_of_minima) if row.ratio_of_minima is not None else "",
        row.target or "",
        " ".join(filter(None, (mark, row.note))),
    )


def _ratio(value: float) -> str:
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
        table.add_column(heading, justify="right" if number in _RIGHT else "left")
    topic = None
    for row in rows:
        if topic is not None and row.topic != topic:
            table.add_section()
        topic = row.topic
        table.add_row(*cells(row), style={False: "red", True: None, None: "dim"}[row.met])
    # Into a pipe or a file: as wide as it gets, a wrapped table cannot be read.
    console = Console() if sys.stdout.isatty() else Console(width=220)
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
        against = f" {row.against}" if row.against else ""
        found = row.ratio.median if row.ratio else row.subject.median if row.subject else 0.0
        shown = _ratio(found) + "x" if row.ratio else format_value(found, row.unit)
        text += f"\n  missed: {row.topic}: {row.what}: {shown}, target {row.target}{against}"
    return text


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
    parts = [f"{case}: {what}", middle]
    if against:
        parts.append(f"{ratio}x of {against} ({its})" if ratio else against)
    return "  ".join(filter(None, [*parts, target, mark]))


__all__ = ["Spread", "cells", "plain_line", "print_table", "summary", "write_json"]

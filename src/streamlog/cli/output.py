"""How rows are printed: a table on a terminal, tab-separated lines in a pipe, JSON with `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Progress

    from streamlog.cli.session import Session

Row = Mapping[str, object]


def emit(session: Session, rows: Sequence[Row], columns: Sequence[str] | None = None) -> None:
    """Print *rows* to stdout; keys are names such as ``log_end_offset``, *columns* their order.

    * `--json`: one array, each row an object on a line of its own, with all its keys
    * a terminal: a table of *columns*
    * otherwise: a line of names in capitals, then a line a row, separated by tabs; a single column
      has no line of names. ``-`` stands for nothing, tabs and other controls are escaped.
    """
    if session.json:
        lines = ",\n".join(to_json(row) for row in rows)
        click.echo(f"[\n{lines}\n]" if rows else "[]")
        return
    if columns is None:
        columns = list(rows[0]) if rows else []
    if not rows:
        return
    if sys.stdout.isatty():
        _print_table(rows, columns)
        return
    if len(columns) > 1:
        click.echo("\t".join(heading(name) for name in columns))
    for row in rows:
        click.echo("\t".join(cell(row.get(name)) for name in columns))


def emit_object(session: Session, value: Mapping[str, object]) -> None:
    """Print one object: as JSON on one line, otherwise ``name: value`` lines."""
    if session.json:
        click.echo(to_json(value))
        return
    for name, one in value.items():
        click.echo(f"{name}: {cell(one)}")


def to_json(value: object) -> str:
    """Return *value* as JSON on one line: enums by value, bytes as text where they are some."""
    return json.dumps(_plain(value), ensure_ascii=False)


def heading(name: str) -> str:
    """Return Kafka's way to head a column: ``log_end_offset`` is LOG-END-OFFSET."""
    return name.upper().replace("_", "-")


def cell(value: object) -> str:
    """Return *value* in one line without control characters."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return cell(value.value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return cell(",".join(f"{name}={cell(one)}" for name, one in value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return cell(",".join(cell(one) for one in value))
    return "".join(c if c.isprintable() else _escape(c) for c in str(value))


def note(text: str) -> None:
    """Say something about the run that is no data: one line on stderr."""
    click.echo(text, err=True)


def console(*, stderr: bool = False) -> Console:
    """Return rich's console of stdout or stderr, for whoever draws more than rows."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


@contextmanager
def progress(
    description: str, total: float | None = None, *, in_bytes: bool = False
) -> Iterator[Progress]:
    """Show a bar on stderr while the block runs, if stderr is a terminal.

    The one task has number 0: ``bar.update(0, completed=...)`` or ``bar.advance(0)``. *total* None
    shows that something happens, and how long already. *in_bytes*: what is counted is bytes.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    screen = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True) if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    with bar:
        bar.add_task(description, total=total)
        yield bar


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        numbers = all(_is_number(row.get(name)) for row in rows)
        table.add_column(heading(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in columns))
    console().print(table)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(one) for name, one in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value

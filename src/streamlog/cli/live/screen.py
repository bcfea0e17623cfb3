"""A view as it is drawn on a terminal."""

from __future__ import annotations

from datetime import datetime, timezone

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamlog.cli.live.activity import View
from streamlog.cli.live.ordering import SortKey

_KEYS = "q quit  n name  r rate  l lag  s size  / filter  space refresh"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SHOWN_REBALANCES = 5
_FIXED_LINES = 8  # title, keys, heads and the lines between the parts


def draw(
    view: View, title: str, key: SortKey, text: str, *, typing: bool = False, height: int = 40
) -> RenderableType:
    """Return the screen: totals, topics, groups, rebalances, keys. What does not fit into *height* lines is counted instead.

    *text* is the filter; *typing* whether it is being typed.
    """
    rebalances = view.rebalances[:_SHOWN_REBALANCES]
    room = max(height - _FIXED_LINES - len(rebalances) - bool(rebalances), 4)
    group_lines = min(len(view.groups), max(room // 3, room - len(view.topics)))
    parts: list[RenderableType] = [
        _head(view, title),
        Text(),
        _topics(view, key, room - group_lines),
        Text(),
        _groups(view, key, group_lines),
    ]
    if rebalances:
        parts.append(Text("\nREBALANCES", style="bold"))
        for found in rebalances:
            line = f"{_clock(found.time_ms)}  {found.group_id}  epoch {found.old_epoch} to {found.epoch}"
            parts.append(Text(line, no_wrap=True, overflow="ellipsis"))
    foot = f"filter: {text}_  (Enter keeps it, Escape gives it up)" if typing else _KEYS
    if text and not typing:
        foot += f"   filter: {text}"
    parts.append(Text(f"\n{foot}", style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


def _head(view: View, title: str) -> Text:
    rates = f"in {rate_text(view.rate_in)}/s   out {rate_text(view.rate_out)}/s"
    size = sum(row.topic.size_bytes for row in view.topics)
    line = f"streamlog top  {title}  {_clock(view.time_ms)}   {rates}   {size_text(size)}"
    return Text(line, style="bold", no_wrap=True, overflow="ellipsis")


def _topics(view: View, key: SortKey, lines: int) -> Table:
    table = _table("TOPIC", key)
    for head in ("PARTITIONS", "IN/S", "OUT/S", "LAG", "RECORDS", "SEGMENTS", "SIZE"):
        table.add_column(_marked(head, key), justify="right", no_wrap=True)
    for row in view.topics[:lines]:
        topic = row.topic
        damaged = f" ({topic.refused} damaged)" if topic.refused else ""
        table.add_row(
            Text(topic.name + damaged),
            str(topic.partitions),
            rate_text(row.rate_in),
            rate_text(row.rate_out),
            str(row.lag),
            str(topic.records),
            str(topic.segments),
            size_text(topic.size_bytes),
        )
    return _with_rest(table, len(view.topics) - lines)


def _groups(view: View, key: SortKey, lines: int) -> Table:
    table = _table("GROUP", key)
    table.add_column("STATE", no_wrap=True)
    for head in ("EPOCH", "OUT/S", "LAG"):
        table.add_column(_marked(head, key), justify="right", no_wrap=True)
    table.add_column("TOPICS", no_wrap=True, overflow="ellipsis")
    for row in view.groups[:lines]:
        table.add_row(
            Text(row.group_id),
            row.state or "-",
            str(row.epoch),
            rate_text(row.rate_out),
            str(row.lag),
            Text(", ".join(row.topics)),
        )
    return _with_rest(table, len(view.groups) - lines)


def _table(first: str, key: SortKey) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column(_marked(first, key), no_wrap=True, overflow="ellipsis")
    return table


_MARKED = {
    SortKey.NAME: ("TOPIC", "GROUP"),
    SortKey.RATE: ("IN/S", "OUT/S"),
    SortKey.LAG: ("LAG",),
    SortKey.SIZE: ("SIZE",),
}


def _marked(head: str, key: SortKey) -> Text:
    return Text(head, style="reverse" if head in _MARKED[key] else "")


def _with_rest(table: Table, hidden: int) -> Table:
    if hidden > 0:
        table.add_row(Text(f"... and {hidden} more", style="dim"))
    return table


def rate_text(rate: float | None) -> str:
    """Return records a second, short; ``-`` while it is not known."""
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def size_text(size: float) -> str:
    """Return bytes with a unit of powers of 1024."""
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc).strftime("%H:%M:%SZ")

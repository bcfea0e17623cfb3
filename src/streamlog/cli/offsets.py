"""`streamlog offsets`: Kafka's ``kafka-get-offsets`` (TIM-2)."""

from __future__ import annotations

import re
from collections.abc import Callable

import click

from streamlog.cli.arguments import numbers, topic_option
from streamlog.cli.command import Command
from streamlog.cli.output import emit
from streamlog.cli.records import partitions_of
from streamlog.cli.session import Session, pass_session
from streamlog.cli.times import format_time, parse_time
from streamlog.client.offset_spec import OffsetSpec

_SPECS = {
    "latest": OffsetSpec.LATEST,
    "earliest": OffsetSpec.EARLIEST,
    "max-timestamp": OffsetSpec.MAX_TIMESTAMP,
    "earliest-local": OffsetSpec.EARLIEST_LOCAL,
    "latest-tiered": OffsetSpec.LATEST_TIERED,
}
_PATTERN = re.compile(r"(?P<topic>[^:]+)(?::(?P<first>\d*)(?P<dash>-?)(?P<end>\d*))?", re.ASCII)

Wanted = tuple[str, Callable[[int], bool]]


def _time_spec(text: str) -> int:
    """Return an `OffsetSpec` or a timestamp: a name, Kafka's number for it, or a time."""
    if text in _SPECS:
        return _SPECS[text]
    if re.fullmatch(r"-\d+", text, re.ASCII):
        try:
            return OffsetSpec(int(text))
        except ValueError:
            pass
    try:
        return parse_time(text)
    except click.BadParameter as error:
        raise click.BadParameter(f"expected {', '.join(_SPECS)}, or: {error.message}") from None


def _topic_partitions(text: str) -> list[Wanted]:
    """Return topics, each with a test for its partitions, of ``a:1,b:0-3,c:5-,d``; an end is not included.

    Source: Kafka ``TopicPartitionFilters``.
    """
    found: list[Wanted] = []
    for part in text.split(","):
        match = _PATTERN.fullmatch(part.strip())
        if match is None or part.rstrip().endswith(":"):
            raise click.BadParameter(f"expected topic, topic:0 or topic:0-3, found {part!r}")
        topic, first, dash, end = match.groups(default="")
        found.append((topic, _range(first, dash, end)))
    return found


def _range(first: str, dash: str, end: str) -> Callable[[int], bool]:
    low = int(first or 0)
    if first and not dash:
        return lambda number: number == low
    return lambda number: low <= number and (not end or number < int(end))


@click.command("offsets", cls=Command)
@topic_option("A topic; several times for several, all when left out.", multiple=True)
@click.option("--partitions", type=numbers, metavar="P,P", help="Only these partitions.")
@click.option(
    "--topic-partitions",
    type=_topic_partitions,
    metavar="LIST",
    help="orders:1,prices:0-3,rates:5-: topics and partitions instead of the two above; a range ends "
    "before its last number.",
)
@click.option(
    "--time",
    type=_time_spec,
    default="latest",
    show_default=True,
    metavar="TIME",
    help="latest (-1), earliest (-2), max-timestamp (-3), or a time: the first record that is not older.",
)
@click.option(
    "--isolation-level",
    type=click.Choice(["read_uncommitted", "read_committed"]),
    default="read_uncommitted",
    show_default=True,
    help="Whether an open transaction ends what is seen.",
)
@click.option(
    "--include-internal/--exclude-internal",
    "--include-internal-topics/--exclude-internal-topics",
    "include_internal",
    help="Whether the broker's own topics are shown; they are not.",
)
@pass_session
def offsets(
    session: Session,
    topic: tuple[str, ...],
    partitions: list[int] | None,
    topic_partitions: list[Wanted] | None,
    time: int,
    isolation_level: str,
    include_internal: bool,
) -> None:
    """Show an offset of each partition: its end, its start, or where a time begins.

    Examples:
      streamlog offsets --topic orders
      streamlog offsets --topic orders --partitions 0,2 --time earliest
      streamlog offsets --topic-partitions orders:0-2,prices --time 2026-03-01T12:00:00Z
    """
    if topic_partitions is not None and (topic or partitions is not None):
        raise click.UsageError("--topic-partitions stands alone: without --topic and --partitions")
    with session.open_admin(read_only=True) as admin:
        if topic_partitions is not None:
            wanted = topic_partitions
        else:
            chosen = topic or admin.list_topics(include_internal=include_internal)
            is_in = (lambda number: True) if partitions is None else partitions.__contains__
            wanted = [(name, is_in) for name in chosen]
        asked = {
            tp: time
            for name, is_wanted in wanted
            for tp in partitions_of(admin, [name])
            if is_wanted(tp.partition)
        }
        found = admin.list_offsets(asked, isolation_level=isolation_level)
    rows = [
        {
            "topic": tp.topic,
            "partition": tp.partition,
            "offset": None if listed is None else listed.offset,
            "timestamp": None if listed is None else format_time(listed.timestamp_ms),
        }
        for tp, listed in found.items()
    ]
    has_times = any(row["timestamp"] for row in rows)
    emit(session, rows, ["topic", "partition", "offset", *(["timestamp"] if has_times else [])])

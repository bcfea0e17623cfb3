"""`streamlog records`: Kafka's ``kafka-delete-records`` (CLI-4)."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

import click

from streamlog.cli.arguments import partition_offset, partitions_option
from streamlog.cli.command import Group
from streamlog.cli.failures import Failure
from streamlog.cli.output import emit
from streamlog.cli.session import Session, pass_session
from streamlog.cli.times import parse_time
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.client.admin import Admin

_ALL_READABLE = -1


@click.group("records", cls=Group)
def records() -> None:
    """Delete records.

    Examples:
      streamlog records delete orders:0:100
    """


@records.command("delete")
@click.argument("offsets", nargs=-1, type=partition_offset, metavar="[TOPIC:PARTITION:OFFSET]...")
@click.option(
    "--offset-json-file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help='Kafka\'s file: {"partitions": [{"topic": "t", "partition": 0, "offset": 5}]}; - is stdin.',
)
@click.option(
    "--before-timestamp",
    type=parse_time,
    metavar="TIME",
    help="With --topic: all before the first record that is not older than TIME.",
)
@partitions_option("The topic, or some of its partitions, for --before-timestamp.")
@pass_session
def delete(
    session: Session,
    offsets: tuple[tuple[TopicPartition, int], ...],
    offset_json_file: IO[str] | None,
    before_timestamp: int | None,
    topic: tuple[list[TopicPartition | str], ...],
) -> None:
    """Delete the records below an offset of each partition; -1 means all that are there.

    Readers see it at once. Files go with the next run of retention. Prints where each partition begins now.

    Examples:
      streamlog records delete orders:0:5 orders:1:-1
      streamlog records delete --offset-json-file offsets.json
      streamlog records delete --topic orders --before-timestamp 2026-03-01T00:00:00Z
    """
    if bool(topic) != (before_timestamp is not None):
        raise click.UsageError("--topic and --before-timestamp go together")
    wanted = dict(offsets)
    if offset_json_file is not None:
        wanted.update(_offsets_of_file(offset_json_file))
    if not wanted and before_timestamp is None:
        raise click.UsageError(
            "expected topic:partition:offset, --offset-json-file or --before-timestamp, found none"
        )
    with session.open_admin() as admin:
        if before_timestamp is not None:
            chosen = partitions_of(admin, [one for several in topic for one in several])
            found = admin.list_offsets(dict.fromkeys(chosen, before_timestamp))
            wanted.update(
                {
                    tp: _ALL_READABLE if first is None else first.offset
                    for tp, first in found.items()
                }
            )
        starts = admin.delete_records(wanted)
    rows = [
        {"topic": tp.topic, "partition": tp.partition, "low_watermark": offset}
        for tp, offset in starts.items()
    ]
    emit(session, rows)


def partitions_of(admin: Admin, chosen: list[TopicPartition | str]) -> list[TopicPartition]:
    """Return partitions, with all of a topic's for its name, in the order given."""
    found: dict[TopicPartition, None] = {}
    for one in chosen:
        if isinstance(one, TopicPartition):
            found[one] = None
            continue
        for partition in admin.describe_topics([one])[one].partitions:
            found[TopicPartition(one, partition.partition)] = None
    return list(found)


def _offsets_of_file(file: IO[str]) -> dict[TopicPartition, int]:
    """Return what Kafka's offset file asks for. Source: Kafka ``DeleteRecordsCommand``."""
    try:
        document: Any = json.load(file)
    except ValueError as error:
        raise Failure(f"{file.name}: no JSON: {error}") from None
    partitions = document.get("partitions") if isinstance(document, dict) else None
    if not isinstance(partitions, list) or document.get("version", 1) != 1:
        raise Failure(
            f"{file.name}: expected an object with a list of partitions, and version 1",
            hint='{"partitions": [{"topic": "orders", "partition": 0, "offset": 5}], "version": 1}',
        )
    found: dict[TopicPartition, int] = {}
    for one in partitions:
        fields = one if isinstance(one, dict) else {}
        topic, partition, offset = (fields.get(name) for name in ("topic", "partition", "offset"))
        # type() and not isinstance(): true is no number here
        if type(topic) is not str or type(partition) is not int or type(offset) is not int:
            raise Failure(f"{file.name}: expected topic, partition and offset, found {one!r:.80}")
        if TopicPartition(topic, partition) in found:
            raise Failure(f"{file.name}: {topic}-{partition} is there twice")
        found[TopicPartition(topic, partition)] = offset
    return found

"""`streamlog retain`: delete now what retention no longer keeps."""

from __future__ import annotations

from typing import NamedTuple

import click

from streamlog.broker.broker import Broker
from streamlog.cli.command import Command
from streamlog.cli.output import emit, note
from streamlog.cli.session import Session, pass_session
from streamlog.structs import TopicPartition


class _Size(NamedTuple):
    segments: int
    size_bytes: int
    log_start_offset: int


@click.command("retain", cls=Command)
@pass_session
def retain(session: Session) -> None:
    """Delete now what retention no longer keeps, and say what that freed.

    What a broker does by the clock: segments whose records are all older than retention_ms, or that exceed retention_bytes, go as a
    whole; committed offsets and transactional ids expire that nobody used for long; compacted topics are cleaned where enough is
    dirty. Nobody else may have the directory open for writing. There is a line for each partition that lost segments at its start.

    Examples:
      streamlog retain
      streamlog retain --json
    """
    with session.open_broker() as broker:
        before = _sizes(broker)
        broker.run_maintenance()
        after = _sizes(broker)
    rows: list[dict[str, str | int]] = [
        {
            "topic": topic_partition.topic,
            "partition": topic_partition.partition,
            "segments_deleted": size.segments - now.segments,
            "bytes_freed": size.size_bytes - now.size_bytes,
            "log_start_offset": now.log_start_offset,
        }
        for topic_partition, size in before.items()
        if (now := after.get(topic_partition)) is not None
        and now.log_start_offset > size.log_start_offset
    ]
    emit(session, rows)
    segments = sum(int(row["segments_deleted"]) for row in rows)
    freed = sum(int(row["bytes_freed"]) for row in rows)
    note(f"deleted {segments} segments with {freed} bytes")


def _sizes(broker: Broker) -> dict[TopicPartition, _Size]:
    return {
        partition.topic_partition: _Size(
            len(partition.log.segments), partition.log.size_bytes, partition.log_start_offset
        )
        for partition in broker.topic_registry.partitions()
        if not partition.is_refused
    }

"""`streamlog compact`: clean compacted topics now."""

from __future__ import annotations

import click

from streamlog.cli.command import Command
from streamlog.cli.completion import complete_topics
from streamlog.cli.output import emit, note
from streamlog.cli.session import Session, pass_session


@click.command("compact", cls=Command)
@click.option(
    "--topic",
    metavar="TOPIC",
    shell_complete=complete_topics,
    help="Only this one; every compacted topic otherwise.",
)
@click.option(
    "--roll", is_flag=True, help="Close the active segments first, so that they are cleaned too."
)
@pass_session
def compact(session: Session, topic: str | None, roll: bool) -> None:
    """Clean compacted topics now, however little there is to clean, and say what that freed.

    Of each key the last record stays. A broker does it by itself once enough of a log is dirty (min_cleanable_dirty_ratio). What is
    younger than min_compaction_lag_ms is left as it is, and so is the segment that is being written, unless --roll closes it. Nobody
    else may have the directory open for writing. There is a line for each log that has lost something.

    Examples:
      streamlog compact
      streamlog compact --topic prices --roll
    """
    with session.open_broker() as broker:
        results = broker.compact(topic, roll=roll)
    rows = [
        {
            "topic": result.topic_partition.topic,
            "partition": result.topic_partition.partition,
            "records_before": result.records_before,
            "records_after": result.records_after,
            "bytes_before": result.bytes_before,
            "bytes_after": result.bytes_after,
            "segments_before": result.segments_before,
            "segments_after": result.segments_after,
        }
        for result in results
        if result.records_after < result.records_before
        or result.segments_after < result.segments_before
    ]
    emit(session, rows)
    removed = sum(result.records_before - result.records_after for result in results)
    freed = sum(result.bytes_before - result.bytes_after for result in results)
    note(f"removed {removed} records, freed {freed} bytes")

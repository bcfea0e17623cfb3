"""What a broker shows of itself after it was opened on what a crash left."""

from __future__ import annotations

from typing import Any

import attrs

from streamlog import Broker, TopicPartition
from streamlog.broker.partition import Partition
from streamlog.errors import ClosedError
from streamlog.record import BatchView, read_marker, split_batches
from streamlog.runtime import VirtualClock
from streamlog.testing import CrashFileSystem
from tests.support.producer_walk import check_producers
from tests.support.transaction_model import Shown
from tests.support.transaction_view import show

PATH = "/data"
GROUP = "g"
"""Commits and has no members."""
MEMBERS = "m"
"""Has members of both protocols."""
COMMITTERS = GROUP, MEMBERS
INTERNAL = "__consumer_offsets"
TRANSACTION_STATE = "__transaction_state"

#: A broker whose files are few and small: that of the explorer.
CONFIG: dict[str, Any] = {
    "offsets_topic_num_partitions": 1,
    "transaction_state_log_num_partitions": 1,
    "min_free_bytes": 16_384,  # of a disk that has an end; most have none
    "log_index_interval_bytes": 200,
    "offsets_retention_minutes": 1,
}

RETENTION_MS = 60_000
"""How old a commit has to be to expire."""

#: In the place of a leader epoch: the record is no record but the end of a transaction.
MARKER = -1

#: Long after everything that a workload does.
_LATER_MS = 1_800_000_000_000

#: Leader epoch, value, key, timestamp, headers.
Record = tuple[int, "bytes | None", "bytes | None", int, tuple[tuple[str, "bytes | None"], ...]]


@attrs.frozen
class LogSeen:
    """One partition."""

    outcome: str
    message: str
    start: int
    end: int
    epoch: int
    #: Offset and record of everything that can be read.
    records: tuple[tuple[Any, ...], ...]
    #: Up to here compaction has been.
    first_dirty: int = 0


@attrs.frozen
class TopicSeen:
    """One topic."""

    overrides: dict[str, Any]
    logs: tuple[LogSeen, ...]
    #: By group.
    committed: dict[str, int | None]
    #: What consumers of both isolation levels get of it; None where no transaction ever was.
    shown: Shown | None = None


@attrs.frozen
class Observation:
    """One broker."""

    error: str = ""
    clean: bool = False
    scanned_bytes: int = 0
    topics: dict[str, TopicSeen] = attrs.Factory(dict)
    #: Of the group that has members.
    generation: int = 0

    @property
    def no_room(self) -> bool:
        """Whether the disk was too full to recover everything: a copy of what is to be cut comes first."""
        return "No room" in self.error or "in reserve" in self.error

    def content(self) -> Any:
        """Return what a second recovery has to find again: topics, records and bounds."""
        return (
            self.error,
            self.generation,
            {
                name: (
                    t.overrides,
                    t.committed,
                    [(log.start, log.end, log.records) for log in t.logs],
                    t.shown,
                )
                for name, t in self.topics.items()
            },
        )


def open_broker(
    disk: CrashFileSystem, clock: VirtualClock | None = None, **config: object
) -> Broker:
    """Open the broker of the explorer on *disk*; *config* in place of what the explorer wants."""
    clock = clock or VirtualClock(start_ms=_LATER_MS)
    return Broker(PATH, filesystem=disk, clock=clock, seed=1, config={**CONFIG, **config})


def observe(disk: CrashFileSystem) -> Observation:
    """Open a broker on *disk*, look at everything, and let it die as by kill -9. Never raises."""
    try:
        broker = open_broker(disk)
    except Exception as error:
        return Observation(error=f"{type(error).__name__}: {error}")
    try:
        return look_at(broker)
    finally:
        abandon(broker)


def look_at(broker: Broker) -> Observation:
    """Read everything that *broker* has. Never raises."""
    try:
        outcomes = {p.topic_partition: p for p in broker.recovery_report.partitions}
        topics = {}
        for name in broker.topics(include_internal=True):
            if name.startswith("__"):
                continue
            topic = broker.topic(name)
            # First of all: it is a reader who has the transactions ended that a crash left open.
            has_transactions = TRANSACTION_STATE in broker.topics(include_internal=True)
            shown = show(broker, name) if has_transactions else None
            logs = tuple(
                _look_at_log(partition, outcomes.get(partition.topic_partition))
                for partition in topic.partitions
            )
            topics[name] = TopicSeen(topic.overrides, logs, _committed(broker, name), shown)
        generation = broker.group_coordinator._store.find(MEMBERS).epoch
    except Exception as error:
        return Observation(error=f"{type(error).__name__}: {error}")
    report = broker.recovery_report
    return Observation("", report.clean, report.scanned_bytes, topics, generation)


def abandon(broker: Broker) -> None:
    """Let *broker* die without a trace."""
    broker.scheduler.close()
    broker.abandon(ClosedError("killed"))


def _committed(broker: Broker, topic: str) -> dict[str, int | None]:
    wanted = TopicPartition(topic, 0)
    committed: dict[str, int | None] = {}
    for group in COMMITTERS:
        found = broker.group_coordinator.fetch_offsets(group, [wanted])[wanted]
        committed[group] = None if found is None else found.offset
    return committed


def _look_at_log(partition: Partition, recovery: Any) -> LogSeen:
    log = partition.log
    start, end = log.log_start_offset, log.log_end_offset
    records: list[tuple[Any, ...]] = []
    batches: list[BatchView] = []
    offset = start
    while offset < end:
        data = log.read(offset, 1 << 20)
        records += [r for r in decoded(data) if r[0] >= offset]
        batches += split_batches(data)
        offset = batches[-1].next_offset
    _check_lookups(partition, records)
    check_producers(partition, batches, may_know_more=log.first_dirty_offset > 0)
    outcome = recovery.outcome.value if recovery is not None else "new"
    message = recovery.message if recovery is not None else ""
    return LogSeen(
        outcome,
        message,
        start,
        end,
        log.leader_epoch,
        tuple(records),
        log.first_dirty_offset,
    )


def _check_lookups(partition: Partition, records: list[tuple[Any, ...]]) -> None:
    """Indexes may be behind the log after a crash, or ahead of it, and must not be believed."""
    records = [record for record in records if record[1] != MARKER]
    for number in {0, len(records) // 3, len(records) // 2, len(records) - 1} if records else ():
        wanted = records[number]
        found = decoded(partition.log.read(wanted[0], 1))
        assert wanted in found, f"{partition}: looked up offset {wanted[0]}, found {found}"
        timestamp_ms = wanted[4]
        first = next(offset for offset, _, _, _, ts, _ in records if ts >= timestamp_ms)
        located = partition.offset_for_timestamp(timestamp_ms)
        assert located is not None, f"{partition}: no record at {timestamp_ms}"
        # A marker has a time as well (TIM-1): it may be what is found, and no record.
        skipped = [offset for offset, *_ in records if located.offset <= offset < first]
        assert not skipped, f"{partition}: records {skipped} are not at {timestamp_ms}"
        assert located.offset <= first, (
            f"{partition}: first record at {timestamp_ms}: {first}, found {located.offset}"
        )


def _marker(batch: BatchView) -> tuple[Any, ...]:
    """Return a marker as a record: its epoch and time are those of whoever wrote it, which may be a recovery."""
    control_type, _ = read_marker(batch)
    told = f"{control_type.name} of {batch.producer_id}, epoch {batch.producer_epoch}"
    return batch.base_offset, MARKER, told.encode(), None, 0, ()


_decoded: dict[bytes, tuple[tuple[Any, ...], ...]] = {}


def decoded(data: bytes) -> tuple[tuple[Any, ...], ...]:
    """Return (offset, leader epoch, value, key, timestamp, headers) of every record in *data*, checksums verified."""
    records = _decoded.get(data)
    if records is not None:
        return records
    found: list[tuple[Any, ...]] = []
    for batch in split_batches(data):
        batch.check()
        if batch.is_control:
            found.append(_marker(batch))
            continue
        values = batch.values()
        keys = batch.keys() or [None] * len(values)
        headers = batch.headers() or [()] * len(values)
        found += [
            (offset, batch.leader_epoch, value, key, timestamp_ms, tuple(header or ()))
            for offset, value, key, timestamp_ms, header in zip(
                batch.offsets(), values, keys, batch.timestamps_ms(), headers, strict=True
            )
        ]
    if len(_decoded) > 10_000:
        _decoded.clear()  # images share most of their bytes, programs do not
    _decoded[data] = tuple(found)
    return _decoded[data]

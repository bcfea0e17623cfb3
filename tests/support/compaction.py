"""Logs whose records have keys, and what compaction leaves of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streamlog.record import ControlType, ProducerStamp, build_batch, build_marker
from tests.support.storage import read_batches

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from streamlog.record import PendingBatch
    from streamlog.storage import PartitionLog
    from streamlog.storage.compaction.cleaning import CleaningResult
    from tests.support.storage import Store

GIB = 1 << 30
DAY_MS = 86_400_000


class Row(NamedTuple):
    """A record as a reader of committed records gets it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...]


def keyed(*pairs: tuple[str | None, str | None], timestamp_ms: int = 1000) -> PendingBatch:
    """Return a batch of records with these keys and values, as text."""
    keys = [None if key is None else key.encode() for key, _ in pairs]
    values = [None if value is None else value.encode() for _, value in pairs]
    return build_batch(values, timestamp_ms, keys)


def put(log: PartitionLog, *pairs: tuple[str | None, str | None], timestamp_ms: int = 1000) -> int:
    """Append one batch of these keys and values; return its base offset."""
    return log.append(keyed(*pairs, timestamp_ms=timestamp_ms))


def put_for(log: PartitionLog, stamp: ProducerStamp, *pairs: tuple[str | None, str | None]) -> int:
    """Append one batch of a producer with an id; return its base offset."""
    batch = keyed(*pairs)
    batch.stamp = stamp
    return log.append(batch)


def begin(producer_id: int, epoch: int = 0) -> ProducerStamp:
    """Return what the batches of a transaction are stamped with."""
    return ProducerStamp(producer_id, epoch, is_transactional=True)


def end(log: PartitionLog, stamp: ProducerStamp, *, commit: bool) -> int:
    """End the transaction; return the offset of the marker."""
    kind = ControlType.COMMIT if commit else ControlType.ABORT
    return log.append(build_marker(kind, stamp.producer_id, stamp.producer_epoch + 1, 0, 1000))


def finish(steps: Generator[int, None, CleaningResult]) -> CleaningResult:
    """Do all steps of a pass."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: CleaningResult = stop.value
            return result


def clean(store: Store, *, now_ms: int = 2000, memory: int = GIB, **more: Any) -> CleaningResult:
    """Roll, and compact all that can be."""
    store.log.roll()
    return finish(store.log.clean(now_ms, memory, **more))


def rows(log: PartitionLog) -> list[Row]:
    """Return the committed records from the log start to the last stable offset, in order."""
    start, stop = log.log_start_offset, log.last_stable_offset
    aborted = log.aborted_transactions(start, stop)
    found: list[Row] = []
    for batch in read_batches(log):
        if batch.is_control or any(
            batch.is_transactional
            and entry.producer_id == batch.producer_id
            and entry.first_offset <= batch.base_offset <= entry.last_offset
            for entry in aborted
        ):
            continue
        count = batch.record_count
        keys, headers = batch.keys() or [None] * count, batch.headers() or [()] * count
        columns = zip(
            batch.offsets(), keys, batch.values(), batch.timestamps_ms(), headers, strict=True
        )
        found += [Row(*fields) for fields in columns]
    return [row for row in found if start <= row.offset < stop]


def contents(log: PartitionLog) -> list[tuple[int, str | None, str | None]]:
    """Return offset, key and value of each committed record, as text."""
    return [
        (
            row.offset,
            None if row.key is None else row.key.decode(),
            None if row.value is None else row.value.decode(),
        )
        for row in rows(log)
    ]


def as_map(found: Iterable[Row]) -> dict[bytes, bytes]:
    """Return what a reader of all these records has in the end: null values delete, null keys are nobody's."""
    result: dict[bytes, bytes] = {}
    for row in found:
        if row.key is not None and row.value is not None:
            result[row.key] = row.value
        elif row.key is not None:
            result.pop(row.key, None)
    return result


def spans(log: PartitionLog) -> list[tuple[int, int, int]]:
    """Return base offset, next offset and number of records of each batch."""
    return [(b.base_offset, b.next_offset, b.record_count) for b in read_batches(log)]

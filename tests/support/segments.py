"""Segments without a log around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record import build_batch, split_batches
from streamlog.record.control import build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT, aligned, single_middle
from streamlog.runtime import TokenLock
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.segment import Segment

if TYPE_CHECKING:
    from streamlog.record import PendingBatch
    from streamlog.record.control import ControlType
    from tests.support.storage import Disk

GIB = 1 << 30
T0 = 1_700_000_000_000


def new_segment(
    disk: Disk,
    base_offset: int = 0,
    *,
    index_interval_bytes: int = 0,
    segment_index_bytes: int = 1 << 20,
) -> Segment:
    return Segment(
        disk.filesystem,
        disk.root,
        base_offset,
        OpenSegments(100),
        TokenLock(),
        index_interval_bytes,
        segment_index_bytes,
    )


def append(
    segment: Segment, *values: bytes | None, timestamp_ms: int = T0, leader_epoch: int = 3
) -> int:
    """Append a batch as a log does; return its base offset."""
    return append_batch(segment, build_batch(values, timestamp_ms), leader_epoch=leader_epoch)


def append_transactional(segment: Segment, producer_id: int, *values: bytes) -> int:
    """Append a batch of the transaction of *producer_id*; return its base offset."""
    batch = build_batch(values or [b"in a transaction"], T0)
    batch.attributes |= TRANSACTIONAL_BIT
    batch.producer_id, batch.producer_epoch, batch.base_sequence = producer_id, 0, 0
    return append_batch(segment, batch)


def append_marker(segment: Segment, producer_id: int, control_type: ControlType) -> int:
    """Append the marker that ends the transaction of *producer_id*; return its offset."""
    return append_batch(segment, build_marker(control_type, producer_id, 0, 0, T0))


def append_batch(segment: Segment, batch: PendingBatch, *, leader_epoch: int = 3) -> int:
    """Append *batch* as a log does; return its base offset."""
    timestamp_ms = batch.max_timestamp_ms
    offset = segment.next_offset
    segment.reserve(segment.position + aligned(batch.size_bytes), GIB)
    if not segment.position:
        segment.first_timestamp_ms = timestamp_ms
    segment.append(batch, offset, leader_epoch)
    return offset


def append_value(segment: Segment, value: bytes, timestamp_ms: int = T0) -> int:
    offset = segment.next_offset
    segment.reserve(segment.position + aligned(len(value) + 100), GIB)
    segment.append_value(value, timestamp_ms, offset, single_middle(3))
    return offset


def reopened(segment: Segment, disk: Disk, *, sealed: bool) -> Segment:
    """Return another segment on the same file, as the next process would make it."""
    other = new_segment(
        disk,
        segment.base_offset,
        index_interval_bytes=segment.index_interval_bytes,
        segment_index_bytes=segment.segment_index_bytes,
    )
    if sealed:
        other.load_sealed(segment.next_offset)
    else:
        other.position, other.next_offset = segment.position, segment.next_offset
    return other


def read_values(
    segment: Segment, offset: int, max_bytes: int = 1 << 20, bound: int | None = None
) -> list[bytes | None]:
    """Return the values of one read, whole batches as they come."""
    data = segment.read(offset, max_bytes, bound)
    return [value for batch in split_batches(data or b"") for value in batch.values()]

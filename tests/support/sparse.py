"""Batches as compaction leaves them, in the log of a test: with gaps, without records, with a delete horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamlog.broker.partition import Partition
from streamlog.record import Codec, Compressor, PendingBatch
from streamlog.record.columns import encode_columns
from streamlog.record.layout import (
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_SIZE,
    SPARSE_COLUMNS_ENCODING,
    BatchHeader,
    header_checksum,
    read_header,
)
from streamlog.record.sparse_columns import encode_sparse_columns
from streamlog.storage import PartitionLog
from streamlog.storage.segment import Segment
from tests.support.segments import T0, append_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.record import Headers


class Kept(NamedTuple):
    """A record that compaction left, *delta* behind the first offset of its batch."""

    delta: int
    value: bytes | None = b"v"
    key: bytes | None = None
    timestamp_ms: int = T0
    headers: Headers = ()


def cleaned_batch(
    kept: Sequence[Kept],
    offsets: int,
    *,
    codec: Codec = Codec.NONE,
    delete_horizon_ms: int | None = None,
) -> PendingBatch:
    """Return a batch that takes so many *offsets*, of which only those *kept* have a record.

    Its count is wrong until it is stored: append it with `append_cleaned`.
    """
    stamps = [one.timestamp_ms for one in kept] or [T0]
    first_ms = stamps[0] if delete_horizon_ms is None else delete_horizon_ms
    columns = (
        [one.value for one in kept],
        [one.key for one in kept] if any(one.key is not None for one in kept) else None,
        [stamp - first_ms for stamp in stamps] if {*stamps} != {first_ms} else None,
        [one.headers for one in kept] if any(one.headers for one in kept) else None,
    )
    deltas = [one.delta for one in kept]
    is_dense = deltas == [*range(offsets)]
    if not kept:
        body = b""
    elif is_dense:
        body = encode_columns(*columns)
    else:
        body = encode_sparse_columns(deltas, *columns)
    batch = PendingBatch(body, offsets, first_ms, max(stamps), min(stamps), has_null_keys=False)
    if kept:
        Compressor(codec, 1).apply(batch)
        batch.body_encoding = 0 if is_dense else SPARSE_COLUMNS_ENCODING
    if delete_horizon_ms is not None:
        batch.attributes |= DELETE_HORIZON_BIT
    return batch


def append_cleaned(
    target: Partition | PartitionLog | Segment,
    kept: Sequence[Kept],
    offsets: int,
    *,
    codec: Codec = Codec.NONE,
    delete_horizon_ms: int | None = None,
    producer: tuple[int, int, int] | None = None,
    attributes: int = 0,
) -> int:
    """Append such a batch, waking who waits; return its base offset. *producer* is id, epoch and base sequence.

    A log appends dense batches only, so the number of records is put right afterwards, in place.
    """
    batch = cleaned_batch(kept, offsets, codec=codec, delete_horizon_ms=delete_horizon_ms)
    batch.attributes |= attributes
    if producer is not None:
        batch.producer_id, batch.producer_epoch, batch.base_sequence = producer
    if isinstance(target, Segment):
        base_offset, segment = append_batch(target, batch), target
    else:
        base_offset = target.append(batch)
        segment = (target.log if isinstance(target, Partition) else target).segments[-1]
    set_record_count(segment, base_offset, len(kept))
    return base_offset


def set_record_count(segment: Segment, base_offset: int, count: int) -> None:
    """Have the header of the batch at *base_offset* say that it has *count* records, with the right checksum."""
    mapping = segment._mapping
    assert mapping is not None
    located = segment.locate(base_offset, mapping, segment.position)
    assert located is not None
    position, header = located
    assert header.base_offset == base_offset
    changed: BatchHeader = header._replace(record_count=count)
    crc = header_checksum(HEADER.pack(*changed))
    data = HEADER.pack(*changed._replace(header_crc=crc))
    assert read_header(data) is not None
    mapping[position : position + HEADER_SIZE] = data

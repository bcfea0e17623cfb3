"""From timestamps to offsets: the first record from a time on, the record with the greatest timestamp (TIM-1, TIM-2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    CorruptRecordError,
    RecordDecodeError,
)
from streamlog.record.batch_view import BatchView
from streamlog.record.layout import HEADER_SIZE, BatchHeader
from streamlog.storage.batch_scan import headers_from
from streamlog.storage.segment import Segment
from streamlog.structs import OffsetAndTimestamp

if TYPE_CHECKING:
    from streamlog.storage.log_reader import ReadableLog

_Find = Callable[[Segment, int, int], "OffsetAndTimestamp | None"]


def first_from(log: ReadableLog, timestamp_ms: int, bound: int) -> OffsetAndTimestamp | None:
    """Return the first record below *bound*, by offset, whose timestamp is at least *timestamp_ms*, or None."""

    def find(segment: Segment, start: int, stop: int) -> OffsetAndTimestamp | None:
        if segment.largest_timestamp_ms() < timestamp_ms:
            return None
        start = max(start, segment.base_offset + segment.time_floor(timestamp_ms))
        return _first_match(segment, start, stop, timestamp_ms)

    return next(_each_segment(log, bound, find), None)


def greatest(log: ReadableLog, bound: int) -> OffsetAndTimestamp | None:
    """Return the first of the records below *bound* that have the greatest timestamp, or None when there is no record."""
    best: OffsetAndTimestamp | None = None

    def find(segment: Segment, start: int, stop: int) -> OffsetAndTimestamp | None:
        if best is not None and segment.largest_timestamp_ms() <= best.timestamp_ms:
            return None
        return _greatest_in(segment, start, stop)

    for found in _each_segment(log, bound, find):
        if best is None or found.timestamp_ms > best.timestamp_ms:
            best = found
    return best


def _each_segment(log: ReadableLog, bound: int, find: _Find) -> Iterator[OffsetAndTimestamp]:
    """Yield what *find* finds in each segment, oldest first, between the log start and *bound*."""
    segments = log._segments
    offset = log.log_start_offset
    segment = segments.floor(offset)
    while segment is not None and offset < bound:
        start, stop = (
            max(segment.base_offset, offset, log.log_start_offset),
            min(segment.next_offset, bound),
        )
        found = None
        try:
            found = find(segment, start, stop)
            offset = max(offset, segment.next_offset)
        except CorruptLogError as error:
            error.topic_partition = log.topic_partition
            raise
        except (ClosedError, FileNotFoundError):
            # Retention took the segment meanwhile, or compaction put another one in its place.
            offset = max(offset, log.log_start_offset)
            if segments.floor(offset) is segment:
                raise
        if found is not None:
            yield found
        segment = segments.at_or_behind(offset, segment)


def _first_match(
    segment: Segment, start: int, stop: int, timestamp_ms: int
) -> OffsetAndTimestamp | None:
    for position, header in _headers(segment, start, stop):
        if header.max_timestamp_ms >= timestamp_ms:
            for offset, stamp in _stamps(segment, position, header, start, stop):
                if stamp >= timestamp_ms:
                    return OffsetAndTimestamp(offset, stamp, header.leader_epoch)
    return None


def _greatest_in(segment: Segment, start: int, stop: int) -> OffsetAndTimestamp | None:
    segment.ensure_indexes()
    if start <= segment.max_timestamp_offset < stop:
        found = _first_match(segment, segment.max_timestamp_offset, stop, segment.max_timestamp_ms)
        if found is not None:
            return found
    # The greatest one is outside. No record before the last index entry in here is as late as that entry.
    indexed = segment.time_index.last_before(stop - segment.base_offset)
    if indexed is not None and segment.base_offset + indexed[1] > start:
        best = _search(segment, segment.base_offset + indexed[1], stop)
        if best is not None and best.timestamp_ms >= indexed[0]:
            return best
    return _search(segment, start, stop)


def _search(segment: Segment, start: int, stop: int) -> OffsetAndTimestamp | None:
    best: OffsetAndTimestamp | None = None
    for position, header in _headers(segment, start, stop):
        if best is not None and header.max_timestamp_ms <= best.timestamp_ms:
            continue
        for offset, stamp in _stamps(segment, position, header, start, stop):
            if best is None or stamp > best.timestamp_ms:
                best = OffsetAndTimestamp(offset, stamp, header.leader_epoch)
    return best


def _headers(segment: Segment, start: int, stop: int) -> Iterator[tuple[int, BatchHeader]]:
    """Yield position and header of each batch from the one that holds *start* to the one before *stop*.

    Raises CorruptLogError where one of them cannot be read: what is asked for might be in it.
    """
    end = segment.position
    mapping = segment.mapping_for_read()
    while start < stop and (located := segment.locate(start, mapping, end)) is not None:
        for position, header in headers_from(mapping, located[0], end):
            if header.base_offset >= stop:
                return
            if not header.base_offset <= start < header.next_offset:
                break  # one is missing, or comes again: look for the one that holds `start`
            yield position, header
            start = header.next_offset


def _stamps(
    segment: Segment, position: int, header: BatchHeader, start: int, stop: int
) -> list[tuple[int, int]]:
    """Return (offset, timestamp) of the records of one batch from *start* up to, not including, *stop*."""
    mapping = segment.mapping_for_read()
    batch = BatchView(header, mapping[position + HEADER_SIZE : position + header.length])
    try:
        batch.check()
    except CorruptRecordError as error:
        raise segment.damage_at(batch.base_offset, str(error)) from error
    try:
        stamps = batch.timestamps_ms()
    except (
        RecordDecodeError
    ) as error:  # no damage: a codec that this process has not, or bytes of somebody else
        raise RecordDecodeError(f"{segment.path}: {error}", offset=batch.base_offset) from error
    pairs = zip(batch.offsets(), stamps, strict=True)
    return [(offset, stamp) for offset, stamp in pairs if start <= offset < stop]

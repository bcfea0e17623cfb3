"""Which part of a log may be compacted, and how much of it no pass has seen (CMP-1, CMP-2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamlog.record.layout import HEADER_SIZE, read_header
from streamlog.storage.segment import Segment
from streamlog.structs import NO_TIMESTAMP


class CleanableRange(NamedTuple):
    """What a pass would go through: offsets from *start_offset* up to, not including, *end_offset*.

    Source: Kafka ``LogToClean`` and ``OffsetsToClean``.
    """

    #: The log start.
    start_offset: int
    #: Below it a pass has been.
    first_dirty_offset: int
    #: The first offset that must stay as it is; `first_dirty_offset` when there is nothing new to clean.
    end_offset: int
    #: Bytes below `first_dirty_offset`, and from there to `end_offset`.
    clean_bytes: int
    cleanable_bytes: int
    #: The greatest timestamp of the oldest batch that no pass has seen, -1 without one: what ``max_compaction_lag_ms`` goes by.
    oldest_dirty_timestamp_ms: int

    @property
    def dirty_ratio(self) -> float:
        """What is compared with ``min_cleanable_dirty_ratio``; 0.0 for a log without anything to clean."""
        total = self.clean_bytes + self.cleanable_bytes
        return self.cleanable_bytes / total if total else 0.0


def cleanable_range(
    segments: Sequence[Segment],
    *,
    log_start_offset: int,
    first_dirty_offset: int,
    stable_offset: int,
    now_ms: int,
    min_compaction_lag_ms: int,
) -> CleanableRange:
    """Return the range of a log of these *segments*, all of them, oldest first (CMP-2).

    It ends at *stable_offset*, the active segment, or the first dirty segment that has a record younger than *min_compaction_lag_ms*,
    whichever comes first, and always where a segment begins, but for a log that was cut since. Raises OSError and ClosedError when a
    file cannot be read.
    """
    active_offset = segments[-1].base_offset
    dirty_offset = min(max(first_dirty_offset, log_start_offset), active_offset)
    end_offset = dirty_offset
    clean_bytes = cleanable_bytes = 0
    oldest_ms = NO_TIMESTAMP
    for segment in segments[:-1]:
        if segment.next_offset <= log_start_offset:
            continue
        if segment.next_offset <= dirty_offset:
            clean_bytes += segment.position
            continue
        is_too_young = (
            min_compaction_lag_ms > 0
            and segment.largest_timestamp_ms() > now_ms - min_compaction_lag_ms
        )
        if segment.next_offset > stable_offset or is_too_young:
            break
        position = 0
        if segment.base_offset < dirty_offset:
            position = segment.position_of(dirty_offset)[0]
        timestamp_ms = _timestamp_at(segment, position)
        if oldest_ms == NO_TIMESTAMP or NO_TIMESTAMP < timestamp_ms < oldest_ms:
            oldest_ms = timestamp_ms
        clean_bytes += position
        cleanable_bytes += segment.position - position
        end_offset = segment.next_offset
    return CleanableRange(
        log_start_offset, dirty_offset, end_offset, clean_bytes, cleanable_bytes, oldest_ms
    )


def _timestamp_at(segment: Segment, position: int) -> int:
    """Return the greatest timestamp of the batch at *position*; -1 when there is no good header."""
    raw = segment.mapping_for_read()[position : position + HEADER_SIZE]
    header = read_header(raw)
    return NO_TIMESTAMP if header is None else header.max_timestamp_ms

"""Which segments retention may delete: pure rules, no files (RET-1 to RET-8)."""

from __future__ import annotations

from collections.abc import Sequence

from streamlog.config import TopicConfig
from streamlog.storage.segment import Segment

UNLIMITED = -1


def deletable_count(
    segments: Sequence[Segment],
    config: TopicConfig,
    *,
    now_ms: int,
    log_start_offset: int,
    high_watermark: int,
) -> int:
    """Return how many of *segments*, counted from the oldest, have to go now.

    *segments* are all of the log, oldest first, the last one active. Always a prefix: the first one that must stay ends each of
    the three rounds (RET-2), which are: wholly below the log start, above the size limit, too old. A segment that ends above the
    high watermark stays (RET-5). The count may include the active segment if it holds records: the caller then rolls first
    (RET-6).
    """
    deletable = 0
    while deletable < len(segments) - 1 and segments[deletable + 1].base_offset <= log_start_offset:
        deletable += 1
    if "delete" not in config.cleanup_policy:
        # With compact only, or an empty policy, the limits do not apply (RET-8); what delete_records cut off still goes.
        return deletable

    def may_go(segment: Segment) -> bool:
        return segment.position > 0 and segment.next_offset <= high_watermark

    if config.retention_bytes != UNLIMITED:
        excess = _excess_bytes(segments[deletable:], config)
        if excess >= segments[deletable].position:
            # Something is to go: now the sizes must be true, also of segments that a power loss left with the room they had.
            for segment in segments[deletable:]:
                segment.ensure_indexes()
            excess = _excess_bytes(segments[deletable:], config)
        while (
            deletable < len(segments)
            and may_go(segments[deletable])
            and excess - segments[deletable].position >= 0
        ):
            excess -= segments[deletable].position
            deletable += 1
    if config.retention_ms != UNLIMITED:
        while (
            deletable < len(segments)
            and may_go(segments[deletable])
            and now_ms - segments[deletable].largest_timestamp_ms() > config.retention_ms
        ):
            deletable += 1
    return deletable


def _excess_bytes(segments: Sequence[Segment], config: TopicConfig) -> int:
    return sum(segment.position for segment in segments) - config.retention_bytes

"""Which log to clean next (CMP-1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.config import TopicConfig
    from streamlog.storage.compaction.cleanable_range import CleanableRange


class Candidate(NamedTuple):
    """A log that could be cleaned."""

    partition: Partition
    config: TopicConfig
    range: CleanableRange


def compaction_delay_ms(candidate: Candidate, now_ms: int) -> int:
    """Return for how long the oldest record that no pass has seen should have been cleaned, 0 if it need not be yet.

    Source: Kafka ``LogCleanerManager.maxCompactionDelay``, KIP-354.
    """
    oldest_ms = candidate.range.oldest_dirty_timestamp_ms
    if oldest_ms < 0:
        return 0
    return max(now_ms - candidate.config.max_compaction_lag_ms - oldest_ms, 0)


def is_due(candidate: Candidate, now_ms: int) -> bool:
    """Return whether more than the allowed part of the log is dirty, or some of it for too long.

    Source: Kafka ``LogCleanerManager.grabFilthiestCompactedLog``.
    """
    found = candidate.range
    if found.cleanable_bytes == 0:
        return False
    return (
        found.dirty_ratio > candidate.config.min_cleanable_dirty_ratio
        or compaction_delay_ms(candidate, now_ms) > 0
    )


def dirtiest(candidates: Iterable[Candidate], now_ms: int) -> Candidate | None:
    """Return the one to clean first, the first of equals; None when none is due."""
    due = (candidate for candidate in candidates if is_due(candidate, now_ms))
    return max(due, key=lambda candidate: candidate.range.dirty_ratio, default=None)

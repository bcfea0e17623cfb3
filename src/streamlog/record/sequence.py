"""Sequence numbers of idempotent producers: the one place that knows how they wrap around (IDM-1)."""

from __future__ import annotations

from streamlog.record.layout import NO_SEQUENCE

__all__ = ["MAX_SEQUENCE", "NO_SEQUENCE", "advance", "last_sequence"]

MAX_SEQUENCE = 2**31 - 1
"""The greatest sequence number; 0 follows. It is a mask as well: ``sequence + 1 & MAX_SEQUENCE`` is what hot paths write."""


def advance(sequence: int, count: int) -> int:
    """Return the sequence number *count* records behind *sequence*. Source: Kafka ``DefaultRecordBatch.incrementSequence``.

    >>> advance(0, 5), advance(MAX_SEQUENCE, 1)
    (5, 0)
    """
    return sequence + count & MAX_SEQUENCE


def last_sequence(base_sequence: int, count: int) -> int:
    """Return the sequence number of the last of *count* records (at least one), the first of which has *base_sequence*.

    >>> last_sequence(10, 5), last_sequence(MAX_SEQUENCE, 2)
    (14, 0)
    """
    return base_sequence + count - 1 & MAX_SEQUENCE

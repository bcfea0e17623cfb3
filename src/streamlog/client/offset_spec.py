"""Which offset of a partition is meant, and the answer."""

from __future__ import annotations

from enum import IntEnum

import attrs


class OffsetSpec(IntEnum):
    """Special positions for ``Admin.list_offsets``; any number from 0 on is a timestamp in ms (TIM-2).

    The numbers are Kafka's. Source: Kafka ``OffsetSpec``, ``ListOffsetsRequest``.
    """

    LATEST = -1
    """The end of what the reader may see: high watermark or last stable offset."""
    EARLIEST = -2
    """The log start."""
    MAX_TIMESTAMP = -3
    """The record with the greatest timestamp (KIP-734)."""
    EARLIEST_LOCAL = -4
    """The log start on the local disk (KIP-405); there is no other tier, so the log start."""
    LATEST_TIERED = -5
    """The last offset in remote storage (KIP-1005); there is none, so the answer is always None."""


@attrs.frozen
class ListedOffset:
    """One answer of ``Admin.list_offsets``. Source: Kafka ``ListOffsetsResultInfo``."""

    offset: int
    timestamp_ms: int | None = None
    """Of the record at ``offset``; None where a position was asked for and not a record."""
    leader_epoch: int | None = None

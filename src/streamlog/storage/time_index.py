"""The sparse time index of one segment: greatest timestamp so far -> offset of the batch that brought it."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

#: Bytes of one entry on disk: timestamp and relative offset, i64 each.
ENTRY_BYTES = 16


class TimeIndex:
    """Entries in two parallel arrays; timestamps strictly increase, offsets increase with them.

    An entry (t, o) says: no record before the batch at o has a timestamp of t or later. Appended to by the writer of the log
    only; read by any thread. Source: Kafka ``TimeIndex``.
    """

    __slots__ = ("_flushed", "_relative_offsets", "_timestamps_ms")

    def __init__(self) -> None:
        self._timestamps_ms = array("q")
        self._relative_offsets = array("q")
        self._flushed = 0

    def __len__(self) -> int:
        return len(self._relative_offsets)

    def maybe_append(self, timestamp_ms: int, relative_offset: int) -> None:
        """Add an entry unless the greatest timestamp is still that of the last one. Caller: the writer of the log."""
        if len(self._timestamps_ms) > len(self._relative_offsets):
            self._timestamps_ms.pop()  # half an entry: Ctrl-C came in between
        if not self._timestamps_ms or timestamp_ms > self._timestamps_ms[-1]:
            self._timestamps_ms.append(timestamp_ms)
            self._relative_offsets.append(relative_offset)

    def floor(self, timestamp_ms: int) -> int:
        """Return the relative offset to start from when looking for the first record at or after *timestamp_ms*.

        Cost: O(log entries). Threads: any.
        """
        entry = (
            min(bisect_right(self._timestamps_ms, timestamp_ms), len(self._relative_offsets)) - 1
        )
        return self._relative_offsets[entry] if entry >= 0 else 0

    def last_before(self, relative_offset: int) -> tuple[int, int] | None:
        """Return (timestamp, relative offset) of the last entry below *relative_offset*. Threads: any."""
        entry = bisect_left(self._relative_offsets, relative_offset) - 1
        return (self._timestamps_ms[entry], self._relative_offsets[entry]) if entry >= 0 else None

    def last(self) -> tuple[int, int] | None:
        """Return (timestamp, relative offset) of the last entry: the greatest timestamp indexed."""
        return (
            (self._timestamps_ms[-1], self._relative_offsets[-1])
            if self._relative_offsets
            else None
        )

    def truncate(self, relative_offset: int) -> None:
        """Drop the entries of batches at or behind *relative_offset*. Caller: the writer of the log."""
        keep = bisect_right(self._relative_offsets, relative_offset - 1)
        # New arrays: a reader may be in the middle of a lookup.
        self._timestamps_ms = self._timestamps_ms[:keep]
        self._relative_offsets = self._relative_offsets[:keep]
        self._flushed = min(self._flushed, keep)

    @property
    def size_bytes(self) -> int:
        """What the entries take on disk."""
        return len(self._relative_offsets) * ENTRY_BYTES

    @property
    def has_unflushed(self) -> bool:
        """Whether entries were added since the last :meth:`mark_flushed`."""
        return len(self._relative_offsets) > self._flushed

    def unflushed(self) -> bytes:
        """Return the entries added since the last :meth:`mark_flushed`, packed for the file."""
        return self._pack(self._flushed)

    def mark_flushed(self) -> None:
        """Everything there is now is in the file."""
        self._flushed = len(self._relative_offsets)

    def pack(self) -> bytes:
        """Return all entries, packed for the file."""
        return self._pack(0)

    def load(self, data: bytes, end_relative_offset: int) -> bool:
        """Take the entries in *data* that lie below *end_relative_offset*; False when some were refused."""
        pairs = array("q", data[: len(data) - len(data) % ENTRY_BYTES])
        if sys.byteorder != "little":  # pragma: no cover - the file is little-endian
            pairs.byteswap()
        timestamps_ms, relative_offsets = pairs[::2], pairs[1::2]
        keep = 0
        last_timestamp_ms, last_offset = -(2**63), -1
        for timestamp_ms, relative_offset in zip(timestamps_ms, relative_offsets, strict=True):
            if (
                timestamp_ms <= last_timestamp_ms
                or not last_offset < relative_offset < end_relative_offset
            ):
                break
            last_timestamp_ms, last_offset = timestamp_ms, relative_offset
            keep += 1
        self._timestamps_ms = timestamps_ms[:keep]
        self._relative_offsets = relative_offsets[:keep]
        self._flushed = keep
        return keep * ENTRY_BYTES == len(data)

    def entries(self) -> Iterator[tuple[int, int]]:
        """Return (timestamp, relative offset) of each entry, in order. For tools and tests."""
        return zip(self._timestamps_ms, self._relative_offsets, strict=False)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert len(self._timestamps_ms) == len(self._relative_offsets)
        for column in (self._timestamps_ms, self._relative_offsets):
            assert all(before < after for before, after in pairwise(column))
        assert 0 <= self._flushed <= len(self._relative_offsets)

    def _pack(self, start: int) -> bytes:
        end = len(self._relative_offsets)
        pairs = array("q", bytes(ENTRY_BYTES * (end - start)))
        pairs[::2] = self._timestamps_ms[start:end]
        pairs[1::2] = self._relative_offsets[start:end]
        if sys.byteorder != "little":  # pragma: no cover - the file is little-endian
            pairs.byteswap()
        return pairs.tobytes()

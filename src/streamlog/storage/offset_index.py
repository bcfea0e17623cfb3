"""The sparse offset index of one segment: base offset of a batch -> its position in the file."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

#: Bytes of one entry on disk: relative offset and position, u32 each. ``segment_index_bytes`` counts in it (LOG-2).
ENTRY_BYTES = 8

#: What fits an entry. A segment ends far below; only bytes that nobody here wrote say otherwise.
MAX_RELATIVE_OFFSET = 2**32 - 1


class OffsetIndex:
    """Entries in two parallel arrays, both strictly increasing; a lookup is one C-level bisection.

    Appended to by the writer of the log only; read by any thread. A reader may see an entry of one array without its twin, which
    is why lookups never read past the shorter one. Differs from Kafka's ``OffsetIndex`` in that an entry names the *first*
    offset of its batch, so a lookup of any offset inside an indexed batch needs no walk.
    """

    __slots__ = ("_flushed", "_positions", "_relative_offsets")

    def __init__(self) -> None:
        self._relative_offsets = array("I")
        self._positions = array("I")
        self._flushed = 0

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def size_bytes(self) -> int:
        """What the entries take on disk."""
        return len(self._positions) * ENTRY_BYTES

    def append(self, relative_offset: int, position: int) -> None:
        """Add the entry of a batch behind all batches indexed so far. Caller: the writer of the log."""
        if len(self._relative_offsets) > len(self._positions):
            self._relative_offsets.pop()  # half an entry: Ctrl-C came in between
        self._relative_offsets.append(relative_offset)
        self._positions.append(position)

    def floor(self, relative_offset: int) -> int:
        """Return the position of the last indexed batch that starts at or below *relative_offset*; 0 when there is none.

        Cost: O(log entries). Threads: any.
        """
        entry = bisect_right(self._relative_offsets, relative_offset) - 1
        positions = self._positions
        if entry >= len(positions):
            entry = len(positions) - 1
        return positions[entry] if entry >= 0 else 0

    def floor_position(self, position: int) -> int:
        """Return the greatest indexed position at or below *position*; 0 when there is none."""
        entry = bisect_right(self._positions, position) - 1
        return self._positions[entry] if entry >= 0 else 0

    def last(self) -> tuple[int, int] | None:
        """Return (relative offset, position) of the last entry."""
        last = len(self._positions) - 1  # behind it there may be half an entry
        return (self._relative_offsets[last], self._positions[last]) if last >= 0 else None

    def truncate(self, position: int) -> None:
        """Drop the entries of batches at or behind *position*. Caller: the writer of the log."""
        keep = bisect_right(self._positions, position - 1)
        # New arrays: a reader may be in the middle of a lookup.
        self._relative_offsets = self._relative_offsets[:keep]
        self._positions = self._positions[:keep]
        self._flushed = min(self._flushed, keep)

    @property
    def has_unflushed(self) -> bool:
        """Whether entries were added since the last :meth:`mark_flushed`."""
        return len(self._positions) > self._flushed

    def unflushed(self) -> bytes:
        """Return the entries added since the last :meth:`mark_flushed`, packed for the file."""
        return self._pack(self._flushed)

    def mark_flushed(self) -> None:
        """Everything there is now is in the file."""
        self._flushed = len(self._positions)

    def pack(self) -> bytes:
        """Return all entries, packed for the file."""
        return self._pack(0)

    def load(self, data: bytes, end_position: int) -> bool:
        """Take the entries in *data* that lie below *end_position*; False when some were refused.

        Refused is what breaks the order (and everything behind it): the caller rebuilds that from the log.
        """
        pairs = array("I", data[: len(data) - len(data) % ENTRY_BYTES])
        if sys.byteorder != "little":  # pragma: no cover - the file is little-endian
            pairs.byteswap()
        relative_offsets, positions = pairs[::2], pairs[1::2]
        keep = 0
        last_offset = last_position = -1
        for relative_offset, position in zip(relative_offsets, positions, strict=True):
            if (
                relative_offset <= last_offset
                or position <= last_position
                or position >= end_position
            ):
                break
            last_offset, last_position = relative_offset, position
            keep += 1
        self._relative_offsets = relative_offsets[:keep]
        self._positions = positions[:keep]
        self._flushed = keep
        return keep * ENTRY_BYTES == len(data)

    def entries(self) -> Iterator[tuple[int, int]]:
        """Return (relative offset, position) of each entry, in order. For tools and tests."""
        return zip(self._relative_offsets, self._positions, strict=False)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        # Half an entry more, which Ctrl-C left, is passed over, and goes with the next one.
        assert 0 <= len(self._relative_offsets) - len(self._positions) <= 1
        for column in (self._relative_offsets, self._positions):
            assert all(before < after for before, after in pairwise(column))
        assert 0 <= self._flushed <= len(self._positions)

    def _pack(self, start: int) -> bytes:
        end = len(self._positions)
        pairs = array("I", bytes(ENTRY_BYTES * (end - start)))
        pairs[::2] = self._relative_offsets[start:end]
        pairs[1::2] = self._positions[start:end]
        if sys.byteorder != "little":  # pragma: no cover - the file is little-endian
            pairs.byteswap()
        return pairs.tobytes()

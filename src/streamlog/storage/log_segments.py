"""The segments of one log, by base offset."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise

from streamlog.record.checksum import crc32c
from streamlog.runtime import Lock
from streamlog.storage.segment import Segment


def fingerprint(
    base_offsets: list[int], log_start_offset: int, before_offset: int
) -> tuple[int, int]:
    """Return (count, CRC-32C of the base offsets) of the segments from the one that holds *log_start_offset* up to *before_offset*.

    *base_offsets* are those of a whole log, sorted. Segments below the log start do not count: whether their files are there still
    is a question of how far retention got.
    """
    first = max(bisect_right(base_offsets, log_start_offset) - 1, 0)
    counted = base_offsets[first : bisect_left(base_offsets, before_offset)]
    return len(counted), crc32c(struct.pack(f"<{len(counted)}q", *counted))


class LogSegments:
    """Segments in offset order; never empty once the log is open, and the last one is the active one.

    A change replaces the whole list, which is short and rarely changes; so looking up takes no lock, and neither a reader nor Ctrl-C
    ever meets a half-changed one.

    Threads: any. Source: Kafka ``LogSegments``.
    """

    __slots__ = ("_lock", "_sorted")

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        """*segments* in offset order."""
        # Changes one at a time.
        self._lock = Lock()
        found = list(segments)
        # Base offsets and segments, as long as each other: replaced as one, never changed.
        self._sorted = [segment.base_offset for segment in found], found

    def __len__(self) -> int:
        return len(self._sorted[0])

    def add(self, segment: Segment) -> None:
        """Add *segment* under its base offset, in place of the one that is there. Cost: O(segments)."""
        with self._lock:
            self._replace(segment.base_offset, [segment])

    def remove(self, segment: Segment) -> None:
        """Forget *segment*; its file is the caller's business. Nothing happens when it is not there."""
        with self._lock:
            self._replace(segment.base_offset, [])

    def swap(self, new: Segment) -> list[Segment]:
        """Put *new* in the place of the segments that begin in its range, as one change, and return those."""
        with self._lock:
            base_offsets, segments = self._sorted
            at = bisect_left(base_offsets, new.base_offset)
            stop = bisect_left(base_offsets, new.next_offset)
            self._replace(new.base_offset, [new], new.next_offset - 1)
            return segments[at:stop]

    def _replace(
        self, base_offset: int, new: list[Segment], last_offset: int | None = None
    ) -> None:
        base_offsets, segments = self._sorted
        at = bisect_left(base_offsets, base_offset)
        stop = bisect_right(base_offsets, base_offset if last_offset is None else last_offset)
        self._sorted = (
            [*base_offsets[:at], *[base_offset for _ in new], *base_offsets[stop:]],
            [*segments[:at], *new, *segments[stop:]],
        )

    def floor(self, offset: int) -> Segment | None:
        """Return the segment that would hold *offset*, or None before the first one. Cost: O(log segments)."""
        base_offsets, segments = self._sorted
        at = bisect_right(base_offsets, offset)
        return segments[at - 1] if at else None

    def lower(self, base_offset: int) -> Segment | None:
        """Return the segment in front of the one at *base_offset*, or None before the first one."""
        base_offsets, segments = self._sorted
        at = bisect_left(base_offsets, base_offset)
        return segments[at - 1] if at else None

    def higher(self, base_offset: int) -> Segment | None:
        """Return the segment behind the one at *base_offset*, or None behind the last one."""
        base_offsets, segments = self._sorted
        at = bisect_right(base_offsets, base_offset)
        return segments[at] if at < len(segments) else None

    def at_or_behind(self, offset: int, seen: Segment) -> Segment | None:
        """Return the segment that holds *offset*, or else the next one; the one behind *seen* where that is *seen*; or None.

        For whoever goes from one to the next while compaction may put one in the place of both, or retention take them.
        """
        found = self.floor(offset) or self.higher(offset)
        return self.higher(seen.base_offset) if found is seen else found

    def first(self) -> Segment:
        """Return the oldest segment."""
        return self._sorted[1][0]

    def in_order(self) -> list[Segment]:
        """Return all segments, oldest first."""
        return list(self._sorted[1])

    def base_offsets(self) -> list[int]:
        """Return the base offsets of all segments, in order. Not to be changed."""
        return self._sorted[0]

    def unsynced(self) -> list[Segment]:
        """Return the segments that do not wholly survive a power loss, oldest first: an empty one as well whose name does not.

        Cost: O(those). Syncs go oldest first, so what is in front of one that needs no sync needs none either.
        """
        found: list[Segment] = []
        for segment in reversed(self._sorted[1]):
            if segment.created_durably and segment.synced_position >= segment.position:
                break
            found.append(segment)
        return found[::-1]

    def close_all(self) -> None:
        """Close every segment, and then raise the first error if there was one."""
        first_error: OSError | None = None
        for segment in self.in_order():
            try:
                segment.close()
            except OSError as error:
                first_error = first_error or error
        if first_error is not None:
            raise first_error

    def abandon(self) -> None:
        """Have every segment drop its files, taking no lock: for the child of a fork."""
        self._lock = Lock()
        for segment in self._sorted[1]:
            segment.abandon()

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        base_offsets, segments = self._sorted
        assert base_offsets == [segment.base_offset for segment in segments]
        assert all(before < after for before, after in pairwise(base_offsets))
        for segment, following in pairwise(segments):
            assert segment.sealed
            assert segment.next_offset <= following.base_offset
        assert not segments[-1].sealed
        for segment in segments:
            segment._check()

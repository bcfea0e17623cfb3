"""The segments of one log, by base offset."""

from __future__ import annotations

from typing import cast

from sortedcontainers import SortedDict

from streamlog.runtime import Lock
from streamlog.storage.segment import Segment


class LogSegments:
    """Segments in offset order; never empty once the log is open, and the last one is the active one.

    Threads: any. Each call holds the own lock for one lookup, so readers of old segments may meet a roll or a deletion but never
    a half-changed map. Source: Kafka ``LogSegments``.
    """

    def __init__(self) -> None:
        self._by_base_offset: SortedDict[int, Segment] = SortedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._by_base_offset)

    def add(self, segment: Segment) -> None:
        """Add *segment* under its base offset; nothing happens when it is there."""
        with self._lock:
            try:
                self._by_base_offset[segment.base_offset] = segment
            except BaseException:
                self._restore()
                raise

    def remove(self, segment: Segment) -> None:
        """Forget *segment*; its file is the caller's business."""
        with self._lock:
            try:
                self._by_base_offset.pop(segment.base_offset, None)
            except BaseException:
                self._restore()
                raise

    def _restore(self) -> None:
        """Ctrl-C in the middle of a change leaves a sorted map whose keys are not those of its dict: sort them again."""
        by_base_offset = cast("dict[int, Segment]", self._by_base_offset)
        segments = list(dict.values(by_base_offset))
        self._by_base_offset = SortedDict({segment.base_offset: segment for segment in segments})

    def floor(self, offset: int) -> Segment | None:
        """Return the segment that would hold *offset*, or None before the first one. Cost: O(log segments)."""
        with self._lock:
            at = self._by_base_offset.bisect_right(offset) - 1
            return self._by_base_offset.peekitem(at)[1] if at >= 0 else None

    def higher(self, base_offset: int) -> Segment | None:
        """Return the segment behind the one at *base_offset*, or None behind the last one."""
        with self._lock:
            at = self._by_base_offset.bisect_right(base_offset)
            return self._by_base_offset.peekitem(at)[1] if at < len(self._by_base_offset) else None

    def first(self) -> Segment:
        """Return the oldest segment."""
        with self._lock:
            segment: Segment = self._by_base_offset.peekitem(0)[1]
            return segment

    def in_order(self) -> list[Segment]:
        """Return all segments, oldest first."""
        with self._lock:
            return list(self._by_base_offset.values())

    def unsynced(self) -> list[Segment]:
        """Return the segments that do not wholly survive a power loss, oldest first: an empty one as well whose name does not.

        Cost: O(those). Syncs go oldest first, so what is in front of one that needs no sync needs none either.
        """
        found: list[Segment] = []
        with self._lock:
            for base_offset in reversed(self._by_base_offset):
                segment = self._by_base_offset[base_offset]
                if segment.created_durably and segment.synced_position >= segment.position:
                    break
                found.append(segment)
        return found[::-1]

    def abandon(self) -> None:
        """Have every segment drop its files, taking no lock: for the child of a fork."""
        self._lock = Lock()
        for segment in list(self._by_base_offset.values()):
            segment.abandon()

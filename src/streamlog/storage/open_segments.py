"""How many segments may hold file descriptors at once: least recently used ones give theirs back."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from streamlog.runtime import Lock, fd_limit

#: Descriptors that a mapped segment holds: the file's own, and the duplicate that the map keeps.
_DESCRIPTORS_PER_SEGMENT = 2


class Evictable(Protocol):
    """What :class:`OpenSegments` keeps: something that can give its descriptors back and take them again later."""

    def try_release_files(self) -> bool:
        """Give the descriptors back unless in use or used since the last call; return whether that happened."""


class OpenSegments:
    """The segments of one broker that hold descriptors, in the order in which their turn comes.

    Second-chance replacement: asking a segment to leave is what resets its mark of use, so appends and reads pay nothing for
    being counted. Threads: any; nobody calls in with a segment's or a log's lock *wanted by another eviction*, because eviction
    only ever tries locks and skips what it cannot get.
    """

    def __init__(self, capacity: int | None = None) -> None:
        if capacity is None:
            # A quarter of the descriptors leaves the host program most of them.
            capacity = max(fd_limit() // (4 * _DESCRIPTORS_PER_SEGMENT), 8)
        self.capacity = capacity
        self._segments: OrderedDict[int, Evictable] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._segments)

    def opened(self, segment: Evictable) -> None:
        """Count *segment* among those that hold descriptors, and make room for it if need be."""
        with self._lock:
            self._segments[id(segment)] = segment
            # Two rounds: the first one takes the marks of use, the second one finds those that were idle in between.
            tries = 2 * len(self._segments)
        while tries and (candidate := self._take_oldest()) is not None:
            # Taken out before it is asked: it may be opened and counted again as soon as it has let go.
            if candidate is segment or not candidate.try_release_files():
                with self._lock:
                    self._segments[id(candidate)] = candidate
            tries -= 1

    def _take_oldest(self) -> Evictable | None:
        """Take the segment whose turn it is, or None when there are not too many."""
        with self._lock:
            if len(self._segments) <= self.capacity:
                return None
            return self._segments.popitem(last=False)[1]

    def closed(self, segment: Evictable) -> None:
        """Forget *segment*: it holds no descriptors any more."""
        with self._lock:
            self._segments.pop(id(segment), None)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert all(key == id(segment) for key, segment in self._segments.items())
        assert not self._lock.locked()

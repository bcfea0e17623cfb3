"""The sorted timers behind every scheduler."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from sortedcontainers import SortedKeyList

from streamlog.runtime.threads import Lock
from streamlog.runtime.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Callable


class TimerQueue:
    """Timers in the order in which they are due; equal times keep the order of insertion.

    Its lock guards only the list and is never held while a callback runs. Cost: O(log timers) to
    add, cancel and take.

    Threads: any.
    """

    __slots__ = ("_lock", "_number", "_timers")

    def __init__(self) -> None:
        self._number = 0
        self._lock: Lock
        self._timers: SortedKeyList[Timer, tuple[float, int]]
        self.start_over()

    def start_over(self) -> None:
        """Forget all timers, and the lock with them, which in a forked child may be held for ever."""
        self._lock = Lock()
        self._timers = SortedKeyList(key=attrgetter("due_key"))

    def __len__(self) -> int:
        return len(self._timers)

    def add(
        self, when_ms: float, callback: Callable[[], object], owner: object
    ) -> tuple[Timer, bool]:
        """Insert a timer; return it and whether it is now the first one due."""
        with self._lock:
            self._number += 1
            timer = Timer(when_ms, self._number, callback, owner, self)
            self._timers.add(timer)
            return timer, self._timers[0] is timer

    def cancel(self, timer: Timer) -> bool:
        """Take *timer* out; return False if it was not waiting any more."""
        with self._lock:
            try:
                self._timers.remove(timer)
            except ValueError:
                return False
            timer.cancelled = True
            return True

    def cancel_all(self, owner: object) -> int:
        """Take out every timer of *owner*; return how many there were."""
        with self._lock:
            mine = self._of(owner)
            for timer in mine:
                self._timers.remove(timer)
                timer.cancelled = True
            return len(mine)

    def _of(self, owner: object) -> list[Timer]:
        return [timer for timer in self._timers if timer.owner is owner]

    def take_due(self, limit_ms: float, owner: object = None) -> Timer | None:
        """Take out and return the first timer due at or before *limit_ms*, or None.

        With *owner*, only that owner's timers count.
        """
        with self._lock:
            timer = self._first_due(limit_ms, owner)
            if timer is not None:
                self._timers.remove(timer)
            return timer

    def _first_due(self, limit_ms: float, owner: object) -> Timer | None:
        for timer in self._timers:
            if timer.when_ms > limit_ms:
                return None
            if owner is None or timer.owner is owner:
                return timer
        return None

    def first_due_ms(self) -> float | None:
        """Return when the first timer is due, or None without timers."""
        with self._lock:
            return self._timers[0].when_ms if self._timers else None

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        keys = [timer.due_key for timer in self._timers]
        assert keys == sorted(set(keys))
        assert not any(timer.cancelled for timer in self._timers)

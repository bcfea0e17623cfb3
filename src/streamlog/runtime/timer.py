"""One callback and when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.timer_queue import TimerQueue


class Timer:
    """A callback that a `Scheduler` will run once. Made by ``call_at`` and ``call_later``.

    Threads: any.
    """

    __slots__ = ("_queue", "callback", "cancelled", "due_key", "owner", "when_ms")

    def __init__(
        self,
        when_ms: float,
        number: int,
        callback: Callable[[], object],
        owner: object,
        queue: TimerQueue,
    ) -> None:
        self.when_ms = when_ms
        """When it is due, on the clock's monotonic scale."""
        self.due_key = (when_ms, number)
        """What timers are sorted by: due time, then the order in which they were made."""
        self.callback = callback
        """What is called, without arguments; what it returns is ignored."""
        self.owner = owner
        """The scheduler that made it."""
        self.cancelled = False
        """True once it was called off in time."""
        self._queue = queue

    def cancel(self) -> bool:
        """Call the timer off. Return True if that kept the callback from running.

        False means it has run, is running now, or was cancelled before: another thread may be inside
        the callback, so what it touches must stay valid.
        """
        return self._queue.cancel(self)

    def __repr__(self) -> str:
        state = "cancelled " if self.cancelled else ""
        return f"<Timer {state}at {self.when_ms:.3f} ms: {self.callback!r}>"

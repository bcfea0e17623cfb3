"""A scheduler without a thread, for virtual time."""

# The methods are documented where they are declared, in `Scheduler`.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime.scheduler import Scheduler, run_timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.clock import Clock
    from streamlog.runtime.timer import Timer
    from streamlog.runtime.timer_queue import TimerQueue


class VirtualScheduler(Scheduler):
    """One owner's timers in the queue of a `VirtualClock`, which runs them as time moves."""

    __slots__ = ("_clock", "_closed", "_name", "_queue")

    def __init__(self, clock: Clock, queue: TimerQueue, name: str) -> None:
        self._clock = clock
        self._queue = queue
        self._name = name
        self._closed = False

    def call_at(self, when_ms: float, callback: Callable[[], object]) -> Timer:
        timer, _ = self._queue.add(when_ms, callback, self)
        if self._closed:
            timer.cancel()
        return timer

    def call_later(self, delay_ms: float, callback: Callable[[], object]) -> Timer:
        return self.call_at(self._clock.monotonic_ms() + delay_ms, callback)

    def run_due(self) -> int:
        """Run this scheduler's due timers, not those of others on the same clock."""
        now_ms = self._clock.monotonic_ms()
        count = 0
        while (timer := self._queue.take_due(now_ms, self)) is not None:
            run_timer(timer)
            count += 1
        return count

    def close(self) -> None:
        self._closed = True
        self._queue.cancel_all(self)

    def __repr__(self) -> str:
        return f"<VirtualScheduler {self._name!r}>"

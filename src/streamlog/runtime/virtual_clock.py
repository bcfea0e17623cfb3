"""Time that passes only when somebody waits or says so."""

# The methods are documented where they are declared, in `Clock`.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import DeadlockError
from streamlog.runtime.clock import Clock
from streamlog.runtime.scheduler import run_timer
from streamlog.runtime.threads import Lock
from streamlog.runtime.timer_queue import TimerQueue
from streamlog.runtime.virtual_scheduler import VirtualScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.signal import Signal
    from streamlog.runtime.timer import Timer

_TIMERS_IN_VAIN = 10_000


class VirtualClock(Clock):
    """A clock without a thread: a call that would block runs due timers and jumps ahead instead.

    All schedulers made by one clock share one queue, so timers of several brokers run in the order
    in which they are due. Meant for one thread, which makes every run the same.

    * look: `now`, ``monotonic_ms()`` (the same), ``time_ms()``
    * move: `advance`, `advance_to`, `run_due`; `elapse` for a call that takes its time
    * break: `set_wall_ms` makes the wall clock jump while timers go on undisturbed

    Timers may wait, advance the clock and add timers themselves. With several real threads nothing
    breaks, but who sees which time is then a matter of chance.
    """

    __slots__ = ("_lock", "_now_ms", "_queue", "_wall_ahead_ms")

    is_virtual = True

    def __init__(self, start_ms: float = 1_700_000_000_000) -> None:
        self._lock = Lock()
        self._now_ms = float(start_ms)
        self._wall_ahead_ms = 0.0
        self._queue = TimerQueue()

    @property
    def now(self) -> float:
        """The monotonic clock in milliseconds; it starts at *start_ms*, as the wall clock does."""
        return self._now_ms

    def monotonic_ms(self) -> float:
        return self._now_ms

    def time_ns(self) -> int:
        # In two parts: a float of nanoseconds would be off by hundreds of them.
        wall_ms = self._now_ms + self._wall_ahead_ms
        whole_ms = int(wall_ms)
        return whole_ms * 1_000_000 + round((wall_ms - whole_ms) * 1_000_000)

    def set_wall_ms(self, wall_ms: float) -> None:
        """Make the wall clock show *wall_ms*, and go on from there. Timers do not notice."""
        self._wall_ahead_ms = wall_ms - self._now_ms

    def new_scheduler(self, name: str) -> Scheduler:
        return VirtualScheduler(self, self._queue, name)

    def advance(self, ms: float) -> int:
        """Let *ms* milliseconds pass, running what falls due on the way; return how many ran.

        Raises ValueError for a negative number: time never goes back.
        """
        if ms < 0:
            raise ValueError(f"Time cannot be advanced by {ms} ms")
        return self.advance_to(self._now_ms + ms)

    def advance_to(self, when_ms: float) -> int:
        """Let time pass until `now` is *when_ms*; as `advance` otherwise.

        A time in the past leaves the clock as it is and runs what is due.
        """
        count = 0
        while self._run_next(when_ms):
            count += 1
        self._move_to(when_ms)
        return count

    def elapse(self, ms: float) -> None:
        """Let *ms* milliseconds pass and run nothing: the one thread was busy, with a slow disk say.

        What falls due on the way runs late, when somebody waits or moves the clock next. May be called
        with locks held that timers want. Raises ValueError for a negative number.
        """
        if ms < 0:
            raise ValueError(f"Time cannot be advanced by {ms} ms")
        self._move_to(self._now_ms + ms)

    def run_due(self) -> int:
        """Run what is due now, for all schedulers, and let no time pass; return how many ran."""
        return self.advance_to(self._now_ms)

    def wait_until(
        self, predicate: Callable[[], bool], signal: Signal, timeout_ms: float | None
    ) -> bool:
        """Run timers in time order until *predicate* is true; jump to the deadline without them.

        Raises DeadlockError for a wait without a limit once no timer is left, or when 10,000 have
        run in vain.
        """
        signal.clear()
        if predicate():
            return True
        deadline_ms = None if timeout_ms is None else self._now_ms + max(timeout_ms, 0)
        limit_ms = float("inf") if deadline_ms is None else deadline_ms
        count = 0
        while self._run_next(limit_ms):
            signal.clear()
            if predicate():
                return True
            count += 1
            if deadline_ms is None and count == _TIMERS_IN_VAIN:
                break
        if deadline_ms is not None:
            self._move_to(deadline_ms)
            return predicate()
        if predicate():  # only another thread can have brought it about
            return True
        raise DeadlockError(
            f"At {self._now_ms:.0f} ms of virtual time: waiting without a limit for something that "
            + (f"{count} timers did not bring" if count else "no timer is left to bring")
        )

    def _run_next(self, limit_ms: float) -> bool:
        """Run the first timer due at or before *limit_ms*, moving time to it; False without one."""
        timer = self._queue.take_due(limit_ms)
        if timer is None:
            return False
        self._run(timer)
        return True

    def _run(self, timer: Timer) -> None:
        self._move_to(timer.when_ms)
        run_timer(timer)

    def _move_to(self, when_ms: float) -> None:
        # A timer that waited may have taken time further than its caller meant to go.
        with self._lock:
            self._now_ms = max(self._now_ms, when_ms)

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now_ms:.3f} ms with {len(self._queue)} timers>"

"""A scheduler with a thread of its own, for real time."""

# The methods are documented where they are declared, in `Scheduler`.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import ForkedError
from streamlog.runtime.fork import on_fork_in_child
from streamlog.runtime.scheduler import Scheduler, run_timer
from streamlog.runtime.signal import Signal
from streamlog.runtime.threads import Lock, Thread, current_thread, spawn
from streamlog.runtime.timer_queue import TimerQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.clock import Clock
    from streamlog.runtime.timer import Timer


class ThreadScheduler(Scheduler):
    """Runs timers in one daemon thread, which starts with the first timer.

    The thread sleeps until the first timer is due and is woken in between only when an earlier one
    comes in, so adding a timer costs about two microseconds.

    Threads: any. In a forked child, which has no such thread, it refuses all use.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_forked_away",
        "_name",
        "_queue",
        "_start",
        "_thread",
        "_wake",
    )

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._name = name
        self._queue = TimerQueue()
        self._wake = Signal()
        self._start = Lock()  # held to start the thread and to close, never while a callback runs
        self._thread: Thread | None = None
        self._closed = False
        self._forked_away = False
        on_fork_in_child(self)

    def call_at(self, when_ms: float, callback: Callable[[], object]) -> Timer:
        if self._forked_away:
            raise self._forked_error()
        timer, is_first = self._queue.add(when_ms, callback, self)
        if self._closed:
            timer.cancel()
            return timer
        if self._thread is None:
            try:
                self._start_thread()
            except RuntimeError:  # no thread to be had: do not keep what will never run
                timer.cancel()
                raise
        if is_first:  # also here: another caller's thread may have gone to sleep meanwhile
            self._wake.set()
        return timer

    def call_later(self, delay_ms: float, callback: Callable[[], object]) -> Timer:
        return self.call_at(self._clock.monotonic_ms() + delay_ms, callback)

    def run_due(self) -> int:
        if self._forked_away:
            raise self._forked_error()
        # Not asked anew for each timer: one that re-arms itself at once would never end.
        now_ms = self._clock.monotonic_ms()
        count = 0
        while (timer := self._queue.take_due(now_ms)) is not None:
            run_timer(timer)
            count += 1
        return count

    def close(self) -> None:
        if self._forked_away:
            return
        with self._start:
            self._closed = True
            thread = self._thread
        self._queue.cancel_all(self)
        self._wake.set()
        if thread is not None and thread is not current_thread():
            thread.join()

    def _start_thread(self) -> None:
        with self._start:
            if self._thread is None and not self._closed:
                self._thread = spawn(self._name, self._run)

    def _run(self) -> None:
        wake, queue, clock = self._wake, self._queue, self._clock
        while True:
            # Cleared before looking: whatever comes in after the look raises the flag again.
            wake.clear()
            if self._closed:
                return
            self.run_due()
            first_ms = queue.first_due_ms()
            if first_ms is None:
                wake.wait()
            else:
                wake.wait((first_ms - clock.monotonic_ms()) / 1000.0)

    def _forked_error(self) -> ForkedError:
        return ForkedError(f"Scheduler {self._name!r} belongs to the parent process")

    def _forked(self) -> None:
        self._forked_away = True
        self._thread = None
        self._queue.start_over()

    def __repr__(self) -> str:
        return f"<ThreadScheduler {self._name!r} with {len(self._queue)} timers>"

"""Real time."""

# The methods are documented where they are declared, in `Clock`.
# ruff: noqa: D102
from __future__ import annotations

import time
from typing import TYPE_CHECKING

from streamlog.runtime.clock import Clock
from streamlog.runtime.thread_scheduler import ThreadScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.signal import Signal

_monotonic = time.monotonic


class SystemClock(Clock):
    """The clocks of the operating system; waiting takes as long as it says.

    Each scheduler has one daemon thread. The clock has no state; instances are equal.

    Threads: any.
    """

    __slots__ = ()

    is_virtual = False

    time_ns = staticmethod(time.time_ns)
    time_s = staticmethod(time.time)

    def monotonic_ms(self) -> float:
        return _monotonic() * 1000.0

    def new_scheduler(self, name: str) -> Scheduler:
        return ThreadScheduler(self, name)

    def wait_until(
        self, predicate: Callable[[], bool], signal: Signal, timeout_ms: float | None
    ) -> bool:
        signal.clear()
        if predicate():
            return True
        if timeout_ms is None:
            while True:
                signal.wait()
                signal.clear()
                if predicate():
                    return True
        deadline_s = _monotonic() + timeout_ms / 1000.0
        remaining_s = timeout_ms / 1000.0
        while remaining_s > 0:
            signal.wait(remaining_s)
            signal.clear()
            if predicate():
                return True
            remaining_s = deadline_s - _monotonic()
        return False

    def __repr__(self) -> str:
        return "SystemClock()"

"""The timer behind transactions: armed while one is open, or decided and not told to all its partitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakMethod, ref

from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from streamlog.runtime import Clock
    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.timer import Timer


class TransactionWatch:
    """Calls *look* some time after it was armed, with no lock held; whoever looks arms it again.

    The scheduler knows the owner of the method *look* by a weak reference only, so that a broker that
    nobody holds any more is not kept alive. Threads: any.
    """

    def __init__(self, clock: Clock, scheduler: Scheduler, look: Callable[[], None]) -> None:
        self._clock = clock
        self._scheduler = scheduler
        self._look = WeakMethod(look)
        self._lock = Lock()
        self._timer: Timer | None = None
        self._is_closed = False

    @property
    def when_ms(self) -> float:
        """When it will look (monotonic); infinity when nothing is to be looked at."""
        timer = self._timer
        return math.inf if timer is None else timer.when_ms

    def arm(self, delay_ms: float) -> None:
        """Look in *delay_ms*, or when it was going to if that is earlier."""
        when_ms = self._clock.monotonic_ms() + delay_ms
        if self.when_ms <= when_ms:
            return
        with self._lock:
            before = self._timer
            if self._is_closed or self.when_ms <= when_ms:
                return
            self._timer = self._scheduler.call_at(when_ms, partial(_fire, ref(self)))
            if before is not None:  # last: Ctrl-C must not leave nothing to come
                before.cancel()

    def fire(self) -> None:
        """Look now. Internal: called by the timer."""
        with self._lock:
            self._timer = None  # first: whoever looks arms it again
        look = self._look()
        if look is not None and not self._is_closed:
            look()

    def close(self) -> None:
        """Look no more."""
        with self._lock:
            self._is_closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _fire(watch: ref[TransactionWatch]) -> None:
    alive = watch()
    if alive is not None:
        alive.fire()

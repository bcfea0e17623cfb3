"""What time it is, and how to wait: the only clock the other layers know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.signal import Signal


class Clock(ABC):
    """Two clocks and the waiting that goes with them.

    * the wall clock (`time_ns`, `time_ms`) stamps records; it may jump in either direction;
    * the monotonic clock (`monotonic_ms`) measures deadlines and timers; it never goes back.

    Threads: any. Source: Kafka ``org.apache.kafka.common.utils.Time``.
    """

    __slots__ = ("__weakref__",)

    is_virtual: bool
    """True when waiting costs no real time."""

    @abstractmethod
    def time_ns(self) -> int:
        """Return the wall clock: nanoseconds since 1970-01-01 UTC.

        Hot paths keep ``clock.time_ns`` and call that; under `SystemClock` it is the built-in.
        """

    def time_s(self) -> float:
        """Return the wall clock in seconds, exact to half a microsecond.

        For hot paths that only compare: the interpreter compares two floats in a fraction of the time
        that two such integers take. Under `SystemClock` it is the built-in.
        """
        return self.time_ns() / 1e9

    @abstractmethod
    def monotonic_ms(self) -> float:
        """Return the monotonic clock in milliseconds. Only differences mean anything."""

    @abstractmethod
    def new_scheduler(self, name: str) -> Scheduler:
        """Return a new, empty scheduler whose timers follow this clock.

        *name* is what its thread is called, if it has one. Close it when done.
        """

    @abstractmethod
    def wait_until(
        self, predicate: Callable[[], bool], signal: Signal, timeout_ms: float | None
    ) -> bool:
        """Wait until *predicate* is true or *timeout_ms* have passed; return its last answer.

        Whoever may make the predicate true sets *signal* afterwards. The predicate is asked at once,
        after each set of the signal, and a last time when the time is up; it runs in the calling
        thread. None waits without a limit, 0 or less asks once and does not wait.

        The signal is cleared before the predicate is asked, so whatever it stood for must be visible
        to the predicate. One thread at a time may wait on a signal. The caller holds no lock.
        """

    def time_ms(self) -> int:
        """Return the wall clock in whole milliseconds since 1970-01-01 UTC, rounded down."""
        return self.time_ns() // 1_000_000

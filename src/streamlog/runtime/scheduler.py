"""Callbacks at a time: what the broker uses instead of sleeping threads."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.timer import Timer

_log = logging.getLogger("streamlog")


class Scheduler(ABC):
    """Runs callbacks when they are due. Made by ``clock.new_scheduler(name)``.

    Callbacks run one at a time or, when `run_due` is called by hand, in several threads; never with
    a lock held; in the order in which they are due, ties in the order in which they were added. One
    that raises is logged (logger ``streamlog``) and stops no other.

    Threads: any, callbacks included. Source: Kafka ``KafkaScheduler``, ``SystemTimer``.
    """

    __slots__ = ("__weakref__",)

    @abstractmethod
    def call_at(self, when_ms: float, callback: Callable[[], object]) -> Timer:
        """Run *callback* when the clock's `monotonic_ms` reaches *when_ms*; return its timer.

        A time in the past means as soon as possible. After `close` the timer comes back cancelled,
        so that a callback that re-arms itself needs no check of its own.

        Raises ForkedError in a forked child.
        """

    @abstractmethod
    def call_later(self, delay_ms: float, callback: Callable[[], object]) -> Timer:
        """Run *callback* after *delay_ms* milliseconds; as `call_at` otherwise."""

    @abstractmethod
    def run_due(self) -> int:
        """Run everything due now in the calling thread, in time order; return how many ran.

        Raises ForkedError in a forked child.
        """

    @abstractmethod
    def close(self) -> None:
        """Cancel all timers and wait until the scheduler's thread has ended, if there is one.

        Called from a callback in that thread it does not wait; the thread ends after the callback.
        Closing again changes nothing.
        """


def run_timer(timer: Timer) -> None:
    """Run the callback of *timer*, which was taken out of its queue; log what it raises."""
    try:
        timer.callback()
    except Exception:  # noqa: BLE001 - one bad callback must not stop the others
        _log.exception("Scheduled callback %r failed", timer.callback)

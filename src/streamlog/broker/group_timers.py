"""What is to happen to groups later, by name, so that it can be put off or called off."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.threads import Lock
    from streamlog.runtime.timer import Timer


class GroupTimers:
    """Timers of a coordinator; their callbacks run with its lock held.

    Threads: whoever holds the lock. The scheduler knows this object by a weak reference, and the
    callbacks not at all, so that a broker that nobody holds any more is not kept alive by its timers.
    """

    def __init__(self, scheduler: Scheduler, lock: Lock) -> None:
        self._scheduler = scheduler
        self.lock = lock
        self._armed: dict[Hashable, tuple[Timer, object, Callable[[], None]]] = {}

    @property
    def armed(self) -> set[Hashable]:
        """The names that stand for something."""
        return set(self._armed)

    def arm(self, name: Hashable, delay_ms: float, callback: Callable[[], None]) -> None:
        """Let *callback* run in *delay_ms*, in place of what *name* stood for before."""
        before = self._armed.get(name)
        ticket = object()
        timer = self._scheduler.call_later(delay_ms, partial(_fire, ref(self), name, ticket))
        self._armed[name] = timer, ticket, callback
        if before is not None:  # last: Ctrl-C must not leave *name* with nothing to come
            before[0].cancel()

    def disarm(self, name: Hashable) -> None:
        """Call off what *name* stands for; nothing happens when that is nothing."""
        armed = self._armed.pop(name, None)
        if armed is not None:
            armed[0].cancel()

    def fire(self, name: Hashable, ticket: object) -> None:
        """Run what *ticket* was given for unless it was replaced or called off meanwhile. Internal."""
        with self.lock:
            armed = self._armed.get(name)
            if armed is not None and armed[1] is ticket:
                del self._armed[name]
                armed[2]()

    def close(self) -> None:
        """Call everything off."""
        for name in list(self._armed):
            self.disarm(name)


def _fire(timers: ref[GroupTimers], name: Hashable, ticket: object) -> None:
    alive = timers()
    if alive is not None:
        alive.fire(name, ticket)

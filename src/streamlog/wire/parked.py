"""Answers that wait for something."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from streamlog.runtime import Signal
from streamlog.runtime.threads import get_ident

if TYPE_CHECKING:
    import asyncio


class Slow(NamedTuple):
    """A response that may have to wait for a disk: *work* returns it, in a thread of its own."""

    work: Callable[[], Any]


class WakeSignal(Signal):
    """A `Signal` that has a loop call *wake* soon, once for as many times as it was set meanwhile.

    Threads: `set` any.
    """

    __slots__ = ("_is_scheduled", "_loop", "_thread", "_wake")

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        super().__init__()
        self._loop = loop
        self._wake = wake
        self._is_scheduled = False
        self._thread = get_ident()

    def set(self) -> None:
        """Have the loop call."""
        if self._is_scheduled:
            return
        self._is_scheduled = True
        if get_ident() == self._thread:
            self._loop.call_soon(self._run)
            return
        try:
            self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            pass  # the loop is closed: nobody waits

    def _run(self) -> None:
        # First: what is set from now on may not have been seen by this look.
        self._is_scheduled = False
        self._wake()


class Parked(ABC):
    """A response that is not there yet. All methods are called in the loop's thread, in this order:

    `start`, then `look` at once, at each wake and at the end of ``timeout_ms``, and `stop` when it was answered or the connection is
    gone. Registering before looking is what loses no wake-up. A look that takes long returns `Slow` work, which looks in a worker's
    thread; nothing else is called meanwhile.
    """

    timeout_ms: float | None = None
    """After which it is answered in any case; None: it waits as long as it takes."""

    @abstractmethod
    def start(self, signal: WakeSignal) -> None:
        """Have *signal* set when another look may find an answer."""

    @abstractmethod
    def look(self, is_late: bool) -> Any:
        """Return the response, or None to wait on, never that when *is_late*; or `Slow` work that returns either."""

    @abstractmethod
    def stop(self) -> None:
        """Undo `start`."""

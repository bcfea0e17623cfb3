"""Waking a task instead of a thread."""

from __future__ import annotations

import asyncio

from streamlog.runtime import Signal


class LoopSignal(Signal):
    """A `Signal` that a task of an event loop can wait for, without a thread.

    Threads: `set` any; `wait_in_loop` the loop's, one task at a time.
    """

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        super().__init__()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def set(self) -> None:
        """Raise the flag and wake the task that waits."""
        super().set()
        # After the flag: who registers later looks at the flag first.
        waiter = self._waiter
        if waiter is not None:
            loop, future = waiter
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:
                pass  # the loop is closed, and so nobody waits

    async def wait_in_loop(self, timeout_s: float | None) -> None:
        """Return once the flag is up or *timeout_s* seconds have passed; None waits without a limit.

        Cancelling it changes nothing.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiter = loop, future
        timer = None
        try:
            if self.is_set():  # raised before anybody could know of the task
                return
            if timeout_s is not None:
                timer = loop.call_later(timeout_s, _wake, future)
            await future
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

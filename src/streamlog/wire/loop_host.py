"""An endpoint in an event loop that is somebody else's."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from streamlog.runtime import Signal
from streamlog.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.wire.settings import ListenOptions

_log = logging.getLogger("streamlog")

#: How long the broker's close waits for a loop that does nothing meanwhile, and how often it looks whether that is so.
_PATIENCE_S = 2.0
_LOOKS = 40


class LoopHost:
    """Serves an endpoint by a task of the running loop. Ends with that task too, so that a loop that cancels its tasks before it is closed,
    as `asyncio.run` does, leaves nothing open. Made by `open`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._broker = endpoint.broker
        self.endpoint = endpoint
        """What it serves."""
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        #: For other threads, which cannot wait for a task.
        self._has_ended = Signal()
        self._task = self._loop.create_task(
            endpoint.serve(self._has_opened), name="streamlog-listener"
        )
        self._task.add_done_callback(self._end)

    @classmethod
    async def open(
        cls, broker: Broker, address: str = "127.0.0.1:0", **options: Unpack[ListenOptions]
    ) -> LoopHost:
        """Return one that listens. Raises what `Broker.listen` does; cancelled or not, nothing is left then."""
        host = cls(Endpoint(broker, address, **options))
        try:
            await host._opened
            if host._task.done():
                host._task.result()
            broker.register_listener(host)
        except BaseException:
            host._task.cancel()
            await host._wait()
            if not host._task.cancelled():
                host._task.exception()  # asyncio would miss that somebody looked
            raise
        return host

    def __repr__(self) -> str:
        return f"<LoopHost {self.bootstrap_servers}>"

    @property
    def bootstrap_servers(self) -> str:
        """What clients are to be given, ``host:port``."""
        return self.endpoint.bootstrap_servers

    @property
    def closed(self) -> bool:
        """Whether it no longer listens."""
        return self.endpoint.is_ending

    def close(self) -> None:
        """As `aclose`, for whoever cannot await it: the broker. Threads: any.

        Returns when it is done, where one can wait for that. In the loop's thread, or in one that serves a request, all connections are ended
        and what is left is done when the loop goes on; so it is where the loop stands still or does not run. Of a loop that is closed the
        sockets are closed here.
        """
        endpoint = self.endpoint
        if not endpoint.ask_to_end():
            return
        if endpoint.is_in_loop():
            endpoint.hang_up()
        elif self._loop.is_closed():
            endpoint.drop()
            self._broker.unregister_listener(self)
        elif not endpoint.is_inside():
            self._wait_in_thread()

    async def aclose(self) -> None:
        """End all connections, also those with a request under way, and stop listening; return when that is done. A task that is cancelled
        meanwhile does not wait for it, and it is done all the same. Closing again changes nothing.
        """
        if not self.endpoint.is_in_loop():
            await asyncio.get_running_loop().run_in_executor(None, self.close)
            return
        self.close()
        await asyncio.wait([self._task])

    async def _wait(self) -> None:
        """Return when the task is over, also when this one is cancelled."""
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                continue

    def _wait_in_thread(self) -> None:
        """Return when it is over, which is when the slowest request is; or when the loop does not come to it."""
        silent = 0
        while silent < _LOOKS:
            was_running, answer = self._loop.is_running(), Signal()
            with suppress(RuntimeError):  # it is closed by now
                self._loop.call_soon_threadsafe(answer.set)
            if self._has_ended.wait(_PATIENCE_S / _LOOKS) or self._task.done():
                return
            if not was_running:
                return  # when it runs again, that is the first thing that it does
            silent = 0 if answer.is_set() else silent + 1
        _log.warning(
            "%s is being closed by another thread, but its loop has done nothing for %s s: it ends when the loop goes on",
            self,
            _PATIENCE_S,
        )

    # ---- the task's

    def _has_opened(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._has_opened()  # it has failed to
        self._broker.unregister_listener(self)
        self._has_ended.set()

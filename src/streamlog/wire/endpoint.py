"""An address at which a broker is served: who is let in, who was silent for too long, and the end of it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from streamlog.runtime import on_fork_in_child
from streamlog.runtime.threads import get_ident
from streamlog.wire.address import join_address
from streamlog.wire.connection import Connection
from streamlog.wire.door import Door
from streamlog.wire.encoded_batches import EncodedBatches
from streamlog.wire.options import read_options
from streamlog.wire.request_memory import RequestMemory, ResponseMemory
from streamlog.wire.topics import TopicIds

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.wire.settings import ListenOptions

_log = logging.getLogger("streamlog")

#: Requests that wait for a disk, at once. More wait for one of these.
_WORKERS = 4
#: Large requests, and fetches that take long, at once: what they take is time of the processor.
_LARGE_WORKERS = 2
#: How often within the shortest limit connections are looked at that have been silent.
_IDLE_CHECKS = 10


class Endpoint:
    """Serves *broker* at *address* while the coroutine `serve` runs: in a thread of its own (`Listener`), or in a loop that is somebody
    else's (`LoopHost`). `Broker.listen` says what the options mean.

    Threads: the loop's, unless said otherwise.
    """

    def __init__(
        self, broker: Broker, address: str = "127.0.0.1:0", **options: Unpack[ListenOptions]
    ) -> None:
        broker.check_open()
        self._host, self._port, self.settings = read_options(broker.config, address, **options)
        self.broker = broker
        self.encoded_batches = EncodedBatches()
        """What all fetches share. Threads: any."""
        self.topic_ids = TopicIds(broker)
        """How they find topics that are named by their ids. Threads: any."""
        self.request_memory = RequestMemory(self.settings.queued_max_request_bytes)
        """What requests take."""
        self.response_memory = ResponseMemory(self.settings.queued_max_response_bytes)
        """What answers take that nobody has read."""
        self.bootstrap_servers = ""
        """What clients are to be given, ``host:port``; known once it listens."""
        self.is_ending = False
        """Whether nobody is let in any more."""
        self.loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[Any] | None = None
        self._door: Door | None = None
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self._worker_idents: set[int] = set()
        self.executor = self._new_executor("streamlog-listener", _WORKERS)
        """Where slow requests run."""
        self.large_executor = self._new_executor("streamlog-listener-large", _LARGE_WORKERS)
        """Where large requests run, and fetches that take long."""
        self._slow: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<Endpoint {self.bootstrap_servers}>"

    def _new_executor(self, name: str, workers: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            workers, name, initializer=lambda: self._worker_idents.add(get_ident())
        )

    # ---- its life

    async def serve(self, on_open: Callable[[], None]) -> None:
        """Listen, call *on_open*, and serve until the task is cancelled. However often that happens, it ends in order: when this
        is over there is no socket, no request and no thread left. Raises OSError when the address cannot be bound.
        """
        self.loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        if self.is_ending:  # `ask_to_end` came before there was a task to tell
            return
        try:
            await self._open()
            on_open()
            shortest_ms = min(self.settings.max_idle_ms, self.settings.max_handshake_ms)
            while True:
                await asyncio.sleep(max(shortest_ms / _IDLE_CHECKS, 1) / 1000)
                self._check_idle()
        except GeneratorExit:  # the loop was closed over it
            self.drop()
            raise
        except BaseException:
            try:
                await self._end()
            except BaseException:  # Ctrl-C in the middle of it, or the loop was closed then
                self.drop()
                raise
            raise

    def ask_to_end(self) -> bool:
        """Have `serve` end, soon, and return whether there is something to end; at once nobody is let in any more. Asking again changes
        nothing. Threads: any.
        """
        self.is_ending = True  # before looking for the task: `serve` does it the other way round
        task = self._task
        if task is None:
            return False
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(task.cancel)
        return True

    def is_inside(self) -> bool:
        """Whether the calling thread is one for which `serve` waits, and which so cannot wait for `serve`. Threads: any."""
        return get_ident() in self._worker_idents or self.is_in_loop()

    def is_in_loop(self) -> bool:
        """Whether the calling thread runs the loop at present. Threads: any."""
        try:
            return self._task is not None and asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def hang_up(self) -> None:
        """Accept nobody any more, and end all connections, also those with a request under way."""
        self.is_ending = True
        if self._door is not None:
            self._door.shut()
        for connection in list(self._connections):
            try:
                connection.close()
            except Exception:  # noqa: BLE001 - the others must end all the same
                _log.exception("Could not end %r in order", connection)

    def drop(self) -> None:
        """Close the sockets behind the back of the loop, which will not run any more. Nothing is sent. Threads: any."""
        self.is_ending = True
        self._task = None
        if self._door is not None:
            self._door.drop()
        for connection in self._connections:
            # asyncio's wrapper does not close, and closing by number would leave the one inside believing that it is open.
            if (inner := getattr(connection.socket, "_sock", None)) is not None:
                inner.close()
        self._give_workers_nothing_more()

    def _forked(self) -> None:
        """In the child of a fork: whoever connects to the parent's port after its end would wait for a process that does not listen, and
        clients would not learn that the parent hung up. The connections are the parent's, and so is the end of them.
        """
        # Locks of the old ones may be held by threads that are not here.
        self.executor = self.large_executor = ThreadPoolExecutor(1)
        self.drop()

    async def _open(self) -> None:
        on_fork_in_child(self)
        door = self._door = Door(self.loop, partial(Connection, self))
        port = await door.open(self._host, self._port)
        settings = self.settings
        self.settings = attrs.evolve(
            settings,
            # Known only now: port 0 is whatever was free.
            advertised_host=settings.advertised_host or self._host,
            advertised_port=settings.advertised_port or port,
        )
        self.bootstrap_servers = join_address(
            self.settings.advertised_host, self.settings.advertised_port
        )

    async def _end(self) -> None:
        self.hang_up()
        if self._door is not None:
            await self._door.wait()  # who was accepted a moment ago is turned away as a connection
        self._give_workers_nothing_more()
        while self._slow:
            with suppress(asyncio.CancelledError):
                await asyncio.wait(self._slow)
        # Their threads have nothing left to do.
        self.executor.shutdown()
        self.large_executor.shutdown()
        # A connection that is ended closes its socket by a call of its own. Cancelled or not, sleep(0) comes after that.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    def _give_workers_nothing_more(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.large_executor.shutdown(wait=False, cancel_futures=True)

    # ---- connections

    def admit(self, connection: Connection) -> bool:
        """Return whether there is room for one more."""
        if self.is_ending or len(self._connections) >= self.settings.max_connections:
            return False
        self._connections[connection] = None
        return True

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self._connections.pop(connection, None)

    def run_in_executor(
        self, executor: Executor, work: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Return what ``work(*arguments)`` will return, run by a worker: the loop is everybody's. The end waits for it."""
        future = self.loop.run_in_executor(executor, work, *arguments)
        self._slow.add(future)
        future.add_done_callback(self._slow.discard)
        return future

    def _check_idle(self) -> None:
        """Close what was silent for too long: a client that is alive has asked for metadata since."""
        settings, now_s = self.settings, self.loop.time()
        for connection in list(self._connections):
            limit_ms = settings.max_idle_ms if connection.is_known else settings.max_handshake_ms
            # Of a request that comes byte by byte the first one has to be whole in time.
            since_s = connection.last_active_s if connection.is_known else connection.opened_s
            if not connection.is_waiting and now_s - since_s > limit_ms / 1000:
                connection.close(f"silent for {limit_ms} ms")
            elif reason := connection.hinders_others(settings.max_handshake_ms / 1000):
                connection.close(reason)

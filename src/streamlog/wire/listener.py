"""A broker that Kafka's clients can connect to."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs

from streamlog.errors import InvalidConfigurationError
from streamlog.runtime import on_fork_in_child
from streamlog.runtime.threads import Thread, get_ident, spawn
from streamlog.wire.connection import Connection
from streamlog.wire.encoded_batches import EncodedBatches
from streamlog.wire.request_memory import RequestMemory, ResponseMemory
from streamlog.wire.settings import (
    INITIAL_REBALANCE_DELAY_MS,
    MAX_FRAME_BYTES,
    QUEUED_MAX_REQUEST_BYTES,
    QUEUED_MAX_RESPONSE_BYTES,
    ListenerSettings,
)

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker

_log = logging.getLogger("streamlog")

#: Requests that wait for a disk, at once. More wait for one of these.
_WORKERS = 4
#: Large requests, and fetches that take long, at once: what they take is time of the processor.
_LARGE_WORKERS = 2
#: How often connections are looked at that have been silent.
_IDLE_CHECKS = 10


class Listener:
    """Lets clients of any language use *broker* over Kafka's protocol. Made by `Broker.listen`, which says what its arguments mean.

    Serves in one thread of its own. Threads: any, for every method.
    """

    def __init__(
        self,
        broker: Broker,
        address: str = "127.0.0.1:0",
        *,
        node_id: int | None = None,
        advertised: str | None = None,
        default_partitions: int | None = None,
        auto_create: bool | None = None,
        allow_remote: bool = False,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        queued_max_request_bytes: int = QUEUED_MAX_REQUEST_BYTES,
        queued_max_response_bytes: int = QUEUED_MAX_RESPONSE_BYTES,
        max_connections: int = 1000,
        max_idle_ms: int = 600_000,
        max_handshake_ms: int = 30_000,
        initial_rebalance_delay_ms: int = INITIAL_REBALANCE_DELAY_MS,
    ) -> None:
        broker.check_open()
        host, port = split_address(address)
        if not allow_remote and not _is_loopback(host):
            raise InvalidConfigurationError(
                f"listen: expected a loopback address, found {address!r}: whoever reaches it can do anything, "
                "since there is no TLS and no SASL; allow_remote=True if that is what you want"
            )
        config = broker.config
        self.broker = broker
        self.settings = ListenerSettings(
            node_id=config.broker_id if node_id is None else node_id,
            default_partitions=default_partitions or config.num_partitions,
            auto_create=config.auto_create_topics_enable if auto_create is None else auto_create,
            max_frame_bytes=max_frame_bytes,
            queued_max_request_bytes=queued_max_request_bytes,
            queued_max_response_bytes=queued_max_response_bytes,
            max_connections=max_connections,
            max_idle_ms=max_idle_ms,
            max_handshake_ms=max_handshake_ms,
            initial_rebalance_delay_ms=initial_rebalance_delay_ms,
        )
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        """The loop that serves. Internal."""
        self._own_threads: set[int] = set()
        self.executor = ThreadPoolExecutor(
            _WORKERS,
            thread_name_prefix="streamlog-listener",
            initializer=lambda: self._own_threads.add(get_ident()),
        )
        """Where slow requests run. Internal."""
        self.large_executor = ThreadPoolExecutor(
            _LARGE_WORKERS,
            thread_name_prefix="streamlog-listener-large",
            initializer=lambda: self._own_threads.add(get_ident()),
        )
        """Where large requests run, and fetches that take long. Internal."""
        self.encoded_batches = EncodedBatches()
        """What all fetches share. Internal."""
        self.request_memory = RequestMemory(queued_max_request_bytes)
        """What requests take. Internal; used in the loop alone."""
        self.response_memory = ResponseMemory(queued_max_response_bytes)
        """What answers take that nobody has read. Internal."""
        self._connections: dict[Connection, None] = {}  # in the order in which they came
        self._is_closed = False
        self._advertised = advertised
        try:
            self._server = self.loop.run_until_complete(
                self.loop.create_server(lambda: Connection(self), host, port)
            )
        except BaseException:
            self.loop.close()
            self.executor.shutdown(wait=False)
            self.large_executor.shutdown(wait=False)
            raise
        bound = self._server.sockets[0].getsockname()
        shown_host, shown_port = (
            (host, bound[1]) if advertised is None else split_address(advertised)
        )
        # Known only now: port 0 is whatever was free.
        self.settings = attrs.evolve(
            self.settings, advertised_host=shown_host, advertised_port=shown_port or bound[1]
        )
        self.bootstrap_servers: str = f"{shown_host}:{shown_port or bound[1]}"
        """What clients are to be given, ``host:port``."""
        self._check_idle()
        self._thread: Thread = spawn("streamlog-listener", self._run)
        on_fork_in_child(self)
        try:
            broker.register_client(self)
        except BaseException:  # it was closed meanwhile
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Listener {self.bootstrap_servers}>"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it no longer listens."""
        return self._is_closed

    def close(self) -> None:
        """End all connections, also those with a request under way, and stop listening. Closing again changes nothing.

        Returns when that is done, except to a thread that serves a request: to wait for itself it would wait for ever.
        """
        if not self._is_closed:
            self._is_closed = True
            self.broker.unregister_client(self)
            try:
                self.loop.call_soon_threadsafe(self._stop)
            except RuntimeError:
                return  # the loop is closed
        if get_ident() not in self._own_threads:
            self._thread.join()

    def _forked(self) -> None:
        """Close the sockets in the child of a fork, or whoever connects to the parent's port after its end waits for a process that
        does not listen, and clients do not learn that the parent hung up. Nothing is sent: the connections are the parent's.
        """
        self._is_closed = True
        sockets = [*self._server.sockets, *(one.socket for one in self._connections)]
        for one in sockets:
            # asyncio's wrapper does not close, and closing by number would leave the one inside believing that it is open.
            if (inner := getattr(one, "_sock", None)) is not None:
                inner.close()

    def _run(self) -> None:
        self._own_threads.add(get_ident())
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.executor.shutdown(wait=True, cancel_futures=True)
            self.large_executor.shutdown(wait=True, cancel_futures=True)
            # What the workers finished meanwhile has callbacks of its own.
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def _stop(self) -> None:
        for sock in self._server.sockets:
            self.loop.remove_reader(sock.fileno())  # accept nobody any more
        self._ending = self.loop.create_task(self._end())

    async def _end(self) -> None:
        # Who was accepted a moment ago is no connection yet. Were the server closed first, asyncio would fail to make it one, and
        # leave the client waiting for ever.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        # Behind the calls that tell the connections.
        self.loop.call_soon(self.loop.stop)

    # ---- connections: the loop's thread

    def admit(self, connection: Connection) -> bool:
        """Return whether there is room for one more."""
        if self._is_closed or len(self._connections) >= self.settings.max_connections:
            return False
        self._connections[connection] = None
        return True

    def dismiss(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self._connections.pop(connection, None)

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
        shortest_ms = min(settings.max_idle_ms, settings.max_handshake_ms)
        self.loop.call_later(shortest_ms / 1000 / _IDLE_CHECKS, self._check_idle)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``; a missing port is 0. Raises `InvalidConfigurationError`."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", "0")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InvalidConfigurationError(
            f"listen: expected host:port, such as '127.0.0.1:9092', found {address!r}"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""A client's connection without sockets, threads and time: bytes go in, bytes come out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from streamlog.broker.broker import Broker
from streamlog.wire.connection import Connection
from streamlog.wire.encoded_batches import EncodedBatches
from streamlog.wire.request_memory import RequestMemory, ResponseMemory
from streamlog.wire.settings import ListenerSettings
from streamlog.wire.topics import TopicIds


class MemoryLoop:
    """As much of an event loop as a connection uses. Time stands still unless moved; what runs in threads elsewhere runs at once."""

    def __init__(self) -> None:
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.now_s = 0.0
        self.used_executors: list[object] = []
        self.timers: list[Timer] = []
        """That were set and not cancelled. They never come by themselves."""

    def time(self) -> float:
        return self.now_s

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        self._soon.append((call, arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Timer:
        timer = Timer(self.timers, seconds, partial(call, *arguments))
        self.timers.append(timer)
        return timer

    def run_in_executor(self, executor: object, work: Callable[..., Any], *arguments: Any) -> _Done:
        self.used_executors.append(executor)
        return _Done(self, partial(work, *arguments))

    def run(self) -> None:
        """Run what is to be run soon, until nothing is."""
        while self._soon:
            call, arguments = self._soon.popleft()
            call(*arguments)


class Timer:
    """One of a `MemoryLoop`."""

    def __init__(self, timers: list[Timer], seconds: float, come: Callable[[], object]) -> None:
        self._timers = timers
        self.seconds = seconds
        self.come = come

    def cancel(self) -> None:
        self._timers.remove(self)


class _Done:
    """The future of work that was done at once."""

    def __init__(self, loop: MemoryLoop, work: Callable[[], Any]) -> None:
        self._loop = loop
        self._error: BaseException | None = None
        self._result: Any = None
        try:
            self._result = work()
        except Exception as error:
            self._error = error

    def cancelled(self) -> bool:
        return False

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result

    def add_done_callback(self, call: Callable[[Any], object]) -> None:
        self._loop.call_soon(call, self)


class MemoryTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = bytearray()
        self.is_aborted = False
        self._is_reading = True

    def write(self, data: Any) -> None:
        if not self.is_aborted:
            self.written += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return self.is_aborted

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True


class MemoryListener:
    """As much of an endpoint as a connection uses."""

    executor, large_executor = "executor", "large executor"

    def __init__(self, broker: Broker, **settings: Any) -> None:
        self.broker = broker
        self.loop = MemoryLoop()
        self.encoded_batches = EncodedBatches()
        self.topic_ids = TopicIds(broker)
        self.settings = ListenerSettings(
            **{
                "node_id": 1,
                "default_partitions": 1,
                "auto_create": False,
                "advertised_host": "127.0.0.1",
                "advertised_port": 9092,
                **settings,
            }
        )
        self.request_memory = RequestMemory(self.settings.queued_max_request_bytes)
        self.response_memory = ResponseMemory(self.settings.queued_max_response_bytes)
        self.connections: list[Connection] = []
        self.has_room = True

    def admit(self, connection: Connection) -> bool:
        if self.has_room:
            self.connections.append(connection)
        return self.has_room

    def dismiss(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)

    def run_in_executor(self, executor: object, work: Callable[..., Any], *arguments: Any) -> _Done:
        return self.loop.run_in_executor(executor, work, *arguments)

    def connect(self) -> MemoryClient:
        """Return a new client."""
        return MemoryClient(self)


class MemoryClient:
    """One connection: ``client.send(bytes)`` returns what came back."""

    def __init__(self, listener: MemoryListener) -> None:
        self._loop = listener.loop
        self.transport = MemoryTransport()
        self.connection = Connection(listener)  # type: ignore[arg-type]
        self.connection.connection_made(self.transport)

    @property
    def is_open(self) -> bool:
        return not self.transport.is_aborted

    def send(self, data: bytes) -> bytes:
        """Have the connection receive *data*; return what it has answered by now."""
        self.connection.data_received(data)
        self._loop.run()
        return self.take()

    def take(self) -> bytes:
        """Return what was written since the last time."""
        written = bytes(self.transport.written)
        self.transport.written.clear()
        return written

    def close(self) -> None:
        """Be gone."""
        self.connection.connection_lost(None)
        self._loop.run()

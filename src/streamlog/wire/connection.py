"""One client's connection: frames in, one request at a time, answers in the order of the requests."""

from __future__ import annotations

import asyncio
import logging
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from streamlog.errors import ClosedError
from streamlog.wire.call import Call
from streamlog.wire.codec.errors import (
    MalformedMessageError,
    RefusedRequestError,
    TooManyElementsError,
)
from streamlog.wire.codec.primitives import skip_tags
from streamlog.wire.codec.struct_types import Struct
from streamlog.wire.dispatch import API_VERSIONS_KEY, ROUTES
from streamlog.wire.handlers.api_versions import unsupported_version
from streamlog.wire.handlers.security import NO_SECURITY
from streamlog.wire.messages import APIS
from streamlog.wire.outbox import Outbox
from streamlog.wire.parked import Parked, Slow, WakeSignal

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from streamlog.wire.dispatch import Route
    from streamlog.wire.endpoint import Endpoint
    from streamlog.wire.messages import Api

_log = logging.getLogger("streamlog")

_SIZE = struct.Struct(">i")
#: API key, version, correlation id; length of the client id.
_REQUEST = struct.Struct(">hhih")
_RESPONSE = struct.Struct(">ii")

#: What a connection may have sent ahead of the request that is being served; more stays in the system's buffers. Requests that are
#: not larger do not count against the memory of all, so that they are served whatever the large ones do.
_READ_AHEAD_BYTES = 64 * 1024
#: The first bytes of TLS (a handshake, version 3), read as the size of a frame: no first request is as large as that.
_TLS_SIZE = 0x16030000
#: Array elements, and tagged fields, of a request that is decoded and served in the loop, which is everybody's: some milliseconds.
_ELEMENTS_IN_LOOP = 1000


class Connection(asyncio.Protocol):
    """Made by the listener for each client. Threads: the listener's loop.

    A parked or slow request blocks those behind it, as in Kafka, and a client that does not read its answers is not served
    further. Nor is it read from while the requests of all take too much memory. Whatever is no request closes the connection, and
    harms nobody else.
    """

    def __init__(self, listener: Endpoint) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._transport: asyncio.Transport | None = None
        self._host = ""
        self._buffer = bytearray()
        self._is_busy = False
        self._outbox = Outbox(listener.loop, listener.response_memory)
        self._parked: Parked | None = None
        self._signal: WakeSignal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._api: Api | None = None
        self._version = self._correlation_id = 0
        self._is_working = False
        self._is_late = self._has_to_look = False
        self._is_out_of_memory = False
        #: Of the request that is being served, and of those that were read.
        self._frame_bytes = self._held_bytes = 0
        self.opened_s = self.last_active_s = self._loop.time()
        """When it connected, and when the client last sent something (loop's clock)."""
        self.is_known = False
        """Whether it sent a whole request yet."""
        self._held_since_s = 0.0

    # ---- the loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._outbox.open(transport)
        peer = transport.get_extra_info("peername")
        self._host = f"/{peer[0]}" if peer else ""
        if not self._listener.admit(self):
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what was under way."""
        self._transport = None
        self._end_parking()
        self._buffer.clear()
        self._outbox.close()
        if not self._is_working:
            self._dismiss()
        self._listener.request_memory.forget(self)

    def _dismiss(self) -> None:
        """Be no connection any more. Not before a worker has done what was asked for: requests that wait for one take memory."""
        self._hold(0)
        self._listener.dismiss(self)

    def data_received(self, data: bytes) -> None:
        """Serve what is complete by now."""
        self.last_active_s = self._loop.time()
        self._buffer += data
        self._serve()

    def eof_received(self) -> bool:
        """The client sends no more: close, also when an answer is parked. What is behind the present request is not served: as long as
        the client does not read there is no end of the connection that would give its memory back.
        """
        self._buffer.clear()
        self._is_out_of_memory = False
        self._balance()
        self._listener.request_memory.forget(self)
        return False

    def pause_writing(self) -> None:
        """The client does not read its answers: serve it no further."""
        self._outbox.pause()

    def resume_writing(self) -> None:
        """It does again."""
        self._outbox.resume()
        self._serve()

    @property
    def socket(self) -> object:
        """What the system calls the connection, None when it ended."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for us, and so is not idle."""
        return self._is_busy or self._is_out_of_memory

    def hinders_others(self, limit_s: float) -> str:
        """Return what of this connection was in the way of others for longer than that, if anything is: a request that takes memory which
        others wait for, or an answer that nobody reads.
        """
        now_s, listener = self._loop.time(), self._listener
        if (
            listener.request_memory.is_short
            and self._held_bytes
            and not self._is_working  # the memory is the worker's until it is done, and the client waits for us
            and not self._is_out_of_memory
            and now_s - self._held_since_s > limit_s
        ):
            return f"others wait for the {self._held_bytes} bytes that its request takes"
        outbox = self._outbox
        if listener.response_memory.is_short and outbox.is_unread_for(limit_s):
            return f"it does not read the {outbox.unsent_bytes} bytes of its answer, and memory is short"
        return ""

    def read_on(self) -> None:
        """There is memory for more."""
        self._is_out_of_memory = False
        self._held_since_s = self._loop.time()
        self._balance()

    def close(self, reason: str = "", level: int = logging.INFO) -> None:
        """End the connection now; what it sent behind the present request is not served."""
        transport, self._transport = self._transport, None
        self._end_parking()
        if transport is not None:
            self._outbox.send()
            if reason:
                _log.log(level, "connection from %s closed: %s", self._host, reason)
            transport.abort()

    # ---- frames

    def _serve(self) -> None:
        """Take complete frames out of the buffer and serve them, until one has to wait."""
        buffer, position, outbox = self._buffer, 0, self._outbox
        limit = self._listener.settings.max_frame_bytes
        if not self.is_known:
            limit = min(limit, _TLS_SIZE - 1)
        outbox.hold()
        try:
            while not self._is_busy and not outbox.is_full and self._transport is not None:
                start = position + 4
                if len(buffer) < start:
                    break
                (size,) = _SIZE.unpack_from(buffer, position)
                if not _REQUEST.size <= size <= limit:
                    self._refuse(size, limit)
                    return
                end = start + size
                if len(buffer) < end:
                    break
                frame = bytes(memoryview(buffer)[start:end])
                position = end
                if size > _READ_AHEAD_BYTES:
                    del buffer[:end]  # rather than have it twice
                    position = 0
                self._frame_bytes = (
                    4 + size
                )  # as in the buffer: what is held gets less by answers alone
                self._guarded(self._dispatch, frame)
                del frame
        finally:
            outbox.send()
            if position:
                del buffer[:position]
            self._balance()

    def _refuse(self, size: int, limit: int) -> None:
        """Close for a frame of a size that cannot be: what comes behind it cannot be found."""
        if not self.is_known and size >> 16 == _TLS_SIZE >> 16:
            self.close(f"it begins with TLS: {NO_SECURITY}", logging.WARNING)
        else:
            self.close(f"expected a frame of {_REQUEST.size} to {limit} bytes, found {size}")

    def _balance(self) -> None:
        """Read on only while what was read can be served."""
        transport = self._transport
        if transport is None:
            return
        size = len(self._buffer)
        held = size + self._frame_bytes if self._is_busy else size
        held = held if held > _READ_AHEAD_BYTES else 0
        if held != self._held_bytes:
            self._hold(held)
        if transport.is_closing():
            return
        may_read = True
        if size > _READ_AHEAD_BYTES:
            if self._is_busy or self._outbox.is_full:
                may_read = False
            else:
                may_read = self._listener.request_memory.may_read(self)
                self._is_out_of_memory = not may_read
        if may_read == transport.is_reading():
            return
        if may_read:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _hold(self, size: int) -> None:
        if (
            not self._held_bytes or size < self._held_bytes
        ):  # that of a request behind one that was answered
            self._held_since_s = self._loop.time()
        self._held_bytes = size
        self._listener.request_memory.hold(self, size)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Take one step of serving a request. What goes wrong in it ends this connection, and nothing else."""
        try:
            step(*arguments)
        except (MalformedMessageError, RefusedRequestError, ClosedError) as error:
            self.close(str(error))
        except Exception:  # noqa: BLE001 - one request must not stop the listener
            _log.exception("a request from %s could not be served", self._host)
            self.close()

    def _dispatch(self, frame: bytes) -> None:
        key, version, self._correlation_id, size = _REQUEST.unpack_from(frame)
        position = _REQUEST.size
        client_id = ""
        if size > 0:
            if position + size > len(frame):
                raise MalformedMessageError(f"client id of {size} bytes in a frame of {len(frame)}")
            try:
                client_id = str(frame[position : position + size], "utf-8")
            except UnicodeDecodeError as error:
                raise MalformedMessageError(f"client id: {error}") from error
            position += size
        route = ROUTES.get(key)
        if route is None:
            raise MalformedMessageError(f"API {key} is not supported")
        api = self._api = APIS[key]
        self._version = version
        if not route.first <= version <= route.last:
            if key != API_VERSIONS_KEY:
                raise MalformedMessageError(
                    f"{api.name}: expected version {route.first} to {route.last}, found {version}"
                )
            # Clients begin with the newest they know, and come again with one that is listed.
            self._version = 0
            self._finish(unsupported_version(api))
            return
        if api.request.is_flexible(version):
            position = _skip(frame, position)
        try:
            request = api.request.decode(frame, version, position, _ELEMENTS_IN_LOOP)
        except TooManyElementsError:
            large = partial(self._serve_large, route, api, frame, position, client_id)
            self._run_slowly(large, self._listener.large_executor)
            return
        self.is_known = True
        work = partial(route.handler, self._call(api, request, client_id))
        if route.is_slow:
            self._run_slowly(work, self._listener.executor)
        else:
            self._answer(work())

    def _call(self, api: Api, request: Any, client_id: str) -> Call:
        listener = self._listener
        return Call(
            api,
            self._version,
            request,
            client_id,
            self._host,
            listener.broker,
            listener.settings,
            listener.encoded_batches,
            listener.topic_ids,
            listener.response_memory,
        )

    def _serve_large(
        self, route: Route, api: Api, frame: bytes, position: int, client_id: str
    ) -> Any:
        """Serve a request of many elements. Runs in a worker."""
        request = api.request.decode(frame, self._version, position)
        self.is_known = True
        return route.handler(self._call(api, request, client_id))

    def _run_slowly(self, work: Callable[[], Any], executor: Executor) -> None:
        """Serve in a thread of its own what may wait for a disk or takes long: the loop is everybody's."""
        future = self._listener.run_in_executor(executor, self._encoded, work)
        # Only now: where the system has no thread for it, nobody would take that back.
        self._is_busy = self._is_working = True
        future.add_done_callback(self._slow_done)

    def _encoded(self, work: Callable[[], Any]) -> Any:
        """Return the answer, in bytes if it is there already. Runs in a worker."""
        answer = work()
        if isinstance(answer, Slow):
            answer = answer.work()
        if answer is None or isinstance(answer, Parked):
            return answer
        return self._encode(answer)

    def _slow_done(self, future: asyncio.Future[Any]) -> None:
        self._is_busy = self._is_working = False
        if self._transport is None:
            self._dismiss()
        if future.cancelled():
            return  # the listener was closed before a worker was free
        self._guarded(lambda: self._answer(future.result()))
        self._serve()

    # ---- answers

    def _answer(self, response: Any) -> None:
        # First what comes most.
        if isinstance(response, Struct):
            self._finish(response)
        elif isinstance(response, Parked):
            self._park(response)
        elif isinstance(response, Slow):
            self._run_slowly(response.work, self._listener.executor)
        elif response is not None:
            self._outbox.add(response)

    def _finish(self, response: Any) -> None:
        if self._transport is not None:
            self._outbox.add(self._encode(response))

    def _encode(self, response: Any) -> list[Any]:
        """Return the frame in parts. Threads: the one that serves the request."""
        api = self._api
        assert api is not None
        head = _RESPONSE.pack(0, self._correlation_id)
        # ApiVersions: who asks does not know yet whether we know of flexible versions.
        if api.response.is_flexible(self._version) and api.key != API_VERSIONS_KEY:
            head += b"\0"
        parts = api.response.encode(response, self._version, head)
        size = sum(map(len, parts)) - 4
        _SIZE.pack_into(parts[0], 0, size)
        return parts

    def _park(self, parked: Parked) -> None:
        self._is_busy = True
        self._parked = parked
        self._is_late = self._has_to_look = False
        self._signal = signal = WakeSignal(self._loop, self._look)
        parked.start(signal)
        if self._transport is None:  # it was made by a slow handler, and the client is gone
            self._end_parking()
            return
        if parked.timeout_ms is not None:
            self._timer = self._loop.call_later(parked.timeout_ms / 1000, self._look, True)
        self._look()

    def _look(self, is_late: bool = False) -> None:
        self._is_late |= is_late
        self._has_to_look = True
        if not self._is_working:
            self._guarded(self._look_at)

    def _look_at(self) -> None:
        parked = self._parked
        if parked is None:
            return  # answered by the wake before this one
        self._has_to_look = False
        response = parked.look(self._is_late)
        if isinstance(response, Slow):
            future = self._listener.run_in_executor(
                self._listener.large_executor, self._encoded, response.work
            )
            self._is_working = True
            future.add_done_callback(partial(self._looked, parked))
        elif response is not None:
            self._unpark(response)

    def _looked(self, parked: Parked, future: asyncio.Future[Any]) -> None:
        """A worker has looked at *parked*, whose end was put off until now if it came meanwhile."""
        self._is_working = False
        if self._parked is None:
            parked.stop()
            self._dismiss()
        elif not future.cancelled():
            self._guarded(lambda: self._unpark(future.result()))

    def _unpark(self, response: Any) -> None:
        if response is not None:
            self._end_parking()
            self._answer(response)
            self._loop.call_soon(self._serve)
        elif self._has_to_look:
            self._look_at()

    def _end_parking(self) -> None:
        parked, self._parked = self._parked, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if parked is not None:
            self._is_busy = False
            if not self._is_working:
                parked.stop()


def _skip(frame: bytes, position: int) -> int:
    try:
        return skip_tags(frame, position, _ELEMENTS_IN_LOOP)[0]
    except IndexError as error:
        raise MalformedMessageError("request header ends too soon") from error

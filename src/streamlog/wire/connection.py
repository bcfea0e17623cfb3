"""One client's connection: frames in, one request at a time, answers in the order of the requests."""

from __future__ import annotations

import asyncio
import logging
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from streamlog.wire.call import Call
from streamlog.wire.codec.errors import MalformedMessageError, RefusedRequestError
from streamlog.wire.codec.primitives import skip_tags
from streamlog.wire.dispatch import API_VERSIONS_KEY, ROUTES
from streamlog.wire.handlers.api_versions import unsupported_version
from streamlog.wire.messages import APIS
from streamlog.wire.parked import Parked, Slow, WakeSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.wire.listener import Listener
    from streamlog.wire.messages import Api

_log = logging.getLogger("streamlog")

_SIZE = struct.Struct(">i")
#: API key, version, correlation id; length of the client id.
_REQUEST = struct.Struct(">hhih")
_RESPONSE = struct.Struct(">ii")

#: What a connection may have sent ahead of the request that is being served; more stays in the system's buffers.
_READ_AHEAD_BYTES = 64 * 1024


class Connection(asyncio.Protocol):
    """Made by the listener for each client. Threads: the listener's loop.

    A parked or slow request blocks those behind it, as in Kafka, and a client that does not read its answers is not served
    further. Whatever is no request closes the connection, and harms nobody else.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = listener.loop
        self._transport: asyncio.Transport | None = None
        self._host = ""
        self._buffer = bytearray()
        self._is_busy = False
        self._is_full = False
        self._parked: Parked | None = None
        self._signal: WakeSignal | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._api: Api | None = None
        self._version = self._correlation_id = 0
        self.opened_s = self.last_active_s = self._loop.time()
        """When it connected, and when the client last sent something (loop's clock)."""
        self.is_known = False
        """Whether it sent a whole request yet."""

    # ---- the loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._host = f"/{peer[0]}" if peer else ""
        if not self._listener.admit(self):
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what was under way."""
        self._transport = None
        self._end_parking()
        self._buffer.clear()
        self._listener.dismiss(self)

    def data_received(self, data: bytes) -> None:
        """Serve what is complete by now."""
        self.last_active_s = self._loop.time()
        self._buffer += data
        self._serve()

    def eof_received(self) -> bool:
        """The client sends no more: close, also when an answer is parked."""
        return False

    def pause_writing(self) -> None:
        """The client does not read its answers: serve it no further."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._is_full = False
        self._serve()

    @property
    def socket(self) -> object:
        """What the system calls the connection, None when it ended."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for us, and so is not idle."""
        return self._is_busy

    def close(self, reason: str = "") -> None:
        """End the connection now; what it sent behind the present request is not served."""
        transport, self._transport = self._transport, None
        self._end_parking()
        if transport is not None:
            if reason:
                _log.info("connection from %s closed: %s", self._host, reason)
            transport.abort()

    # ---- frames

    def _serve(self) -> None:
        """Take complete frames out of the buffer and serve them, until one has to wait."""
        buffer, position = self._buffer, 0
        limit = self._listener.settings.max_frame_bytes
        try:
            while not self._is_busy and not self._is_full and self._transport is not None:
                start = position + 4
                if len(buffer) < start:
                    break
                (size,) = _SIZE.unpack_from(buffer, position)
                if not _REQUEST.size <= size <= limit:
                    self.close(
                        f"expected a frame of {_REQUEST.size} to {limit} bytes, found {size}; "
                        "TLS and SASL are not supported"
                    )
                    return
                end = start + size
                if len(buffer) < end:
                    break
                position = end
                self._guarded(self._dispatch, bytes(memoryview(buffer)[start:end]))
        finally:
            if position:
                del buffer[:position]
            self._balance()

    def _balance(self) -> None:
        """Read on only while what was read can be served."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        is_stuck = self._is_busy or self._is_full
        if is_stuck and len(self._buffer) > _READ_AHEAD_BYTES:
            if transport.is_reading():
                transport.pause_reading()
        elif not transport.is_reading():
            transport.resume_reading()

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Take one step of serving a request. What goes wrong in it ends this connection, and nothing else."""
        try:
            step(*arguments)
        except (MalformedMessageError, RefusedRequestError) as error:
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
        request = api.request.decode(frame, version, position)
        self.is_known = True
        call = Call(
            api,
            version,
            request,
            client_id,
            self._host,
            self._listener.broker,
            self._listener.settings,
            self._listener.encoded_batches,
        )
        if route.is_slow:
            self._run_slowly(partial(route.handler, call))
            return
        self._answer(route.handler(call))

    def _run_slowly(self, work: Callable[[], Any]) -> None:
        """Serve in a thread of its own what may wait for a disk: the loop is everybody's."""
        self._is_busy = True
        future = self._loop.run_in_executor(self._listener.executor, work)
        future.add_done_callback(self._slow_done)

    def _slow_done(self, future: asyncio.Future[Any]) -> None:
        self._is_busy = False
        if future.cancelled():
            return  # the listener was closed before a worker was free
        self._guarded(lambda: self._answer(future.result()))
        self._serve()

    # ---- answers

    def _answer(self, response: Any) -> None:
        if isinstance(response, Parked):
            self._park(response)
        elif isinstance(response, Slow):
            self._run_slowly(response.work)
        elif response is not None:
            self._finish(response)

    def _finish(self, response: Any) -> None:
        transport, api = self._transport, self._api
        if transport is None or api is None:
            return
        head = _RESPONSE.pack(0, self._correlation_id)
        # ApiVersions: who asks does not know yet whether we know of flexible versions.
        if api.response.is_flexible(self._version) and api.key != API_VERSIONS_KEY:
            head += b"\0"
        parts = api.response.encode(response, self._version, head)
        size = sum(map(len, parts)) - 4
        _SIZE.pack_into(parts[0], 0, size)
        # writelines() of Python 3.12.0 to 3.13.1 never says that the client does not read (CVE-2024-12254).
        transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def _park(self, parked: Parked) -> None:
        self._is_busy = True
        self._parked = parked
        self._signal = signal = WakeSignal(self._loop, self._look)
        parked.start(signal)
        if self._transport is None:  # it was made by a slow handler, and the client is gone
            self._end_parking()
            return
        if parked.timeout_ms is not None:
            self._timer = self._loop.call_later(parked.timeout_ms / 1000, self._look, True)
        self._look()

    def _look(self, is_late: bool = False) -> None:
        parked = self._parked
        if parked is not None:  # else answered by the wake before this one
            self._guarded(self._look_at, parked, is_late)

    def _look_at(self, parked: Parked, is_late: bool) -> None:
        response = parked.look(is_late)
        if response is None:
            return
        self._end_parking()
        self._finish(response)
        self._loop.call_soon(self._serve)

    def _end_parking(self) -> None:
        parked, self._parked = self._parked, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if parked is not None:
            self._is_busy = False
            parked.stop()


def _skip(frame: bytes, position: int) -> int:
    try:
        return skip_tags(frame, position)
    except IndexError as error:
        raise MalformedMessageError("request header ends too soon") from error

"""Malformed frames over real sockets: the share of them that meets the loop, the workers and the system's buffers."""

from __future__ import annotations

import struct

from streamlog.broker.broker import Broker
from streamlog.wire.listener import Listener
from tests.support.eventually import eventually
from tests.support.wire import RawClient

_TIMEOUT_S = 1.0
_ASK_ID = 0x5EED
#: ApiVersions 0, sent behind a frame: its answer says that the one before is over and done with.
_ASK = struct.pack(">ihhih", 10, 18, 0, _ASK_ID, -1)


class SocketSender:
    """Sends frames to a listener of *broker*, each over a connection of its own."""

    def __init__(self, broker: Broker, max_frame_bytes: int) -> None:
        self._listener: Listener = broker.listen(max_frame_bytes=max_frame_bytes)

    def send(self, frame: bytes) -> str:
        """Send *frame* and return what became of it."""
        with RawClient(self._listener.bootstrap_servers) as client:
            client.socket.settimeout(_TIMEOUT_S)
            try:
                client.socket.sendall(frame)
                if len(frame) < 4 or struct.unpack_from(">i", frame) != (len(frame) - 4,):
                    return "half, over a socket"
                client.socket.sendall(_ASK)
                self._wait_for_answer(client)
                return "answered over a socket"
            except TimeoutError:
                return "waiting at a socket"
            except ConnectionError:
                return "closed over a socket"

    def _wait_for_answer(self, client: RawClient) -> None:
        """Read answers up to that of the request behind the frame."""
        while True:
            (size,) = struct.unpack(">i", client._read(4))
            assert 4 <= size < 1 << 26, f"an answer of {size} bytes"
            if struct.unpack_from(">i", client._read(size)) == (_ASK_ID,):
                return

    def close(self) -> None:
        """Raise AssertionError unless another client is served and nothing is left of those before."""
        with RawClient(self._listener.bootstrap_servers) as client:
            assert client.request("Metadata", 12, topics=None).brokers
        eventually(lambda: not self._listener.endpoint._connections)
        memory = self._listener.endpoint.request_memory, self._listener.endpoint.response_memory
        assert [one.used_bytes for one in memory] == [0, 0]

"""A client of Kafka's protocol reduced to frames: what a request says is what goes out."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from streamlog.wire.messages import BY_NAME
from tests.support.sockets import connect


class RawClient:
    """One connection. ``client.request("Heartbeat", 3, group_id="g", ...)`` sends, and returns the response."""

    def __init__(self, bootstrap_servers: str, client_id: str = "raw") -> None:
        self.socket = connect(bootstrap_servers)
        self._client_id = client_id.encode()
        self._correlation_id = 0
        self._sent: list[tuple[str, int, int]] = []

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, whatever is under way."""
        self.socket.close()

    def request(self, name: str, version: int, **fields: Any) -> Any:
        """Send a request and return its response. Structs inside are dicts."""
        self.send(name, version, **fields)
        return self.receive()

    def send(self, name: str, version: int, **fields: Any) -> None:
        """Send a request, whose response `receive` returns in its turn."""
        api = BY_NAME[name]
        self._correlation_id += 1
        head = struct.pack(
            f">hhih{len(self._client_id)}s",
            api.key,
            version,
            self._correlation_id,
            len(self._client_id),
            self._client_id,
        )
        if api.request.is_flexible(version):
            head += b"\0"
        message = build(api.request.make, fields)
        frame = b"".join(api.request.encode(message, version, head))
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        self._sent.append((name, version, self._correlation_id))

    def receive(self) -> Any:
        """Return the response to the first request that has none yet. Raises ConnectionError when the broker hung up."""
        name, version, correlation_id = self._sent.pop(0)
        api = BY_NAME[name]
        (size,) = struct.unpack(">i", self._read(4))
        frame = self._read(size)
        assert struct.unpack_from(">i", frame) == (correlation_id,)
        start = 4
        if api.response.is_flexible(version) and name != "ApiVersions":
            assert frame[4] == 0
            start = 5
        return api.response.decode(frame, version, start)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the broker closed the connection")
            data += part
        return data


@contextmanager
def raw_clients(bootstrap_servers: str) -> Iterator[Callable[[], RawClient]]:
    """Give what opens a connection each time it is called; all of them are closed in the end."""
    with ExitStack() as clients:
        yield lambda: clients.enter_context(RawClient(bootstrap_servers))


def send_join(client: RawClient) -> None:
    """Join group ``g`` as whoever comes first; the answer waits for the members that it has."""
    client.send(
        "JoinGroup",
        3,
        group_id="g",
        session_timeout_ms=10_000,
        rebalance_timeout_ms=600_000,
        protocol_type="consumer",
        protocols=[{"name": "range", "metadata": b""}],
        member_id="",
    )


def frame(name: str, version: int, **fields: Any) -> bytes:
    """Return a request with its size, as `RawClient` sends it, without a client id."""
    api = BY_NAME[name]
    head = struct.pack(">hhih", api.key, version, 1, -1)
    if api.request.is_flexible(version):
        head += b"\0"
    body = b"".join(api.request.encode(build(api.request.make, fields), version, head))
    return struct.pack(">i", len(body)) + body


def build(make: Any, fields: dict[str, Any]) -> Any:
    """Return the struct *make* of *fields*, and of dicts the structs inside."""
    ready: dict[str, Any] = {}
    for name, value in fields.items():
        inner = getattr(make, "".join(part.capitalize() for part in name.split("_")), None)
        if inner is None:
            ready[name] = value
        elif isinstance(value, dict):
            ready[name] = build(inner, value)
        else:
            ready[name] = value and [build(inner, one) for one in value]
    return make(**ready)

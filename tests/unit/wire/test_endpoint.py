"""What a listener is, whoever's loop it serves in: above all its end, when that does not go as it should."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from streamlog.broker.broker import Broker
from streamlog.wire.connection import Connection
from streamlog.wire.endpoint import Endpoint
from tests.support.sockets import connect, is_closed, open_sockets, own_address
from tests.support.wire_memory import MemoryLoop


class StopError(BaseException):
    """As Ctrl-C: no ``except Exception`` stops it."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    before = open_sockets()
    with Broker() as broker:
        yield Endpoint(broker, own_address())
    assert open_sockets() <= before
    assert not [one for one in threading.enumerate() if "listener" in one.name]


async def serving(endpoint: Endpoint) -> asyncio.Task[None]:
    """Return the task that serves, once it does."""
    opened = asyncio.Event()
    task = asyncio.create_task(endpoint.serve(opened.set))
    await opened.wait()
    return task


async def admitted(endpoint: Endpoint, count: int) -> None:
    while len(endpoint._connections) < count:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def test_it_says_where_it_listens_once_it_does(endpoint: Endpoint) -> None:
    async def main() -> None:
        assert repr(endpoint) == "<Endpoint >"
        task = await serving(endpoint)
        assert repr(endpoint) == f"<Endpoint {endpoint.bootstrap_servers}>"
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_one_that_was_asked_to_end_before_it_began_does_not_listen(endpoint: Endpoint) -> None:
    assert not endpoint.ask_to_end()
    opened: list[int] = []
    asyncio.run(endpoint.serve(lambda: opened.append(1)))
    assert not opened
    assert endpoint.bootstrap_servers == ""


def test_connection_that_does_not_end_in_order_keeps_no_other_from_it(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close, told = Connection.close, list[Connection]()

    def once_in_vain(self: Connection, *arguments: Any) -> None:
        told.append(self)
        if len(told) == 1:
            raise ZeroDivisionError
        close(self, *arguments)

    async def main() -> None:
        task = await serving(endpoint)
        with (
            connect(endpoint.bootstrap_servers) as one,
            connect(endpoint.bootstrap_servers) as other,
        ):
            await admitted(endpoint, 2)
            with monkeypatch.context() as patch:
                patch.setattr(Connection, "close", once_in_vain)
                task.cancel()
                await asyncio.wait([task])
            assert is_closed(other)
            close(told[0])
            await asyncio.sleep(0)
            assert is_closed(one)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "Could not end" in caplog.text


@pytest.mark.filterwarnings(
    "ignore:unclosed transport:ResourceWarning"
)  # asyncio's own, of what is closed behind its back
def test_end_that_is_broken_off_leaves_no_socket(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Endpoint) -> None:
        raise StopError

    monkeypatch.setattr(Endpoint, "_end", broken)
    clients: list[socket.socket] = []

    async def main() -> None:
        task = await serving(endpoint)
        clients.append(connect(endpoint.bootstrap_servers))
        await admitted(endpoint, 1)
        task.cancel()
        with pytest.raises(StopError):
            await task

    asyncio.run(main())
    with clients.pop() as client:
        assert is_closed(client)
    with Broker() as other, other.listen(endpoint.bootstrap_servers):
        pass
    endpoint._connections.clear()
    gc.collect()


def test_coroutine_that_is_thrown_away_leaves_no_socket(endpoint: Endpoint) -> None:
    """As by a loop that is closed over it. Not only once the collector comes to it."""
    loop = asyncio.new_event_loop()
    opened = asyncio.Event()
    coroutine = endpoint.serve(opened.set)
    task = loop.create_task(coroutine)
    loop.run_until_complete(opened.wait())
    door = endpoint._door
    assert door is not None
    (sock,) = door._sockets
    coroutine.close()
    assert sock.fileno() == -1
    assert endpoint.is_ending
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


def test_connection_that_is_in_the_way_of_others_is_closed(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Connection, "hinders_others", lambda *_: "it is in the way")

    async def main() -> None:
        task = await serving(endpoint)
        with connect(endpoint.bootstrap_servers) as client:
            await admitted(endpoint, 1)
            endpoint._check_idle()
            await asyncio.sleep(0)
            assert is_closed(client)
        task.cancel()
        await asyncio.wait([task])

    with caplog.at_level(logging.INFO, "streamlog"):
        asyncio.run(main())
    assert "closed: it is in the way" in caplog.text


def test_close_that_is_cancelled_while_clients_are_accepted_waits_for_those(
    endpoint: Endpoint,
) -> None:
    async def main() -> None:
        task = await serving(endpoint)
        with connect(endpoint.bootstrap_servers) as client:
            assert endpoint._door is not None
            while not endpoint._door._accepted:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task])
            assert is_closed(client)

    asyncio.run(main())


# ---- who is let in, and who was silent for too long


@attrs.define(eq=False)
class Peer:
    """As much of a connection as an endpoint looks at, 100 s after it was opened."""

    last_active_s: float = 100.0
    is_known: bool = True
    is_waiting: bool = False
    hinders: str = ""
    opened_s: float = 0.0
    closed: list[str] = attrs.Factory(list)
    patience_s: float | None = None

    def hinders_others(self, limit_s: float) -> str:
        self.patience_s = limit_s
        return self.hinders

    def close(self, reason: str) -> None:
        self.closed.append(reason)


@pytest.mark.parametrize(
    ("fields", "idle_ms", "handshake_ms", "closed"),
    [
        ({"last_active_s": 0.0}, 99_999, 30_000, ["silent for 99999 ms"]),
        ({"last_active_s": 0.0}, 100_000, 30_000, []),
        ({"last_active_s": 50.0}, 99_999, 30_000, []),
        ({"last_active_s": 0.0, "is_waiting": True}, 1_000, 30_000, []),
        # Byte by byte is silent: a first request has to be whole in time.
        ({"is_known": False}, 600_000, 99_999, ["silent for 99999 ms"]),
        ({"is_known": False}, 1_000, 100_000, []),
        ({"hinders": "it is large"}, 600_000, 30_000, ["it is large"]),
        ({"is_waiting": True, "hinders": "it is large"}, 600_000, 30_000, ["it is large"]),
    ],
)
def test_who_is_silent_for_longer_than_allowed_or_hinders_others_is_closed(
    fields: dict[str, Any], idle_ms: int, handshake_ms: int, closed: list[str]
) -> None:
    peer = Peer(**fields)
    with Broker() as broker:
        endpoint = Endpoint(
            broker, own_address(), max_idle_ms=idle_ms, max_handshake_ms=handshake_ms
        )
        endpoint.loop = MemoryLoop()  # type: ignore[assignment]
        endpoint.loop.now_s = 100.0  # type: ignore[attr-defined]
        other = Peer()
        assert all(endpoint.admit(one) for one in (peer, other))  # type: ignore[arg-type]
        endpoint._check_idle()
        assert peer.closed == closed
        assert other.closed == []
        assert other.patience_s == handshake_ms / 1000


def test_so_many_are_let_in_as_there_may_be_and_nobody_at_the_end() -> None:
    with Broker() as broker:
        endpoint = Endpoint(broker, own_address(), max_connections=2)
        peers: list[Any] = [Peer() for _ in range(3)]
        assert [endpoint.admit(one) for one in peers] == [True, True, False]
        endpoint.dismiss(peers[2])
        assert not endpoint.admit(peers[2])
        endpoint.dismiss(peers[0])
        assert endpoint.admit(peers[2])
        endpoint.dismiss(peers[1])
        endpoint.ask_to_end()
        assert not endpoint.admit(peers[1])

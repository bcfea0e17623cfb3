"""Accepting clients: at every address of a name, and also when the system is short or the loop ends in between."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from typing import Any
from unittest.mock import Mock

import pytest

from streamlog.wire import door
from streamlog.wire.door import Door
from tests.support.sockets import connect, is_closed, open_sockets, own_address


class Greeting(asyncio.Protocol):
    """Says hello, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


def knock(address: str) -> bytes:
    with connect(address) as sock:
        return sock.recv(10)


def stand_for(monkeypatch: pytest.MonkeyPatch, name: str, *hosts: str) -> None:
    """Make *name* stand for several addresses."""
    find = socket.getaddrinfo

    def several(host: str, *arguments: Any, **options: Any) -> list[Any]:
        wanted = hosts if host == name else (host,)
        return [one for host in wanted for one in find(host, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", several)


def test_clients_are_accepted_until_it_is_shut() -> None:
    async def main() -> None:
        own = Door(asyncio.get_running_loop(), Greeting)
        host = own_address().partition(":")[0]
        port = await own.open(host, 0)
        address = f"{host}:{port}"
        answers = await asyncio.gather(*(asyncio.to_thread(knock, address) for _ in range(20)))
        assert answers == [b"hello"] * 20
        own.shut()
        own.shut()
        await own.wait()
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(knock, address)
        again = Door(asyncio.get_running_loop(), Greeting)
        await again.open(host, port)
        again.shut()

    before = open_sockets()
    asyncio.run(main())
    assert open_sockets() <= before


def test_client_that_is_slow_does_not_stop_the_loop() -> None:
    """Not while it is sent something either: its socket does not block."""
    timeouts: list[float | None] = []

    class Looking(Greeting):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            timeouts.append(transport.get_extra_info("socket").gettimeout())
            super().connection_made(transport)

    async def main() -> None:
        own = Door(asyncio.get_running_loop(), Looking)
        address = f"127.0.0.1:{await own.open('127.0.0.1', 0)}"
        assert await asyncio.to_thread(knock, address) == b"hello"
        own.shut()

    asyncio.run(main())
    assert timeouts == [0.0]


def test_address_that_this_machine_lacks_is_left_out_where_there_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_for(monkeypatch, "many", "192.0.2.1", "127.0.0.1", "127.0.0.1")

    async def main() -> None:
        own = Door(asyncio.get_running_loop(), Greeting)
        port = await own.open("many", 0)
        assert [sock.getsockname() for sock in own._sockets] == [("127.0.0.1", port)]
        own.shut()

    asyncio.run(main())


def test_address_that_cannot_be_bound_is_named() -> None:
    async def main() -> None:
        own = Door(asyncio.get_running_loop(), Greeting)
        with pytest.raises(OSError, match=r"listen at 192\.0\.2\.1:0: Cannot assign") as caught:
            await own.open("192.0.2.1", 0)
        assert caught.value.errno == errno.EADDRNOTAVAIL
        with socket.create_server(("127.0.0.1", 0)) as rival:
            port = rival.getsockname()[1]
            with pytest.raises(OSError, match=f"listen at 127.0.0.1:{port}: .*in use"):
                await own.open("127.0.0.1", port)

    before = open_sockets()
    asyncio.run(main())
    assert open_sockets() <= before


@pytest.mark.parametrize(
    ("number", "port", "tries"),
    [(errno.EADDRINUSE, 0, 10), (errno.EADDRINUSE, 9092, 1), (errno.EACCES, 0, 1)],
)
def test_another_port_is_looked_for_where_any_will_do_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, number: int, port: int, tries: int
) -> None:
    tried: list[int] = []

    def bind(addresses: Any, port: int) -> list[socket.socket]:
        tried.append(port)
        raise OSError(number, "no")

    monkeypatch.setattr(door, "_bind", bind)

    async def main() -> None:
        with pytest.raises(OSError, match="no") as caught:
            await Door(asyncio.get_running_loop(), Greeting).open("127.0.0.1", port)
        assert caught.value.errno == number

    asyncio.run(main())
    assert tried == [port] * tries


def test_loop_that_can_read_only_one_of_several_sockets_is_left_with_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_for(monkeypatch, "two", "127.0.0.1", "127.0.0.2")
    read: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def add_reader(sock: Any, *call: Any) -> None:
            if read:
                raise OSError(errno.ENOSPC, "no room for more")
            read.append(sock)

        own = Door(loop, Greeting)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "add_reader", add_reader)
            patch.setattr(loop, "remove_reader", read.remove)
            with pytest.raises(OSError, match="no room"):
                await own.open("two", 0)
        assert read == []
        assert own._sockets == []

    before = open_sockets()
    asyncio.run(main())
    assert open_sockets() <= before


def test_loop_reads_no_socket_that_was_shut() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        own = Door(loop, Greeting)
        await own.open("127.0.0.1", 0)
        number = own._sockets[0].fileno()
        own.shut()
        assert not loop.remove_reader(number)

    asyncio.run(main())


def test_loop_without_readers_is_left_without_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: it refused to remove the reader as well, and the socket stayed open."""

    def refuse(*_: Any) -> None:
        raise NotImplementedError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        own = Door(loop, Greeting)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "add_reader", refuse)
            patch.setattr(loop, "remove_reader", refuse)
            with pytest.raises(NotImplementedError):
                await own.open("127.0.0.1", 0)
            assert own._sockets == []
            own.shut()

    before = open_sockets()
    asyncio.run(main())
    assert open_sockets() <= before


def test_socket_is_not_listened_to_while_the_system_has_no_room() -> None:
    """It would be ready all the time."""
    loop, sock = Mock(), Mock()
    sock.accept.side_effect = OSError(errno.EMFILE, "Too many open files")
    own = Door(loop, Greeting)
    own._sockets = [sock]
    own._accept(sock)
    assert sock.accept.call_count == 1
    loop.remove_reader.assert_called_once_with(sock)
    loop.add_reader.assert_not_called()
    ((pause_s, resume, *arguments),) = (call.args for call in loop.call_later.call_args_list)
    assert pause_s == 1.0
    resume(*arguments)
    loop.add_reader.assert_called_once_with(sock, own._accept, sock)


def test_system_that_has_no_room_is_asked_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And not at once, over and over, while nothing else comes to its turn."""
    tries: list[int] = []

    class Full(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            tries.append(1)
            if len(tries) < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    def bound(family: int, address: Any, port: int) -> socket.socket:
        sock = bind(family, address, port)
        return Full(sock.family, sock.type, sock.proto, sock.detach())

    bind = door._bound
    monkeypatch.setattr(door, "_bound", bound)
    monkeypatch.setattr(door, "_PAUSE_S", 0.02)

    async def main() -> None:
        own = Door(asyncio.get_running_loop(), Greeting)
        address = f"127.0.0.1:{await own.open('127.0.0.1', 0)}"
        assert await asyncio.to_thread(knock, address) == b"hello"
        # Shut in a pause: it stays so.
        tries.clear()
        with connect(address):
            while not tries:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            own.shut()
            await asyncio.sleep(0.03)
        assert len(tries) == 1

    asyncio.run(main())
    assert caplog.text.count("no client can be accepted: [Errno 24] Too many open files") == 3


@pytest.mark.parametrize("rounds", range(2))
def test_client_whose_task_is_cancelled_is_hung_up_on(rounds: int) -> None:
    """A loop that ends cancels all tasks, also those that have not begun."""

    async def main() -> socket.socket:
        own = Door(asyncio.get_running_loop(), asyncio.Protocol)
        sock = connect(f"127.0.0.1:{await own.open('127.0.0.1', 0)}")
        while not own._accepted:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        for _ in range(rounds):
            await asyncio.sleep(0)
        for task in list(own._accepted):
            task.cancel()
        await own.wait()
        own.shut()
        return sock

    before = open_sockets()
    with asyncio.run(main()) as sock:
        gc.collect()
        assert is_closed(sock)
    assert open_sockets() <= before


def test_protocol_that_cannot_be_made_hangs_up_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> asyncio.Protocol:
        raise ZeroDivisionError

    async def main() -> None:
        own = Door(asyncio.get_running_loop(), broken)
        address = f"127.0.0.1:{await own.open('127.0.0.1', 0)}"
        assert await asyncio.to_thread(knock, address) == b""
        own.shut()

    asyncio.run(main())
    assert "a client could not be accepted" in caplog.text

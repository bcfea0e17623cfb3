"""The sockets at which clients knock."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from streamlog.errors import InvalidConfigurationError
from streamlog.wire.address import join_address

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("streamlog")

#: Clients that the system accepts for us until we come to it.
_BACKLOG = 100
#: How often a port is looked for that is free at all addresses of a host.
_TRIES = 10
#: Until clients are accepted again where the system has no room for one more.
_PAUSE_S = 1.0
#: A family, and what the system calls an address of it: host, port, and for IPv6 two more.
_Address = tuple[int, tuple[Any, ...]]
#: What the system says of addresses that it does not have: a name may stand for such ones as well.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Door:
    """Listens at an address, and makes a connection of each client that comes, with a protocol by *new_protocol*.

    Not by a server of asyncio: that one forgets what it accepted a moment ago when it is closed then, or when the loop cancels all tasks;
    and of a name that stands for several addresses each gets a port of its own.

    Threads: the loop's, but for `drop`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, new_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = loop
        self._new_protocol = new_protocol
        self._sockets: list[socket.socket] = []
        #: Those that are no connections yet.
        self._accepted: dict[asyncio.Task[None], socket.socket] = {}

    async def open(self, host: str, port: int) -> int:
        """Listen at all addresses of *host*, with the same port, which is returned; 0 is any that is free. Raises OSError."""
        addresses = await self._resolve(host)
        for number in range(_TRIES):
            try:
                self._sockets = _bind(addresses, port)
                break
            except OSError as error:
                # Free at one of the addresses is not free at the others.
                if port or error.errno != errno.EADDRINUSE or number == _TRIES - 1:
                    raise
        added: list[socket.socket] = []
        try:
            for sock in self._sockets:
                self._loop.add_reader(sock, self._accept, sock)
                added.append(sock)
        except BaseException:
            # A Proactor loop has no readers: `shut` would fail at them, before it has closed a socket.
            for sock in added:
                self._loop.remove_reader(sock)
            self.drop()
            self._sockets = []
            raise
        bound: int = self._sockets[0].getsockname()[1]
        return bound

    def shut(self) -> None:
        """Accept nobody any more, and give the port back."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            self._loop.remove_reader(sock)
            sock.close()

    async def wait(self) -> None:
        """Return when who was accepted is a connection; also in a task that is cancelled meanwhile."""
        while self._accepted:
            try:
                await asyncio.wait(self._accepted)
            except asyncio.CancelledError:
                continue

    def drop(self) -> None:
        """Close all sockets behind the back of the loop, which will not run any more. Threads: any."""
        for sock in (*self._sockets, *self._accepted.values()):
            sock.close()

    async def _resolve(self, host: str) -> list[_Address]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            try:
                found = await self._loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                raise socket.gaierror(error.errno, f"listen at {host}: {error.strerror}") from error
            except UnicodeError as error:  # a label that is empty or has more than 63 characters
                raise InvalidConfigurationError(
                    f"listen: address: {host!r} is not the name of a host: {error}"
                ) from error
            return list(dict.fromkeys((family, address) for family, *_, address in found))
        if address.version == 4:
            return [(socket.AF_INET, (host, 0))]
        return [(socket.AF_INET6, (host, 0))]

    def _accept(self, sock: socket.socket) -> None:
        """Somebody knocks."""
        for _ in range(_BACKLOG):
            try:
                client, _address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except (
                OSError
            ) as error:  # out of descriptors, or of memory: the next try at once would be no better
                _log.error("no client can be accepted: %s", error)
                self._loop.remove_reader(sock)
                self._loop.call_later(_PAUSE_S, self._resume, sock)
                return
            task = self._loop.create_task(self._connect(client))
            self._accepted[task] = client
            task.add_done_callback(partial(self._connected, client))

    def _resume(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    async def _connect(self, client: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._new_protocol, client)

    def _connected(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._accepted.pop(task, None)
        if task.cancelled():
            client.close()
        elif (error := task.exception()) is not None:
            client.close()
            _log.error("a client could not be accepted", exc_info=error)


def _bind(addresses: list[_Address], port: int) -> list[socket.socket]:
    """Return sockets that listen at those of *addresses* that this machine has, all with *port*, or with the one that the first got."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_bound(family, address, port))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
            else:
                port = sockets[0].getsockname()[1]
        if missing is not None and not sockets:
            raise missing
        for sock in sockets:
            sock.listen(_BACKLOG)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound(family: int, address: tuple[Any, ...], port: int) -> socket.socket:
    host, _, *scope = address
    try:
        # With the protocol named: asyncio sends small answers at once (TCP_NODELAY) only where it knows that this is TCP. Else each
        # answer waits until the client has confirmed the one before, for up to 40 ms.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Else :: would be 0.0.0.0 as well, which may be another address of the same name.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port, *scope))
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise OSError(
            error.errno, f"listen at {join_address(host, port)}: {error.strerror}"
        ) from error
    return sock

"""Listening, its limits, and the end of it; over sockets."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import ClosedError, IllegalStateError, InvalidConfigurationError
from streamlog.wire.listener import split_address
from tests.support.eventually import eventually
from tests.support.wire import RawClient


def connect(broker: Broker) -> socket.socket:
    host, _, port = broker.bootstrap_servers.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def is_closed(sock: socket.socket) -> bool:
    """Whether the broker hung up; waits for that."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_port_that_is_free_is_found() -> None:
    with Broker() as broker:
        with pytest.raises(IllegalStateError, match="listens nowhere"):
            _ = broker.bootstrap_servers
        listener = broker.listen()
        assert broker.bootstrap_servers == listener.bootstrap_servers
        with RawClient(broker.bootstrap_servers) as client:
            assert client.request("ApiVersions", 3).error_code == 0


def test_closed_listener_leaves_its_port_and_its_clients(caplog: pytest.LogCaptureFixture) -> None:
    with Broker() as broker:
        listener = broker.listen()
        address = listener.bootstrap_servers
        with connect(broker) as client:
            listener.close()
            listener.close()
            assert listener.closed
            assert is_closed(client)
        with pytest.raises(IllegalStateError):
            _ = broker.bootstrap_servers
        with broker.listen(address) as again:
            assert again.bootstrap_servers == address
    assert caplog.text == ""


def test_broker_closes_with_requests_parked_and_slow() -> None:
    with Broker() as broker:
        broker.create_topic("t")
        broker.listen()
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(broker.bootstrap_servers)) for _ in range(4)]
            partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1}
            for client in clients[:2]:
                client.send(
                    "Fetch",
                    12,
                    max_wait_ms=600_000,
                    min_bytes=1,
                    max_bytes=1,
                    topics=[{"topic": "t", "partitions": [partition]}],
                )
            for client in clients[2:]:
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
            broker.close()
            for client in clients:
                with pytest.raises(ConnectionError):
                    while True:
                        client.receive()
                        client._sent.append(("JoinGroup", 3, client._correlation_id))


def test_client_that_is_just_being_accepted_is_hung_up_on_as_well() -> None:
    """asyncio lost it, and it waited for ever: the server was closed before it was a connection."""
    with Broker() as broker:
        listener = broker.listen()
        loop: Any = listener.loop
        accept, is_accepting = loop._accept_connection2, Event()

        async def accept_slowly(*arguments: Any) -> None:
            is_accepting.set()
            while not listener.closed:  # noqa: ASYNC110 - it is set by another thread
                await asyncio.sleep(0)
            for _ in range(5):  # by now the listener does what it does to close
                await asyncio.sleep(0)
            await accept(*arguments)

        loop._accept_connection2 = accept_slowly
        with connect(broker) as sock:
            assert is_accepting.wait(20)
            listener.close()
            assert is_closed(sock)


def test_closed_broker_does_not_listen() -> None:
    broker = Broker()
    broker.close()
    with pytest.raises(ClosedError):
        broker.listen()


def test_two_listeners_serve_one_broker() -> None:
    with Broker() as broker:
        broker.create_topic("t")
        first, second = broker.listen(), broker.listen(node_id=2)
        assert broker.bootstrap_servers == f"{first.bootstrap_servers},{second.bootstrap_servers}"
        for listener, node_id in ((first, 1), (second, 2)):
            with RawClient(listener.bootstrap_servers) as client:
                answer = client.request("Metadata", 12, topics=None)
            assert answer.controller_id == node_id
            assert [topic.name for topic in answer.topics] == ["t"]


def test_address_that_is_taken_is_an_error() -> None:
    with Broker() as broker:
        broker.listen()
        with pytest.raises(OSError, match="in use"):
            broker.listen(broker.bootstrap_servers)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:9092", "[::]:0", "example.org:1"])
def test_address_that_others_can_reach_is_refused_unless_told(address: str) -> None:
    with Broker() as broker:
        with pytest.raises(InvalidConfigurationError, match="allow_remote=True"):
            broker.listen(address)


def test_other_address_is_bound_when_told() -> None:
    with Broker() as broker:
        with broker.listen("0.0.0.0:0", allow_remote=True, advertised="127.0.0.1") as listener:
            host, _, port = listener.bootstrap_servers.rpartition(":")
            assert (host, port != "0") == ("127.0.0.1", True)
            with RawClient(listener.bootstrap_servers) as client:
                (one,) = client.request("Metadata", 12, topics=None).brokers
            assert (one.host, one.port) == (host, int(port))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9092", ("127.0.0.1", 9092)),
        ("127.0.0.1", ("127.0.0.1", 0)),
        ("[::1]:9092", ("::1", 9092)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_address_is_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", ":1", "localhost:", "localhost:x", "localhost:65536"])
def test_other_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="expected host:port"):
        split_address(address)


def test_connections_beyond_the_limit_are_closed() -> None:
    with Broker() as broker, ExitStack() as stack:
        broker.listen(max_connections=2)
        clients = [stack.enter_context(RawClient(broker.bootstrap_servers)) for _ in range(2)]
        for client in clients:
            client.request("ApiVersions", 3)
        assert is_closed(stack.enter_context(connect(broker)))
        clients.pop().close()

        def is_served_again() -> bool:
            with connect(broker) as sock:
                try:
                    sock.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
                    return sock.recv(1) != b""
                except ConnectionError:
                    return False

        eventually(is_served_again)


def test_silent_connections_are_closed() -> None:
    """Sooner those that never said anything; one that waits for an answer is not silent."""
    with Broker() as broker, ExitStack() as stack:
        broker.create_topic("t")
        broker.listen(max_idle_ms=60, max_handshake_ms=20)
        waiting = stack.enter_context(RawClient(broker.bootstrap_servers))
        partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
        waiting.send(
            "Fetch",
            12,
            max_wait_ms=60_000,
            min_bytes=1,
            max_bytes=1000,
            topics=[{"topic": "t", "partitions": [partition]}],
        )
        half = stack.enter_context(connect(broker))
        half.sendall(b"\0\0\0")
        known = stack.enter_context(RawClient(broker.bootstrap_servers))
        known.request("ApiVersions", 3)
        assert is_closed(half)
        assert is_closed(known.socket)
        broker.partition("t", 0).append_value(b"x", 0)
        assert waiting.receive().responses[0].partitions[0].records


# ---- a crowd that means harm: the others are served, and memory is bounded


def garbage(sock: socket.socket, rng: random.Random) -> None:
    sock.sendall(rng.randbytes(4096))


def half_a_frame(sock: socket.socket, rng: random.Random) -> None:
    """Promise much, and send little."""
    sock.sendall(struct.pack(">ihhih", 50 << 20, 0, 9, 1, -1) + rng.randbytes(1000))


def never_reads(sock: socket.socket, _: random.Random) -> None:
    """Ask for more than any socket holds, and read none of it."""
    sock.settimeout(0.05)
    request = struct.pack(">ihhih", 10, 18, 0, 1, -1)
    try:
        for _ in range(200):
            sock.sendall(request * 1000)
    except TimeoutError:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "crowd"), [(garbage, 100), (half_a_frame, 100), (never_reads, 5)])
def test_crowd_that_means_harm_leaves_the_others_served(
    harm: Callable[[socket.socket, random.Random], None], crowd: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    rng = random.Random(seed)
    with Broker() as broker, ExitStack() as stack:
        broker.create_topic("t")
        broker.listen()
        with RawClient(broker.bootstrap_servers) as client:
            client.request("Metadata", 12, topics=None)
            before = resident_bytes()
            for _ in range(crowd):
                sock = stack.enter_context(connect(broker))
                try:
                    harm(sock, rng)
                except ConnectionError:
                    pass  # it was hung up on, which is right
                answer = client.request("Metadata", 12, topics=None)
                assert [topic.name for topic in answer.topics] == ["t"], f"seed {seed}"
            grown = resident_bytes() - before
        assert grown < 100 << 20, f"seed {seed}: {grown} bytes for {crowd} connections"
    gc.collect()


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


IDLE = """
import os
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
from streamlog import Broker
broker = Broker()
before = resident()
broker.listen()
print(resident() - before)
broker.close()
"""


def test_listener_that_nobody_uses_costs_less_than_10_mb() -> None:
    done = subprocess.run([sys.executable, "-c", IDLE], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) < 10_000_000

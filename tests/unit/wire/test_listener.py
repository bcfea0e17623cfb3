"""Listening, its limits, and the end of it; over sockets."""

from __future__ import annotations

import gc
import random
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import ClosedError, IllegalStateError, InvalidConfigurationError
from streamlog.wire import door, endpoint
from streamlog.wire.messages import BY_NAME
from tests.support.eventually import eventually
from tests.support.sockets import connect, has_ipv6, is_closed, own_address
from tests.support.wire import RawClient, build, send_join

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


def test_port_that_is_free_is_found() -> None:
    with Broker() as broker:
        with pytest.raises(IllegalStateError, match="listens nowhere"):
            _ = broker.bootstrap_servers
        listener = broker.listen()
        assert broker.bootstrap_servers == listener.bootstrap_servers
        with RawClient(broker.bootstrap_servers) as client:
            assert client.request("ApiVersions", 3).error_code == 0


def test_small_answers_are_sent_at_once() -> None:
    """Else each waits for the client to confirm the one before, which takes up to 40 ms."""
    with Broker() as broker:
        listener = broker.listen()
        with RawClient(listener.bootstrap_servers) as client:
            client.request("ApiVersions", 3)
            (connection,) = listener.endpoint._connections
            sock = connection.socket
            assert sock is not None
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[attr-defined]


def test_closed_listener_leaves_its_port_and_its_clients(caplog: pytest.LogCaptureFixture) -> None:
    with Broker() as broker:
        listener = broker.listen(own_address())
        address = listener.bootstrap_servers
        with connect(broker.bootstrap_servers) as client:
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
                send_join(client)
            broker.close()
            for client in clients:
                with pytest.raises(ConnectionError):
                    while True:
                        client.receive()
                        client._sent.append(("JoinGroup", 3, client._correlation_id))


def test_closed_broker_does_not_listen() -> None:
    broker = Broker()
    broker.close()
    with pytest.raises(ClosedError):
        broker.listen()
    with pytest.raises(ClosedError):  # not the advice to listen first
        _ = broker.bootstrap_servers


def test_listener_shows_whether_it_is_closed() -> None:
    with Broker() as broker:
        listener = broker.listen()
        assert repr(listener) == f"<Listener {listener.bootstrap_servers}>"
        listener.close()
        assert repr(listener) == f"<Listener {listener.bootstrap_servers}, closed>"


def test_read_only_broker_that_listens_nowhere_says_so(tmp_path: Path) -> None:
    with Broker(tmp_path), Broker(tmp_path, read_only=True) as reader:
        with pytest.raises(IllegalStateError, match="listens nowhere"):
            _ = reader.bootstrap_servers


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


@pytest.mark.parametrize(
    "option",
    ["ssl_context", "ssl_certfile", "sasl_mechanism", "sasl_enabled_mechanisms"]
    + ["security_protocol", "tls", "SSL_CONTEXT"],
)
def test_tls_and_sasl_are_said_to_be_missing(option: str) -> None:
    with Broker() as broker:
        with pytest.raises(InvalidConfigurationError, match=f"{option}: .*no TLS and no SASL"):
            broker.listen(**{option: None})  # type: ignore[arg-type]


def test_option_that_there_is_not_is_refused_by_name() -> None:
    with Broker() as broker, pytest.raises(TypeError, match=r"listen\(\) .*'max_conections'"):
        broker.listen(max_conections=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("0.0.0.0:0", {}),
        ("[::]:0", {}),
        ("127.0.0.1:0", {"advertised": "0.0.0.0:9092"}),
        ("0.0.0.0:0", {"advertised": "[::]"}),
    ],
)
def test_address_that_no_client_can_connect_to_is_not_advertised(
    address: str, options: dict[str, Any]
) -> None:
    with Broker() as broker:
        with pytest.raises(InvalidConfigurationError, match=r"advertised: .*(0\.0\.0\.0|::)"):
            broker.listen(address, allow_remote=True, **options)


def test_advertised_port_is_what_clients_are_given() -> None:
    with Broker() as broker, broker.listen(advertised="elsewhere:7") as listener:
        assert listener.bootstrap_servers == "elsewhere:7"
        settings = listener.endpoint.settings
        assert (settings.advertised_host, settings.advertised_port) == ("elsewhere", 7)


@pytest.mark.parametrize("advertised", ["elsewhere", "elsewhere:", "a b:1", ":1"])
def test_advertised_address_is_one(advertised: str) -> None:
    with Broker() as broker:
        if advertised == "elsewhere":
            with broker.listen(advertised=advertised) as listener:
                port = listener.endpoint._door._sockets[0].getsockname()[1]  # type: ignore[union-attr]
                assert listener.bootstrap_servers == f"elsewhere:{port}"
            return
        with pytest.raises(InvalidConfigurationError, match="advertised: expected host:port"):
            broker.listen(advertised=advertised)


@needs_ipv6
def test_ipv6_address_is_shown_as_clients_take_it() -> None:
    """In brackets where a port follows, and without them in metadata, where none does."""
    with Broker() as broker:
        with broker.listen("[::1]") as listener:
            assert re.fullmatch(r"\[::1\]:\d+", listener.bootstrap_servers)
            with RawClient(listener.bootstrap_servers) as client:
                (one,) = client.request("Metadata", 12, topics=None).brokers
            assert f"[{one.host}]:{one.port}" == listener.bootstrap_servers


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_name_that_no_host_can_have_is_refused(host: str) -> None:
    """It ended in a UnicodeError, which ``streamlog serve`` showed with its traceback."""
    with Broker() as broker, pytest.raises(InvalidConfigurationError, match=f"{host!r} is not the"):
        broker.listen(f"{host}:0", allow_remote=True)


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As most systems have it: localhost is ::1 and 127.0.0.1."""
    found = socket.getaddrinfo

    def both(host: str, *arguments: Any, **options: Any) -> list[Any]:
        if host != "localhost":
            return found(host, *arguments, **options)
        return [
            *found("::1", *arguments, **options),
            *found("127.0.0.1", *arguments, **options),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)


@needs_ipv6
@pytest.mark.usefixtures("two_addresses")
def test_all_addresses_of_a_name_have_the_port_that_is_shown() -> None:
    """Each had a port of its own, and only one of them was told to clients."""
    with Broker() as broker:
        for _ in range(3):
            with broker.listen("localhost:0") as listener:
                port = listener.bootstrap_servers.removeprefix("localhost:")
                for host in ("127.0.0.1", "[::1]"):
                    with RawClient(f"{host}:{port}") as client:
                        assert client.request("ApiVersions", 3).error_code == 0


@needs_ipv6
@pytest.mark.usefixtures("two_addresses")
def test_port_that_is_taken_at_one_address_of_a_name_is_taken_or_not_chosen() -> None:
    tried: list[int] = []
    bind = door._bound

    def with_rival(family: int, address: Any, port: int) -> socket.socket:
        tried.append(port)
        if len(tried) == 2:  # somebody takes it at one of the addresses
            with socket.create_server(("127.0.0.1", port)):
                return bind(family, address, port)
        return bind(family, address, port)

    with Broker() as broker, pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "_bound", with_rival)
        with broker.listen("localhost:0") as listener:
            port = int(listener.bootstrap_servers.removeprefix("localhost:"))
            first = tried[1]
            assert tried == [0, first, 0, port]
    with Broker() as broker, socket.create_server(("127.0.0.1", 0)) as rival:
        with pytest.raises(OSError, match="in use"):
            broker.listen(f"localhost:{rival.getsockname()[1]}")


def test_other_address_is_bound_when_told() -> None:
    with Broker() as broker:
        with broker.listen("0.0.0.0:0", allow_remote=True, advertised="127.0.0.1") as listener:
            host, _, port = listener.bootstrap_servers.rpartition(":")
            assert (host, port != "0") == ("127.0.0.1", True)
            with RawClient(listener.bootstrap_servers) as client:
                (one,) = client.request("Metadata", 12, topics=None).brokers
            assert (one.host, one.port) == (host, int(port))


def test_connections_beyond_the_limit_are_closed() -> None:
    with Broker() as broker, ExitStack() as stack:
        broker.listen(max_connections=2)
        clients = [stack.enter_context(RawClient(broker.bootstrap_servers)) for _ in range(2)]
        for client in clients:
            client.request("ApiVersions", 3)
        assert is_closed(stack.enter_context(connect(broker.bootstrap_servers)))
        clients.pop().close()

        def is_served_again() -> bool:
            with connect(broker.bootstrap_servers) as sock:
                try:
                    sock.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
                    return sock.recv(1) != b""
                except ConnectionError:
                    return False

        eventually(is_served_again)


def test_silent_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sooner those that never said anything; one that waits for an answer is not silent."""
    monkeypatch.setattr(endpoint, "_IDLE_CHECKS", 3000)
    with Broker() as broker, ExitStack() as stack:
        broker.create_topic("t")
        own = broker.listen(max_idle_ms=600_001, max_handshake_ms=30_001).endpoint
        assert (own.settings.max_idle_ms, own.settings.max_handshake_ms) == (600_001, 30_001)
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
        half = stack.enter_context(connect(broker.bootstrap_servers))
        half.sendall(b"\0\0\0")
        known = stack.enter_context(RawClient(broker.bootstrap_servers))
        known.request("ApiVersions", 3)
        eventually(lambda: any(one.is_waiting for one in own._connections))
        # Only now, or whoever is kept from speaking for so long would be silent as well.
        own.settings = attrs.evolve(own.settings, max_handshake_ms=20)
        assert is_closed(half)
        known.request("ApiVersions", 3)
        own.settings = attrs.evolve(own.settings, max_idle_ms=60)
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


def half_a_large_frame(sock: socket.socket, _: random.Random) -> None:
    """Send much as well, as far as it is taken."""
    sock.settimeout(0.05)
    try:
        sock.sendall(struct.pack(">ihhih", 50 << 20, 0, 9, 1, -1) + bytes(10 << 20))
    except TimeoutError:
        pass


def never_reads_a_fetch(sock: socket.socket, _: random.Random) -> None:
    """Ask for all that there is, and read none of it."""
    fetch = BY_NAME["Fetch"].request
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 30}
    topics = [{"topic": "t", "partitions": [partition]}]
    asked = build(fetch.make, {"max_bytes": 1 << 30, "topics": topics})
    body = b"".join(fetch.encode(asked, 11, struct.pack(">hhih", 1, 11, 1, -1)))
    sock.sendall(struct.pack(">i", len(body)) + body)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "crowd"),
    [
        (garbage, 100),
        (half_a_frame, 100),
        (half_a_large_frame, 30),
        (never_reads, 5),
        (never_reads_a_fetch, 30),
    ],
)
def test_crowd_that_means_harm_leaves_the_others_served(
    harm: Callable[[socket.socket, random.Random], None], crowd: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    rng = random.Random(seed)
    with Broker() as broker, ExitStack() as stack:
        broker.create_topic("t")
        for _ in range(20):
            broker.partition("t", 0).append_value(bytes(1_000_000), 0)
        broker.listen(queued_max_request_bytes=16 << 20, queued_max_response_bytes=16 << 20)
        with RawClient(broker.bootstrap_servers) as client:
            client.request("Metadata", 12, topics=None)
            before = resident_bytes()
            for _ in range(crowd):
                sock = stack.enter_context(connect(broker.bootstrap_servers))
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

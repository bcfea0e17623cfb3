"""Connections whose clients, or whose handlers, do what they should not."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import ClosedError
from streamlog.wire import dispatch
from streamlog.wire.call import Call
from streamlog.wire.listener import Listener
from streamlog.wire.messages import BY_NAME
from streamlog.wire.parked import Parked, Slow, WakeSignal
from tests.support.eventually import eventually
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import RawClient, build

HEARTBEAT = BY_NAME["Heartbeat"]
BEAT = {"group_id": "g", "member_id": "m", "generation_id": 1}


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t")
        yield broker


@pytest.fixture
def listener(broker: Broker) -> Listener:
    return broker.listen()


@pytest.fixture
def client(listener: Listener) -> Iterator[RawClient]:
    with RawClient(listener.bootstrap_servers) as client:
        yield client


def serve_heartbeats(monkeypatch: pytest.MonkeyPatch, handler: Any, *, is_slow: bool) -> None:
    route = dispatch.ROUTES[HEARTBEAT.key]
    monkeypatch.setitem(
        dispatch.ROUTES, HEARTBEAT.key, route._replace(handler=handler, is_slow=is_slow)
    )


class Unsendable(Parked):
    def start(self, signal: WakeSignal) -> None:
        pass

    def look(self, is_late: bool) -> Any:
        return HEARTBEAT.response.make(error_code=1 << 20)

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize(
    "handler", [lambda call: call.response(error_code=1 << 20), lambda call: Unsendable()]
)
def test_answer_that_cannot_be_encoded_ends_the_connection(
    client: RawClient, monkeypatch: pytest.MonkeyPatch, handler: Any, is_slow: bool
) -> None:
    """From a worker or a parked request it was an error of the loop's alone, and the client waited for ever."""
    serve_heartbeats(monkeypatch, handler, is_slow=is_slow)
    client.send("Heartbeat", 4, **BEAT)
    with pytest.raises(ConnectionError):
        client.receive()


class InWorker(Unsendable):
    def look(self, is_late: bool) -> Any:
        return Slow(lambda: None)


@pytest.mark.parametrize("handler", [lambda call: call.response(), lambda call: InWorker()])
def test_request_for_which_there_is_no_thread_leaves_no_connection(
    listener: Listener, client: RawClient, monkeypatch: pytest.MonkeyPatch, handler: Any
) -> None:
    """It counted as one whose worker was not done, for ever: among the connections, and with the memory of its request."""
    serve_heartbeats(monkeypatch, handler, is_slow=isinstance(handler(Mock()), Mock))

    def refused(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(listener.endpoint, "run_in_executor", refused)
    client.send("Heartbeat", 4, **BEAT)
    with pytest.raises(ConnectionError):
        client.receive()
    eventually(lambda: not listener.endpoint._connections)


def test_nothing_is_served_behind_what_closed_the_connection(
    broker: Broker, client: RawClient
) -> None:
    """With acks=0 a batch that was sent behind one that failed would be stored without it."""
    fields: list[Any] = [
        {"name": name, "partition_data": [{"index": 0, "records": kafka_batch([b"x"])}]}
        for name in ("absent", "t")
    ]
    api = BY_NAME["Produce"]
    frames = b""
    for number, topic in enumerate(fields):
        head = struct.pack(">hhih", api.key, 7, number, -1)
        message = build(api.request.make, {"acks": 0, "timeout_ms": 1, "topic_data": [topic]})
        frame = b"".join(api.request.encode(message, 7, head))
        frames += struct.pack(">i", len(frame)) + frame
    client.socket.sendall(frames)
    assert client.socket.recv(1) == b""
    assert broker.partition("t", 0).high_watermark == 0


def test_first_request_byte_by_byte_does_not_outlast_the_handshake(broker: Broker) -> None:
    listener = broker.listen(max_handshake_ms=300)
    host, _, port = listener.bootstrap_servers.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as dribbling:
        dribbling.settimeout(0.02)
        dribbling.sendall(struct.pack(">i", 100_000))
        for _ in range(1000):  # each byte is a sign of life
            try:
                dribbling.sendall(b"\0")
                if dribbling.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("the connection outlived its handshake many times")


def test_client_that_does_not_read_is_not_served_further(
    broker: Broker, listener: Listener, client: RawClient
) -> None:
    """What it is sent has to stay within some answers, whatever it asks for (CVE-2024-12254)."""
    for _ in range(4):
        broker.partition("t", 0).append_value(b"x" * 900_000, 0)
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 22}
    served: list[int] = []
    get = dispatch.ROUTES[1].handler

    def counted(call: Call) -> Any:
        served.append(1)
        return get(call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dispatch.ROUTES, 1, dispatch.ROUTES[1]._replace(handler=counted))
        for _ in range(40):
            client.send(
                "Fetch",
                12,
                max_wait_ms=0,
                min_bytes=1,
                max_bytes=1 << 22,
                topics=[{"topic": "t", "partitions": [partition]}],
            )
        with RawClient(listener.bootstrap_servers) as other:
            other.request("ApiVersions", 3)
        eventually(lambda: any(one._outbox.is_full for one in listener.endpoint._connections))
        (connection,) = (one for one in listener.endpoint._connections if one._outbox.is_full)
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 20_000_000
        assert len(served) < 40
        for _ in range(40):  # and now it is
            assert client.receive().responses[0].partitions[0].records


def test_listener_closed_by_its_own_handler_closes(
    listener: Listener, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that waited for the listener's thread, which waits for all workers, waited for ever."""
    closed = Event()

    def close(call: Call) -> Any:
        listener.close()
        closed.set()
        return call.response()

    serve_heartbeats(monkeypatch, close, is_slow=True)
    client.send("Heartbeat", 4, **BEAT)
    assert closed.wait(20)
    listener.close()
    with pytest.raises(ConnectionError):
        client.receive()


def test_close_with_more_slow_requests_than_workers_says_nothing(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that no worker had begun came back as cancelled, and the loop logged each as an error."""
    begun, go_on = Event(), Event()

    def wait(call: Call) -> Any:
        begun.set()
        go_on.wait(20)
        return call.response()

    serve_heartbeats(monkeypatch, wait, is_slow=True)
    clients = [RawClient(listener.bootstrap_servers) for _ in range(8)]
    for client in clients:
        client.send("Heartbeat", 4, **BEAT)
    assert begun.wait(20)
    eventually(lambda: sum(one.is_waiting for one in listener.endpoint._connections) == 8)
    with caplog.at_level(logging.ERROR):
        listener.endpoint.loop.call_soon_threadsafe(go_on.set)
        listener.close()
    assert not caplog.records
    for client in clients:
        client.close()


def test_closed_broker_does_not_listen(broker: Broker) -> None:
    """There was a listener all the same, which nobody could close."""
    broker.close()
    with pytest.raises(ClosedError):
        broker.listen()


def test_closed_listener_is_forgotten(broker: Broker) -> None:
    """It has up to 8 MiB of encoded batches."""
    for _ in range(3):
        broker.listen().close()
    assert broker._listeners == []

"""One connection, without a socket."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock
from streamlog.wire.messages import BY_NAME
from tests.support.wire import build
from tests.support.wire_memory import MemoryClient, MemoryListener

MAX_FRAME_BYTES = 100_000
TLS_BYTES = 0x16030000
UNSUPPORTED_VERSION = 35


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        yield broker


@pytest.fixture
def listener(broker: Broker) -> MemoryListener:
    return MemoryListener(broker, max_frame_bytes=MAX_FRAME_BYTES)


@pytest.fixture
def client(listener: MemoryListener) -> MemoryClient:
    return listener.connect()


def frame(name: str, version: int, correlation_id: int = 1, **fields: Any) -> bytes:
    api = BY_NAME[name]
    head = struct.pack(">hhih", api.key, version, correlation_id, -1)
    if api.request.is_flexible(version):
        head += b"\0"
    body = b"".join(api.request.encode(build(api.request.make, fields), version, head))
    return struct.pack(">i", len(body)) + body


def fetch(wait_ms: int, correlation_id: int) -> bytes:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
    topics = [{"topic": "t", "partitions": [partition]}]
    return frame(
        "Fetch",
        12,
        correlation_id,
        max_wait_ms=wait_ms,
        min_bytes=1,
        max_bytes=1000,
        topics=topics,
    )


def correlation_ids(answers: bytes) -> list[int]:
    found, position = [], 0
    while position < len(answers):
        size, one = struct.unpack_from(">ii", answers, position)
        found.append(one)
        position += 4 + size
    assert position == len(answers)
    return found


ASK = frame("ApiVersions", 0, 7)


def test_request_in_one_piece_is_answered(client: MemoryClient) -> None:
    assert correlation_ids(client.send(ASK)) == [7]


def test_request_byte_by_byte_is_answered_at_its_last(client: MemoryClient) -> None:
    for number in range(len(ASK) - 1):
        assert client.send(ASK[number : number + 1]) == b""
    assert not client.connection.is_known
    assert correlation_ids(client.send(ASK[-1:])) == [7]
    assert client.connection.is_known


def test_client_is_active_when_it_sends(listener: MemoryListener, client: MemoryClient) -> None:
    listener.loop.now_s = 5.0
    client.send(ASK[:1])
    assert (client.connection.opened_s, client.connection.last_active_s) == (0.0, 5.0)


def test_requests_in_one_piece_are_answered_in_turn(client: MemoryClient) -> None:
    asked = b"".join(frame("ApiVersions", 0, number) for number in range(5))
    assert correlation_ids(client.send(asked + ASK[:3])) == [0, 1, 2, 3, 4]
    assert correlation_ids(client.send(ASK[3:])) == [7]


def test_requests_behind_one_that_waits_wait_too(broker: Broker, client: MemoryClient) -> None:
    assert client.send(fetch(60_000, 1) + frame("Metadata", 12, 2, topics=None) + ASK) == b""
    assert client.connection.is_waiting
    broker.partition("t", 0).append_value(b"x", 0)
    assert correlation_ids(client.send(b"")) == [1, 2, 7]
    assert not client.connection.is_waiting


def test_append_wakes_no_connection_that_is_gone(broker: Broker, client: MemoryClient) -> None:
    client.send(fetch(60_000, 1))
    client.close()
    broker.partition("t", 0).append_value(b"x", 0)
    assert client.send(b"") == b""


@pytest.mark.parametrize("size", [-(2**31), -1, 0, 9, MAX_FRAME_BYTES + 1, 2**31 - 1])
def test_frame_of_a_size_that_cannot_be_ends_the_connection(
    client: MemoryClient, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Before anything is read into memory for it: the first bytes of TLS read as a size of 369 MB."""
    with caplog.at_level(logging.INFO):
        assert client.send(struct.pack(">i", size) + ASK) == b""
    assert not client.is_open
    (said,) = caplog.records
    assert said.levelno == logging.INFO, "it is nothing that we did"
    assert said.getMessage() == (
        f"connection from /127.0.0.1 closed: expected a frame of 10 to {MAX_FRAME_BYTES} bytes, found {size}"
    )


def test_frame_of_the_greatest_size_is_one(client: MemoryClient) -> None:
    client.send(struct.pack(">i", MAX_FRAME_BYTES) + ASK[4:])
    assert client.is_open
    assert correlation_ids(client.send(bytes(MAX_FRAME_BYTES - len(ASK) + 4) + ASK)) == [7, 7]


def test_first_frame_is_smaller_than_tls_reads_whatever_the_limit_is(broker: Broker) -> None:
    listener = MemoryListener(broker, max_frame_bytes=2**31 - 1)
    for size, is_one in ((TLS_BYTES - 1, True), (TLS_BYTES, False)):
        client = listener.connect()
        client.send(struct.pack(">i", size))
        assert client.is_open == is_one
    known = listener.connect()
    known.send(ASK)
    known.send(struct.pack(">i", TLS_BYTES))
    assert known.is_open


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">hhih", 999, 0, 1, -1),  # an API that nobody has
        struct.pack(">hhih", 3, 99, 1, -1),  # a version that we lack
        struct.pack(">hhih", 3, -1, 1, -1),
        struct.pack(">hhih", 18, 0, 1, 30_000),  # a name that is longer than the frame
        struct.pack(">hhih", 18, 0, 1, 2) + b"\xff\xfe",  # and one that is no text
        struct.pack(">hhih", 3, 12, 1, -1),  # tagged fields that are not there
        struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 2**31 - 1),  # more topics than bytes
    ],
    ids=["api", "version", "negative version", "long name", "name", "tags", "count"],
)
def test_request_that_is_none_ends_its_connection_and_no_other(
    listener: MemoryListener, client: MemoryClient, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    other = listener.connect()
    with caplog.at_level(logging.INFO):
        assert client.send(struct.pack(">i", len(body)) + body) == b""
    assert not client.is_open
    assert [one.levelno for one in caplog.records] == [logging.INFO]
    assert correlation_ids(other.send(ASK)) == [7]


@pytest.mark.parametrize("version", [4, 99, -1])
def test_who_asks_for_versions_in_one_that_we_lack_is_told_in_the_oldest(
    client: MemoryClient, version: int
) -> None:
    """KIP-511: the one request that is answered whatever its version is."""
    head = struct.pack(">hhih", 18, version, 5, -1)
    answer = client.send(struct.pack(">i", len(head)) + head)
    assert correlation_ids(answer) == [5]
    told = BY_NAME["ApiVersions"].response.decode(answer, 0, 8)
    assert told.error_code == UNSUPPORTED_VERSION
    assert 18 in [one.api_key for one in told.api_keys]
    assert correlation_ids(client.send(ASK)) == [7]


def test_name_of_a_client_may_be_all_that_is_behind_the_head(client: MemoryClient) -> None:
    head = struct.pack(">hhih", 18, 0, 5, 2) + b"me"
    assert correlation_ids(client.send(struct.pack(">i", len(head)) + head)) == [5]


def test_request_that_may_wait_for_a_disk_is_served_outside_the_loop(
    listener: MemoryListener, client: MemoryClient
) -> None:
    client.send(ASK)
    assert listener.loop.used_executors == []
    client.send(frame("Heartbeat", 0, group_id="g", generation_id=1, member_id="m"))
    assert listener.loop.used_executors == ["executor"]


def test_unexpected_error_ends_the_connection_and_is_logged(
    listener: MemoryListener, client: MemoryClient, caplog: pytest.LogCaptureFixture
) -> None:
    """One request must not stop the listener."""
    listener.broker = None  # type: ignore[assignment]
    assert client.send(fetch(0, 1)) == b""
    assert not client.is_open
    assert "could not be served" in caplog.text


def test_unexpected_error_in_a_worker_ends_the_connection_and_is_logged(
    listener: MemoryListener, client: MemoryClient, caplog: pytest.LogCaptureFixture
) -> None:
    listener.broker = None  # type: ignore[assignment]
    assert client.send(frame("Metadata", 12, 1, topics=None)) == b""
    assert not client.is_open
    assert "could not be served" in caplog.text


def test_client_that_does_not_read_is_served_no_further(client: MemoryClient) -> None:
    client.connection.pause_writing()
    assert client.send(ASK) == b""
    assert client.transport.is_reading()
    client.send(ASK * 10_000)
    assert not client.transport.is_reading(), "what it sends ahead is bounded"
    client.connection.resume_writing()
    assert correlation_ids(client.take()) == [7] * 10_001
    assert client.transport.is_reading()


def test_client_that_sends_ahead_of_its_answers_is_read_no_further(client: MemoryClient) -> None:
    """What is in memory for it is bounded, whatever it sends."""
    client.send(fetch(60_000, 1))
    assert client.transport.is_reading()
    client.send(ASK * 10_000)
    assert not client.transport.is_reading()


def test_reading_goes_on_when_what_was_sent_ahead_is_answered(
    broker: Broker, client: MemoryClient
) -> None:
    client.send(fetch(60_000, 1))
    client.send(ASK * 10_000)
    broker.partition("t", 0).append_value(b"x", 0)
    assert len(correlation_ids(client.send(b""))) == 10_001
    assert client.transport.is_reading()


@pytest.mark.parametrize(("count", "is_large"), [(100, False), (20_000, True)])
@pytest.mark.parametrize("name", ["Metadata", "Produce", "Fetch"])
def test_request_of_many_elements_is_served_outside_the_loop(
    broker: Broker, count: int, is_large: bool, name: str
) -> None:
    """One of a million names held everybody up for 0.8 s while it was read alone."""
    listener = MemoryListener(broker)
    client = listener.connect()
    topics = [{"name": f"absent{number}"} for number in range(count)]
    if name == "Metadata":
        request = frame(name, 12, topics=topics)
    elif name == "Produce":
        topics = [{**topic, "partition_data": []} for topic in topics]
        request = frame(name, 9, acks=1, topic_data=topics)
    else:
        topics = [{"topic": topic["name"], "partitions": []} for topic in topics]
        request = frame(name, 12, topics=topics)
    assert correlation_ids(client.send(request)) == [1]
    assert ("large executor" in listener.loop.used_executors) == is_large


def test_request_of_more_elements_than_any_client_sends_ends_the_connection(
    broker: Broker,
) -> None:
    client = MemoryListener(broker).connect()
    assert client.send(frame("DeleteTopics", 5, topic_names=["x"] * 100_001)) == b""
    assert not client.is_open


def test_connection_too_many_is_closed_at_once(listener: MemoryListener) -> None:
    listener.has_room = False
    assert not listener.connect().is_open


def test_half_a_request_is_forgotten_with_its_connection(
    listener: MemoryListener, client: MemoryClient
) -> None:
    client.send(ASK[:5])
    client.close()
    assert listener.connections == []


def test_connection_that_is_gone_counts_until_its_worker_is_done(
    listener: MemoryListener, client: MemoryClient
) -> None:
    metadata = frame("Metadata", 12, 1, topics=None)
    large = struct.pack(">i", len(metadata) + 70_000 - 4) + metadata[4:] + bytes(70_000)
    client.connection.data_received(large + ASK)
    client.connection.connection_lost(None)
    assert listener.connections == [client.connection]
    assert listener.request_memory.used_bytes == len(large) + len(ASK)
    listener.loop.run()
    assert listener.connections == []
    assert listener.request_memory.used_bytes == 0
    assert client.take() == b""


def test_answers_to_requests_in_one_piece_go_out_together(client: MemoryClient) -> None:
    pieces = []
    client.transport.write = pieces.append  # type: ignore[method-assign]
    client.send(b"".join(frame("ApiVersions", 0, number) for number in range(5)))
    (piece,) = pieces
    assert correlation_ids(piece) == [0, 1, 2, 3, 4]


def test_answers_before_a_request_that_is_none_are_sent(client: MemoryClient) -> None:
    assert correlation_ids(client.send(ASK + ASK + struct.pack(">i", -1))) == [7, 7]
    assert not client.is_open

"""Fetch: what is in an answer, and when it comes."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.wire.handlers import fetch
from tests.support.eventually import eventually
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import RawClient

NONE, UNKNOWN_TOPIC = 0, 3
A_MINUTE_MS = 60_000


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t", partitions=2)
        broker.listen()
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[RawClient]:
    with RawClient(broker.bootstrap_servers) as client:
        yield client


def fields(
    *partitions: tuple[int, int],
    wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 1 << 20,
    limit_bytes: int = 1 << 20,
) -> dict[str, Any]:
    wanted = [
        {"partition": number, "fetch_offset": offset, "partition_max_bytes": limit_bytes}
        for number, offset in partitions
    ]
    return {
        "max_wait_ms": wait_ms,
        "min_bytes": min_bytes,
        "max_bytes": max_bytes,
        "topics": [{"topic": "t", "partitions": wanted}],
    }


def answers(response: Any) -> Any:
    return response.responses[0].partitions


@pytest.mark.parametrize("version", [4, 12])
def test_partition_for_which_nothing_was_left_is_described_all_the_same(
    broker: Broker, client: RawClient, version: int
) -> None:
    """It had no last stable offset and no log start, which clients take for what they are."""
    for number in range(2):
        broker.partition("t", number).append_value(b"x" * 100, 0)
    full, empty = answers(client.request("Fetch", version, **fields((0, 0), (1, 0), max_bytes=1)))
    assert full.records
    assert not empty.records
    assert (empty.high_watermark, empty.last_stable_offset) == (1, 1)
    assert empty.log_start_offset == (0 if version > 4 else -1)


def test_first_batch_is_returned_whatever_its_size(broker: Broker, client: RawClient) -> None:
    broker.partition("t", 1).append_value(b"x" * 100, 0)
    asked = fields((0, 0), (1, 0), max_bytes=0, limit_bytes=0)
    empty, full = answers(client.request("Fetch", 12, **asked))
    assert full.records
    assert not empty.records


def test_answer_is_bounded_whatever_was_asked_for(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes 2 GiB had all of a topic read into memory at once."""
    monkeypatch.setattr(fetch, "_MAX_BYTES", 2000)
    for _ in range(10):
        broker.partition("t", 0).append_value(b"x" * 900, 0)
    most = (1 << 31) - 1
    (answer,) = answers(
        client.request("Fetch", 12, **fields((0, 0), max_bytes=most, limit_bytes=most))
    )
    assert 900 < len(answer.records) <= 2000


def test_more_bytes_than_fit_are_not_waited_for(broker: Broker, client: RawClient) -> None:
    broker.partition("t", 0).append_value(b"x" * 900, 0)
    asked = fields((0, 0), wait_ms=A_MINUTE_MS, min_bytes=1 << 20, max_bytes=500)
    (answer,) = answers(client.request("Fetch", 12, **asked))
    assert len(answer.records) > 900


@pytest.mark.parametrize("is_native", [True, False])
def test_waiting_for_many_bytes_reads_each_batch_a_few_times_only(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch, is_native: bool
) -> None:
    """Each small append had all of what was there read again: the square of their number."""
    partition, read = broker.partition("t", 0), []
    one = kafka_batch([b"x" * 20])
    produce = {
        "acks": -1,
        "timeout_ms": 1,
        "topic_data": [{"name": "t", "partition_data": [{"index": 0, "records": one}]}],
    }
    read_batches = Partition.read_batches

    def counted(self: Partition, *arguments: Any) -> Any:
        found = read_batches(self, *arguments)
        read.extend(found)
        return found

    monkeypatch.setattr(Partition, "read_batches", counted)
    wanted = 60 * len(one)
    client.send("Fetch", 12, **fields((0, 0), wait_ms=A_MINUTE_MS, min_bytes=wanted))
    eventually(lambda: partition._waiters)
    with RawClient(broker.bootstrap_servers) as producer:
        for _ in range(60):
            if is_native:
                partition.append_value(b"x" * 20, 0)
                producer.request("ApiVersions", 3)  # the loop has looked since
            else:
                producer.request("Produce", 9, **produce)
    (answer,) = answers(client.receive())
    assert len(answer.records) >= wanted
    assert len(read) < 200  # 1,830 when all are read each time


def test_partitions_that_are_named_often_wait_once(broker: Broker, client: RawClient) -> None:
    """Each name was a waiter of its own, and adding one copies those that are there."""
    client.send("Fetch", 12, **fields(*[(0, 0)] * 500, wait_ms=A_MINUTE_MS))
    partition = broker.partition("t", 0)
    eventually(lambda: partition._waiters)
    assert len(partition._waiters) == 1
    partition.append_value(b"x", 0)
    assert len(answers(client.receive())) == 500
    assert not partition._waiters


def test_parked_fetch_of_a_topic_that_is_deleted_is_told(broker: Broker, client: RawClient) -> None:
    client.send("Fetch", 12, **fields((0, 0), wait_ms=A_MINUTE_MS))
    partition = broker.partition("t", 0)
    eventually(lambda: partition._waiters)
    broker.delete_topic("t")
    (answer,) = answers(client.receive())
    assert answer.error_code == UNKNOWN_TOPIC


def test_parked_fetch_of_a_topic_that_is_made_again_waits_for_the_new_one(
    broker: Broker, client: RawClient
) -> None:
    """It slept on the one that was gone: the loop need not look between the two."""
    (listener,) = broker._listeners
    client.send("Fetch", 12, **fields((0, 0), wait_ms=A_MINUTE_MS))
    made_again = Event()
    eventually(lambda: broker.partition("t", 0)._waiters)

    def make_again() -> None:
        broker.delete_topic("t")
        broker.create_topic("t", partitions=2)
        made_again.set()

    listener.endpoint.loop.call_soon_threadsafe(make_again)
    assert made_again.wait(20)
    eventually(lambda: broker.partition("t", 0)._waiters)
    broker.partition("t", 0).append_value(b"x", 0)
    (answer,) = answers(client.receive())
    assert answer.error_code == NONE
    assert read_kafka_header(answer.records).base_offset == 0


def test_client_that_hangs_up_leaves_no_waiter(broker: Broker) -> None:
    partition = broker.partition("t", 0)
    with RawClient(broker.bootstrap_servers) as client:
        client.send("Fetch", 12, **fields((0, 0), wait_ms=A_MINUTE_MS))
        eventually(lambda: partition._waiters)
    eventually(lambda: not partition._waiters)

"""Produce: what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.record.codec import Codec
from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import RawClient

NONE, CORRUPT_MESSAGE, UNSUPPORTED_COMPRESSION, INVALID_RECORD = 0, 2, 76, 87
BATCH = kafka_batch([b"a", b"b"], [b"k", b"l"])


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t")
        broker.create_topic("compacted", configs={"cleanup_policy": "compact"})
        broker.listen()
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[RawClient]:
    with RawClient(broker.bootstrap_servers) as client:
        yield client


def produce(client: RawClient, records: bytes, version: int = 9, topic: str = "t") -> Any:
    partition = {"index": 0, "records": records}
    response = client.request(
        "Produce",
        version,
        acks=-1,
        timeout_ms=1000,
        topic_data=[{"name": topic, "partition_data": [partition]}],
    )
    return response.responses[0].partition_responses[0]


def test_several_batches_are_not_to_be_sent_again(broker: Broker, client: RawClient) -> None:
    """They were a damaged one, and a client sends that again until its time is over."""
    assert produce(client, BATCH + BATCH).error_code == INVALID_RECORD
    assert broker.partition("t", 0).high_watermark == 0


@pytest.mark.parametrize("damaged", [BATCH[:-1], BATCH + b"x" * 20, BATCH[:-1] + b"x", b"x" * 70])
def test_damaged_batch_may_be_sent_again(client: RawClient, damaged: bytes) -> None:
    assert produce(client, damaged).error_code == CORRUPT_MESSAGE


@pytest.mark.parametrize("bits", [CONTROL_BIT, CONTROL_BIT | TRANSACTIONAL_BIT, TRANSACTIONAL_BIT])
def test_batch_that_only_a_broker_writes_is_refused(client: RawClient, bits: int) -> None:
    assert produce(client, kafka_batch([b"x"], attributes=bits)).error_code == INVALID_RECORD


@pytest.mark.parametrize(("version", "code"), [(3, 76), (6, 76), (7, NONE), (9, NONE)])
def test_zstd_is_taken_from_clients_that_are_new_enough(
    client: RawClient, version: int, code: int
) -> None:
    batch = kafka_batch([b"x" * 100], attributes=Codec.ZSTD)
    assert produce(client, batch, version).error_code == code


def test_records_that_cannot_be_read_are_refused_where_they_are_looked_at(
    client: RawClient,
) -> None:
    """A topic that is compacted needs the keys. It was an unknown error of the server's."""
    batch = kafka_batch([], records=b"\x7f" * 40, records_count=2, last_offset_delta=1)
    assert produce(client, batch, topic="compacted").error_code == INVALID_RECORD

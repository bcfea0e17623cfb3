"""Records of a real client in each codec, read by that client and in the process, beside records that a producer in the process wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.record import Codec
from streamlog.record.layout import KAFKA_V2_ENCODING

confluent: Any = pytest.importorskip("confluent_kafka")

T0 = TopicPartition("t", 0)
HEADERS: list[tuple[str, bytes | None]] = [("h", b"x"), ("n", None)]
ROWS = [(b"key %d" % number, b"value %d " % number * 8) for number in range(150)]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t")
        broker.listen()
        yield broker


def send(broker: Broker, codec: Codec) -> None:
    producer = confluent.Producer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "compression.type": codec.label,
            "linger.ms": 50,
        }
    )
    for key, value in ROWS:
        producer.produce("t", key=key, value=value, headers=HEADERS, partition=0)
    assert producer.flush(30) == 0


def send_in_process(broker: Broker, codec: Codec) -> None:
    with Producer(broker, compression_type=codec.label, linger_ms=50) as producer:
        for key, value in ROWS:
            producer.send("t", key=key, value=value, headers=HEADERS, partition=0)


def read(broker: Broker, count: int) -> list[Any]:
    """Return what the client reads from the beginning on, with checksums verified."""
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "g",
            "check.crcs": True,
        }
    )
    consumer.assign([confluent.TopicPartition("t", 0, 0)])
    found: list[Any] = []
    try:
        while len(found) < count:
            messages = consumer.consume(count - len(found), timeout=30)
            assert messages, f"{len(found)} of {count} records"
            for message in messages:
                assert message.error() is None
                found.append((message.key(), message.value(), message.headers()))
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.label)
def test_clients_and_the_process_read_each_other_in_each_codec(
    broker: Broker, codec: Codec
) -> None:
    send(broker, codec)
    send_in_process(broker, codec)
    partition = broker.partition(*T0)
    batches = partition.read_batches(0, 1 << 20, partition.log_end_offset)
    assert {batch.codec for batch in batches} == {codec}
    assert batches[0].body_encoding == KAFKA_V2_ENCODING
    assert batches[-1].body_encoding != KAFKA_V2_ENCODING
    expected = [(key, value, HEADERS) for key, value in ROWS * 2]
    assert read(broker, len(expected)) == expected
    with Consumer(broker) as consumer:
        consumer.assign([T0])
        consumer.seek_to_beginning(T0)
        found: list[Any] = []
        while len(found) < len(expected):
            found += consumer.poll(30)
    assert [(record.key, record.value, list(record.headers)) for record in found] == expected

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
            messages = consumer.consume(count - len(found), timeout=100)
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


def test_a_client_gets_what_is_stored_before_a_damaged_batch(broker: Broker) -> None:
    send_in_process(broker, Codec.NONE)
    partition = broker.partition(*T0)
    end = partition.log_end_offset
    partition.append_value(b"damaged", 0)
    segment = partition.log.segments[-1]
    at = segment.position - len(b"damaged") - 2
    mapping = segment.mapping_for_read()
    assert b"damaged" in mapping[at - 20 : segment.position]
    mapping[at : at + 1] = b"?"
    assert [value for _, value, _ in read(broker, end)] == [value for _, value in ROWS]


def test_batches_of_clients_are_compacted_with_our_own(broker: Broker) -> None:
    broker.create_topic("t2", configs={"cleanup_policy": "compact"})
    producer = confluent.Producer(
        {"bootstrap.servers": broker.bootstrap_servers, "compression.type": "zstd"}
    )
    refused: list[Any] = []
    producer.produce("t2", key=None, value=b"v", on_delivery=lambda *result: refused.append(result))
    assert producer.flush(30) == 0
    assert refused[0][0].code() == confluent.KafkaError.INVALID_RECORD
    for number in range(30):
        producer.produce("t2", key=b"%d" % (number % 3), value=b"%d" % number)
        assert producer.flush(30) == 0
    with Producer(broker, linger_ms=0) as own:
        own.send("t2", b"own", key=b"1").result()
    (result,) = broker.compact("t2", roll=True)
    assert (result.records_before, result.records_after) == (31, 3)
    with Consumer(broker) as consumer:
        consumer.assign([TopicPartition("t2", 0)])
        consumer.seek_to_beginning(TopicPartition("t2", 0))
        found = [(record.key, record.value) for record in consumer.poll(30)]
    assert found == [(b"0", b"27"), (b"2", b"29"), (b"1", b"own")]

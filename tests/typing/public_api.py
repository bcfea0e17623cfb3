"""What type checkers accept and refuse at the public door. Never run.

Checked by mypy together with the sources: an ``ignore`` that hides no error is an error itself.
"""

from __future__ import annotations

from streamlog import (
    Broker,
    Consumer,
    OffsetAndMetadata,
    Producer,
    ProducerRecord,
    RecordFuture,
    RecordMetadata,
    TableView,
    TopicPartition,
)
from streamlog.aio import AsyncListener, listen


class Serializer:
    """One like Kafka's."""

    def serialize(self, topic: str, value: object) -> bytes:
        """Return bytes."""
        return b""


def partition(topic: str, key: bytes | None, value: bytes | None, count: int) -> int:
    """Choose a partition."""
    return 0


def told(metadata: RecordMetadata, error: BaseException | None) -> None:
    """Hear what became of a record."""


def accepted() -> None:
    """What the documents promise."""
    with Broker("data", log_retention_ms=5, log_cleanup_policy=["delete"]) as broker:
        producer = Producer(
            broker, linger_ms=0.5, acks=1, value_serializer=Serializer(), partitioner=partition
        )
        Producer(broker, compression_type="zstd", compression_zstd_level=5)
        future: RecordFuture = producer.send("t", b"v", key=b"k", headers=[("h", None)])
        future = producer.send("t", on_delivery=told, partition=0, timestamp_ms=5)
        future = producer.send(ProducerRecord("t", b"v", key=b"k"), on_delivery=told)
        offset: int = future.result(timeout=1).offset
        write = producer.writer("t", 0)
        write(b"v", b"k", 5)
        consumer = Consumer(
            broker,
            "t",
            "u",
            group_id="g",
            auto_offset_reset="by_duration:PT1H",
            value_deserializer=bytes.decode,
            config={"fetch.min.bytes": "5"},
        )
        consumer.commit({TopicPartition("t", 0): offset})
        one: OffsetAndMetadata | None = consumer.committed(TopicPartition("t", 0))
        several: dict[TopicPartition, OffsetAndMetadata | None] = consumer.committed([])
        lag: int = consumer.metrics()["records_lag"][TopicPartition("t", 0)]
        view = TableView(broker, "t", key_deserializer="str", isolation_level="read_committed")
        count: int = len(view) + sum(1 for _ in view.items())
        with view.on_change(lambda key, old, new: print(key, old, new)):
            removed: int = sum(r.records_before - r.records_after for r in broker.compact("t"))
        print(one, several, lag, count, removed, broker.cleaner_metrics()["pass_total"])


async def accepted_in_a_loop(broker: Broker) -> None:
    """What the documents promise of listening."""
    with broker.listen("127.0.0.1:0", node_id=1, auto_create=False) as own:
        async with await listen(broker, max_connections=5) as listener:
            kept: AsyncListener = listener
            print(own.bootstrap_servers, kept.bootstrap_servers, kept.closed)


async def refused_in_a_loop(broker: Broker) -> None:
    """What would raise when it ran."""
    broker.listen(max_conections=5)  # type: ignore[call-arg]
    await listen(broker, ssl_context=None)  # type: ignore[call-arg]
    await listen("127.0.0.1:0")  # type: ignore[arg-type]


def refused(broker: Broker) -> None:
    """What would raise when it ran."""
    Broker(retention_ms=5)  # type: ignore[call-arg]
    Broker({"log.retention.ms": 5})  # type: ignore[arg-type]
    TableView(broker, "t", isolation_level="committed")  # type: ignore[arg-type]
    Producer("localhost:9092")  # type: ignore[arg-type]
    Producer(broker, {"linger.ms": 5})  # type: ignore[call-arg]
    Producer(broker, linger=5)  # type: ignore[call-arg]
    Producer(broker, acks="none")  # type: ignore[arg-type]
    Producer(broker, value_serializer="avro")  # type: ignore[arg-type]
    Consumer(broker, {"group.id": "g"})  # type: ignore[arg-type]
    Consumer(broker, group="g")  # type: ignore[call-arg]
    Consumer(broker, bootstrap_servers="localhost:9092")  # type: ignore[call-arg]
    producer = Producer(broker)
    producer.send("t", b"v", b"k")  # type: ignore[call-overload]
    producer.send("t", b"v", keys=b"k")  # type: ignore[call-overload]
    producer.send(ProducerRecord("t"), key=b"k")  # type: ignore[call-overload]
    ProducerRecord("t", b"k", b"v")  # type: ignore[call-arg]

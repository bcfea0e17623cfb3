"""A broker that writes, and others that read its directory on a file system that fails the test for a write."""

from __future__ import annotations

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.runtime import MemoryFileSystem, VirtualClock
from tests.support.frozen_files import FrozenFileSystem

ORDERS = TopicPartition("orders", 0)


class World:
    """A writer, and readers of its directory on a file system that fails the test for a write."""

    def __init__(self) -> None:
        self.disk = MemoryFileSystem()
        self.clock = VirtualClock()
        self.writer = self.new_writer()
        self.readers: list[Broker] = []

    def new_writer(self) -> Broker:
        return Broker(
            "/data", filesystem=self.disk, clock=self.clock, offsets_topic_num_partitions=2
        )

    def reader(self) -> Broker:
        broker = Broker(
            "/data", read_only=True, filesystem=FrozenFileSystem(self.disk), clock=self.clock
        )
        self.readers.append(broker)
        return broker

    def write(self, *values: bytes, topic: str = "orders") -> None:
        with Producer(self.writer) as producer:
            for value in values:
                producer.send(topic, value)

    def close(self) -> None:
        for reader in self.readers:
            reader.close()
        self.writer.close()


def values(consumer: Consumer, timeout_ms: float = 1000) -> list[bytes | None]:
    """What one poll returns."""
    return [record.value for record in consumer.poll(timeout_ms)]


def assigned(broker: Broker, **config: object) -> Consumer:
    """A consumer that reads all of ``orders-0``."""
    consumer = Consumer(broker, auto_offset_reset="earliest", config=config)
    consumer.assign([ORDERS])
    return consumer

"""Compaction of what groups committed and transactions came to: all of it is there afterwards, in less room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog import (
    Admin,
    Broker,
    Consumer,
    InvalidProducerEpochError,
    OffsetAndMetadata,
    Producer,
    TopicPartition,
)
from streamlog.testing import MemoryFileSystem, VirtualClock

OFFSETS = "__consumer_offsets"
TRANSACTIONS = "__transaction_state"
SMALL = {"segment_bytes": 2048}
DAY_MS = 86_400_000


class World:
    """A directory in memory, opened again and again."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.disk = MemoryFileSystem()
        self.broker = self.open()

    def open(self, **config: Any) -> Broker:
        return Broker(
            "/data",
            clock=self.clock,
            filesystem=self.disk,
            seed=1,
            offsets_topic_num_partitions=2,
            transaction_state_log_num_partitions=2,
            **config,
        )

    def reopen(self) -> Broker:
        self.broker.close()
        self.broker = self.open()
        return self.broker

    def size_bytes(self, topic: str) -> int:
        partitions = self.broker.topic(topic).partitions
        return sum(s.position for one in partitions for s in one.log.segments)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.broker.close()


def committed(broker: Broker, groups: int) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]:
    admin = Admin(broker)
    return {
        group: dict(admin.list_consumer_group_offsets(group))
        for group in (f"g{n}" for n in range(groups))
    }


def commit_many(broker: Broker, rounds: int, *, groups: int = 4, first: int = 0) -> None:
    """Have each of a few groups commit again and again, and one of them forget its offsets at times."""
    for number in range(first, first + rounds):
        group = f"g{number % groups}"
        with Consumer(broker, group_id=group, enable_auto_commit=False) as consumer:
            consumer.assign([TopicPartition("t", 0), TopicPartition("t", 1)])
            offset = OffsetAndMetadata(number, metadata=f"commit {number}")
            consumer.commit({TopicPartition("t", number // groups % 2): offset})
        if number % 17 == 0:
            Admin(broker).delete_consumer_groups([group])


def test_grp_4_committed_offsets_are_the_same_after_compaction(world: World) -> None:
    broker = world.broker
    broker.create_topic("t", partitions=2)
    commit_many(broker, 1)
    broker.alter_topic_configs(OFFSETS, SMALL)
    for day in range(3):
        commit_many(broker, 120, first=1 + 120 * day)
        before, size = committed(broker, 4), world.size_bytes(OFFSETS)
        assert sum(map(len, before.values())) > 4
        broker.compact()
        assert committed(broker, 4) == before  # what is in memory
        assert world.size_bytes(OFFSETS) < size / 2
        broker = world.reopen()
        assert committed(broker, 4) == before
        world.clock.advance(DAY_MS)  # for the tombstones


def test_offsets_topic_is_cleaned_by_itself(world: World) -> None:
    broker = world.broker
    broker.create_topic("t", partitions=2)
    commit_many(broker, 1)
    broker.alter_topic_configs(OFFSETS, SMALL)
    for number in range(10):
        commit_many(broker, 60, first=60 * number + 1)
        world.clock.advance(15_000)
    assert broker.cleaner_metrics()["pass_total"] >= 2
    assert world.size_bytes(OFFSETS) < 20_000
    before = committed(broker, 4)
    assert committed(world.reopen(), 4) == before


def test_txn_7_offsets_of_transactions_count_as_they_did_after_compaction(world: World) -> None:
    """Committed, aborted, and still open: those are behind the last stable offset, where nothing is touched."""
    broker = world.broker
    broker.create_topic("t", partitions=2)
    commit_many(broker, 1)
    broker.alter_topic_configs(OFFSETS, SMALL)
    place = TopicPartition("t", 0)
    with (
        Producer(broker, transactional_id="x") as producer,
        Consumer(broker, group_id="g0", enable_auto_commit=False) as consumer,
    ):
        producer.init_transactions()
        consumer.assign([place])
        for number in range(80):
            producer.begin_transaction()
            producer.send_offsets_to_transaction({place: number}, consumer.group_metadata())
            if number % 3 == 0:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
        broker.compact()
        assert committed(broker, 1)["g0"][place].offset == 79
        producer.begin_transaction()
        producer.send_offsets_to_transaction({place: 1000}, consumer.group_metadata())
        broker.compact(OFFSETS, roll=True)
        producer.commit_transaction()
        assert committed(broker, 1)["g0"][place].offset == 1000
    broker.compact(OFFSETS, roll=True)
    assert committed(world.reopen(), 1)["g0"][place].offset == 1000


def test_txn_12_states_of_transactions_are_the_same_after_compaction(world: World) -> None:
    broker = world.broker
    broker.create_topic("t", partitions=2)
    producers = [Producer(broker, transactional_id=f"x{n}") for n in range(3)]
    for producer in producers:
        producer.init_transactions()
    broker.alter_topic_configs(TRANSACTIONS, SMALL)
    for number in range(150):
        producer = producers[number % 3]
        producer.begin_transaction()
        producer.send("t", b"%d" % number, partition=number % 2)
        if number % 5 == 0:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    admin = Admin(broker)
    before, size = admin.list_transactions(), world.size_bytes(TRANSACTIONS)
    described = admin.describe_transactions(["x0", "x1", "x2"])
    broker.compact()
    assert world.size_bytes(TRANSACTIONS) < size / 2
    producers[0].begin_transaction()
    producers[0].send("t", b"after")
    producers[0].commit_transaction()
    after = admin.describe_transactions(["x1", "x2"])
    assert after == {name: described[name] for name in after}
    broker = world.reopen()
    assert [one.transactional_id for one in Admin(broker).list_transactions()] == [
        one.transactional_id for one in before
    ]
    with Producer(broker, transactional_id="x0") as heir:
        heir.init_transactions()
        heir.begin_transaction()
        heir.send("t", b"heir")
        heir.commit_transaction()
        with Producer(broker, transactional_id="x0") as other:
            other.init_transactions()
            heir.begin_transaction()
            with pytest.raises(InvalidProducerEpochError):
                heir.send("t", b"late").result()
    with Consumer(
        broker, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition("t", 0), TopicPartition("t", 1)])
        values: list[bytes] = []
        while records := consumer.poll():
            values += records.values()
    numbers = [b"%d" % number for number in range(150) if number % 5]
    assert sorted(values) == sorted([*numbers, b"after", b"heir"])

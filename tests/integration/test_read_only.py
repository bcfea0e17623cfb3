"""A reader beside a writer: two brokers on one directory, the second of which may change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlog import (
    Admin,
    Consumer,
    OffsetAndMetadata,
    Producer,
    ReadOnlyError,
    UnknownTopicOrPartitionError,
)
from tests.support.read_only_world import ORDERS, World, assigned, values
from tests.support.transaction_writer import new_writer


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_a_directory_in_use_is_read_while_it_grows(world: World) -> None:
    world.write(b"one", b"two")
    reader = world.reader()
    assert reader.topics() == ["orders"]
    consumer = assigned(reader)
    assert values(consumer) == [b"one", b"two"]
    assert values(consumer) == []
    world.write(b"three")
    assert values(consumer) == [b"three"]
    assert reader.partition(*ORDERS).log_end_offset == 3


def test_who_waits_is_woken_at_the_next_look_and_not_before(world: World) -> None:
    world.writer.create_topic("orders")
    consumer = assigned(world.reader())
    assert values(consumer, 0) == []
    world.clock.new_scheduler("w").call_later(250, lambda: world.write(b"late"))
    before_ms = world.clock.monotonic_ms()
    assert values(consumer, 5_000) == [b"late"]
    assert 250 <= world.clock.monotonic_ms() - before_ms <= 350


def test_topics_come_grow_and_go(world: World) -> None:
    reader = world.reader()
    assert reader.topics() == []
    consumer = assigned(reader)
    world.write(b"one")
    assert values(consumer) == [b"one"]
    world.writer.create_partitions("orders", 3)
    assert len(reader.describe_topic("orders").partitions) == 3
    world.writer.alter_topic_configs("orders", {"retention_ms": 1234})
    assert reader.describe_topic("orders").configs["retention_ms"] == 1234
    partition = reader.partition(*ORDERS)
    world.writer.delete_topic("orders")
    assert reader.topics() == []
    with pytest.raises(UnknownTopicOrPartitionError, match="was deleted"):
        _ = partition.log_end_offset
    world.write(b"again")
    assert values(consumer) == [b"again"]


def test_what_would_change_something_is_refused_with_a_reason(world: World) -> None:
    world.write(b"one")
    reader = world.reader()
    admin, partition = Admin(reader), reader.partition(*ORDERS)
    consumer = assigned(reader, group_id="g", enable_auto_commit=False)
    consumer.poll(1000)
    metadata = OffsetAndMetadata(1)
    calls = [
        lambda: Producer(reader),
        lambda: reader.create_topic("other"),
        lambda: reader.delete_topic("orders"),
        lambda: reader.create_partitions("orders", 9),
        lambda: reader.alter_topic_configs("orders", {"retention_ms": 1}),
        lambda: reader.sync(),
        lambda: reader.run_maintenance(),
        lambda: reader.new_producer_id(),
        lambda: Consumer(reader, group_id="g"),
        lambda: Consumer(reader, "orders", group_id="g", enable_auto_commit=False),
        lambda: consumer.commit(),
        lambda: partition.sync(),
        lambda: partition.append_value(b"x", 1),
        lambda: admin.create_topics(["other"]),
        lambda: admin.delete_topics(["orders"]),
        lambda: admin.create_partitions({"orders": 9}),
        lambda: admin.delete_records({ORDERS: 1}),
        lambda: admin.alter_consumer_group_offsets("g", {ORDERS: metadata}),
        lambda: (
            admin.delete_consumer_groups(["g"]) if False else reader.group_coordinator.delete("g")
        ),
        lambda: admin.fence_producers(["t"]),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyError, match=r"/data was opened with read_only=True"):
            call()


def test_groups_and_what_they_committed_are_followed(world: World) -> None:
    world.write(b"one", b"two")
    reader = world.reader()
    admin = Admin(reader)
    assert admin.list_consumer_groups() == []
    writing = Admin(world.writer)
    writing.alter_consumer_group_offsets("g", {ORDERS: 1})
    assert [one.group_id for one in admin.list_consumer_groups()] == ["g"]
    consumer = assigned(reader, group_id="g", enable_auto_commit=False)
    assert values(consumer) == [b"two"]
    (offset,) = admin.describe_consumer_groups(["g"])["g"].offsets
    assert (offset.committed_offset, offset.log_end_offset, offset.lag) == (1, 2, 1)
    writing.alter_consumer_group_offsets("g", {ORDERS: 2})
    assert consumer.committed(ORDERS) == OffsetAndMetadata(2)
    writing.delete_consumer_groups(["g"])
    assert admin.list_consumer_groups() == []


def test_open_and_aborted_transactions_are_found_in_the_log(world: World) -> None:
    world.writer.create_topic("orders")
    reader = world.reader()
    consumer = assigned(reader, isolation_level="read_committed")
    txn = new_writer(world.writer)
    txn.write("orders", value=b"aborted")
    world.write(b"plain")
    assert values(consumer) == []
    partition = reader.partition(*ORDERS)
    assert (partition.last_stable_offset, partition.log_end_offset) == (0, 2)
    txn.end(commit=False)
    txn.write("orders", value=b"kept")
    assert values(consumer) == [b"plain"]
    txn.end(commit=True)
    assert values(consumer) == [b"kept"]
    late = assigned(world.reader(), isolation_level="read_committed")
    assert values(late) == [b"plain", b"kept"]
    assert [one.transactional_id for one in Admin(reader).list_transactions()] == ["t"]
    assert Admin(reader).describe_producers([ORDERS])[ORDERS][0].producer_id == txn.producer[0]


def test_a_writer_that_comes_back_is_followed(world: World) -> None:
    world.write(b"one")
    reader = world.reader()
    consumer = assigned(reader)
    assert values(consumer) == [b"one"]
    world.writer.close()
    world.writer = world.new_writer()
    world.write(b"two")
    assert values(consumer) == [b"two"]

"""When committed offsets are forgotten (GRP-12), on a clock that jumps."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from streamlog import Admin, Broker, Consumer, OffsetAndMetadata, TopicPartition
from streamlog.broker.group import Group
from streamlog.broker.group_description import ConsumerGroupDescription
from streamlog.broker.group_records import (
    GroupEpoch,
    GroupTombstone,
    OffsetCommit,
    OffsetTombstone,
)
from streamlog.broker.offset_expiry import handle_expiry
from streamlog.broker.offsets_topic import OFFSETS_TOPIC, read_records
from streamlog.broker.partition import Partition
from streamlog.errors import CorruptLogError, DiskFullError, GroupIdNotFoundError
from streamlog.runtime import MemoryFileSystem, VirtualClock

Protocol = Literal["consumer", "classic"]
BOTH: tuple[Protocol, ...] = ("consumer", "classic")

MINUTE = 60_000
WEEK = 10_080 * MINUTE
CHECK = 600_000
ORDERS, BILLS = TopicPartition("orders", 0), TopicPartition("bills", 0)


@pytest.fixture
def filesystem() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
def reopen(clock: VirtualClock, filesystem: MemoryFileSystem) -> Iterator[Callable[[], Broker]]:
    """Opens the one directory, after closing the broker that has it."""
    brokers: list[Broker] = []

    def opened() -> Broker:
        for broker in brokers:
            broker.close()
        brokers.append(
            Broker(
                "/data", clock=clock, filesystem=filesystem, seed=1, offsets_topic_num_partitions=2
            )
        )
        return brokers[-1]

    with opened() as broker:
        broker.create_topic("orders")
        broker.create_topic("bills")
    yield opened
    for broker in brokers:
        broker.close()


def member(broker: Broker, protocol: Protocol, *topics: str, group_id: str = "g") -> Consumer:
    consumer = Consumer(
        broker,
        group_id=group_id,
        group_protocol=protocol,
        enable_auto_commit=False,
        max_poll_interval_ms=2**31 - 1,
    )
    consumer.subscribe(topics)
    consumer.poll()
    return consumer


def committed(broker: Broker, group_id: str = "g") -> set[TopicPartition]:
    return set(Admin(broker).list_consumer_group_offsets(group_id))


def exists(broker: Broker, group_id: str = "g") -> bool:
    return group_id in {line.group_id for line in Admin(broker).list_consumer_groups()}


def described(broker: Broker) -> ConsumerGroupDescription:
    return Admin(broker).describe_consumer_groups(["g"])["g"]


@pytest.mark.parametrize("protocol", BOTH)
def test_offsets_go_a_week_after_the_last_member_left(
    reopen: Callable[[], Broker], clock: VirtualClock, protocol: Protocol
) -> None:
    """GRP-12."""
    broker = reopen()
    consumer = member(broker, protocol, "orders")
    consumer.commit({ORDERS: OffsetAndMetadata(0)})
    clock.advance(2 * WEEK)
    assert committed(broker) == {ORDERS}, "a member is there"
    consumer.close()
    clock.advance(WEEK - CHECK)
    assert committed(broker) == {ORDERS}
    clock.advance(CHECK + 1)
    assert committed(broker) == set()
    assert not exists(broker), "and with its last offset the group"
    with pytest.raises(GroupIdNotFoundError):
        described(broker)
    assert not exists(reopen())


@pytest.mark.parametrize("protocol", BOTH)
def test_moment_at_which_the_group_became_empty_survives_a_reopen(
    reopen: Callable[[], Broker], clock: VirtualClock, protocol: Protocol
) -> None:
    """GRP-12."""
    broker = reopen()
    consumer = member(broker, protocol, "orders")
    consumer.commit({ORDERS: OffsetAndMetadata(0)})
    clock.advance(WEEK)  # the commit is old by now, and does not count
    broker.close()
    clock.advance(WEEK // 2)
    broker = reopen()
    broker.run_maintenance()
    assert committed(broker) == {ORDERS}
    clock.advance(WEEK // 2 - CHECK)
    broker = reopen()
    assert committed(broker) == {ORDERS}
    clock.advance(CHECK)
    broker.run_maintenance()
    assert not exists(broker)


def test_group_whose_process_died_counts_from_the_first_look_after_it() -> None:
    """Nobody wrote down when its last member left, and a restart long after must not lose its place."""
    group = Group("g")
    group.replay(GroupEpoch("g", 3))  # written when the last member joined
    group.replay(OffsetCommit("g", ORDERS, 7, None, "", 0, "id"))
    noted = GroupEpoch("g", 3, 3 * WEEK)
    assert handle_expiry(group, 3 * WEEK, WEEK) == [noted]
    group.replay(noted)
    assert handle_expiry(group, 4 * WEEK - 1, WEEK) == []
    gone = [OffsetTombstone("g", ORDERS), GroupTombstone("g")]
    assert handle_expiry(group, 4 * WEEK, WEEK) == gone


def test_moment_noted_by_a_check_survives_a_reopen(
    reopen: Callable[[], Broker], clock: VirtualClock
) -> None:
    broker = reopen()
    Admin(broker).alter_consumer_group_offsets("g", {ORDERS: 0})
    coordinator = broker.group_coordinator
    coordinator._begin_generation("g")
    # As if it had members, whose process died.
    coordinator._store.apply(coordinator._store.groups["g"], [GroupEpoch("g", 2)])
    broker.close()
    clock.advance(WEEK)
    broker = reopen()
    broker.run_maintenance()
    broker.close()
    clock.advance(WEEK - 1)
    broker = reopen()
    broker.run_maintenance()
    assert committed(broker) == {ORDERS}
    clock.advance(1)
    broker.run_maintenance()
    assert not exists(broker)


def test_offsets_of_a_group_that_nobody_joined_go_a_week_after_their_commit(
    reopen: Callable[[], Broker], clock: VirtualClock
) -> None:
    """GRP-12: each by itself."""
    broker = reopen()
    admin = Admin(broker)
    admin.alter_consumer_group_offsets("g", {ORDERS: 0})
    clock.advance(WEEK // 2)
    admin.alter_consumer_group_offsets("g", {BILLS: 0})
    clock.advance(WEEK // 2)
    broker.run_maintenance()
    assert committed(broker) == {BILLS}
    clock.advance(WEEK // 2)
    broker.run_maintenance()
    assert not exists(broker)


@pytest.mark.parametrize("protocol", BOTH)
def test_offsets_of_topics_that_no_member_wants_go_a_week_after_their_commit(
    reopen: Callable[[], Broker], clock: VirtualClock, protocol: Protocol
) -> None:
    """GRP-12."""
    broker = reopen()
    consumer = member(broker, protocol, "orders", "bills")
    consumer.commit({ORDERS: OffsetAndMetadata(0), BILLS: OffsetAndMetadata(0)})
    clock.advance(WEEK)
    consumer.subscribe(["orders"])
    broker.run_maintenance()
    assert committed(broker) == {ORDERS, BILLS}, "the group has not heard of it"
    consumer.poll()
    broker.run_maintenance()
    assert committed(broker) == {ORDERS}
    assert described(broker).members


def test_nothing_of_a_classic_group_goes_while_it_rebalances(
    reopen: Callable[[], Broker], clock: VirtualClock
) -> None:
    broker = reopen()
    first = member(broker, "classic", "orders")
    first.commit({ORDERS: OffsetAndMetadata(0), BILLS: OffsetAndMetadata(0)})
    second = member(broker, "classic", "orders")
    clock.advance(WEEK)
    broker.run_maintenance()
    assert committed(broker) == {ORDERS, BILLS}, "the second may want anything yet"
    for _ in range(2):
        first.poll()
        second.poll()
    broker.run_maintenance()
    assert committed(broker) == {ORDERS}


def test_offset_reset_by_hand_after_the_last_member_left_is_kept_from_then_on(
    reopen: Callable[[], Broker], clock: VirtualClock
) -> None:
    broker = reopen()
    consumer = member(broker, "consumer", "orders", "bills")
    consumer.commit({ORDERS: OffsetAndMetadata(0), BILLS: OffsetAndMetadata(0)})
    consumer.close()
    clock.advance(WEEK - 1)
    Admin(broker).alter_consumer_group_offsets("g", {ORDERS: 0})
    clock.advance(1)
    broker.run_maintenance()
    assert committed(broker) == {ORDERS}


def test_retention_and_interval_are_options(clock: VirtualClock) -> None:
    with Broker(
        clock=clock, offsets_retention_minutes=1, offsets_retention_check_interval_ms=20_000
    ) as broker:
        broker.create_topic("orders")
        Admin(broker).alter_consumer_group_offsets("g", {ORDERS: 0})
        clock.advance(MINUTE - 1)
        assert committed(broker) == {ORDERS}
        clock.advance(1)
        assert committed(broker) == set()


def test_check_of_a_broker_without_groups_makes_no_topic(clock: VirtualClock) -> None:
    with Broker(clock=clock) as broker:
        clock.advance(CHECK)
        broker.run_maintenance()
        assert broker.topics(include_internal=True) == []


def test_damaged_home_keeps_no_other_group_from_expiring(
    reopen: Callable[[], Broker],
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = reopen()
    for name in ("a", "b"):  # one in each of the two partitions
        Admin(broker).alter_consumer_group_offsets(name, {ORDERS: 0})
    broker = reopen()
    clock.advance(WEEK - 1)  # just before the check
    monkeypatch.setattr("streamlog.broker.group_store.read_records", _refusing_the_first)
    broker = reopen()
    clock.advance(1)
    with caplog.at_level(logging.ERROR, "streamlog"):
        assert broker.group_coordinator.expire_offsets() == 1
    assert f"Offsets in {OFFSETS_TOPIC}-0 do not expire" in caplog.text
    monkeypatch.undo()
    assert broker.group_coordinator.expire_offsets() == 1


def _refusing_the_first(partition: Partition) -> object:
    if partition.number == 0:
        raise CorruptLogError(f"{partition.topic_partition}: damaged")
    return read_records(partition)


def test_tombstones_that_find_no_room_leave_the_offsets_to_the_next_check(
    reopen: Callable[[], Broker],
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = reopen()
    Admin(broker).alter_consumer_group_offsets("g", {ORDERS: 0})
    clock.advance(WEEK - 1)
    coordinator = broker.group_coordinator

    def full(*_: object) -> int:
        raise DiskFullError("no room")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "streamlog"):
        patch.setattr(Partition, "append", full)
        clock.advance(1)
        assert coordinator.expire_offsets() == 0
    assert "Offsets of group 'g' did not expire" in caplog.text
    assert committed(broker) == {ORDERS}
    assert coordinator.expire_offsets() == 1


def test_timers_do_not_keep_a_broker_alive_that_nobody_holds(clock: VirtualClock) -> None:
    broker = Broker(clock=clock)
    broker.create_topic("orders")
    members = [member(broker, protocol, "orders", group_id=protocol) for protocol in BOTH]
    alive = weakref.ref(broker)
    del broker, members
    gc.collect()
    assert alive() is None
    clock.advance(WEEK)

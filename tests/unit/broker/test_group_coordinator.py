"""The coordinator in a broker: what it stores, when it loads, whom it wakes, whom it evicts."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.group_coordinator import GroupCoordinator
from streamlog.broker.group_member import Subscription
from streamlog.broker.group_membership import JOIN_EPOCH, Heartbeat
from streamlog.broker.java_hash import partition_for_group
from streamlog.broker.member_session import MemberSession
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    DiskFullError,
    OffsetMetadataTooLargeError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import MemoryFileSystem, Signal, VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.producing import failing_partitions

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def coordinator(broker: Broker) -> GroupCoordinator:
    broker.create_topic("t", partitions=2)
    return broker.group_coordinator


def commit(
    coordinator: GroupCoordinator, offset: int, *, group: str = "g", tp: TopicPartition = T0
) -> None:
    coordinator.commit_offsets(group, "", -1, {tp: OffsetAndMetadata(offset)})


def committed(
    coordinator: GroupCoordinator, group: str = "g", tp: TopicPartition = T0
) -> int | None:
    found = coordinator.fetch_offsets(group, [tp])[tp]
    return None if found is None else found.offset


class Member:
    """A group member reduced to its heartbeats."""

    def __init__(self, broker: Broker, group: str = "g", client_id: str = "") -> None:
        self.broker = broker
        self.group = group
        self.client_id = client_id
        self.session = MemberSession(Signal(), 300_000, broker.runtime.clock.monotonic_ms())
        self.member_id = ""
        self.epoch = JOIN_EPOCH
        self.owned: frozenset[TopicPartition] = frozenset()

    def heartbeat(self) -> None:
        coordinator = self.broker.group_coordinator
        self.member_id = self.member_id or coordinator.new_member_id(self.group, self.client_id)
        while True:
            response = coordinator.heartbeat(
                Heartbeat(
                    self.group,
                    self.member_id,
                    self.epoch,
                    self.client_id,
                    Subscription(frozenset({"t"})),
                    self.session,
                    self.owned,
                )
            )
            self.member_id, self.epoch = response.member_id, response.member_epoch
            revoked = self.owned - response.assignment
            self.owned = response.assignment if not revoked else self.owned & response.assignment
            if not revoked:
                return

    def leave(self) -> None:
        self.broker.group_coordinator.leave(self.group, self.member_id)

    @property
    def numbers(self) -> list[int]:
        return sorted(tp.partition for tp in self.owned)


# ---- the offsets topic


def test_offsets_topic_is_made_by_the_first_commit_and_not_by_a_look(
    broker: Broker, coordinator: GroupCoordinator
) -> None:
    assert committed(coordinator) is None
    coordinator.check_committer("g", "", -1)
    coordinator.leave("g", "nobody")
    assert OFFSETS_TOPIC not in broker.topics(include_internal=True)
    commit(coordinator, 1)
    description = broker.describe_topic(OFFSETS_TOPIC)
    assert (len(description.partitions), description.is_internal) == (50, True)
    assert description.configs["cleanup_policy"] == ("compact",)
    assert broker.topics() == ["t"]


def test_offsets_topic_has_as_many_partitions_as_configured() -> None:
    with Broker(offsets_topic_num_partitions=3) as broker:
        broker.create_topic("t")
        commit(broker.group_coordinator, 1)
        assert len(broker.topic(OFFSETS_TOPIC).partitions) == 3
        home = broker.partition(OFFSETS_TOPIC, partition_for_group("g", 3))
        assert home.log_end_offset == 1


def test_grp_1_commit_goes_to_the_partition_of_the_group(
    broker: Broker, coordinator: GroupCoordinator
) -> None:
    commit(coordinator, 1, group="my-group")
    written = [p.number for p in broker.topic(OFFSETS_TOPIC).partitions if p.log_end_offset]
    assert written == [12]


def test_trap_7_each_group_has_its_own_offsets(coordinator: GroupCoordinator) -> None:
    commit(coordinator, 5, group="a")
    commit(coordinator, 9, group="b")
    assert (committed(coordinator, "a"), committed(coordinator, "b")) == (5, 9)


def test_rec_8_one_commit_is_one_batch(broker: Broker, coordinator: GroupCoordinator) -> None:
    offsets = {T0: OffsetAndMetadata(1), T1: OffsetAndMetadata(2)}
    coordinator.commit_offsets("g", "", -1, offsets)
    home = broker.partition(OFFSETS_TOPIC, partition_for_group("g", 50))
    assert [batch.record_count for batch in home.read_batches(0, 10_000, home.log_end_offset)] == [
        2
    ]


def test_commit_for_a_partition_that_does_not_exist_stores_nothing(
    coordinator: GroupCoordinator,
) -> None:
    for missing in (TopicPartition("t", 2), TopicPartition("nope", 0)):
        offsets = {T0: OffsetAndMetadata(1), missing: OffsetAndMetadata(1)}
        with pytest.raises(UnknownTopicOrPartitionError):
            coordinator.commit_offsets("g", "", -1, offsets)
    assert committed(coordinator) is None
    assert coordinator.fetch_offsets("g", [missing]) == {missing: None}


def test_con_9_metadata_limit_is_the_brokers() -> None:
    with Broker(offset_metadata_max_bytes=3) as broker:
        broker.create_topic("t")
        coordinator = broker.group_coordinator
        coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(1, "abc")})
        with pytest.raises(OffsetMetadataTooLargeError):
            coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(2, "abcd")})
        assert committed(coordinator) == 1


def test_offset_of_a_deleted_topic_is_not_that_of_its_namesake(
    broker: Broker, coordinator: GroupCoordinator
) -> None:
    commit(coordinator, 5)
    broker.delete_topic("t")
    assert committed(coordinator) is None
    broker.create_topic("t", partitions=2)
    assert committed(coordinator) is None
    commit(coordinator, 1)
    assert committed(coordinator) == 1


# ---- what survives


def test_trap_14_commits_and_epochs_survive_close_and_reopen(data_dir: str) -> None:
    with Broker(data_dir, offsets_topic_num_partitions=2) as broker:
        broker.create_topic("t", partitions=2)
        member = Member(broker)
        member.heartbeat()
        member.leave()
        for offset in range(20):
            commit(broker.group_coordinator, offset)
        broker.group_coordinator.commit_offsets("g", "", -1, {T1: OffsetAndMetadata(7, "x", 2)})
    with Broker(data_dir) as broker:
        found = broker.group_coordinator.fetch_offsets("g", [T0, T1])
        assert found == {T0: OffsetAndMetadata(19), T1: OffsetAndMetadata(7, "x", 2)}
        member = Member(broker)
        member.heartbeat()
        # 1 and 2 were before: a generation is never used again.
        assert member.epoch == 3


def test_commit_survives_the_end_of_the_process_without_close(
    data_dir: str, run_python: Callable[..., str]
) -> None:
    run_python(
        """
        import os, sys
        from streamlog import Broker, OffsetAndMetadata, TopicPartition
        broker = Broker(sys.argv[1], offsets_topic_num_partitions=1)
        broker.create_topic("t")
        for offset in range(100):
            broker.group_coordinator.commit_offsets(
                "g", "", -1, {TopicPartition("t", 0): OffsetAndMetadata(offset)})
        os._exit(0)
        """,
        data_dir,
    )
    with Broker(data_dir) as broker:
        assert committed(broker.group_coordinator) == 99


def test_commit_that_finds_the_disk_full_changes_nothing(clock: VirtualClock) -> None:
    filesystem = MemoryFileSystem()
    with Broker("/data", clock=clock, filesystem=filesystem, seed=1) as broker:
        broker.create_topic("t")
        coordinator = broker.group_coordinator
        commit(coordinator, 1)
        home = broker.partition(OFFSETS_TOPIC, partition_for_group("g", 50))
        end = home.log_end_offset

        def full(*_: object) -> int:
            raise DiskFullError("no room")

        append, home.log.append = home.log.append, full  # type: ignore[method-assign]
        with pytest.raises(DiskFullError):
            commit(coordinator, 2)
        assert (committed(coordinator), home.log_end_offset) == (1, end)
        member = Member(broker)
        with pytest.raises(DiskFullError):
            member.heartbeat()
        home.log.append = append  # type: ignore[method-assign]
        member.heartbeat()
        assert (member.epoch, member.numbers) == (1, [0])


# ---- members


def test_member_id_begins_with_the_client_id_and_is_the_same_for_the_same_seed() -> None:
    ids = []
    for _ in range(2):
        with Broker(seed=3, clock=VirtualClock()) as broker:
            broker.create_topic("t")
            named, unnamed = Member(broker, client_id="mine"), Member(broker)
            named.heartbeat()
            unnamed.heartbeat()
            ids.append((named.member_id, unnamed.member_id))
    assert ids[0] == ids[1]
    assert ids[0][0].startswith("mine-")
    assert ids[0][1].startswith("consumer-g-")


def test_members_are_woken_when_a_heartbeat_would_change_something(broker: Broker) -> None:
    broker.create_topic("t", partitions=2)
    a, b = Member(broker, client_id="a"), Member(broker, client_id="b")
    a.heartbeat()
    assert a.session.news == 0, "nobody wakes himself"
    b.heartbeat()
    assert (a.session.news, a.session.signal.is_set()) == (1, True)
    a.heartbeat()
    assert b.session.news == 1, "what a gave up is free"
    assert a.session.news == 1
    b.heartbeat()
    assert (a.numbers, b.numbers) == ([0], [1])
    b.heartbeat()
    assert (a.session.news, b.session.news) == (1, 1), "settled: nobody is disturbed"
    b.leave()
    assert a.session.news == 2


def test_commit_needs_membership_while_there_are_members(broker: Broker) -> None:
    broker.create_topic("t")
    coordinator = broker.group_coordinator
    member = Member(broker)
    member.heartbeat()
    coordinator.check_committer("g", member.member_id, member.epoch)
    coordinator.commit_offsets("g", member.member_id, member.epoch, {T0: OffsetAndMetadata(3)})
    with pytest.raises(UnknownMemberIdError):
        commit(coordinator, 4)
    member.leave()
    commit(coordinator, 4)
    with pytest.raises(UnknownMemberIdError):
        coordinator.check_committer("g", member.member_id, member.epoch)
    assert committed(coordinator) == 4


def test_new_topics_are_seen_without_looking_at_all_of_them_each_time(broker: Broker) -> None:
    broker.create_topic("t")
    coordinator = broker.group_coordinator
    snapshot = coordinator.topics()
    assert coordinator.topics() is snapshot
    broker.alter_topic_configs("t", {"retention_ms": 5})
    assert coordinator.topics() is snapshot, "configuration is nobody's reason to rebalance"
    broker.create_partitions("t", 2)
    assert coordinator.topics().facts["t"].partition_count == 2


# ---- eviction: CON-14


def test_con_14_member_that_stops_polling_is_evicted_after_the_interval(
    broker: Broker, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker.create_topic("t", partitions=2)
    lazy, other = Member(broker), Member(broker)
    lazy.heartbeat()
    other.heartbeat()
    with caplog.at_level(logging.WARNING, "streamlog"):
        clock.advance(299_999)
        other.session.last_poll_ms = clock.monotonic_ms()
        news = lazy.session.news
        clock.advance(2)
    assert "did not poll for max_poll_interval_ms=300000" in caplog.text
    assert lazy.session.news > news, "it is told, so that it notices at its next poll"
    with pytest.raises(UnknownMemberIdError):
        lazy.heartbeat()
    other.heartbeat()
    assert other.numbers == [0, 1]


def test_con_14_polling_or_waiting_in_poll_keeps_a_member_alive(
    broker: Broker, clock: VirtualClock
) -> None:
    broker.create_topic("t")
    member = Member(broker)
    member.heartbeat()
    for _ in range(10):
        clock.advance(200_000)
        member.session.last_poll_ms = clock.monotonic_ms()
    member.session.last_poll_ms = float("inf")
    clock.advance(10_000_000)
    member.session.last_poll_ms = clock.monotonic_ms()
    member.heartbeat()
    assert member.numbers == [0]


def test_timer_of_a_member_that_left_and_joined_again_does_not_evict_it(
    broker: Broker, clock: VirtualClock
) -> None:
    broker.create_topic("t")
    member = Member(broker)
    member.heartbeat()
    clock.advance(200_000)
    member.leave()
    member.member_id, member.epoch, member.owned = "", JOIN_EPOCH, frozenset()
    member.session.last_poll_ms = clock.monotonic_ms()
    member.heartbeat()
    clock.advance(200_000)
    member.heartbeat()
    assert member.numbers == [0]


def test_timers_do_not_keep_a_coordinator_alive(clock: VirtualClock) -> None:
    broker = Broker(clock=clock)
    broker.create_topic("t")
    member = Member(broker)
    member.heartbeat()
    coordinator = weakref.ref(broker.group_coordinator)
    broker.close()
    del broker, member
    gc.collect()
    assert coordinator() is None
    clock.advance(1_000_000)


def test_closed_coordinator_has_no_timers_left(broker: Broker) -> None:
    broker.create_topic("t")
    Member(broker).heartbeat()
    coordinator = broker.group_coordinator
    assert len(coordinator._watch.watched) == 1
    coordinator.close()
    assert coordinator._watch.watched == set()


def test_con_14_a_member_that_could_not_leave_for_want_of_room_is_evicted_later(
    broker: Broker, clock: VirtualClock
) -> None:
    """Its timer had been cancelled first, so that it kept its partitions for ever."""
    broker.create_topic("t")
    consumer = Consumer(
        broker, "t", group_id="g", enable_auto_commit=False, max_poll_interval_ms=10_000
    )
    consumer.poll(10)
    with failing_partitions() as failures:
        failures.forever = lambda: DiskFullError("full")
        with pytest.raises(DiskFullError):
            consumer.close()
        clock.advance(20_000)  # nor can it be evicted while the disk is full
    clock.advance(10_000)
    with Consumer(broker, "t", group_id="g") as other:
        other.poll(10)
        assert other.assignment() == {TopicPartition("t", 0)}


def test_stranger_has_no_generation_to_commit_in_before_it_leaves(broker: Broker) -> None:
    assert broker.group_coordinator.begin_classic_leave("g", "stranger") is None

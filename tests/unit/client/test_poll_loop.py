"""Waiting, auto-commit and refreshing, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.client.consumer import Consumer
from streamlog.errors import DeadlockError, DiskFullError, NoOffsetForPartitionError
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.consuming import T0, T1, append, drain, fill

EARLIEST = {"auto_offset_reset": "earliest"}


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


@pytest.fixture
def consumer(topic: Broker) -> Iterator[Consumer]:
    with Consumer(topic, "t", group_id="g", **EARLIEST) as consumer:
        yield consumer


@pytest.fixture
def witness(topic: Broker) -> Iterator[Consumer]:
    """Looks at what the group committed without being in it."""
    with Consumer(topic, group_id="g", enable_auto_commit=False) as witness:
        yield witness


def offset(committed: OffsetAndMetadata | None) -> int | None:
    return None if committed is None else committed.offset


def commits_stored(broker: Broker) -> int:
    return sum(p.log_end_offset for p in broker.topic(OFFSETS_TOPIC).partitions)


# ---- waiting


def test_con_4_poll_without_records_takes_exactly_its_timeout(
    consumer: Consumer, clock: VirtualClock
) -> None:
    before = clock.monotonic_ms()
    assert not consumer.poll(30_000)
    assert clock.monotonic_ms() == before + 30_000
    assert not consumer.poll(0.5)
    assert clock.monotonic_ms() == before + 30_000.5
    assert not consumer.poll()
    assert clock.monotonic_ms() == before + 30_000.5


def test_con_4_poll_returns_as_soon_as_there_is_a_record(
    topic: Broker, consumer: Consumer, clock: VirtualClock
) -> None:
    before = clock.monotonic_ms()
    topic.scheduler.call_later(1_234, lambda: append(topic, [b"x"], T1))
    assert consumer.poll(30_000).values() == [b"x"]
    assert clock.monotonic_ms() == before + 1_234


def test_first_poll_joins_and_reads_at_once(topic: Broker, clock: VirtualClock) -> None:
    values = fill(topic, 2)
    before = clock.monotonic_ms()
    with Consumer(topic, "t", group_id="g", **EARLIEST) as consumer:
        assert consumer.poll().values() == values
    assert clock.monotonic_ms() == before


def test_waiting_for_ever_for_nothing_is_a_deadlock_under_a_virtual_clock(
    clock: VirtualClock,
) -> None:
    with Broker(clock=clock) as broker:
        broker.create_topic("t")
        with Consumer(broker) as consumer:
            consumer.assign([T0])
            broker.scheduler.close()
            with pytest.raises(DeadlockError):
                next(consumer)


def test_con_14_waiting_in_poll_longer_than_the_poll_interval_is_not_silence(
    topic: Broker, clock: VirtualClock
) -> None:
    with Consumer(topic, "t", group_id="g", max_poll_interval_ms=10_000) as consumer:
        assert not consumer.poll(60_000)
        generation = consumer.group_metadata().generation_id
        clock.advance(9_999)
        assert not consumer.poll()
        assert consumer.group_metadata().generation_id == generation


def test_con_7_paused_partition_stays_assigned_and_silent(
    topic: Broker, consumer: Consumer, clock: VirtualClock
) -> None:
    values = fill(topic, 4, per_batch=2)
    assert consumer.poll(max_records=1).values() == values[:1]
    consumer.pause(T0)
    before = clock.monotonic_ms()
    assert not consumer.poll(1000)
    assert clock.monotonic_ms() == before + 1000
    assert consumer.assignment() == {T0, T1}
    assert consumer.position(T0) == 1
    other = fill(topic, 1, T1)
    assert consumer.poll(1000).values() == other
    consumer.resume(T0)
    assert consumer.poll().values() == values[1:]


def test_paused_partition_does_not_wake_a_waiting_poll_to_return_nothing(
    topic: Broker, consumer: Consumer, clock: VirtualClock
) -> None:
    consumer.poll()
    consumer.pause(T0)
    topic.scheduler.call_later(100, lambda: append(topic, [b"x"]))
    before = clock.monotonic_ms()
    assert not consumer.poll(1000)
    assert clock.monotonic_ms() == before + 1000


# ---- auto-commit: CON-8


def test_con_8_auto_commit_commits_what_earlier_polls_returned(
    topic: Broker, consumer: Consumer, witness: Consumer, clock: VirtualClock
) -> None:
    fill(topic, 3)
    consumer.poll(max_records=2)
    clock.advance(4_999)
    consumer.poll(max_records=1)
    assert witness.committed(T0) is None
    clock.advance(1)
    fill(topic, 5)
    consumer.poll()
    # Not the five that this very poll returned: a crash while they are processed repeats them.
    assert offset(witness.committed(T0)) == 3
    clock.advance(5_000)
    consumer.poll()
    assert offset(witness.committed(T0)) == 8


def test_con_8_auto_commit_happens_during_a_long_wait(
    topic: Broker, consumer: Consumer, witness: Consumer, clock: VirtualClock
) -> None:
    fill(topic, 3)
    consumer.poll()
    seen: list[Any] = []
    topic.scheduler.call_later(5_001, lambda: seen.append(witness.committed(T0)))
    consumer.poll(60_000)
    assert [offset(committed) for committed in seen] == [3]


def test_auto_commit_does_not_repeat_what_did_not_change(
    topic: Broker, consumer: Consumer, clock: VirtualClock
) -> None:
    fill(topic, 3)
    consumer.poll()
    clock.advance(5_000)
    consumer.poll()
    stored = commits_stored(topic)
    for _ in range(5):
        clock.advance(5_000)
        consumer.poll()
    assert commits_stored(topic) == stored


def test_auto_commit_keeps_the_start_that_latest_found(topic: Broker, clock: VirtualClock) -> None:
    fill(topic, 3)
    with Consumer(topic, "t", group_id="g") as consumer:
        consumer.poll()
        clock.advance(5_000)
        consumer.poll()
    values = fill(topic, 2)
    with Consumer(topic, "t", group_id="g") as consumer:
        assert drain(consumer) == values, "written while nobody was there"


def test_con_8_no_auto_commit_when_disabled(
    topic: Broker, witness: Consumer, clock: VirtualClock
) -> None:
    fill(topic, 3)
    with Consumer(topic, "t", group_id="g", enable_auto_commit=False, **EARLIEST) as consumer:
        consumer.poll()
        clock.advance(50_000)
        consumer.poll()
        assert witness.committed(T0) is None


def test_con_8_unsubscribe_and_assign_commit_first(topic: Broker, witness: Consumer) -> None:
    fill(topic, 3)
    with Consumer(topic, "t", group_id="g", **EARLIEST) as consumer:
        consumer.poll()
        consumer.unsubscribe()
        assert offset(witness.committed(T0)) == 3
        consumer.assign([T0])
        fill(topic, 2)
        consumer.poll()
        consumer.assign([T1])
        assert offset(witness.committed(T0)) == 5


def test_failed_auto_commit_is_logged_and_tried_again_soon(
    topic: Broker,
    consumer: Consumer,
    witness: Consumer,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = fill(topic, 3)
    assert consumer.poll().values() == values
    coordinator = topic.group_coordinator
    commit = coordinator.commit_offsets

    def full(*_: object) -> None:
        raise DiskFullError("no room left")

    monkeypatch.setattr(coordinator, "commit_offsets", full)
    clock.advance(5_000)
    more = fill(topic, 1)
    with caplog.at_level(logging.WARNING, "streamlog"):
        assert consumer.poll().values() == more, "a failed commit does not stop reading"
    assert "auto-commit of t-0@3" in caplog.text
    monkeypatch.setattr(coordinator, "commit_offsets", commit)
    clock.advance(100)
    consumer.poll()
    assert offset(witness.committed(T0)) == 4


def test_con_8_iteration_auto_commits_only_what_the_loop_has_seen(
    topic: Broker, witness: Consumer
) -> None:
    fill(topic, 5, per_batch=5)
    with Consumer(topic, "t", group_id="g", **EARLIEST) as consumer:
        for record in consumer:
            if record.offset == 2:
                break
    assert offset(witness.committed(T0)) == 3


# ---- topics and positions


def test_missing_topic_is_created_when_both_sides_allow_it(broker: Broker) -> None:
    with Consumer(broker, "new", group_id="g") as consumer:
        consumer.poll()
        assert broker.topics() == ["new"]
        assert consumer.assignment() == {TopicPartition("new", 0)}
    with Consumer(broker, group_id="g") as consumer:
        consumer.assign([TopicPartition("assigned", 0)])
        consumer.poll()
        assert broker.topics() == ["assigned", "new"]


def test_missing_topic_is_waited_for_when_it_may_not_be_created(
    broker: Broker, clock: VirtualClock
) -> None:
    with Consumer(
        broker, "later", group_id="g", allow_auto_create_topics=False, **EARLIEST
    ) as consumer:
        assert not consumer.poll(1000)
        assert broker.topics() == []

        def create() -> None:
            broker.create_topic("later")
            append(broker, [b"x"], TopicPartition("later", 0))

        broker.scheduler.call_later(1000, create)
        before = clock.monotonic_ms()
        assert consumer.poll(60_000).values() == [b"x"]
        assert clock.monotonic_ms() == before + 1000


def test_new_partitions_and_matching_topics_are_picked_up_by_a_waiting_poll(
    topic: Broker, clock: VirtualClock
) -> None:
    t2, later = TopicPartition("t", 2), TopicPartition("t-later", 0)

    def grow() -> None:
        topic.create_partitions("t", 3)
        append(topic, [b"grown"], t2)

    def create() -> None:
        topic.create_topic("t-later")
        append(topic, [b"created"], later)

    with Consumer(topic, group_id="g", **EARLIEST) as consumer:
        consumer.subscribe(pattern="t.*")
        consumer.poll()
        topic.scheduler.call_later(1000, grow)
        topic.scheduler.call_later(2000, create)
        assert consumer.poll(60_000).values() == [b"grown"]
        assert consumer.poll(60_000).values() == [b"created"]
        assert consumer.assignment() == {T0, T1, t2, later}
        assert consumer.subscription() == {"t", "t-later"}


def test_deleted_topic_is_left_out_of_commits(topic: Broker, clock: VirtualClock) -> None:
    topic.create_topic("u")
    with Consumer(topic, "t", "u", group_id="g", **EARLIEST) as consumer:
        fill(topic, 2)
        append(topic, [b"x"], TopicPartition("u", 0))
        assert len(drain(consumer)) == 3
        topic.delete_topic("u")
        consumer.commit()
        assert offset(consumer.committed(T0)) == 2
        with Consumer(topic, group_id="other", allow_auto_create_topics=False):
            pass


def test_con_5_policy_none_names_all_partitions_without_a_commit(topic: Broker) -> None:
    with Consumer(topic, "t", group_id="g", auto_offset_reset="none") as consumer:
        for _ in range(2):
            with pytest.raises(NoOffsetForPartitionError, match="t-0, t-1") as caught:
                consumer.poll()
            assert caught.value.partitions == (T0, T1)
        consumer.seek(T0, 0)
        consumer.seek(T1, 0)
        values = fill(topic, 1)
        assert consumer.poll().values() == values

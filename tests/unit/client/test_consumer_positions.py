from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    IllegalStateError,
    NoOffsetForPartitionError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
    WakeupError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition
from tests.support.consuming import NOW_MS, T0, T1, append, drain, fill

MISSING = TopicPartition("nope", 0)


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


@pytest.fixture
def consumer(topic: Broker) -> Iterator[Consumer]:
    """Assigned to both partitions, in no group."""
    with Consumer(topic, auto_offset_reset="earliest") as consumer:
        consumer.assign([T0, T1])
        yield consumer


# ---- position


def test_con_15_position_is_found_without_a_poll(topic: Broker, consumer: Consumer) -> None:
    fill(topic, 3)
    assert consumer.position(T0) == 0
    with Consumer(topic, group_id="g") as other:
        other.assign([T0])
        assert other.position(T0) == 3, "latest is the default"


def test_con_15_position_waits_for_a_partition_that_does_not_exist(
    topic: Broker, clock: VirtualClock
) -> None:
    with Consumer(topic, allow_auto_create_topics=False) as consumer:
        consumer.assign([TopicPartition("later", 0)])
        before = clock.monotonic_ms()
        with pytest.raises(StreamlogTimeoutError, match=r"later-0 has no position after 5000 ms"):
            consumer.position(TopicPartition("later", 0), timeout_ms=5000)
        assert clock.monotonic_ms() == before + 5000
        topic.scheduler.call_later(1000, lambda: topic.create_topic("later"))
        assert consumer.position(TopicPartition("later", 0)) == 0
        assert clock.monotonic_ms() == before + 6000


def test_con_2_wakeup_ends_the_wait_for_a_position(topic: Broker) -> None:
    with Consumer(topic, allow_auto_create_topics=False) as consumer:
        consumer.assign([MISSING])
        topic.scheduler.call_later(1000, consumer.wakeup)
        with pytest.raises(WakeupError):
            consumer.position(MISSING)


def test_con_5_position_without_a_commit_under_policy_none_raises(topic: Broker) -> None:
    with Consumer(topic, group_id="g", auto_offset_reset="none") as consumer:
        consumer.assign([T0])
        with pytest.raises(NoOffsetForPartitionError):
            consumer.position(T0)


# ---- seek


def test_con_6_seek_moves_back_and_forth_and_drops_what_was_buffered(
    topic: Broker, consumer: Consumer
) -> None:
    values = fill(topic, 10, per_batch=5)
    assert consumer.poll(max_records=2).values() == values[:2]
    consumer.seek(T0, 7)
    assert consumer.position(T0) == 7
    assert consumer.poll(max_records=2).values() == values[7:9]
    consumer.seek(T0, 0)
    assert drain(consumer) == values


def test_con_6_seek_before_the_first_poll_counts(topic: Broker, consumer: Consumer) -> None:
    values = fill(topic, 4)
    consumer.seek(T0, 2)
    assert consumer.poll().values() == values[2:]


def test_con_6_seek_takes_any_offset_and_poll_finds_out(topic: Broker, consumer: Consumer) -> None:
    values = fill(topic, 4)
    consumer.seek(T0, 10**15)
    assert consumer.position(T0) == 10**15
    assert consumer.poll().values() == values, "out of range: earliest"


def test_seek_accepts_an_offset_with_its_epoch(topic: Broker, consumer: Consumer) -> None:
    values = fill(topic, 4)
    consumer.seek(T0, OffsetAndMetadata(3, "ignored", 0))
    assert consumer.poll().values() == values[3:]


@pytest.mark.parametrize("offset", [-1, -(2**63)])
def test_negative_offset_is_refused(consumer: Consumer, offset: int) -> None:
    with pytest.raises(ValueError, match="0 or greater"):
        consumer.seek(T0, offset)


def test_con_6_seek_to_beginning_and_end_are_carried_out_when_someone_looks(
    topic: Broker, consumer: Consumer
) -> None:
    fill(topic, 4)
    consumer.seek_to_end(T0)
    values = fill(topic, 2)
    assert consumer.position(T0) == 6, "the end as it is now, not as it was"
    consumer.seek_to_beginning(T0)
    topic.partition("t", 0).delete_records(3)
    assert consumer.position(T0) == 3
    assert consumer.poll().values()[1:] == values


def test_seek_without_partitions_means_all_of_them(topic: Broker, consumer: Consumer) -> None:
    fill(topic, 2, T0)
    fill(topic, 3, T1)
    consumer.seek_to_end()
    assert (consumer.position(T0), consumer.position(T1)) == (2, 3)
    consumer.seek_to_beginning()
    assert (consumer.position(T0), consumer.position(T1)) == (0, 0)


def test_partitions_may_be_given_one_by_one_or_as_a_list(consumer: Consumer) -> None:
    consumer.pause(T0, T1)
    consumer.resume([T0])
    assert consumer.paused() == {T1}
    consumer.resume(consumer.assignment())
    consumer.pause({T0})
    assert consumer.paused() == {T0}


@pytest.mark.parametrize(
    "call",
    [
        lambda c, tp: c.seek(tp, 0),
        lambda c, tp: c.seek_to_beginning(tp),
        lambda c, tp: c.seek_to_end([tp]),
        lambda c, tp: c.position(tp),
        lambda c, tp: c.current_lag(tp),
        lambda c, tp: c.pause(tp),
        lambda c, tp: c.resume(tp),
    ],
)
def test_con_6_partition_that_is_not_assigned_is_refused(
    topic: Broker, call: Callable[[Consumer, TopicPartition], Any]
) -> None:
    with Consumer(topic) as consumer:
        consumer.assign([T0])
        with pytest.raises(IllegalStateError, match=r"t-1 is not assigned .* assigned are: t-0"):
            call(consumer, T1)


# ---- lag and bounds


def test_con_15_lag_is_the_distance_to_the_end(topic: Broker, consumer: Consumer) -> None:
    fill(topic, 5)
    assert consumer.current_lag(T0) is None, "nobody has looked yet"
    consumer.poll(max_records=2)
    assert (consumer.current_lag(T0), consumer.current_lag(T1)) == (3, 0)


def test_tim_3_bounds_of_any_partition(topic: Broker) -> None:
    fill(topic, 5)
    topic.partition("t", 0).delete_records(2)
    with Consumer(topic) as consumer:
        assert consumer.beginning_offsets([T0, T1]) == {T0: 2, T1: 0}
        assert consumer.end_offsets([T0, T1]) == {T0: 5, T1: 0}
        assert consumer.end_offsets(T0) == {T0: 5}


def test_tim_1_first_offset_at_or_after_a_time(topic: Broker) -> None:
    append(topic, [b"a", b"b"], timestamps_ms=[NOW_MS + 50, NOW_MS + 10])
    append(topic, [b"c"], timestamps_ms=NOW_MS + 20)
    with Consumer(topic) as consumer:

        def at(timestamp_ms: int) -> OffsetAndTimestamp | None:
            return consumer.offsets_for_times({T0: timestamp_ms})[T0]

        assert at(0) == OffsetAndTimestamp(0, NOW_MS + 50, 0)
        assert at(NOW_MS + 51) is None
        assert consumer.offsets_for_times({T0: NOW_MS + 51, T1: 0}) == {T0: None, T1: None}
        with pytest.raises(ValueError, match="0 or later"):
            at(-1)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.beginning_offsets([MISSING]),
        lambda c: c.end_offsets([TopicPartition("t", 2)]),
        lambda c: c.offsets_for_times({MISSING: 0}),
    ],
)
def test_bounds_of_an_unknown_partition_raise(
    consumer: Consumer, call: Callable[[Consumer], Any]
) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        call(consumer)


def test_a_seek_after_a_topic_was_deleted_and_created_again_is_not_lost(topic: Broker) -> None:
    with Consumer(topic, auto_offset_reset="earliest") as consumer:
        consumer.assign([T0, T1])
        consumer.poll()
        topic.delete_topic("t")
        topic.create_topic("t", partitions=2)
        fill(topic, 3, T0)
        fill(topic, 3, T1)
        consumer.seek(T0, 2)
        consumer.seek_to_end(T1)
        assert drain(consumer) == [b"0@2"]

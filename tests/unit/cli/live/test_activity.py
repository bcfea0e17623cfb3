"""Rates, lag and rebalances of a broker whose clock stands still between two looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlog import Broker, Consumer, OffsetAndMetadata, Producer, TopicPartition
from streamlog.cli.live.activity import Activity, View
from streamlog.cli.live.sample import take_sample
from streamlog.runtime import VirtualClock

ORDERS = TopicPartition("orders", 0)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[Broker]:
    with Broker(clock=clock, seed=1) as broker:
        broker.create_topic("orders", partitions=2)
        yield broker


def send(broker: Broker, count: int, topic: str = "orders") -> None:
    with Producer(broker) as producer:
        for _ in range(count):
            producer.send(topic, b"x", partition=0)


def commit(broker: Broker, offset: int, group: str = "billing") -> None:
    with Consumer(broker, group_id=group) as consumer:
        consumer.assign([ORDERS])
        consumer.commit({ORDERS: OffsetAndMetadata(offset)})


def look(activity: Activity, broker: Broker) -> View:
    return activity.view(take_sample(broker))


def test_the_first_look_has_sizes_and_no_rates(broker: Broker) -> None:
    send(broker, 3)
    (row,) = look(Activity(), broker).topics
    assert (row.topic.name, row.topic.partitions, row.topic.records) == ("orders", 2, 3)
    assert row.topic.segments == 2
    assert row.topic.size_bytes > 0
    assert row.rate_in is row.rate_out is None


def test_rates_are_what_came_in_between_by_the_time_that_went_by(
    broker: Broker, clock: VirtualClock
) -> None:
    send(broker, 5)
    commit(broker, 0)
    activity = Activity()
    look(activity, broker)
    send(broker, 30)
    commit(broker, 10)
    clock.advance(2_000)
    view = look(activity, broker)
    (topic,), (group,) = view.topics, view.groups
    assert (topic.rate_in, topic.rate_out, topic.lag) == (15.0, 5.0, 25)
    assert (group.rate_out, group.lag, group.topics) == (5.0, 25, ("orders",))
    assert (view.rate_in, view.rate_out) == (15.0, 5.0)


def test_two_looks_at_one_moment_have_no_rate(broker: Broker) -> None:
    activity = Activity()
    look(activity, broker)
    send(broker, 3)
    assert look(activity, broker).topics[0].rate_in is None


def test_an_offset_that_goes_back_is_not_read(broker: Broker, clock: VirtualClock) -> None:
    send(broker, 9)
    commit(broker, 9)
    activity = Activity()
    look(activity, broker)
    commit(broker, 2)
    clock.advance(1_000)
    assert look(activity, broker).groups[0].rate_out == 0


def test_a_topic_that_was_made_anew_did_not_lose_records_each_second(
    broker: Broker, clock: VirtualClock
) -> None:
    send(broker, 9)
    activity = Activity()
    look(activity, broker)
    broker.delete_topic("orders")
    broker.create_topic("orders")
    clock.advance(1_000)
    assert look(activity, broker).topics[0].rate_in == 0


def test_a_group_whose_epoch_grew_has_rebalanced(broker: Broker, clock: VirtualClock) -> None:
    activity = Activity()
    assert look(activity, broker).rebalances == []
    with Consumer(broker, "orders", group_id="billing") as consumer:
        consumer.poll(0)
        clock.advance(1_000)
        (first,) = look(activity, broker).rebalances
        assert (first.group_id, first.old_epoch) == ("billing", 0)
        assert first.epoch > 0
        assert first.time_ms == clock.time_ms()
        clock.advance(1_000)
        assert look(activity, broker).rebalances == [first]
    clock.advance(1_000)
    newest, oldest = look(activity, broker).rebalances
    assert oldest == first
    assert newest.old_epoch == first.epoch


def test_internal_topics_are_shown_when_asked_for(broker: Broker) -> None:
    commit(broker, 0)
    assert set(take_sample(broker).topics) == {"orders"}
    both = take_sample(broker, include_internal=True).topics
    assert set(both) == {"orders", "__consumer_offsets"}

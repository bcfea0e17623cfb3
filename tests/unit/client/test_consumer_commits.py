"""The calls of a consumer about what it has read: what they take, store and give back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.consuming import T0, T1, fill


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


@pytest.fixture
def consumer(topic: Broker) -> Iterator[Consumer]:
    """A member of group g that has read three records of t-0 and does not auto-commit."""
    fill(topic, 3)
    options = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
    with Consumer(topic, "t", group_id="g", **options) as consumer:
        consumer.poll()
        yield consumer


def test_con_9_commit_stores_the_next_offset_with_the_leader_epoch(consumer: Consumer) -> None:
    consumer.commit()
    assert consumer.committed([T0, T1]) == {
        T0: OffsetAndMetadata(3, "", 0),
        T1: OffsetAndMetadata(0, "", 0),
    }


def test_con_15_committed_is_none_when_nothing_was(consumer: Consumer) -> None:
    assert consumer.committed(T0) is None
    assert consumer.committed([T0, TopicPartition("nope", 7)]) == {
        T0: None,
        TopicPartition("nope", 7): None,
    }


def test_given_offsets_are_committed_as_they_are(consumer: Consumer) -> None:
    consumer.commit({T0: 1, T1: OffsetAndMetadata(0, "note")})
    assert consumer.committed(T0) == OffsetAndMetadata(1)
    assert consumer.committed(T1) == OffsetAndMetadata(0, "note")
    assert consumer.position(T0) == 3, "a commit moves no position"
    consumer.commit({})
    assert consumer.committed(T0) == OffsetAndMetadata(1)


def test_committed_offset_is_where_the_next_consumer_begins(
    topic: Broker, consumer: Consumer
) -> None:
    consumer.commit({T0: 2})
    consumer.close()
    with Consumer(topic, "t", group_id="g") as other:
        assert other.poll().values() == [b"0@2"]


def test_one_partition_gives_one_answer_and_several_give_a_dict(consumer: Consumer) -> None:
    consumer.commit({T0: 2})
    assert consumer.committed(T0) == OffsetAndMetadata(2)
    assert consumer.committed([T0]) == {T0: OffsetAndMetadata(2)}
    assert consumer.committed([]) == {}


def test_a_commit_of_a_pair_is_found_under_its_partition(consumer: Consumer) -> None:
    consumer.commit({("t", 0): 1})
    assert consumer.committed(T0) == OffsetAndMetadata(1)


def test_no_offset_is_clamped_while_the_log_is_whole(consumer: Consumer) -> None:
    assert consumer.clamped_offsets == {}
    consumer.clamped_offsets[T0] = 5
    assert consumer.clamped_offsets == {}, "what is given out is a copy"

"""What a user does wrong, through the public names alone: a named error at once, and nothing broken by it."""

from __future__ import annotations

import pytest

from streamlog import Broker, Producer, UnknownTopicOrPartitionError
from streamlog.testing import VirtualClock


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_prd_4_a_record_for_a_partition_that_does_not_exist_fails_at_once(linger_ms: float) -> None:
    clock = VirtualClock()
    with Broker(clock=clock) as broker, Producer(broker, linger_ms=linger_ms) as producer:
        broker.create_topic("x", partitions=3)
        before = clock.now
        told: list[BaseException | None] = []
        future = producer.send(
            "x", b"v", partition=9, on_delivery=lambda _, error: told.append(error)
        )
        assert future.done()
        expected = "x-9 does not exist: topic 'x' has 3 partition"
        with pytest.raises(UnknownTopicOrPartitionError, match=expected):
            future.result()
        assert told == [future.exception()]
        with pytest.raises(UnknownTopicOrPartitionError, match=expected):
            producer.send_many("x", [b"v"], partition=9).result()
        with pytest.raises(UnknownTopicOrPartitionError, match=expected):
            producer.writer("x", 9)
        broker.create_partitions("x", 10)
        assert producer.send("x", b"v", partition=9).result().offset == 0
        assert clock.now - before <= linger_ms


def test_prd_4_a_record_for_an_unknown_topic_fails_at_once() -> None:
    clock = VirtualClock()
    with Broker(clock=clock, auto_create_topics_enable=False) as broker:
        producer = Producer(broker)
        before = clock.now
        assert isinstance(producer.send("x", b"v").exception(), UnknownTopicOrPartitionError)
        many = producer.send_many("x", [b"v", b"w"])
        assert isinstance(many.exception(), UnknownTopicOrPartitionError)
        for call in (producer.writer, producer.partitions_for):
            with pytest.raises(UnknownTopicOrPartitionError, match="topic 'x' does not exist"):
                call("x")
        assert clock.now == before
        broker.create_topic("x")
        assert producer.send("x", b"v").result().offset == 0

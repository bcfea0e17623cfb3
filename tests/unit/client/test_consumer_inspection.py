"""What a consumer tells without reading."""

from __future__ import annotations

import threading

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    ClosedError,
    CommitFailedError,
    InvalidTopicError,
    UnknownTopicOrPartitionError,
)
from streamlog.structs import PartitionInfo
from tests.support.consuming import T0, T1, fill


@pytest.fixture
def consumer(broker: Broker) -> Consumer:
    broker.create_topic("t", partitions=2)
    return Consumer(broker, group_id="g", auto_offset_reset="earliest", max_poll_records=3)


def test_partitions_are_listed_in_order_with_their_leader(consumer: Consumer) -> None:
    assert consumer.partitions_for("t") == [
        PartitionInfo("t", number, 1, (1,), (1,)) for number in (0, 1)
    ]


def test_rec_11_asking_for_partitions_creates_the_topic_where_both_sides_allow_it(
    broker: Broker, consumer: Consumer
) -> None:
    assert len(consumer.partitions_for("new")) == 1
    assert broker.topics() == ["new", "t"]
    with pytest.raises(InvalidTopicError):
        consumer.partitions_for("a/b")
    careful = Consumer(broker, allow_auto_create_topics=False)
    with pytest.raises(UnknownTopicOrPartitionError, match="'other' does not exist"):
        careful.partitions_for("other")


def test_topics_are_listed_by_name_without_the_brokers_own(
    broker: Broker, consumer: Consumer
) -> None:
    consumer.subscribe(["t"])
    consumer.poll()
    broker.create_topic("a")
    assert list(consumer.list_topics()) == ["a", "t"]
    assert list(consumer.list_topics(include_internal=True)) == ["__consumer_offsets", "a", "t"]
    assert consumer.list_topics()["t"] == consumer.partitions_for("t")


def test_a_topic_deleted_while_topics_are_listed_is_left_out(
    broker: Broker, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create_topic("a")
    names = broker.topics()
    monkeypatch.setattr(broker, "topics", lambda **_: names)
    broker.delete_topic("a")
    assert list(consumer.list_topics()) == ["t"]


def test_metrics_begin_with_nothing(consumer: Consumer) -> None:
    assert consumer.metrics() == {
        "poll_total": 0,
        "records_consumed_total": 0,
        "bytes_consumed_total": 0,
        "commit_total": 0,
        "assigned_partitions": 0,
        "records_lag": {},
    }


def test_metrics_count_what_was_returned_and_not_what_was_read_ahead(
    broker: Broker, consumer: Consumer
) -> None:
    fill(broker, 5, T0, per_batch=5)
    fill(broker, 2, T1)
    consumer.assign([T0, T1])
    assert len(consumer.poll()) == 3
    metrics = consumer.metrics()
    assert (metrics["poll_total"], metrics["records_consumed_total"]) == (1, 3)
    assert metrics["records_lag"] == {T0: 2, T1: 2}
    while consumer.poll():
        pass
    consumer.commit()
    consumer.commit_async()
    metrics = consumer.metrics()
    assert metrics["records_consumed_total"] == 7
    assert metrics["commit_total"] == 2
    assert metrics["assigned_partitions"] == 2
    assert metrics["records_lag"] == {T0: 0, T1: 0}
    read_bytes = metrics["bytes_consumed_total"]
    stored = [
        view for tp in (T0, T1) for view in broker.partition(*tp).log.read_batches(0, 1 << 20)
    ]
    assert read_bytes == sum(len(view.body) for view in stored), "headers left out"
    consumer.seek(T0, 4)
    assert len(consumer.poll()) == 1
    assert consumer.metrics()["records_consumed_total"] == 8
    assert consumer.metrics()["bytes_consumed_total"] > read_bytes


def test_metrics_of_an_iteration_count_what_the_loop_has_seen(
    broker: Broker, consumer: Consumer
) -> None:
    fill(broker, 5, T0, per_batch=5)
    consumer.assign([T0])
    for _ in range(2):
        next(consumer)
    assert consumer.metrics()["records_consumed_total"] == 2
    assert consumer.metrics()["poll_total"] == 0
    assert [record.offset for record in consumer.poll()] == [2, 3, 4]
    assert consumer.metrics()["records_consumed_total"] == 5


def test_con_2_metrics_may_be_asked_for_while_another_thread_polls() -> None:
    with Broker() as broker:
        broker.create_topic("t", partitions=2)
        fill(broker, 3, T0)
        consumer = Consumer(broker, group_id="g", auto_offset_reset="earliest")
        consumer.assign([T0, T1])
        assert len(consumer.poll()) == 3
        polling = threading.Thread(target=lambda: consumer.poll(20_000))
        polling.start()
        while consumer.metrics()["poll_total"] < 2:
            pass  # until it has begun
        assert consumer.metrics()["records_lag"] == {T0: 0, T1: 0}
        fill(broker, 1, T1)
        polling.join()
        assert consumer.metrics()["records_consumed_total"] == 4


def test_a_commit_that_failed_is_not_counted(broker: Broker, consumer: Consumer) -> None:
    member = Consumer(broker, "t", group_id="g")
    member.poll()
    with pytest.raises(CommitFailedError):
        consumer.commit({T0: 1})
    assert consumer.metrics()["commit_total"] == 0
    member.commit({T0: 1})
    assert member.metrics()["commit_total"] == 1


def test_the_lag_of_a_partition_that_was_deleted_is_not_told(
    broker: Broker, consumer: Consumer
) -> None:
    fill(broker, 1, T0)
    consumer.assign([T0])
    consumer.poll()
    assert consumer.metrics()["records_lag"] == {T0: 0}
    broker.delete_topic("t")
    assert consumer.metrics()["records_lag"] == {}
    assert consumer.metrics()["assigned_partitions"] == 1


def test_after_close_nothing_is_told(consumer: Consumer) -> None:
    consumer.close()
    for call in (consumer.metrics, consumer.list_topics, lambda: consumer.partitions_for("t")):
        with pytest.raises(ClosedError):
            call()

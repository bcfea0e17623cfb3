from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.commits import to_offsets
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    CommitFailedError,
    DiskFullError,
    OffsetMetadataTooLargeError,
    RetriableCommitFailedError,
    StreamlogTimeoutError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
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


class Failing:
    """Makes the coordinator's next commits fail."""

    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.calls = 0
        coordinator = broker.group_coordinator
        commit = coordinator.commit_offsets

        def maybe(*arguments: Any) -> None:
            self.calls += 1
            if self.left > 0:
                self.left -= 1
                raise DiskFullError("no room left")
            commit(*arguments)

        monkeypatch.setattr(coordinator, "commit_offsets", maybe)


@pytest.fixture
def failing(topic: Broker, monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(topic, monkeypatch)


def test_con_9_too_long_metadata_commits_nothing(consumer: Consumer) -> None:
    with pytest.raises(OffsetMetadataTooLargeError):
        consumer.commit({T0: 1, T1: OffsetAndMetadata(1, "x" * 4097)})
    assert consumer.committed(T0) is None


@pytest.mark.parametrize(
    ("offsets", "error"),
    [
        ({T0: -1}, ValueError),
        ({T0: "5"}, TypeError),
        ({T0: True}, TypeError),
        ({"t-0": 5}, TypeError),
        ({("t", -1): 5}, ValueError),
    ],
)
def test_impossible_offsets_are_refused(offsets: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        to_offsets(offsets)


def test_commit_for_an_unknown_partition_fails_at_once(
    consumer: Consumer, clock: VirtualClock
) -> None:
    before = clock.monotonic_ms()
    with pytest.raises(UnknownTopicOrPartitionError):
        consumer.commit({TopicPartition("nope", 0): 1})
    assert clock.monotonic_ms() == before


# ---- CON-10


def test_con_10_sync_commit_repeats_a_temporary_failure(
    consumer: Consumer, failing: Failing, clock: VirtualClock
) -> None:
    failing.left = 3
    before = clock.monotonic_ms()
    consumer.commit()
    assert failing.calls == 4
    assert clock.monotonic_ms() == before + 300
    assert consumer.committed(T0) is not None


def test_con_10_sync_commit_gives_up_when_its_time_is_over(
    consumer: Consumer, failing: Failing, clock: VirtualClock
) -> None:
    failing.left = 10**9
    before = clock.monotonic_ms()
    with pytest.raises(StreamlogTimeoutError, match="t-0@3") as caught:
        consumer.commit(timeout_ms=250)
    assert isinstance(caught.value.__cause__, DiskFullError)
    assert clock.monotonic_ms() == before + 250
    with pytest.raises(StreamlogTimeoutError, match="60000 ms"):
        consumer.commit()


def test_pause_between_attempts_does_not_swallow_the_news_of_a_record(
    topic: Broker, consumer: Consumer, failing: Failing
) -> None:
    failing.left = 2
    topic.scheduler.call_later(150, lambda: fill(topic, 1))
    consumer.commit()
    assert consumer.poll().values() == [b"0@3"]


def test_con_10_async_commit_is_never_repeated_and_tells_its_callback_later(
    consumer: Consumer, failing: Failing
) -> None:
    told: list[Any] = []
    failing.left = 1
    consumer.commit_async(callback=lambda offsets, error: told.append((offsets, error)))
    assert (failing.calls, told) == (1, [])
    consumer.poll()
    ((offsets, error),) = told
    assert offsets[T0].offset == 3
    assert isinstance(error, RetriableCommitFailedError)
    assert isinstance(error.__cause__, DiskFullError)
    assert consumer.committed(T0) is None


@pytest.mark.parametrize(
    "finish", [lambda c: c.poll(), lambda c: c.commit({}), lambda c: c.close()]
)
def test_con_10_callbacks_run_in_the_order_of_the_calls(
    consumer: Consumer, failing: Failing, finish: Callable[[Consumer], object]
) -> None:
    told: list[Any] = []
    for number in range(3):
        failing.left = number == 1
        consumer.commit_async(
            {T0: number}, lambda offsets, error: told.append((offsets[T0].offset, error is None))
        )
    assert told == []
    finish(consumer)
    assert told == [(0, True), (1, False), (2, True)]


def test_async_commit_is_visible_at_once_even_without_a_callback(consumer: Consumer) -> None:
    consumer.commit_async()
    assert consumer.committed(T0) == OffsetAndMetadata(3, "", 0)


def test_failed_async_commit_without_a_callback_is_logged(
    consumer: Consumer, failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    failing.left = 1
    consumer.commit_async()
    with caplog.at_level(logging.WARNING, "streamlog"):
        consumer.poll()
    assert "commit_async" in caplog.text
    assert "no room left" in caplog.text


def test_callback_that_raises_comes_out_of_poll_and_the_others_run_next_time(
    consumer: Consumer,
) -> None:
    told: list[str] = []

    def fail(offsets: object, error: object) -> None:
        raise RuntimeError("from the callback")

    consumer.commit_async(callback=fail)
    consumer.commit_async(callback=lambda *_: told.append("second"))
    with pytest.raises(RuntimeError, match="from the callback"):
        consumer.poll()
    assert told == []
    consumer.poll()
    assert told == ["second"]


def test_callback_may_use_the_consumer(consumer: Consumer) -> None:
    positions: list[int] = []
    consumer.commit_async(callback=lambda *_: positions.append(consumer.position(T0)))
    consumer.poll()
    assert positions == [3]


# ---- CON-11


def evict(broker: Broker, consumer: Consumer) -> None:
    metadata = consumer.group_metadata()
    broker.group_coordinator.leave(metadata.group_id, metadata.member_id)


def test_con_11_commit_of_an_evicted_member_fails_and_is_not_repeated(
    topic: Broker, consumer: Consumer, clock: VirtualClock
) -> None:
    evict(topic, consumer)
    before = clock.monotonic_ms()
    with pytest.raises(CommitFailedError, match="poll to join again") as caught:
        consumer.commit()
    assert isinstance(caught.value.__cause__, UnknownMemberIdError)
    assert clock.monotonic_ms() == before
    told: list[Any] = []
    consumer.commit_async(callback=lambda offsets, error: told.append(error))
    consumer.poll()
    assert isinstance(told[0], CommitFailedError)


def test_con_11_after_joining_again_the_records_come_again(
    topic: Broker, consumer: Consumer
) -> None:
    evict(topic, consumer)
    with pytest.raises(CommitFailedError):
        consumer.commit()
    assert consumer.poll().values() == [b"0@0", b"0@1", b"0@2"]
    consumer.commit()
    assert consumer.committed(T0) == OffsetAndMetadata(3, "", 0)


def test_con_12_consumer_that_never_was_a_member_is_not_told_to_join_again(
    topic: Broker, consumer: Consumer
) -> None:
    with Consumer(topic, group_id="g", enable_auto_commit=False) as outsider:
        outsider.assign([T1])
        outsider.poll(timeout_ms=0)
        with pytest.raises(CommitFailedError, match="another group_id, or subscribe") as caught:
            outsider.commit({T1: 0})
    assert isinstance(caught.value.__cause__, UnknownMemberIdError)
    assert "join again" not in str(caught.value)

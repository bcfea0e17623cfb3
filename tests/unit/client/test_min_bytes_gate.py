"""fetch_min_bytes and fetch_max_wait_ms, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.runtime import VirtualClock
from tests.support.consuming import T0, T1, append, drain


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


def reader(broker: Broker, **options: Any) -> Consumer:
    settings = {"fetch_min_bytes": 2000, "fetch_max_wait_ms": 500, **options}
    consumer = Consumer(broker, auto_offset_reset="earliest", **settings)
    consumer.assign([T0, T1])
    return consumer


def test_too_little_is_held_back_until_the_wait_is_over(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    append(topic, [b"x" * 100])
    before = clock.monotonic_ms()
    assert len(consumer.poll(10_000)) == 1
    assert clock.monotonic_ms() == before + 500


def test_enough_over_all_partitions_is_returned_at_once(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    append(topic, [b"x" * 1000], T0)
    append(topic, [b"x" * 1000], T1)
    before = clock.monotonic_ms()
    assert len(consumer.poll(10_000)) == 2
    assert clock.monotonic_ms() == before


def test_what_arrives_meanwhile_ends_the_wait_when_it_is_enough(
    topic: Broker, clock: VirtualClock
) -> None:
    consumer = reader(topic)
    append(topic, [b"x" * 1000])
    topic.scheduler.call_later(200, lambda: append(topic, [b"y" * 1000]))
    before = clock.monotonic_ms()
    assert len(consumer.poll(10_000)) == 2
    assert clock.monotonic_ms() == before + 200


def test_fetch_goes_on_between_polls_that_do_not_wait(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    append(topic, [b"x"])
    assert not consumer.poll()
    clock.advance(499)
    assert not consumer.poll()
    clock.advance(1)
    assert len(consumer.poll()) == 1


def test_poll_shorter_than_the_wait_returns_nothing(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    append(topic, [b"x"])
    before = clock.monotonic_ms()
    assert not consumer.poll(300)
    assert clock.monotonic_ms() == before + 300
    assert len(consumer.poll(300)) == 1
    assert clock.monotonic_ms() == before + 500


def test_fetch_that_found_nothing_starts_again(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    topic.scheduler.call_later(1_700, lambda: append(topic, [b"x"]))
    before = clock.monotonic_ms()
    assert len(consumer.poll(10_000)) == 1
    # The fetches went out at 0, 500, 1000 and 1500 ms.
    assert clock.monotonic_ms() == before + 2_000


def test_everything_fetched_is_handed_out_before_the_next_wait(
    topic: Broker, clock: VirtualClock
) -> None:
    consumer = reader(topic, max_poll_records=1)
    append(topic, [b"x" * 1000, b"y" * 1000, b"z"])
    before = clock.monotonic_ms()
    assert [len(consumer.poll(10_000)) for _ in range(3)] == [1, 1, 1]
    assert clock.monotonic_ms() == before
    append(topic, [b"x"])
    assert len(consumer.poll(10_000)) == 1
    assert clock.monotonic_ms() == before + 500


def test_paused_partitions_do_not_count(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    consumer.pause(T0)
    append(topic, [b"x" * 3000], T0)
    append(topic, [b"y"], T1)
    before = clock.monotonic_ms()
    assert consumer.poll(10_000).values() == [b"y"]
    assert clock.monotonic_ms() == before + 500


def test_wait_of_zero_holds_nothing_back(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic, fetch_max_wait_ms=0)
    append(topic, [b"x"])
    before = clock.monotonic_ms()
    assert drain(consumer) == [b"x"]
    assert not consumer.poll(100)
    assert clock.monotonic_ms() == before + 100


def test_error_in_a_partition_is_not_held_back(topic: Broker, clock: VirtualClock) -> None:
    consumer = reader(topic)
    consumer.seek(T0, 99)
    append(topic, [b"x"])
    before = clock.monotonic_ms()
    assert consumer.poll(10_000).values() == [b"x"], "out of range, hence back to the start"
    assert clock.monotonic_ms() == before

"""Timers, memory and turns; what records go through is tested with the producer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.buffer_pool import BufferPool
from streamlog.client.producer import Producer
from streamlog.client.record_future import RecordFuture
from streamlog.errors import ClosedError, DiskFullError
from streamlog.runtime import VirtualClock
from tests.support.producing import (
    Deliveries,
    Failures,
    failing_partitions,
    stored_batches,
    values,
)

Make = Callable[..., Producer]


@pytest.fixture
def make(broker: Broker) -> Make:
    broker.create_topic("t")
    broker.create_topic("t3", partitions=3)

    def make(**config: Any) -> Producer:
        return Producer(broker, **config)

    return make


@pytest.fixture
def failures() -> Iterator[Failures]:
    with failing_partitions() as failures:
        yield failures


def test_one_timer_serves_all_queues(broker: Broker, clock: VirtualClock, make: Make) -> None:
    producer = make(linger_ms=50)
    timers = len(clock._queue)
    for number in range(3):
        producer.send("t3", b"v", partition=number)
        clock.advance(10)
    assert len(clock._queue) == timers + 1
    clock.advance(70)
    assert producer._accumulator._timer is None, "and none while nothing waits"
    assert all(values(broker, "t3", number) for number in range(3))


def test_a_batch_that_went_early_leaves_the_timer_to_the_next(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    producer = make(linger_ms=50)
    producer.send("t", b"1")
    clock.advance(20)
    producer.flush()
    producer.send("t", b"2")
    clock.advance(40)
    assert values(broker) == [b"1"], "the timer of the first batch found nothing due"
    clock.advance(10)
    assert values(broker) == [b"1", b"2"]


def test_an_earlier_time_moves_the_timer(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    """PRD-8: a retry after 10 ms does not wait for a batch that lingers for a second."""
    producer = make(linger_ms=1000, retry_backoff_ms=10)
    producer.send("t3", b"v", partition=0)
    failures.next = [DiskFullError("full")]
    producer.send_many("t", [b"v"])
    clock.advance(10)
    assert values(broker) == [b"v"]
    assert values(broker, "t3") == []


def test_prd_8_a_batch_that_is_tried_again_is_logged_once_with_the_reason(
    clock: VirtualClock, make: Make, failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk may stay full for two minutes, and nobody would know what is going on."""
    producer = make(linger_ms=0, retry_backoff_ms=10)
    failures.next = [DiskFullError("full") for _ in range(4)]
    future = producer.send("t", b"v")
    clock.advance(1000)
    assert future.done()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["t-0: 1 record(s) not appended, to be tried again: full"]


def test_prd_5_an_open_batch_behind_a_retry_goes_right_after_it(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make(linger_ms=5, retry_backoff_ms=100)
    failures.next = [DiskFullError("full")]
    first = producer.send("t", b"1")
    clock.advance(5)
    second = producer.send("t", b"2")
    clock.advance(99)
    assert not first.done()
    assert not second.done()
    clock.advance(1)
    assert first.done()
    clock.advance(0)
    assert second.done()


def test_many_batches_behind_a_retry_all_go(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    """More than one thread appends at a time: the timer goes on where it left off."""
    producer = make(linger_ms=5, batch_size=200)
    failures.next = [DiskFullError("full")]
    for n in range(300):
        producer.send("t", b"%0100d" % n)
    assert values(broker) == []
    clock.advance(100)
    assert len(values(broker)) == 300
    assert len(stored_batches(broker)) == 300


def test_linger_0_collects_what_waits_behind_a_retry(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    """Each record a batch of its own would take 16 KiB of memory each."""
    producer = make()
    failures.next = [DiskFullError("full")] * 2
    for n in range(500):
        producer.send("t", b"%d" % n)
    clock.advance(100)
    assert values(broker) == [b"%d" % n for n in range(500)]
    assert len(stored_batches(broker)) == 2
    assert producer.send("t", b"by itself").done()
    assert len(stored_batches(broker)) == 3


def test_a_closed_accumulator_refuses_and_gives_memory_back(make: Make) -> None:
    producer = make(linger_ms=5)
    accumulator = producer._accumulator
    producer.send("t", b"v")
    (queue,) = accumulator.queues()
    producer.close()
    with pytest.raises(ClosedError):
        accumulator.append(queue, b"v", 7, 1, 0.0)
    with pytest.raises(ClosedError):
        producer._path.send_plain(queue, b"v", None)
    assert accumulator.pool.available_bytes == accumulator.pool.total_bytes


# ---- two threads at one partition


class Held:
    """Holds the next append until `release`."""

    def __init__(self, failures: Failures) -> None:
        self.entered = Event()
        self.go = Event()
        self.first = True
        failures.before_append = self.hold

    def hold(self) -> None:
        if self.first:
            self.first = False
            self.entered.set()
            assert self.go.wait(20)


def in_thread(body: Callable[[], object]) -> Thread:
    thread = Thread(target=body)
    thread.start()
    return thread


def test_linger_0_waits_for_the_thread_that_takes_its_record_along(failures: Failures) -> None:
    """Its record has been appended when `send` returns, whoever did it."""
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker)
        deliveries = Deliveries()
        held = Held(failures)
        first = in_thread(lambda: producer.send("t", b"1", on_delivery=deliveries))
        assert held.entered.wait(20)
        futures: list[RecordFuture] = []
        second = in_thread(lambda: futures.append(producer.send("t", b"2", on_delivery=deliveries)))
        (queue,) = producer._accumulator.queues()
        while not queue.tail:
            pass
        assert not futures
        held.go.set()
        second.join()
        first.join()
        assert futures[0].result(timeout=0).offset == 1
        producer.flush()
        assert deliveries.offsets == [0, 1]


def test_flush_waits_for_a_batch_that_another_thread_appends(failures: Failures) -> None:
    """PRD-9: and for its callbacks."""
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=10_000)
        deliveries = Deliveries()
        producer.send("t", b"1", on_delivery=deliveries)
        held = Held(failures)
        (queue,) = producer._accumulator.queues()
        producer._accumulator.seal(queue)
        other = in_thread(lambda: producer._accumulator.drain(queue))
        assert held.entered.wait(20)
        producer.send("t", b"2", on_delivery=deliveries)
        flusher = in_thread(producer.flush)
        while queue.tail:
            pass
        assert flusher.is_alive()
        held.go.set()
        flusher.join()
        assert deliveries.offsets == [0, 1]
        other.join()


def test_the_timer_leaves_an_open_batch_to_the_thread_that_appends(failures: Failures) -> None:
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=1)
        held = Held(failures)
        other = in_thread(lambda: producer.send_many("t", [b"1"]))
        assert held.entered.wait(20)
        future = producer.send("t", b"2")
        (queue,) = producer._accumulator.queues()
        while not queue.is_looked_for:
            pass
        held.go.set()
        assert future.result(timeout=20).offset == 1
        other.join()


def test_close_0_leaves_a_batch_on_its_way_alone(failures: Failures) -> None:
    """PRD-9: nobody can say yet whether it is appended."""
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=10_000)
        on_its_way = producer.send("t", b"1")
        held = Held(failures)
        (queue,) = producer._accumulator.queues()
        producer._accumulator.seal(queue)
        other = in_thread(lambda: producer._accumulator.drain(queue))
        assert held.entered.wait(20)
        waiting = producer.send("t", b"2")
        producer.close(0)
        assert isinstance(waiting.exception(timeout=20), ClosedError)
        held.go.set()
        other.join()
        assert on_its_way.result(timeout=20).offset == 0
        assert values(broker) == [b"1"]


def test_close_0_ends_the_retries_of_a_batch_on_its_way(failures: Failures) -> None:
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=10_000)
        on_its_way = producer.send("t", b"1")
        held = Held(failures)
        failures.next = [DiskFullError("full")]
        (queue,) = producer._accumulator.queues()
        producer._accumulator.seal(queue)
        other = in_thread(lambda: producer._accumulator.drain(queue))
        assert held.entered.wait(20)
        producer.close(0)
        held.go.set()
        other.join()
        assert isinstance(on_its_way.exception(timeout=20), DiskFullError)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", ["try_take", "take"])
def test_memory_that_was_taken_when_ctrl_c_came_is_given_back(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str, many: bool
) -> None:
    """Python 3.10 lets it out when a function has returned, before the caller has what is returned."""
    producer = make(linger_ms=50, buffer_memory=100_000)
    pool = producer._accumulator.pool
    take = getattr(BufferPool, name)

    def interrupted(self: BufferPool, size_bytes: int, taken: list[int], *rest: float) -> bool:
        assert take(self, size_bytes, taken, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if name == "take":
            patch.setattr(BufferPool, "try_take", lambda *_: False)
        patch.setattr(BufferPool, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            producer.send_many("t", [b"v"] * 10) if many else producer.send("t", b"v")
    assert pool.available_bytes == pool.total_bytes
    producer.send("t", b"last")
    producer.close()
    assert pool.available_bytes == pool.total_bytes

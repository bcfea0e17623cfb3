"""The queue without a lock: what it promises, and threads that try to break it."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from threading import Barrier, Thread
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.partition_queue import PartitionQueue
from streamlog.client.producer import Producer
from streamlog.client.record_future import RecordFuture
from streamlog.client.row_sizes import BATCH_OVERHEAD_BYTES, ROW_OVERHEAD_BYTES
from streamlog.errors import ClosedError, DiskFullError
from streamlog.runtime import VirtualClock
from tests.support.producing import (
    Deliveries,
    failing_partitions,
    stored,
    stored_batches,
    values,
)

SECONDS = float(os.environ.get("STREAMLOG_STRESS_SECONDS", "0.5"))


@pytest.fixture
def queue(broker: Broker, clock: VirtualClock) -> PartitionQueue:
    broker.create_topic("t")
    return PartitionQueue("t", 0, broker.partition("t", 0), clock, lingers=True)


def open_for(queue: PartitionQueue, records: int, size: int = 100) -> None:
    """Open a batch with room for exactly *records* values of *size* bytes."""
    capacity = BATCH_OVERHEAD_BYTES + records * (size + ROW_OVERHEAD_BYTES)
    queue.open(capacity, [0], 0.0, 5.0)


def future_of(queue: PartitionQueue, value: bytes) -> RecordFuture:
    future = RecordFuture()
    future._owner, future._slot, future._size = queue, value, len(value)
    return future


# ---- limits


def test_as_many_rows_are_let_in_as_surely_fit(queue: PartitionQueue) -> None:
    queue.has_writers = True
    open_for(queue, 8)
    assert queue.push(bytes(100), 106, 100)
    assert queue.limit == 8
    queue.tail += [bytes(100)] * 7
    assert queue.is_full()


def test_rows_above_an_eighth_of_a_batch_are_not_let_in(queue: PartitionQueue) -> None:
    queue.has_writers = True
    open_for(queue, 7)
    assert queue.push(bytes(100), 106, 100)
    assert queue.largest == 0
    assert not queue.has_room_for(7 * 106)
    assert queue.has_room_for(6 * 106)


def test_small_rows_leave_room_for_more(queue: PartitionQueue) -> None:
    queue.has_writers = True
    open_for(queue, 100)
    queue.push(bytes(100), 106, 100)
    assert queue.limit == 100
    queue.tail += [bytes(10)] * 99
    assert not queue.is_full()
    left = 100 * 106 - 106 - 99 * 16
    assert queue.limit == 100 + left // 106


def test_nothing_is_let_in_while_no_batch_is_open(queue: PartitionQueue) -> None:
    assert queue.limit == 0
    assert queue.high_s == 0.0
    assert not queue.restamp()
    open_for(queue, 10)
    queue.has_writers = True
    queue.push(bytes(10), 16, 10)
    assert queue.restamp()
    queue.seal()
    assert queue.limit == 0
    assert queue.high_s == 0.0
    assert not queue.restamp()


def test_linger_0_lets_nobody_in_without_the_lock(broker: Broker, clock: VirtualClock) -> None:
    """A record that went into the batch of another thread could be overtaken by the next one."""
    broker.create_topic("t")
    queue = PartitionQueue("t", 0, broker.partition("t", 0), clock, lingers=False)
    queue.has_writers = True
    open_for(queue, 10)
    queue.push(bytes(10), 16, 10)
    assert not queue.restamp()
    assert queue.high_s == 0.0


def test_longer_keys_take_room_from_a_batch_that_is_open(queue: PartitionQueue) -> None:
    queue.has_writers = True
    open_for(queue, 100)
    queue.push(bytes(100), 106, 100)
    queue.make_room_for_keys(97)
    assert queue.has_keys
    assert queue.limit == 1 + (100 * 106 - 106) // 206
    queue.make_room_for_keys(5)
    assert queue.limit == 1 + (100 * 106 - 106) // 206


def test_a_single_large_record_is_forgotten_by_the_next_batch(queue: PartitionQueue) -> None:
    queue.has_writers = True
    open_for(queue, 1000)
    queue.push(bytes(10_000), 10_006, 10_000)
    assert queue.largest == 10_000
    queue.average_bytes = 120
    queue.seal()
    assert queue.largest == 0


def test_a_row_that_came_too_late_is_taken_by_the_next_seal(
    queue: PartitionQueue, clock: VirtualClock
) -> None:
    """It has the time of the seal: its thread is still inside the call."""
    queue.has_writers = True
    assert queue.seal() is None
    queue.tail.append(b"late")
    clock.advance(7)
    batch = queue.seal()
    assert batch is not None
    assert batch.rows == [b"late"]
    assert batch.stamps == ((0, clock.time_ms()),)


def test_rows_before_the_first_stamp_belong_to_it(queue: PartitionQueue) -> None:
    queue.has_writers = True
    queue.tail.append(b"late")
    open_for(queue, 10)
    queue.push(b"first", 11, 5)
    batch = queue.seal()
    assert batch is not None
    assert batch.stamps[0][0] == 0
    assert batch.pack().record_count == 2


def test_stamps_begin_where_the_clock_moved(queue: PartitionQueue, clock: VirtualClock) -> None:
    queue.has_writers = True
    open_for(queue, 100)
    start_ms = clock.time_ms()
    for step_ms in (0, 0.5, 0.6, 0, 3):
        clock.advance(step_ms)
        queue.push(b"v", 7, 1)
    batch = queue.seal()
    assert batch is not None
    assert batch.stamps == [(0, start_ms), (2, start_ms + 1), (4, start_ms + 4)]


def test_the_window_is_the_millisecond_of_the_stamp(
    queue: PartitionQueue, clock: VirtualClock
) -> None:
    queue.has_writers = True
    clock.advance(0.25)
    open_for(queue, 100)
    queue.push(b"v", 7, 1)
    assert queue.low_s <= clock.time_s() < queue.high_s
    clock.advance(0.74)
    assert queue.low_s <= clock.time_s() < queue.high_s
    clock.advance(0.01)
    assert not clock.time_s() < queue.high_s
    queue.restamp()
    assert queue.low_s <= clock.time_s() < queue.high_s
    clock.set_wall_ms(5)
    assert not queue.low_s <= clock.time_s()


# ---- threads that race on purpose


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Let the interpreter switch threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def run_threads(*bodies: Any) -> None:
    """Run each body in a thread, all starting at once; raise what any of them raised."""
    errors: list[BaseException] = []
    barrier = Barrier(len(bodies))

    def run(body: Any) -> None:
        try:
            barrier.wait()
            body()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def by_thread(records: list[bytes | None]) -> dict[bytes, list[int]]:
    """The numbers of each thread's records, in the order of the log; values are ``name:number``."""
    found: dict[bytes, list[int]] = {}
    for value in records:
        assert value is not None
        name, _, number = value.partition(b":")
        found.setdefault(name, []).append(int(number))
    return found


@pytest.mark.stress
@pytest.mark.usefixtures("many_switches")
@pytest.mark.parametrize("linger_ms", [0, 1, 50])
def test_racing_threads_lose_nothing_and_keep_their_order(linger_ms: int) -> None:
    """REC-8, PRD-9: each thread's records of all kinds, in its order, once each; offsets and callbacks
    in order; timestamps inside the call."""
    deadline = time.monotonic() + SECONDS
    deliveries = Deliveries()
    sent: dict[bytes, list[tuple[RecordFuture, int, int]]] = {}
    counts: dict[bytes, int] = {}
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=linger_ms, batch_size=600, buffer_memory=20_000)

        def sender(name: bytes) -> None:
            mine = sent[name] = []
            n = 0
            while time.monotonic() < deadline:
                before = time.time_ns() // 1_000_000
                value = b"%s:%d" % (name, n)
                if n % 7 == 3:
                    future = producer.send("t", value, key=b"key%d" % (n % 5))
                elif n % 11 == 5:
                    future = producer.send("t", value, on_delivery=deliveries)
                elif n % 13 == 6:
                    future = producer.send("t", value, headers=[("h", bytes(n % 700))])
                else:
                    future = producer.send("t", value)
                mine.append((future, before, time.time_ns() // 1_000_000))
                n += 1
            counts[name] = n

        def writer(name: bytes) -> None:
            write = producer.writer("t")
            n = 0
            while time.monotonic() < deadline:
                write(b"%s:%d" % (name, n), b"k" if n % 9 == 4 else None)
                n += 1
            counts[name] = n

        def bulk(name: bytes) -> None:
            n = 0
            while time.monotonic() < deadline:
                producer.send_many("t", [b"%s:%d" % (name, n + i) for i in range(5)])
                n += 5
            counts[name] = n

        def flusher() -> None:
            while time.monotonic() < deadline:
                producer.flush()

        run_threads(
            lambda: sender(b"s1"),
            lambda: sender(b"s2"),
            lambda: writer(b"w1"),
            lambda: writer(b"w2"),
            lambda: bulk(b"b"),
            flusher,
        )
        producer.flush()
        records = stored(broker)
        metrics = producer.metrics()
    found = by_thread([record.value for record in records])
    assert found.keys() == {name for name, n in counts.items() if n}
    for name, numbers in found.items():
        misplaced = [(at, n) for at, n in enumerate(numbers) if at != n]
        assert not misplaced, (name, misplaced[:10])
        assert len(numbers) == counts[name]
    for name, mine in sent.items():
        for n, (future, before, after) in enumerate(mine):
            metadata = future.result(timeout=0)
            record = records[metadata.offset]
            assert record.value == b"%s:%d" % (name, n)
            assert metadata.timestamp_ms == record.timestamp_ms
            assert before <= record.timestamp_ms <= after
    assert deliveries.offsets == sorted(deliveries.offsets)
    assert len(deliveries.offsets) == sum(
        n % 7 != 3 and n % 11 == 5 for c in ("s1", "s2") for n in range(counts[c.encode()])
    )
    assert metrics["record_send_total"] == len(records)
    assert metrics["buffer_available_bytes"] == 20_000


@pytest.mark.stress
@pytest.mark.usefixtures("many_switches")
@pytest.mark.parametrize("linger_ms", [0, 2])
def test_racing_threads_keep_their_order_while_the_disk_is_full_now_and_then(
    linger_ms: int,
) -> None:
    """PRD-8: nothing overtakes a record that is tried again, whoever sends and whoever appends."""
    deadline = time.monotonic() + SECONDS
    chance = random.Random(1)
    counts: dict[bytes, int] = {}
    with failing_partitions() as failures, Broker() as broker:
        broker.create_topic("t")
        failures.before_append = lambda: (
            failures.next.append(DiskFullError("full")) if chance.random() < 0.05 else None
        )
        producer = Producer(
            broker, linger_ms=linger_ms, batch_size=400, retry_backoff_ms=1, retry_backoff_max_ms=3
        )

        def sender(name: bytes) -> None:
            n = 0
            while time.monotonic() < deadline:
                value = b"%s:%d" % (name, n)
                if n % 5 == 2:
                    producer.send_many("t", [value])
                else:
                    producer.send("t", value, key=b"k" if n % 3 else None)
                n += 1
            counts[name] = n

        def writer(name: bytes) -> None:
            write = producer.writer("t")
            n = 0
            while time.monotonic() < deadline:
                write(b"%s:%d" % (name, n))
                n += 1
            counts[name] = n

        run_threads(lambda: sender(b"s1"), lambda: sender(b"s2"), lambda: writer(b"w"))
        producer.flush()
        failures.before_append = lambda: None
        metrics = producer.metrics()
        found = by_thread(values(broker))
    for name, numbers in found.items():
        misplaced = [(at, n) for at, n in enumerate(numbers) if at != n]
        assert not misplaced, (name, misplaced[:10])
        assert len(numbers) == counts[name]
    assert metrics["record_retry_total"] > 0
    assert metrics["record_error_total"] == 0
    assert metrics["buffer_available_bytes"] == metrics["buffer_total_bytes"]


@pytest.mark.stress
@pytest.mark.usefixtures("many_switches")
def test_nothing_is_left_behind_without_a_timer() -> None:
    """A row that lands between a seal and the next batch goes by itself, within ``linger_ms``."""
    deadline = time.monotonic() + SECONDS
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=1, batch_size=300)

        def sender() -> None:
            while time.monotonic() < deadline:
                futures = [producer.send("t", bytes(20)) for _ in range(15)]
                for future in futures:
                    future.result(timeout=20)  # nobody flushes

        run_threads(sender, sender, sender)
        assert not producer._accumulator.queues()[0].tail


@pytest.mark.stress
@pytest.mark.usefixtures("many_switches")
@pytest.mark.parametrize("linger_ms", [0, 5])
def test_what_was_accepted_before_close_is_stored_once(linger_ms: int) -> None:
    for _ in range(max(3, int(SECONDS * 20))):
        close_while_others_send(linger_ms)


def close_while_others_send(linger_ms: int) -> None:
    accepted: list[list[bytes]] = [[], [], []]
    futures: list[RecordFuture] = []
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=linger_ms, batch_size=400)
        write = producer.writer("t")

        def use(index: int) -> None:
            n = 0
            try:
                while True:
                    value = b"%d:%d" % (index, n)
                    if index == 2:
                        write(value)
                    else:
                        futures.append(producer.send("t", value))
                    accepted[index].append(value)
                    n += 1
            except ClosedError:
                pass

        def close() -> None:
            while sum(map(len, accepted)) < 300:
                time.sleep(0)
            producer.close()

        run_threads(lambda: use(0), lambda: use(1), lambda: use(2), close)
        found = by_thread(values(broker))
        for index, mine in enumerate(accepted):
            numbers = found.get(b"%d" % index, [])
            # A call that close overtook may have raised although its record still went.
            assert numbers == list(range(len(numbers))), "in order, without gaps"
            assert 0 <= len(numbers) - len(mine) <= 1, (index, len(numbers), len(mine))
        assert all(future.exception(timeout=10) is None for future in futures)


@pytest.mark.stress
@pytest.mark.usefixtures("many_switches")
def test_racing_threads_keep_batches_near_batch_size() -> None:
    """But for a row of each thread that races with a seal."""
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=1000, batch_size=2000)

        def sender() -> None:
            for n in range(3000):
                producer.send("t", bytes(n * 17 % 90))

        run_threads(sender, sender, sender)
        producer.flush()
        sizes = [sum(len(r.value or b"") for r in batch) for batch in stored_batches(broker)]
    assert max(sizes) <= 2000 + 3 * 90
    assert statistics.median(sizes) > 1000


@pytest.mark.stress
@pytest.mark.usefixtures("many_switches")
def test_timestamps_of_racing_threads_never_go_back_much() -> None:
    """REC-2: a stamp is a time during the call, so the order of the log is the order of time, to
    within the length of a call."""
    with Broker() as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=5)
        deadline = time.monotonic() + SECONDS

        def sender() -> None:
            while time.monotonic() < deadline:
                producer.send("t", b"v")

        run_threads(sender, sender)
        producer.flush()
        times = [record.timestamp_ms for record in stored(broker)]
    assert all(later >= earlier for earlier, later in pairwise(times))

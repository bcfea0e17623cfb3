from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog import Isolation, ReadOnlyError, StorageError, UnknownTopicOrPartitionError
from streamlog.record import build_batch
from streamlog.runtime import Signal
from tests.support.read_only_world import ORDERS, World, assigned, values
from tests.support.transaction_writer import new_writer


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.write(b"one", b"two")
    yield world
    world.close()


def test_bounds_are_those_of_the_moment_they_are_asked_for(world: World) -> None:
    partition = world.reader().partition(*ORDERS)
    assert (partition.log_start_offset, partition.high_watermark) == (0, 2)
    world.write(b"three")
    assert partition.end_offset() == partition.log_end_offset == 3
    world.writer.partition(*ORDERS).delete_records(2)
    world.clock.wait_until(lambda: False, Signal(), 100)
    partition._look_at_topics()  # type: ignore[attr-defined]
    assert partition.log_start_offset == 2
    txn = new_writer(world.writer)
    txn.write("orders")
    assert partition.last_stable_offset == 3
    assert partition.end_offset(Isolation.READ_COMMITTED) == 3
    assert partition.high_watermark == 4
    txn.end(commit=True)
    assert partition.last_stable_offset == 5


def test_waiters_are_woken_by_whoever_sees_the_growth_first(world: World) -> None:
    partition, signal = world.reader().partition(*ORDERS), Signal()
    partition.add_waiter(signal)
    assert partition.is_waited_for  # type: ignore[attr-defined]
    world.write(b"three")
    assert not signal.is_set()
    assert partition.log_end_offset == 3
    assert signal.is_set()
    partition.remove_waiter(signal)
    assert not partition.is_waited_for  # type: ignore[attr-defined]


def test_everything_that_writes_is_refused(world: World) -> None:
    partition: Any = world.reader().partition(*ORDERS)
    batch = build_batch([b"x"], 1)
    for call in (
        lambda: partition.append(batch),
        lambda: partition.append_value(b"x", 1),
        lambda: partition.append_marker(batch),
        partition.sync,
        lambda: partition.delete_records(-1),
    ):
        with pytest.raises(ReadOnlyError, match="orders-0: .*/data was opened with read_only=True"):
            call()


def test_a_partition_whose_topic_went_says_so_wherever_it_is_noticed(world: World) -> None:
    world.write(*[b"x" * 1000] * 50)
    reader = world.reader()
    partition = reader.partition(*ORDERS)
    partition.log._segments.first()._drop_files()  # opened when it is read
    world.writer.delete_topic("orders")
    with pytest.raises(UnknownTopicOrPartitionError, match="'orders' was deleted"):
        partition.read(0, 100)
    with pytest.raises(UnknownTopicOrPartitionError, match="'orders' was deleted"):
        partition.read(0, 100)


def test_files_that_went_without_their_topic_are_a_storage_error(world: World) -> None:
    partition = world.reader().partition(*ORDERS)
    partition.log._segments.first()._drop_files()
    world.disk.rename("/data/topics/orders-0", "/data/topics/elsewhere")
    for call in (lambda: partition.log_end_offset, lambda: partition.read(0, 100)):
        with pytest.raises(StorageError, match="orders-0.*expected the files of a log"):
            call()
    world.disk.rename("/data/topics/elsewhere", "/data/topics/orders-0")
    assert partition.log_end_offset == 2


def test_a_consumer_that_waits_for_minimum_bytes_is_woken(world: World) -> None:
    consumer = assigned(world.reader(), fetch_min_bytes=500, fetch_max_wait_ms=10_000)
    world.clock.new_scheduler("w").call_later(350, lambda: world.write(b"x" * 600))
    before_ms = world.clock.monotonic_ms()
    assert values(consumer, 60_000) == [b"one", b"two", b"x" * 600]
    assert world.clock.monotonic_ms() - before_ms <= 500

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.partition_queue import PartitionQueue
from streamlog.client.producer_batch import ProducerBatch, part_future
from streamlog.client.record_future import RecordFuture
from streamlog.record import build_batch, split_batches
from streamlog.record.columns import ColumnReader
from streamlog.record.pending_batch import PendingBatch
from streamlog.runtime import VirtualClock


@pytest.fixture
def queue(broker: Broker, clock: VirtualClock) -> PartitionQueue:
    broker.create_topic("t")
    return PartitionQueue("t", 0, broker.partition("t", 0), clock, lingers=True)


def future_of(queue: PartitionQueue, value: bytes, key: bytes | None = None) -> RecordFuture:
    future = RecordFuture()
    future._owner, future._slot, future._size = queue, value, len(value)
    if key is not None:
        future._key = key
    return future


def batch_of(
    queue: PartitionQueue, *rows: Any, stamps: Any = ((0, 100),), **marks: Any
) -> ProducerBatch:
    batch = ProducerBatch(queue, 1, 0.0, list(rows))
    batch.stamps = stamps
    for name, mark in marks.items():
        setattr(batch, name, mark)
    return batch


def columns(pending: PendingBatch) -> tuple[Any, ...]:
    reader = ColumnReader(memoryview(pending.body), pending.record_count)
    return reader.values(), reader.keys(), reader.timestamp_deltas(), reader.headers()


def test_values_are_packed_as_they_are(queue: PartitionQueue) -> None:
    batch = batch_of(queue, b"1", b"2")
    assert columns(batch.pack()) == ([b"1", b"2"], None, None, None)
    assert batch.pack() is batch.pack(), "bytes are made once"
    assert batch.unclaimed == 2


def test_futures_learn_their_place(queue: PartitionQueue) -> None:
    futures = [future_of(queue, b"%d" % n) for n in range(3)]
    batch = batch_of(queue, *futures)
    assert columns(batch.pack()) == ([b"0", b"1", b"2"], None, None, None)
    assert [(f._owner, f._slot) for f in futures] == [(batch, 0), (batch, 1), (batch, 2)]
    assert batch.unclaimed == 0


def test_keys_of_some_futures_are_kept(queue: PartitionQueue) -> None:
    queue.has_keys = True
    batch = batch_of(queue, future_of(queue, b"1", b"k"), future_of(queue, b"2"))
    assert columns(batch.pack())[:2] == ([b"1", b"2"], [b"k", None])
    assert batch.pack().has_null_keys
    batch = batch_of(queue, future_of(queue, b"1", b"k"), stamps=[(0, 5), (0, 6)])
    assert not batch.pack().has_null_keys
    batch = batch_of(queue, future_of(queue, b"1"), future_of(queue, b"2"), stamps=[(0, 5), (1, 6)])
    assert columns(batch.pack()) == ([b"1", b"2"], None, [0, 1], None)


def test_rows_of_every_kind_may_be_mixed(queue: PartitionQueue) -> None:
    told: list[Any] = []
    first, second = future_of(queue, b"f", b"k1"), future_of(queue, b"t")
    batch = batch_of(
        queue,
        first,
        b"w",
        (b"t", b"k2", 90, (("h", b"1"),), second, told.append),
        (None, b"k3", None, (), None, None),
        rows_differ=True,
    )
    assert columns(batch.pack()) == (
        [b"f", b"w", b"t", None],
        [b"k1", None, b"k2", b"k3"],
        [0, 0, -10, 0],
        [(), (), (("h", b"1"),), ()],
    )
    assert batch.unclaimed == 2
    assert batch.callbacks == [(second, told.append)]
    assert [future._slot for future in (first, second)] == [0, 2]


def test_rows_that_could_differ_but_do_not_are_packed_alike(queue: PartitionQueue) -> None:
    for rows in ([b"1", b"2"], [future_of(queue, b"1"), future_of(queue, b"2")]):
        batch = batch_of(queue, *rows, rows_differ=True)
        assert columns(batch.pack()) == ([b"1", b"2"], None, None, None)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([(0, 100)], [100] * 4),
        ([(0, 100), (1, 101), (3, 99)], [100, 101, 101, 99]),
        ([(0, 100), (2, 101), (2, 105)], [100, 100, 105, 105]),
        ([(0, 100), (4, 101)], [100] * 4),
    ],
)
def test_stamps_hold_from_their_row_on(queue: PartitionQueue, stamps: Any, times: Any) -> None:
    """REC-2; and the batch is the one that a timestamp for each record would have made."""
    batch = batch_of(queue, *([b"v"] * 4), stamps=stamps)
    pending = batch.pack()
    reference = build_batch([b"v"] * 4, times)
    assert (columns(pending)[2] or [0] * 4) == [time - times[0] for time in times]
    assert pending.first_timestamp_ms == reference.first_timestamp_ms
    assert pending.max_timestamp_ms >= reference.max_timestamp_ms
    batch.finish(7, None)
    assert [batch.metadata(n, -1, 1).timestamp_ms for n in range(4)] == times


def test_halves_hold_what_the_whole_held(queue: PartitionQueue) -> None:
    """REC-6."""
    told: list[Any] = []
    futures = [future_of(queue, b"%d" % n) for n in range(5)]
    rows = [
        (b"%d" % n, b"k%d" % n, n, (("h", b"%d" % n),), futures[n], told.append) for n in range(5)
    ]
    batch = batch_of(queue, *rows, rows_differ=True, attempts=2, reserved_bytes=50)
    batch.pack()
    first, second = batch.halves()
    assert [half.record_count for half in (first, second)] == [2, 3]
    assert columns(first.pack())[0] == [b"0", b"1"]
    assert columns(second.pack()) == (
        [b"2", b"3", b"4"],
        [b"k2", b"k3", b"k4"],
        [0, 1, 2],
        [(("h", b"%d" % n),) for n in (2, 3, 4)],
    )
    assert [f._slot for f in futures] == [0, 1, 0, 1, 2]
    assert [future for future, _ in second.callbacks] == futures[2:]
    assert first.attempts == second.attempts == 2
    assert first.reserved_bytes + second.reserved_bytes == 50
    for half, base in ((first, 10), (second, 12)):
        half.finish(base, None)
    assert [f.result().offset for f in futures] == [10, 11, 12, 13, 14]
    assert [f.result().timestamp_ms for f in futures] == [0, 1, 2, 3, 4]


def test_halves_of_stamped_batches_keep_their_times(queue: PartitionQueue) -> None:
    batch = batch_of(queue, b"1", b"2", b"3", stamps=[(0, 5), (2, 9)])
    batch.pack()
    first, second = batch.halves()
    assert (first.timestamps_ms, second.timestamps_ms) == ([5], [5, 9])
    assert (first.unclaimed, second.unclaimed) == (1, 2)


def test_a_run_gets_a_future_for_each_half(queue: PartitionQueue) -> None:
    batch = ProducerBatch(queue, 1, 0.0)
    batch.record_count = 4
    batch.timestamps_ms = 5
    batch.pending = build_batch([b"%d" % n for n in range(4)], 5)
    part = part_future(batch, 1, None)
    batch.run, batch.run_part = [part], part
    first, second = batch.halves()
    assert batch.run == [first.run_part, part]
    first.finish(0, None)
    second.finish(2, None)
    assert [f.result().offset for f in batch.run] == [1, 3]
    assert first.unclaimed == second.unclaimed == 0


def test_a_done_batch_lets_its_values_go(queue: PartitionQueue) -> None:
    """Futures may be kept for long: they must not keep the values."""
    futures = [future_of(queue, b"v")]
    batch = batch_of(queue, *futures)
    batch.pack()
    batch.finish(0, None)
    assert batch.pending is None
    assert batch.futures is None
    assert not batch.rows
    assert futures[0].result().serialized_value_size == 1


def test_log_append_time_replaces_all_timestamps(broker: Broker, clock: VirtualClock) -> None:
    """REC-4."""
    broker.create_topic("l", configs={"message_timestamp_type": "LogAppendTime"})
    partition = broker.partition("l", 0)
    queue = PartitionQueue("l", 0, partition, clock, lingers=True)
    batch = batch_of(queue, b"1", b"2", stamps=[(0, 5), (1, 6)])
    batch.finish(partition.append(batch.pack()), None)
    assert {batch.metadata(n, -1, 1).timestamp_ms for n in range(2)} == {clock.time_ms()}
    (view,) = split_batches(partition.read(0, 1000))
    assert view.timestamps_ms() == [clock.time_ms()] * 2

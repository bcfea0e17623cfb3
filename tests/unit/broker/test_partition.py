from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    ClosedError,
    DiskFullError,
    InvalidTimestampError,
    MessageTooLargeError,
    OffsetOutOfRangeError,
    PolicyViolationError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import build_batch, split_batches
from streamlog.runtime import MemoryFileSystem, Signal, VirtualClock
from streamlog.structs import Durability, Isolation, OffsetAndTimestamp, TopicPartition

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.broker.partition import Partition
    from streamlog.record import PendingBatch

NOW_MS = 1_700_000_000_000


@pytest.fixture
def partition(broker: Broker) -> Partition:
    broker.create_topic("orders", partitions=2)
    return broker.partition("orders", 1)


def configured(broker: Broker, **configs: object) -> Partition:
    broker.create_topic("configured", configs=configs)
    return broker.partition("configured", 0)


def append(partition: Partition, *values: bytes, timestamp_ms: int = NOW_MS) -> int:
    return partition.append(build_batch(list(values), timestamp_ms))


def fill(partition: Partition) -> None:
    for _ in range(1000):
        partition.append_value(b"v" * 1000, NOW_MS)


def read_values(partition: Partition, offset: int = 0) -> list[bytes | None]:
    values: list[bytes | None] = []
    while data := partition.read(offset, 1_000_000):
        for batch in split_batches(data):
            batch.check()
            pairs = zip(batch.offsets(), batch.values(), strict=True)
            values += [value for number, value in pairs if number >= offset]
        offset = batch.next_offset
    return values


# ---- write


def test_rec_8_append_gives_consecutive_offsets_and_read_returns_what_was_appended(
    partition: Partition,
) -> None:
    assert append(partition, b"a", b"b") == 0
    assert partition.append_value(b"c", NOW_MS) == 2
    assert append(partition, b"d") == 3
    assert read_values(partition) == [b"a", b"b", b"c", b"d"]
    assert read_values(partition, 1) == [b"b", b"c", b"d"]
    batches = partition.read_batches(0, 10_000, 4)
    assert [batch.values() for batch in batches] == [[b"a", b"b"], [b"c"], [b"d"]]
    assert partition.read_batches(4, 10_000, 4) == []


def test_partition_knows_its_name(partition: Partition) -> None:
    assert partition.topic_partition == TopicPartition("orders", 1)
    assert (partition.topic, partition.number) == ("orders", 1)
    assert "orders-1" in repr(partition)


def test_rec_4_refused_batch_uses_no_offset(partition: Partition) -> None:
    late_ms = NOW_MS + 3_600_001
    with pytest.raises(InvalidTimestampError, match="orders-1"):
        append(partition, b"a", timestamp_ms=late_ms)
    with pytest.raises(InvalidTimestampError, match="orders-1"):
        partition.append_value(b"a", late_ms)
    assert partition.log_end_offset == 0
    assert append(partition, b"a") == 0


def test_rec_4_log_append_time_is_what_readers_and_the_producer_see(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = configured(broker, message_timestamp_type="LogAppendTime")
    batch = build_batch([b"a", b"b"], [5, 6])
    partition.append(batch)
    clock.advance(10)
    partition.append_value(b"c", 7)
    assert batch.max_timestamp_ms == NOW_MS
    first, second = split_batches(partition.read(0, 10_000))
    assert first.timestamps_ms() == [NOW_MS, NOW_MS]
    assert second.timestamps_ms() == [NOW_MS + 10]


@pytest.mark.parametrize("size", range(1, 400, 7))
def test_rec_6_lone_value_meets_the_same_limit_as_a_batch(broker: Broker, size: int) -> None:
    partition = configured(broker, max_message_bytes=256)
    value = b"v" * size
    fits = build_batch([value], NOW_MS).size_bytes <= 256
    for append_it in (
        lambda: append(partition, value),
        lambda: partition.append_value(value, NOW_MS),
    ):
        if fits:
            append_it()
        else:
            with pytest.raises(MessageTooLargeError):
                append_it()


def test_log_4_flush_messages_syncs_when_so_many_records_wait(broker: Broker) -> None:
    partition = configured(broker, flush_messages=3)
    append(partition, b"a", b"b")
    assert partition.log.durable_end_offset == 0
    partition.append_value(b"c", NOW_MS)
    assert partition.log.durable_end_offset == 3
    append(partition, b"d", b"e", b"f", b"g")
    assert partition.log.durable_end_offset == 7


def test_flush_messages_one_syncs_every_append(broker: Broker) -> None:
    partition = configured(broker, flush_messages=1)
    for number in range(3):
        partition.append_value(b"v", NOW_MS)
        assert partition.log.durable_end_offset == number + 1


def test_sync_makes_all_durable(partition: Partition) -> None:
    append(partition, b"a")
    assert partition.log.durable_end_offset == 0
    partition.sync()
    assert partition.log.durable_end_offset == 1


def test_durability_is_named_by_what_the_record_survives(tmp_path: Path) -> None:
    with Broker() as broker:
        assert configured(broker, flush_messages=1).ack_durability() is Durability.NONE
    with Broker(tmp_path / "data") as broker:
        partition = configured(broker)
        assert partition.ack_durability() is Durability.PROCESS
        broker.alter_topic_configs("configured", {"flush_messages": 2})
        assert partition.ack_durability() is Durability.PROCESS
        broker.alter_topic_configs("configured", {"flush_messages": 1})
        assert partition.ack_durability() is Durability.DISK


def test_full_disk_is_retriable_costs_no_offset_and_leaves_reading_alone(
    clock: VirtualClock,
) -> None:
    disk = MemoryFileSystem(capacity_bytes=600_000)
    with Broker(clock=clock, filesystem=disk, min_free_bytes=0) as broker:
        broker.create_topic("orders", configs={"segment_bytes": 100_000, "file_delete_delay_ms": 0})
        partition = broker.partition("orders", 0)
        with pytest.raises(DiskFullError):
            fill(partition)
        end = partition.log_end_offset
        assert 0 < end < 1000
        with pytest.raises(DiskFullError):
            append(partition, b"v" * 90_000)
        assert partition.log_end_offset == end
        assert len(read_values(partition)) == end
        partition.delete_records(end - 1)
        broker.run_maintenance()
        clock.run_due()
        assert append(partition, b"again") == end


def test_consumers_can_commit_what_they_read_from_a_full_disk(clock: VirtualClock) -> None:
    # The reserve that was kept for this refused it: the topic of the offsets is a topic like any other.
    disk = MemoryFileSystem(capacity_bytes=17 << 20)
    with Broker(clock=clock, filesystem=disk, offsets_topic_num_partitions=1) as broker:
        broker.create_topic("orders")
        with pytest.raises(DiskFullError, match="in reserve"):
            while True:
                append(broker.partition("orders", 0), b"v" * 90_000)
        with Consumer(broker, group_id="g") as consumer:
            consumer.assign([TopicPartition("orders", 0)])
            consumer.commit({TopicPartition("orders", 0): 1})


# ---- bounds


def test_log_6_bounds_are_in_order_and_equal_while_there_is_one_replica(
    partition: Partition,
) -> None:
    append(partition, b"a", b"b", b"c")
    partition.delete_records(1)
    assert partition.log_start_offset == 1
    assert partition.last_stable_offset == partition.high_watermark == partition.log_end_offset == 3


def test_tim_3_end_offset_follows_the_isolation(partition: Partition) -> None:
    append(partition, b"a", b"b")
    assert partition.end_offset() == 2
    assert partition.end_offset(Isolation.READ_COMMITTED) == 2


# ---- read


def test_log_7_read_at_the_end_is_empty_and_beyond_it_out_of_range(partition: Partition) -> None:
    append(partition, b"a", b"b")
    partition.delete_records(1)
    for isolation in Isolation:
        assert partition.read(2, 1000, isolation) == b""
        for offset in (0, 3, -1):
            with pytest.raises(OffsetOutOfRangeError, match="orders-1") as caught:
                partition.read(offset, 1000, isolation)
            assert caught.value.offsets == {TopicPartition("orders", 1): offset}


def test_log_7_one_batch_is_returned_even_above_the_limit(partition: Partition) -> None:
    append(partition, b"v" * 1000)
    append(partition, b"w")
    assert [b.values() for b in split_batches(partition.read(0, 1))] == [[b"v" * 1000]]


def test_tim_1_lookup_by_time_finds_the_smallest_offset_at_or_after(partition: Partition) -> None:
    for stamp in (5, 3, 9):
        append(partition, b"v", timestamp_ms=stamp)
    found = [partition.offset_for_timestamp(t) for t in (0, 4, 6, 10)]
    assert found == [
        OffsetAndTimestamp(0, 5, 0),
        OffsetAndTimestamp(0, 5, 0),
        OffsetAndTimestamp(2, 9, 0),
        None,
    ]
    with pytest.raises(ValueError, match=r"orders-1.*found -1"):
        partition.offset_for_timestamp(-1)


def test_tim_2_max_timestamp_is_the_first_of_equals(partition: Partition) -> None:
    assert partition.offset_of_max_timestamp() is None
    for stamp in (5, 9, 9, 3):
        append(partition, b"v", timestamp_ms=stamp)
    assert partition.offset_of_max_timestamp() == OffsetAndTimestamp(1, 9, 0)


# ---- delete


def test_ret_9_delete_records_moves_the_log_start_at_once(partition: Partition) -> None:
    append(partition, b"a", b"b", b"c", b"d")
    assert partition.delete_records(2) == 2
    assert read_values(partition, 2) == [b"c", b"d"]
    assert partition.delete_records(1) == 2  # below the start: nothing changes
    assert partition.delete_records(-1) == 4
    assert partition.log_start_offset == partition.log_end_offset == 4


@pytest.mark.parametrize("offset", [3, -2])
def test_ret_9_delete_records_outside_the_log_is_out_of_range(
    partition: Partition, offset: int
) -> None:
    append(partition, b"a", b"b")
    with pytest.raises(OffsetOutOfRangeError, match=f"orders-1.*found {offset}") as caught:
        partition.delete_records(offset)
    assert caught.value.offsets == {TopicPartition("orders", 1): offset}
    assert partition.log_start_offset == 0


def test_ret_9_delete_records_needs_a_policy_with_delete_or_none_at_all(broker: Broker) -> None:
    broker.create_topic("__consumer_offsets", configs={"cleanup_policy": "compact"})
    compacted = broker.partition("__consumer_offsets", 0)
    compacted.append(build_batch([b"v"], NOW_MS, [b"k"]))
    with pytest.raises(PolicyViolationError, match=r"__consumer_offsets-0.*'compact'") as caught:
        compacted.delete_records(1)
    assert caught.value.code == 44
    empty_policy = configured(broker, cleanup_policy="")
    append(empty_policy, b"a")
    assert empty_policy.delete_records(1) == 1


# ---- wait


def test_waiter_is_set_by_every_append_until_removed(partition: Partition) -> None:
    signal, other = Signal(), Signal()
    partition.add_waiter(signal)
    partition.add_waiter(other)
    append(partition, b"a")
    assert signal.is_set()
    signal.clear()
    partition.append_value(b"a", NOW_MS)
    assert signal.is_set()
    signal.clear()
    other.clear()
    partition.remove_waiter(signal)
    append(partition, b"b")
    assert not signal.is_set()
    assert other.is_set()


def test_waiter_added_twice_has_to_be_removed_twice(partition: Partition) -> None:
    signal = Signal()
    partition.add_waiter(signal)
    partition.add_waiter(signal)
    partition.remove_waiter(signal)
    append(partition, b"a")
    assert signal.is_set()
    signal.clear()
    partition.remove_waiter(signal)
    partition.remove_waiter(signal)  # once too often: nothing happens
    append(partition, b"b")
    assert not signal.is_set()


def test_refused_append_wakes_nobody(partition: Partition) -> None:
    signal = Signal()
    partition.add_waiter(signal)
    with pytest.raises(InvalidTimestampError):
        append(partition, b"a", timestamp_ms=NOW_MS * 2)
    assert not signal.is_set()


@pytest.mark.stress
def test_no_wake_up_is_lost_when_readers_come_and_go(partition: Partition) -> None:
    """Register first, then look: a reader that follows that order never sleeps through an append."""
    total = 3000

    def write() -> None:
        for number in range(total):
            partition.append_value(str(number).encode(), NOW_MS)

    failures: list[str] = []

    def follow() -> None:
        signal, offset = Signal(), 0
        while offset < total:
            signal.clear()
            partition.add_waiter(signal)
            if partition.high_watermark == offset and not signal.wait(20):
                failures.append(f"slept at {offset}, end is {partition.high_watermark}")
                return
            partition.remove_waiter(signal)
            offset = partition.high_watermark

    threads = [threading.Thread(target=follow) for _ in range(4)]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# ---- out of use


def every_call(partition: Partition) -> list[object]:
    return [
        lambda: append(partition, b"a"),
        lambda: partition.append_value(b"a", NOW_MS),
        lambda: partition.read(0, 100),
        lambda: partition.read_batches(0, 100, 1),
        lambda: partition.sync(),
        lambda: partition.delete_records(0),
        lambda: partition.offset_for_timestamp(0),
        lambda: partition.offset_of_max_timestamp(),
        lambda: partition.log_start_offset,
        lambda: partition.log_end_offset,
        lambda: partition.high_watermark,
        lambda: partition.last_stable_offset,
        lambda: partition.end_offset(),
        lambda: partition.leader_epoch,
    ]


@pytest.mark.parametrize("number", range(14))
def test_every_call_on_a_deleted_topic_raises_unknown_topic_or_partition(
    broker: Broker, partition: Partition, number: int
) -> None:
    broker.delete_topic("orders")
    assert partition.is_refused
    with pytest.raises(UnknownTopicOrPartitionError, match="'orders' was deleted"):
        every_call(partition)[number]()


@pytest.mark.parametrize("number", range(14))
def test_every_call_after_the_broker_closed_raises_closed_error(number: int) -> None:
    with Broker() as broker:
        broker.create_topic("orders")
        partition = broker.partition("orders", 0)
    with pytest.raises(ClosedError, match="broker in memory is closed"):
        every_call(partition)[number]()


def test_deleting_the_topic_wakes_whoever_waits(broker: Broker, partition: Partition) -> None:
    signal = Signal()
    partition.add_waiter(signal)
    broker.delete_topic("orders")
    assert signal.is_set()


def test_call_that_meets_the_log_just_closed_says_why_it_was(
    broker: Broker, partition: Partition
) -> None:
    """The log was fetched before the deletion and used after it."""
    log = partition.log

    class LateLog:
        def append(self, batch: PendingBatch) -> int:
            partition.log = log
            broker.delete_topic("orders")
            return log.append(batch)

    partition.log = LateLog()
    with pytest.raises(UnknownTopicOrPartitionError, match="'orders' was deleted"):
        append(partition, b"a")


def test_rep_4_it_tells_where_an_epoch_ended(broker: Broker, partition: Partition) -> None:
    append(partition, b"a", b"b")
    partition.log.leader_epoch = 2
    append(partition, b"c")
    ends = [partition.end_offset_for_epoch(epoch) for epoch in range(4)]
    assert ends == [(0, 2), (0, 2), (2, 3), None]
    broker.delete_topic("orders")
    with pytest.raises(UnknownTopicOrPartitionError):
        partition.end_offset_for_epoch(0)


# ---- configuration


def test_changed_configuration_holds_from_the_next_append_on(
    broker: Broker, partition: Partition
) -> None:
    append(partition, b"v" * 500)
    broker.alter_topic_configs("orders", {"max_message_bytes": 300})
    with pytest.raises(MessageTooLargeError):
        append(partition, b"v" * 500)
    broker.alter_topic_configs("orders", remove=["max_message_bytes"])
    assert append(partition, b"v" * 500) == 1
    assert partition.log.config.max_message_bytes == 1_048_588


def test_an_epoch_ends_where_a_later_one_began(partition: Partition) -> None:
    """KIP-320, against counting."""
    epochs: list[int] = []
    for epoch in (0, 2, 3, 7):
        partition.log.leader_epoch = epoch
        for size in (1, 3, 1, 2)[: epoch + 1]:
            append(partition, *[b"v"] * size)
            epochs += [epoch] * size
    for epoch in range(8):
        later = [number for number in range(len(epochs)) if epochs[number] > epoch]
        end = partition.end_offset_for_epoch(epoch)
        assert end is not None
        assert end.end_offset == min(later, default=len(epochs))
    assert partition.end_offset_for_epoch(8) is None

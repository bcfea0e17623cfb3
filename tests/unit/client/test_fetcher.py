"""What comes out of the buffers: order, fairness, limits, and damage in one partition among others."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.errors import CorruptLogError, OffsetOutOfRangeError, RecordDecodeError
from streamlog.record import ControlType, build_marker
from streamlog.runtime import OsFileSystem, VirtualClock
from streamlog.structs import TopicPartition
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.consuming import T0, T1, append, drain, fill


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=3)
    return broker


def reader(broker: Broker, *partitions: TopicPartition, **options: Any) -> Consumer:
    consumer = Consumer(broker, **{"auto_offset_reset": "earliest", **options})
    consumer.assign(partitions or [T0])
    return consumer


# ---- order and fairness


def test_con_16_records_of_a_partition_are_in_offset_order(topic: Broker) -> None:
    values = fill(topic, 100, per_batch=7)
    for limit in (1, 3, 7, 500):
        assert drain(reader(topic), max_records=limit) == values


def test_trap_5_busy_partition_does_not_keep_the_others_waiting(topic: Broker) -> None:
    fill(topic, 1000, T0, per_batch=100)
    fill(topic, 2, T1)
    consumer = reader(topic, T0, T1, max_poll_records=10)
    consumer.poll()
    found = [record.partition for record in consumer.poll()]
    assert found[:2] == [1, 1]
    # And the rest of the second poll is filled up from the busy one.
    assert found[2:] == [0] * 8


def test_con_16_partitions_take_turns(topic: Broker) -> None:
    partitions = [TopicPartition("t", n) for n in range(3)]
    for partition in partitions:
        fill(topic, 30, partition, per_batch=10)
    consumer = reader(topic, *partitions, max_poll_records=10)
    turns = [{record.partition for record in consumer.poll()} for _ in range(6)]
    assert turns == [{0}, {1}, {2}, {0}, {1}, {2}]


def test_idle_partitions_are_not_looked_at_until_something_is_appended(
    topic: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = reader(topic, T0, T1)
    consumer.poll()
    reads = 0

    def counted(*_: object) -> int:
        nonlocal reads
        reads += 1
        return 0

    monkeypatch.setattr(consumer._fetcher, "_read", counted)
    for _ in range(5):
        consumer.poll()
    assert reads == 0
    fill(topic, 1)
    consumer.poll()
    assert reads == 2


# ---- limits


def test_log_7_one_batch_is_returned_however_small_the_limits_are(topic: Broker) -> None:
    values = fill(topic, 9, per_batch=3)
    for limits in ({"fetch_max_bytes": 0}, {"max_partition_fetch_bytes": 0}):
        consumer = reader(topic, **limits)
        assert [consumer.poll().values() for _ in range(4)] == [
            values[:3],
            values[3:6],
            values[6:],
            [],
        ]


def test_fetch_max_bytes_counts_over_all_partitions_of_one_poll(topic: Broker) -> None:
    for partition in (T0, T1):
        for _ in range(3):
            append(topic, [b"x" * 1000], partition)
    consumer = reader(topic, T0, T1, fetch_max_bytes=1500)
    sizes = []
    while records := consumer.poll():
        sizes.append(len(records))
    assert sum(sizes) == 6
    assert max(sizes) <= 2


def test_reads_are_small_after_a_seek_and_grow_while_reading_on(
    topic: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(300):
        append(topic, [b"x" * 1000])
    consumer = reader(topic)
    partition = topic.partition(*T0)
    asked: list[int] = []

    class Watched(type(partition)):  # type: ignore[misc]
        __slots__ = ()

        def read_batches(self, offset: int, max_bytes: int, end_offset: int) -> Any:
            asked.append(max_bytes)
            return super().read_batches(offset, max_bytes, end_offset)

    consumer.poll(max_records=1)
    partition.__class__ = Watched
    assert len(drain(consumer)) == 299
    assert asked == [16_384, 65_536, 131_072, 131_072]
    consumer.seek(T0, 100)
    assert len(consumer.poll(max_records=1)) == 1
    assert asked[4:] == [4_096]


def test_max_partition_fetch_bytes_lets_every_partition_have_its_share(topic: Broker) -> None:
    for partition in (T0, T1):
        for _ in range(5):
            append(topic, [b"x" * 1000], partition)
    consumer = reader(topic, T0, T1, max_partition_fetch_bytes=1500)
    first = [record.partition for record in consumer.poll()]
    assert set(first) == {0, 1}
    assert max(first.count(0), first.count(1)) <= 2
    assert len(first) + len(drain(consumer)) == 10


def test_limits_do_not_hide_what_is_left_from_a_waiting_poll(
    topic: Broker, clock: VirtualClock
) -> None:
    values = fill(topic, 5)
    consumer = reader(topic, fetch_max_bytes=0)
    before = clock.monotonic_ms()
    found: list[Any] = []
    for _ in range(5):
        found += consumer.poll(10_000).values()
    assert found == values
    assert clock.monotonic_ms() == before


# ---- where reading begins


@pytest.mark.parametrize("start", range(6))
def test_log_7_position_in_the_middle_of_a_batch_begins_there(topic: Broker, start: int) -> None:
    values = fill(topic, 6, per_batch=4)
    consumer = reader(topic)
    consumer.seek(T0, start)
    records = list(consumer.poll())
    assert [record.offset for record in records] == list(range(start, 6))
    assert [record.value for record in records] == values[start:]


def test_log_8_batch_that_is_below_the_position_is_passed_over(topic: Broker) -> None:
    values = fill(topic, 6, per_batch=3)
    topic.partition("t", 0).delete_records(2)
    consumer = reader(topic)
    assert drain(consumer) == values[2:]
    assert consumer.position(T0) == 6


def test_rec_8_control_records_are_not_delivered_and_move_the_position(topic: Broker) -> None:
    partition = topic.partition("t", 0)
    values = fill(topic, 2)
    partition.append_marker(build_marker(ControlType.COMMIT, 7, 0, 0, 0))
    consumer = reader(topic)
    assert consumer.poll().values() == values
    assert consumer.position(T0) == 3
    partition.append_marker(build_marker(ControlType.ABORT, 7, 0, 0, 0))
    assert not consumer.poll()
    assert consumer.position(T0) == 4
    more = fill(topic, 1)
    assert consumer.poll().values() == more


# ---- out of range: CON-5


@pytest.mark.parametrize(
    ("policy", "expected"), [("earliest", 3), ("latest", 6), ("by_duration:PT1H", 3)]
)
def test_con_5_position_below_the_log_start_follows_the_policy(
    topic: Broker, clock: VirtualClock, policy: str, expected: int
) -> None:
    for _ in range(6):
        append(topic, [b"x"], timestamps_ms=clock.time_ms())
    consumer = reader(topic, auto_offset_reset=policy)
    consumer.seek(T0, 1)
    topic.partition("t", 0).delete_records(3)
    records = consumer.poll()
    assert consumer.position(T0) == 6
    assert [record.offset for record in records] == list(range(expected, 6))


def test_con_5_position_out_of_range_under_policy_none_raises_with_the_position(
    topic: Broker,
) -> None:
    values = fill(topic, 6)
    consumer = reader(topic, auto_offset_reset="none")
    consumer.seek(T0, 1)
    topic.partition("t", 0).delete_records(3)
    for _ in range(2):
        with pytest.raises(OffsetOutOfRangeError, match="auto_offset_reset is 'none'") as caught:
            consumer.poll()
        assert caught.value.offsets == {T0: 1}
    consumer.seek(T0, 3)
    assert drain(consumer) == values[3:]


def test_ret_7_records_deleted_below_a_reader_are_skipped_by_policy(topic: Broker) -> None:
    values = fill(topic, 10)
    consumer = reader(topic, max_poll_records=2)
    assert consumer.poll().values() == values[:2]
    topic.partition("t", 0).delete_records(8)
    rest = drain(consumer)
    assert rest[-2:] == values[8:]


# ---- deserializers


def test_record_that_cannot_be_decoded_is_raised_where_it_stands_and_never_skipped(
    topic: Broker,
) -> None:
    append(topic, [b"1", b"2", b"oops", b"4"])
    append(topic, [b"5"])
    consumer = reader(topic, value_deserializer=int)
    assert consumer.poll().values() == [1, 2]
    for _ in range(3):
        with pytest.raises(RecordDecodeError, match="t-0 at offset 2") as caught:
            consumer.poll()
        assert (caught.value.topic_partition, caught.value.offset) == (T0, 2)
        assert consumer.position(T0) == 2
    consumer.seek(T0, 3)
    assert consumer.poll().values() == [4, 5]


def test_bad_record_of_one_partition_does_not_stop_the_others(topic: Broker) -> None:
    append(topic, [b"oops"], T0)
    consumer = reader(topic, T0, T1, value_deserializer=int)
    found, errors = [], 0
    for n in range(4):
        append(topic, [b"%d" % n], T1)
        try:
            found += consumer.poll().values()
        except RecordDecodeError:
            errors += 1
    assert found == [0, 1, 2, 3][: len(found)]
    assert len(found) >= 2
    assert errors >= 1


def test_error_of_the_disk_in_one_partition_does_not_stop_the_others(data_dir: str) -> None:
    # An OSError left the turn where it was, so the same partition was asked first for ever.
    plan = FaultPlan()
    files = FaultyFileSystem(OsFileSystem(), plan)
    with Broker(data_dir) as broker:
        broker.create_topic("t", partitions=2)
        of_t0, of_t1 = fill(broker, 3, T0), fill(broker, 3, T1)
    with Broker(data_dir, filesystem=files) as broker:
        consumer = reader(broker, T0, T1)
        fault = plan.fail("map", errno.EIO, path="*/t-0/*", times=None)
        with pytest.raises(OSError, match="Input/output error: '.*/t-0/"):
            consumer.poll()
        assert list(consumer.poll().values()) == of_t1
        fault.end()
        assert list(consumer.poll().values()) == of_t0


def test_deserializer_is_told_the_topic(broker: Broker) -> None:
    class Told:
        def deserialize(self, topic: str, data: bytes) -> str:
            return f"{topic}:{data.decode()}"

    for name in ("a", "b"):
        broker.create_topic(name)
        append(broker, [b"x"], TopicPartition(name, 0), keys=[b"k"])
    consumer = reader(
        broker,
        TopicPartition("a", 0),
        TopicPartition("b", 0),
        value_deserializer=Told(),
        key_deserializer=Told(),
    )
    assert {(r.key, r.value) for r in consumer.poll()} == {("a:k", "a:x"), ("b:k", "b:x")}


def test_name_bytes_means_no_deserializer(topic: Broker) -> None:
    append(topic, [b"x"])
    consumer = reader(topic, value_deserializer="bytes")
    assert not consumer._fetcher._deserializes
    assert consumer.poll().values() == [b"x"]


# ---- damage


def damaged_log(data_dir: str) -> None:
    """Three batches of two records in t-0, the last value of the middle one flipped on disk."""
    with Broker(data_dir) as broker:
        broker.create_topic("t", partitions=2)
        fill(broker, 6, T0, per_batch=2)
        fill(broker, 2, T1)
    for directory, _, names in os.walk(data_dir):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "r+b") as file:
                content = file.read()
                at = content.find(b"0@3")
                if at >= 0 and name.endswith(".log"):
                    file.seek(at)
                    file.write(b"\xff")


def test_damaged_batch_is_raised_after_what_precedes_it_and_the_rest_stays_readable(
    data_dir: str,
) -> None:
    damaged_log(data_dir)
    with Broker(data_dir) as broker:
        consumer = reader(broker)
        assert consumer.poll().values() == [b"0@0", b"0@1"]
        for _ in range(2):
            with pytest.raises(CorruptLogError, match="t-0") as caught:
                consumer.poll()
            assert caught.value.topic_partition == T0
            assert caught.value.first_bad_offset == 2
            assert caught.value.next_good_offset == 4
            assert caught.value.file == f"{data_dir}/topics/t-0/{0:020d}.log"
            content = Path(caught.value.file).read_bytes()
            position = caught.value.position
            assert position < content.index(b"0@2") < content.index(b"0@4") - 8
            assert content[position + 8 : position + 11] == b"SLB"
            assert content.index(b"SLB", position + 11) > content.index(b"0@2")
            assert consumer.position(T0) == 2
        consumer.seek(T0, 4)
        assert consumer.poll().values() == [b"0@4", b"0@5"]


def test_damage_in_a_batch_that_begins_before_the_log_start_is_damage(data_dir: str) -> None:
    damaged_log(data_dir)
    with Broker(data_dir) as broker:
        broker.partition(*T0).delete_records(3)
        consumer = reader(broker)
        with pytest.raises(CorruptLogError) as caught:
            consumer.poll()
        assert caught.value.first_bad_offset == 3
        assert caught.value.next_good_offset == 4


def test_damage_in_one_partition_does_not_stop_the_others(data_dir: str) -> None:
    damaged_log(data_dir)
    with Broker(data_dir) as broker:
        consumer = reader(broker, T0, T1)
        found, errors = [], 0
        for _ in range(6):
            try:
                found += consumer.poll().values()
            except CorruptLogError:
                errors += 1
        assert sorted(found) == [b"0@0", b"0@1", b"1@0", b"1@1"]
        assert errors >= 2


def test_checksums_can_be_left_unchecked(data_dir: str) -> None:
    damaged_log(data_dir)
    with Broker(data_dir) as broker:
        consumer = reader(broker, check_crcs=False)
        assert drain(consumer) == [b"0@0", b"0@1", b"0@2", b"\xff@3", b"0@4", b"0@5"]


# ---- topics that come and go


def test_deleted_topic_is_left_alone_until_one_of_its_name_appears(topic: Broker) -> None:
    fill(topic, 3)
    consumer = reader(topic, allow_auto_create_topics=False)
    assert len(consumer.poll()) == 3
    topic.delete_topic("t")
    assert not consumer.poll()
    assert consumer.assignment() == {T0}
    topic.create_topic("t")
    values = fill(topic, 1)
    assert consumer.poll().values() == values, "the new topic is read from its own start"


def test_topic_deleted_in_the_middle_of_a_wait_ends_nothing(
    topic: Broker, clock: VirtualClock
) -> None:
    consumer = reader(topic, allow_auto_create_topics=False)
    topic.scheduler.call_later(1000, lambda: topic.delete_topic("t"))
    before = clock.monotonic_ms()
    assert not consumer.poll(5000)
    assert clock.monotonic_ms() == before + 5000

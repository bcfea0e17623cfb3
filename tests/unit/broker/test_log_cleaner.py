"""Compaction by the clock and by call: when, which log, in what steps, and what ends a pass."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

import streamlog
from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    PolicyViolationError,
    StorageError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import build_batch
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.structs import TopicPartition
from tests.support.hooked_files import HookedFileSystem

BACKOFF_MS = 15_000
COMPACT = {"cleanup_policy": "compact", "segment_bytes": 1024}


@pytest.fixture
def disk() -> HookedFileSystem:
    return HookedFileSystem(MemoryFileSystem())


@pytest.fixture
def broker(disk: HookedFileSystem, clock: VirtualClock) -> Iterator[Broker]:
    with Broker("/data", filesystem=disk, clock=clock, seed=1) as broker:
        yield broker


def topic(broker: Broker, name: str = "t", **configs: object) -> Partition:
    broker.create_topic(name, configs={**COMPACT, **configs})
    return broker.partition(name, 0)


def fill(partition: Partition, segments: int = 4, *, keys: int = 3, start: int = 0) -> int:
    """Append records of a few keys until the log has *segments* segments more; return how many records."""
    wanted = len(partition.log.segments) + segments
    count = start
    while len(partition.log.segments) < wanted:
        batch = build_batch([b"%090d" % count], 1_700_000_000_000 + count, [b"%d" % (count % keys)])
        partition.append(batch)
        count += 1
    return count


def records(partition: Partition) -> list[tuple[int, bytes | None, bytes | None]]:
    found: list[tuple[int, bytes | None, bytes | None]] = []
    offset = partition.log_start_offset
    while batches := partition.read_batches(offset, 1 << 20, partition.high_watermark):
        for batch in batches:
            keys = batch.keys() or [None] * batch.record_count
            found += zip(batch.offsets(), keys, batch.values(), strict=True)
        offset = batches[-1].next_offset
    return found


def table(partition: Partition) -> dict[bytes | None, bytes | None]:
    return {key: value for _, key, value in records(partition)}


def is_clean(partition: Partition) -> bool:
    log = partition.log
    return log.first_dirty_offset == log.segments[-1].base_offset


def test_names_are_public() -> None:
    assert {"CleanerMetrics", "CleaningResult"} <= set(streamlog.__all__)


# ---- by the clock


def test_cmp_1_dirty_log_is_cleaned_after_the_backoff(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker)
    fill(partition)
    before, count = table(partition), len(records(partition))
    clock.advance(BACKOFF_MS - 1)
    assert partition.log.first_dirty_offset == 0
    clock.advance(1)
    assert is_clean(partition)
    assert len(records(partition)) < count
    assert table(partition) == before


def test_cmp_8_log_start_stays_and_the_active_segment_as_it_is(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker)
    fill(partition)
    active = partition.log.segments[-1].base_offset
    tail = [record for record in records(partition) if record[0] >= active]
    clock.advance(BACKOFF_MS)
    assert partition.log_start_offset == 0
    assert records(partition)[-len(tail) :] == tail


def test_cmp_1_log_that_is_clean_enough_waits_for_more(broker: Broker, clock: VirtualClock) -> None:
    # Every key once: nothing goes, so all of it is clean after the first pass.
    partition = topic(broker)
    count = fill(partition, 6, keys=10**9)
    clock.advance(BACKOFF_MS)
    assert is_clean(partition)
    count = fill(partition, 3, keys=10**9, start=count)
    clock.advance(10 * BACKOFF_MS)
    assert not is_clean(partition)
    fill(partition, 5, keys=10**9, start=count)
    clock.advance(BACKOFF_MS)
    assert is_clean(partition)


def test_cmp_1_dirtiest_log_is_cleaned_first(broker: Broker, clock: VirtualClock) -> None:
    partitions = [topic(broker, f"t{n}", min_cleanable_dirty_ratio=0) for n in range(3)]
    counts = [fill(partition, 4, keys=10**9) for partition in partitions]
    clock.advance(BACKOFF_MS)
    for partition, segments, count in zip(partitions, (2, 8, 4), counts, strict=True):
        fill(partition, segments, keys=10**9, start=count)
    order: list[str] = []
    for partition in partitions:
        note_passes(partition, order)
    clock.advance(2 * BACKOFF_MS)
    assert order == ["t1", "t2", "t0"]


def note_passes(partition: Partition, order: list[str]) -> None:
    clean = partition.log.clean

    def noted(*args: Any) -> Any:
        order.append(partition.topic)
        return clean(*args)

    partition.log.clean = noted  # type: ignore[method-assign]


def test_cmp_1_largest_lag_cleans_a_log_that_is_clean_enough(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(
        broker, min_cleanable_dirty_ratio=1, max_compaction_lag_ms=3_600_000, segment_ms=1 << 40
    )
    fill(partition)
    clock.advance(3_600_000 - 2 * BACKOFF_MS)
    assert partition.log.first_dirty_offset == 0
    clock.advance(4 * BACKOFF_MS)
    assert is_clean(partition)


def test_cmp_2_smallest_lag_keeps_young_segments_from_being_cleaned(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker, min_compaction_lag_ms=3_600_000)
    fill(partition)
    clock.advance(3_600_000 - BACKOFF_MS)
    assert partition.log.first_dirty_offset == 0
    clock.advance(3 * BACKOFF_MS)
    assert is_clean(partition)


def test_idle_broker_looks_at_nothing(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker)
    fill(partition)
    clock.advance(3 * BACKOFF_MS)
    cleaner = broker._require_resources().maintenance.cleaner
    assert is_clean(partition)
    assert not cleaner._is_armed
    fill(partition, 1)
    assert cleaner._is_armed


def test_no_backoff_does_not_keep_the_clock_from_going_on(clock: VirtualClock) -> None:
    with Broker(clock=clock, log_cleaner_backoff_ms=0) as broker:
        partition = topic(broker, min_cleanable_dirty_ratio=1)
        fill(partition)
        clock.advance(100)
        assert not is_clean(partition)
        broker.alter_topic_configs("t", {"min_cleanable_dirty_ratio": 0.5})
        clock.advance(10)
        assert is_clean(partition)


def test_topic_that_becomes_compacted_is_cleaned(broker: Broker, clock: VirtualClock) -> None:
    broker.create_topic("t", configs={"segment_bytes": 1024})
    partition = broker.partition("t", 0)
    fill(partition)
    clock.advance(4 * BACKOFF_MS)
    assert partition.log.first_dirty_offset == 0
    broker.alter_topic_configs("t", {"cleanup_policy": "compact"})
    clock.advance(BACKOFF_MS)
    assert is_clean(partition)


def test_topic_that_is_no_longer_compacted_is_left_alone(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker)
    fill(partition)
    broker.alter_topic_configs("t", {"cleanup_policy": "delete", "retention_ms": -1})
    count = len(records(partition))
    clock.advance(4 * BACKOFF_MS)
    assert len(records(partition)) == count


def test_cleaner_that_is_disabled_cleans_when_asked_alone(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    with Broker("/data", filesystem=disk, clock=clock, log_cleaner_enable=False) as broker:
        partition = topic(broker)
        fill(partition)
        clock.advance(10 * BACKOFF_MS)
        broker.run_maintenance()
        assert partition.log.first_dirty_offset == 0
        broker.compact()
        assert is_clean(partition)


def test_dirt_of_an_earlier_day_is_cleaned_after_opening(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        fill(topic(broker))
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        clock.advance(BACKOFF_MS)
        assert is_clean(broker.partition("t", 0))
        offset = broker.partition("t", 0).log.first_dirty_offset
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        assert broker.partition("t", 0).log.first_dirty_offset == offset


# ---- steps


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that stops after each few batches."""
    monkeypatch.setattr("streamlog.storage.compaction.cleaning._STEP_BYTES", 400)


@pytest.mark.usefixtures("small_steps")
def test_other_timers_have_their_turn_during_a_pass(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker)
    fill(partition, 8)
    seen: list[object] = []

    def look() -> None:
        seen.append(broker.cleaner_metrics()["cleaning"])
        if len(seen) < 5:
            broker.scheduler.call_later(0, look)

    broker.scheduler.call_at(clock.now + BACKOFF_MS, look)
    clock.advance(BACKOFF_MS)
    assert seen.count(TopicPartition("t", 0)) >= 3
    assert is_clean(partition)


@pytest.mark.usefixtures("small_steps")
def test_pass_pauses_to_stay_below_the_bytes_per_second(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    with Broker(
        "/data", filesystem=disk, clock=clock, log_cleaner_io_max_bytes_per_second=1000
    ) as broker:
        partition = topic(broker)
        fill(partition, 8)
        size = sum(segment.position for segment in partition.log.segments[:-1])
        clock.advance(BACKOFF_MS)
        begun_ms = clock.now
        while not is_clean(partition):
            clock.advance(100)
        seconds = (clock.now - begun_ms) / 1000
        # Once to find the keys, once to copy, and what is written; the last step is not paused for.
        assert 2 * size / 1000 - 2 < seconds < 3.2 * size / 1000


@pytest.mark.usefixtures("small_steps")
def test_closing_during_a_pass_ends_it_and_leaves_no_file(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    broker = Broker("/data", filesystem=disk, clock=clock, log_cleaner_io_max_bytes_per_second=2000)
    partition = topic(broker)
    fill(partition, 8)
    before = table(partition)
    clock.advance(BACKOFF_MS + 6_000)
    assert broker.cleaner_metrics()["cleaning"] == TopicPartition("t", 0)
    assert not is_clean(partition)
    broker.close()
    assert [name for name in disk.list_dir("/data/topics/t-0") if "cleaned" in name] == []
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        assert broker.recovery_report.clean
        assert table(broker.partition("t", 0)) == before
        clock.advance(BACKOFF_MS)
        assert is_clean(broker.partition("t", 0))


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("is_created_again", [False, True])
def test_topic_deleted_during_a_pass_ends_it_quietly(
    disk: HookedFileSystem,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
    is_created_again: bool,
) -> None:
    with Broker(
        "/data", filesystem=disk, clock=clock, log_cleaner_io_max_bytes_per_second=2000
    ) as broker:
        fill(topic(broker), 8)
        clock.advance(BACKOFF_MS + 6_000)
        assert broker.cleaner_metrics()["cleaning"] == TopicPartition("t", 0)
        broker.delete_topic("t")
        if is_created_again:
            fill(topic(broker), 8)
        clock.advance(4 * BACKOFF_MS)
        assert caplog.messages == []
        assert broker.cleaner_metrics()["failed_pass_total"] == 0
        if is_created_again:
            assert is_clean(broker.partition("t", 0))
        else:
            assert "t-0" not in disk.list_dir("/data/topics")


@pytest.mark.usefixtures("small_steps")
def test_pass_through_a_topic_that_is_no_longer_compacted_is_given_up(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    with Broker(
        "/data", filesystem=disk, clock=clock, log_cleaner_io_max_bytes_per_second=2000
    ) as broker:
        partition = topic(broker)
        fill(partition, 8)
        clock.advance(BACKOFF_MS + 2_000)
        broker.alter_topic_configs("t", {"cleanup_policy": ""})
        clock.advance(4 * BACKOFF_MS)
        assert broker.cleaner_metrics()["cleaning"] is None
        assert broker.cleaner_metrics()["pass_total"] == 0
        assert not is_clean(partition)


# ---- when somebody asks


def test_compact_cleans_what_is_not_dirty_enough(broker: Broker) -> None:
    partition = topic(broker, min_cleanable_dirty_ratio=1)
    fill(partition)
    before = records(partition)
    (result,) = broker.compact("t")
    assert is_clean(partition)
    assert result.topic_partition == TopicPartition("t", 0)
    assert result.is_complete
    assert result.end_offset == partition.log.first_dirty_offset
    removed = result.records_before - result.records_after
    assert removed == len(before) - len(records(partition)) > 0
    assert result.bytes_after < result.bytes_before
    assert result.segments_after == result.segments_before
    (result,) = broker.compact("t")  # CMP-8: now they are small enough to become one
    assert result.segments_after < result.segments_before


def test_cmp_2_compact_leaves_the_active_segment_unless_it_is_to_be_rolled(
    broker: Broker,
) -> None:
    partition = topic(broker)
    for number in range(3):
        partition.append(build_batch([b"%d" % number], 1_700_000_000_000, [b"k"]))
    broker.compact("t")
    assert len(records(partition)) == 3
    broker.compact("t", roll=True)
    assert records(partition) == [(2, b"k", b"2")]


def test_compact_without_a_topic_cleans_all_that_are_compacted(broker: Broker) -> None:
    compacted, both = topic(broker, "a"), topic(broker, "b", cleanup_policy="compact,delete")
    other = topic(broker, "c", cleanup_policy="delete")
    for partition in (compacted, both, other):
        fill(partition)
    results = broker.compact()
    assert [result.topic_partition.topic for result in results] == ["a", "b"]
    assert is_clean(compacted)
    assert is_clean(both)
    assert other.log.first_dirty_offset == 0


def test_compact_refuses_a_topic_that_is_not_compacted_or_not_there(broker: Broker) -> None:
    topic(broker, cleanup_policy="delete")
    with pytest.raises(
        PolicyViolationError, match="topic 't': expected .* 'compact', found 'delete'"
    ):
        broker.compact("t")
    with pytest.raises(UnknownTopicOrPartitionError):
        broker.compact("typo")


def test_compact_of_a_closed_broker_is_refused() -> None:
    broker = Broker()
    broker.close()
    for call in (broker.compact, broker.cleaner_metrics):
        with pytest.raises(ClosedError):
            call()


def test_keys_that_do_not_fit_take_several_passes(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    with Broker(
        "/data", filesystem=disk, clock=clock, log_cleaner_dedupe_buffer_size=2_000
    ) as broker:
        partition = topic(broker)
        fill(partition, 8, keys=30)
        before = table(partition)
        results = broker.compact("t")
        assert len(results) > 1
        assert [result.is_complete for result in results[:-1]] == [False] * (len(results) - 1)
        assert results[-1].is_complete
        assert is_clean(partition)
        assert table(partition) == before
        assert len(records(partition)) < 50


def test_run_maintenance_cleans_what_is_due_and_nothing_else(broker: Broker) -> None:
    due, other = topic(broker, "a"), topic(broker, "b", min_cleanable_dirty_ratio=1)
    fill(due)
    fill(other)
    broker.run_maintenance()
    assert is_clean(due)
    assert other.log.first_dirty_offset == 0


@pytest.mark.usefixtures("small_steps")
def test_asking_during_a_pass_finishes_it_first(
    disk: HookedFileSystem, clock: VirtualClock
) -> None:
    with Broker(
        "/data", filesystem=disk, clock=clock, log_cleaner_io_max_bytes_per_second=2000
    ) as broker:
        first, second = topic(broker, "a"), topic(broker, "b")
        fill(first, 8)
        fill(second, 3)
        clock.advance(BACKOFF_MS + 2_000)
        under_way = broker.cleaner_metrics()["cleaning"]
        assert under_way is not None
        other = "b" if under_way.topic == "a" else "a"
        (result,) = broker.compact(other)
        assert result.topic_partition.topic == other
        assert is_clean(first)
        assert is_clean(second)
        assert broker.cleaner_metrics()["pass_total"] == 2
        clock.advance(10 * BACKOFF_MS)
        assert broker.cleaner_metrics()["pass_total"] == 2


# ---- what goes wrong


def damage(disk: HookedFileSystem, name: str = "t") -> None:
    """Flip a bit in the second batch of the first segment."""
    file = disk.open(f"/data/topics/{name}-0/{0:020d}.log")
    at = file.read_at(0, 1024).index(b"0001") + 3
    file.write_at(at, b"7")
    file.close()


def test_log_with_damage_is_left_as_it_is_and_the_others_are_cleaned(
    disk: HookedFileSystem, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        fill(topic(broker, "bad"), 8)
        fill(topic(broker, "good"))
    damage(disk, "bad")
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        bad = broker.partition("bad", 0)
        segments = [segment.base_offset for segment in bad.log.segments]
        with caplog.at_level(logging.ERROR, "streamlog"):
            clock.advance(10 * BACKOFF_MS)
        assert is_clean(broker.partition("good", 0))
        assert [segment.base_offset for segment in bad.log.segments] == segments
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("bad-0 cannot be compacted and is left as it is: ")
        metrics = broker.cleaner_metrics()
        assert metrics["failed_pass_total"] == 1
        assert list(metrics["uncleanable_partitions"]) == [TopicPartition("bad", 0)]
        with pytest.raises(CorruptLogError):
            broker.compact()
        broker.delete_topic("bad")
        topic(broker, "bad")
        broker.compact()


def test_cleaning_is_tried_again_after_an_error_of_the_disk(
    disk: HookedFileSystem, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        partition, other = topic(broker, "a"), topic(broker, "b")
        fill(partition, 8)
        fill(other, 3)
        before = table(partition)

        def refuse(call: str, path: str) -> None:
            if call == "make" and path.endswith(".cleaned") and "/a-0/" in path:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)

        disk.hook = refuse
        with caplog.at_level(logging.ERROR, "streamlog"):
            clock.advance(2 * BACKOFF_MS - 1)
        assert partition.log.first_dirty_offset == 0
        assert table(partition) == before
        assert is_clean(other)
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("Compaction of a-0 failed, to be tried again: ")
        with pytest.raises((OSError, StorageError)):
            broker.compact("a")
        disk.hook = lambda call, path: None
        clock.advance(2 * BACKOFF_MS)
        assert is_clean(partition)
        assert table(partition) == before


def test_metrics_count_what_was_done(broker: Broker) -> None:
    partition = topic(broker)
    fill(partition)
    assert broker.cleaner_metrics()["pass_total"] == 0
    (result,) = broker.compact()
    metrics = broker.cleaner_metrics()
    assert metrics["pass_total"] == 1
    assert metrics["records_removed_total"] == result.records_before - result.records_after
    assert metrics["bytes_read_total"] == result.bytes_before
    assert metrics["bytes_written_total"] == result.bytes_after
    assert metrics["cleaning"] is None
    assert metrics["uncleanable_partitions"] == {}

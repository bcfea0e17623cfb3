from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import (
    DiskFullError,
    DurabilityError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import ProducerStamp, build_batch
from streamlog.runtime import MemoryFileSystem, VirtualClock
from tests.support.hooked_files import HookedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.broker.partition import Partition

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


class CountingDisk(MemoryFileSystem):
    """Counts how often each file was replaced."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[str, int] = {}

    def write_atomically(self, path: str, data: bytes) -> None:
        super().write_atomically(path, data)
        self.written[path] = self.written.get(path, 0) + 1

    @property
    def checkpoints(self) -> int:
        return self.written["/data/STATE"]


@pytest.fixture
def disk() -> CountingDisk:
    return CountingDisk()


@pytest.fixture
def broker(disk: CountingDisk, clock: VirtualClock) -> Iterator[Broker]:
    broker = Broker("/data", filesystem=disk, clock=clock)
    yield broker
    broker.close()


def topic(
    broker: Broker, name: str = "orders", partitions: int = 1, **configs: object
) -> Partition:
    broker.create_topic(name, partitions=partitions, configs=configs)
    return broker.partition(name, 0)


def fill(partition: Partition, clock: VirtualClock, segments: int = 3) -> None:
    """Append until the log has *segments* segments, each record with the time it is appended."""
    while len(partition.log.segments) < segments:
        partition.append_value(b"v" * 100, clock.time_ms())


def is_synced(partition: Partition) -> bool:
    return partition.log.durable_end_offset == partition.log_end_offset


# ---- background sync


def test_log_4_first_unsynced_record_is_synced_flush_ms_later(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker, flush_ms=1000)
    partition.append_value(b"a", NOW_MS)
    clock.advance(600)
    partition.append_value(b"b", NOW_MS)
    clock.advance(399)
    assert partition.log.durable_end_offset == 0
    clock.advance(1)
    assert partition.log.durable_end_offset == 2  # the second one did not push it back
    partition.append_value(b"c", NOW_MS)
    clock.advance(999)
    assert partition.log.durable_end_offset == 2
    clock.advance(1)
    assert is_synced(partition)


def test_idle_log_is_not_synced_again(
    broker: Broker, clock: VirtualClock, disk: CountingDisk
) -> None:
    partition = topic(broker)
    partition.append_value(b"a", NOW_MS)
    clock.advance(1000)
    before = disk.checkpoints
    clock.advance(20_000)
    assert disk.checkpoints == before


def test_logs_dirty_at_about_the_same_time_share_one_pass_and_one_checkpoint(
    broker: Broker, clock: VirtualClock, disk: CountingDisk
) -> None:
    topic(broker, partitions=10, flush_ms=1000)
    partitions = broker.topic("orders").partitions
    for partition in partitions:
        partition.append_value(b"a", NOW_MS)
        clock.advance(10)
    before = disk.checkpoints
    clock.advance_to(NOW_MS + 1000)
    assert all(is_synced(partition) for partition in partitions)
    assert disk.checkpoints == before + 1
    clock.advance(1000)
    assert disk.checkpoints == before + 1


def test_each_topic_keeps_its_own_flush_ms(broker: Broker, clock: VirtualClock) -> None:
    slow = topic(broker, "slow", flush_ms=60_000)
    never = topic(broker, "never", flush_ms=-1)
    fast = topic(broker, "fast", flush_ms=100)
    for partition in (slow, never, fast):
        partition.append_value(b"a", NOW_MS)
    clock.advance(100)
    assert [is_synced(p) for p in (fast, slow, never)] == [True, False, False]
    clock.advance(59_900)
    assert [is_synced(p) for p in (fast, slow, never)] == [True, True, False]
    clock.advance(DAY_MS)
    assert not is_synced(never)


def test_changed_flush_ms_moves_a_sync_that_is_due(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker, flush_ms=-1)
    partition.append_value(b"a", NOW_MS)
    clock.advance(5000)
    broker.alter_topic_configs("orders", {"flush_ms": 7000})
    clock.advance(1999)
    assert not is_synced(partition)
    clock.advance(1)
    assert is_synced(partition)
    partition.append_value(b"b", NOW_MS)
    broker.alter_topic_configs("orders", {"flush_ms": -1})
    clock.advance(60_000)
    assert not is_synced(partition)


def test_sync_bounds_what_the_next_open_has_to_read(
    broker: Broker, clock: VirtualClock, disk: CountingDisk
) -> None:
    partition = topic(broker)
    for _ in range(100):
        partition.append_value(b"v" * 100, NOW_MS)
    clock.advance(1000)
    partition.append_value(b"w", NOW_MS)
    broker._resources.directory._lock.release()  # as if the process had died here
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as again:
        assert again.partition("orders", 0).log_end_offset == 101
        assert 0 < again.recovery_report.scanned_bytes < 300


def test_failed_background_sync_is_logged_ends_that_partition_and_no_other(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = HookedFileSystem(MemoryFileSystem())
    broker = Broker("/data", filesystem=disk, clock=clock)
    topic(broker, partitions=3)
    partitions = broker.topic("orders").partitions
    for partition in partitions:
        partition.append_value(b"a", NOW_MS)

    def fail(call: str, path: str) -> None:
        if call in ("sync", "sync_data") and "/orders-1/" in path:
            raise OSError(errno.EIO, "Input/output error")

    disk.hook = fail
    clock.advance(1000)
    assert [is_synced(p) for p in partitions] == [True, False, True]
    assert "Sync of orders-1 failed" in caplog.text
    with pytest.raises(DurabilityError, match="orders-1"):
        partitions[1].append_value(b"b", NOW_MS)
    assert partitions[1].read(0, 100)  # what is there can be read
    partitions[2].append_value(b"b", NOW_MS)
    clock.advance(1000)
    assert is_synced(partitions[2])
    with pytest.raises(DurabilityError):
        broker.close()


def test_failed_checkpoint_is_logged_and_tried_again_with_the_next_sync(
    broker: Broker,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    partition = topic(broker)
    partition.append_value(b"a", NOW_MS)
    directory = broker._resources.directory
    real = directory.checkpoint

    def fail() -> None:
        raise DiskFullError("no room")

    monkeypatch.setattr(directory, "checkpoint", fail)
    clock.advance(1000)
    assert is_synced(partition)
    assert "Checkpoint failed" in caplog.text
    monkeypatch.setattr(directory, "checkpoint", real)
    partition.append_value(b"b", NOW_MS)
    clock.advance(1000)
    assert is_synced(partition)


def test_deleted_topic_is_not_synced_any_more(
    broker: Broker, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    topic(broker).append_value(b"a", NOW_MS)
    broker.delete_topic("orders")
    clock.advance(5000)
    assert caplog.text == ""


def test_group_commit_leaves_the_background_pass_only_the_checkpoint(
    broker: Broker, clock: VirtualClock, disk: CountingDisk
) -> None:
    partition = topic(broker, flush_messages=1)
    before = disk.checkpoints
    for _ in range(5):
        partition.append_value(b"a", NOW_MS)
        assert is_synced(partition)
    assert disk.checkpoints == before
    clock.advance(1000)
    assert disk.checkpoints == before + 1


# ---- retention


def test_ret_1_first_check_after_thirty_seconds_then_every_five_minutes(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_ms=1000)
    fill(partition, clock)
    clock.advance_to(NOW_MS + 29_999)
    assert partition.log_start_offset == 0
    clock.advance(1)
    assert partition.log_start_offset == partition.log_end_offset > 0
    fill(partition, clock)
    start = partition.log_start_offset
    clock.advance(299_999)
    assert partition.log_start_offset == start
    clock.advance(1)
    assert partition.log_start_offset == partition.log_end_offset > start


def test_ret_1_delays_are_configurable(clock: VirtualClock) -> None:
    config = {"log.initial.task.delay.ms": 10, "log.retention.check.interval.ms": 20}
    with Broker(clock=clock, config=config) as broker:
        partition = topic(broker, segment_bytes=1000, retention_ms=1)
        fill(partition, clock)
        clock.advance(10)
        first = partition.log_start_offset
        assert first > 0
        fill(partition, clock)
        clock.advance(20)
        assert partition.log_start_offset > first


def test_ret_4_size_retention_never_drops_below_the_limit(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_bytes=2500)
    fill(partition, clock, segments=6)
    broker.run_maintenance()
    assert 2500 <= partition.log.size_bytes < 2500 + 1000


def test_ret_6_whole_log_can_expire_and_its_end_stays(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker, retention_ms=1000)
    fill_end = partition.append_value(b"v", NOW_MS) + 1
    clock.advance(1001)
    broker.run_maintenance()
    assert partition.log_start_offset == partition.log_end_offset == fill_end
    assert partition.append_value(b"w", clock.time_ms()) == fill_end


def test_ret_7_after_deletion_the_log_begins_with_the_first_segment_that_is_left(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_bytes=2500)
    fill(partition, clock, segments=6)
    broker.run_maintenance()
    start = partition.log_start_offset
    assert start == partition.log.segments[0].base_offset > 0
    with pytest.raises(OffsetOutOfRangeError, match="orders-0") as caught:
        partition.read(start - 1, 1000)
    assert caught.value.offsets == {partition.topic_partition: start - 1}
    assert partition.read(start, 1000)


def test_ret_2_segments_below_the_log_start_go_first_whatever_the_limits_say(
    broker: Broker, clock: VirtualClock
) -> None:
    """Also with a policy that deletes nothing by age or size (RET-9: files go later)."""
    partition = topic(broker, segment_bytes=1000, retention_ms=-1, cleanup_policy="")
    fill(partition, clock, segments=4)
    second = partition.log.segments[1].base_offset
    partition.delete_records(second + 1)
    assert len(partition.log.segments) == 4
    broker.run_maintenance()
    assert partition.log.segments[0].base_offset == second
    assert partition.log_start_offset == second + 1


def test_ret_8_empty_policy_keeps_everything(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker, segment_bytes=1000, retention_ms=1000, cleanup_policy="")
    fill(partition, clock)
    clock.advance(10 * DAY_MS)
    assert partition.log_start_offset == 0


def test_retention_that_fails_in_one_partition_is_logged_and_goes_on(
    broker: Broker,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic(broker, partitions=3, segment_bytes=1000, retention_ms=1000)
    partitions = broker.topic("orders").partitions
    for partition in partitions:
        fill(partition, clock)

    class FailingLog:
        def __init__(self, log: object) -> None:
            self._log = log

        def delete_expired(self, now_ms: int, high_watermark: int) -> int:
            raise DiskFullError("no room for a new segment")

        def __getattr__(self, name: str) -> object:
            return getattr(self._log, name)

    clock.advance(2000)
    with monkeypatch.context() as patch:
        patch.setattr(partitions[1], "log", FailingLog(partitions[1].log))
        broker.run_maintenance()
    assert [p.log_start_offset > 0 for p in partitions] == [True, False, True]
    assert "Retention of orders-1 failed" in caplog.text
    clock.advance(30_000)  # the timer goes on after the failure
    assert partitions[1].log_start_offset > 0


def test_altered_retention_holds_at_the_next_check(broker: Broker, clock: VirtualClock) -> None:
    partition = topic(broker, segment_bytes=1000)
    fill(partition, clock)
    clock.advance(60_000)
    broker.run_maintenance()
    assert partition.log_start_offset == 0
    broker.alter_topic_configs("orders", {"retention_ms": 1000})
    broker.run_maintenance()
    assert partition.log_start_offset == partition.log_end_offset


# ---- delayed deletes


def log_files(disk: MemoryFileSystem, topic_name: str = "orders") -> list[str]:
    return [n for n in disk.list_dir(f"/data/topics/{topic_name}-0") if ".log" in n]


def test_log_4_expired_files_are_renamed_at_once_and_deleted_after_the_delay(
    broker: Broker, clock: VirtualClock, disk: CountingDisk
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_ms=1000, file_delete_delay_ms=5000)
    fill(partition, clock)
    clock.advance(2000)
    broker.run_maintenance()
    assert sum(name.endswith(".deleted") for name in log_files(disk)) == 3
    clock.advance(4999)
    assert sum(name.endswith(".deleted") for name in log_files(disk)) == 3
    clock.advance(1)
    assert [name for name in log_files(disk) if name.endswith(".deleted")] == []


def test_close_deletes_what_still_waits(clock: VirtualClock, disk: CountingDisk) -> None:
    with Broker("/data", filesystem=disk, clock=clock) as broker:
        partition = topic(broker, segment_bytes=1000, retention_ms=1000)
        fill(partition, clock)
        clock.advance(2000)
        broker.run_maintenance()
        assert any(name.endswith(".deleted") for name in log_files(disk))
    assert not any(name.endswith(".deleted") for name in log_files(disk))


def test_topic_deleted_before_the_delay_is_over_needs_no_second_deletion(
    broker: Broker, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_ms=1000, file_delete_delay_ms=5000)
    fill(partition, clock)
    clock.advance(2000)
    broker.run_maintenance()
    broker.delete_topic("orders")
    clock.advance(10_000)
    assert caplog.text == ""


def test_file_that_cannot_be_deleted_is_logged_and_stops_no_other(
    broker: Broker, clock: VirtualClock, disk: CountingDisk, caplog: pytest.LogCaptureFixture
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_ms=1000, file_delete_delay_ms=5000)
    fill(partition, clock)
    clock.advance(2000)
    broker.run_maintenance()
    names = [name for name in log_files(disk) if name.endswith(".deleted")]
    disk.unlink(f"/data/topics/orders-0/{names[0]}")
    disk.make_dir(f"/data/topics/orders-0/{names[0]}")  # cannot be unlinked
    clock.advance(5000)
    assert [n for n in log_files(disk) if n.endswith(".deleted")] == names[:1]
    assert "Could not delete the retired file" in caplog.text
    disk.remove_dir(f"/data/topics/orders-0/{names[0]}")


# ---- run_maintenance


def test_run_maintenance_runs_what_is_due_and_retention_in_any_case(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker, segment_bytes=1000, retention_ms=1000)
    fill(partition, clock, segments=2)
    ran: list[str] = []
    broker.scheduler.call_later(0, lambda: ran.append("due"))
    broker.scheduler.call_later(1, lambda: ran.append("later"))
    broker.run_maintenance()
    assert ran == ["due"]
    assert partition.log_start_offset == 0
    clock._now_ms += 2000  # time passed, and nobody ran the timers
    broker.run_maintenance()
    assert ran == ["due", "later"]
    assert is_synced(partition)
    assert partition.log_start_offset == partition.log_end_offset


def test_timers_of_a_virtual_clock_run_in_time_order(broker: Broker, clock: VirtualClock) -> None:
    """Sync after 1 s, retention after 30 s, deletion 5 s after that, each at its own time."""
    partition = topic(broker, segment_bytes=1000, retention_ms=1000, file_delete_delay_ms=5000)
    fill(partition, clock)
    events: list[tuple[str, float]] = []
    log, filesystem = partition.log, broker.runtime.filesystem

    def note(what: str, call: Callable[..., object]) -> Callable[..., object]:
        def noted(*arguments: object) -> object:
            events.append((what, clock.now - NOW_MS))
            return call(*arguments)

        return noted

    class NotingLog:
        sync = staticmethod(note("sync", log.sync))
        delete_expired = staticmethod(note("retention", log.delete_expired))

        def __getattr__(self, name: str) -> object:
            return getattr(log, name)

    maintenance = broker._resources.maintenance
    noting = NotingLog()
    partition.log = noting
    maintenance._dirty_since_ms = {noting: maintenance._dirty_since_ms[log]}
    maintenance._delete_files = note("delete", maintenance._delete_files)
    clock.advance(40_000)
    assert events == [("sync", 1000), ("retention", 30_000), ("delete", 35_000)]
    partition.log = log
    assert not any(n.endswith(".deleted") for n in filesystem.list_dir("/data/topics/orders-0"))


def test_nothing_runs_after_close(clock: VirtualClock) -> None:
    with Broker(clock=clock) as broker:
        partition = topic(broker)
        partition.append(build_batch([b"v"], NOW_MS))
    assert clock.advance(DAY_MS) == 0


# ---- idempotent producers


def test_idm_5_a_producer_that_wrote_nothing_for_a_day_is_forgotten_by_a_timer(
    broker: Broker, clock: VirtualClock
) -> None:
    partition = topic(broker)
    partition.append_value(b"a", clock.time_ms(), ProducerStamp(7, 0))
    broker.create_topic("gone")
    broker.partition("gone", 0).append_value(b"a", clock.time_ms(), ProducerStamp(8, 0))
    gone = broker.partition("gone", 0)
    clock.advance(DAY_MS - 1)
    assert [info.producer_id for info in partition.describe_producers()] == [7]
    gone.refuse(UnknownTopicOrPartitionError("gone"))
    clock.advance(600_000)
    assert partition.describe_producers() == []


def test_idm_5_time_and_interval_are_the_brokers_to_say(clock: VirtualClock) -> None:
    with Broker(
        clock=clock, producer_id_expiration_ms=100, producer_id_expiration_check_interval_ms=30
    ) as broker:
        partition = topic(broker)
        partition.append_value(b"a", clock.time_ms(), ProducerStamp(7, 0))
        clock.advance(90)
        stamp = ProducerStamp(8, 0)
        partition.append_value(b"a", clock.time_ms(), stamp)
        clock.advance(30)
        assert [info.producer_id for info in partition.describe_producers()] == [8]
        clock.advance(90)
        assert partition.describe_producers() == []
        stamp.next_sequence = 77
        assert partition.append_value(b"any sequence", clock.time_ms(), stamp) == 2

"""Retention and delete_records at the beginning of a log, truncation at its end."""

from __future__ import annotations

import errno

import pytest

from streamlog.errors import DiskFullError, DurabilityError, OffsetOutOfRangeError, StorageError
from streamlog.storage import RecoveryOutcome
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.hooked_files import CHANGING_CALLS, DieAt, HookedFileSystem, Killed, hook_of
from tests.support.storage import Disk, Store, check_log
from tests.unit.storage.conftest import memory_disk_of

BATCH = 104
HOUR_MS = 3_600_000


# ---- delete_records


def test_ret_9_the_log_start_moves_at_once_even_inside_a_segment(store: Store) -> None:
    values = store.fill(20)
    store.log.advance_log_start(4)
    assert store.log.log_start_offset == 4
    assert store.values() == values[4:]
    assert store.base_offsets() == [0, 9, 18], "files go later"
    check_log(store.log)


@pytest.mark.parametrize("how", ["reopen", "kill_and_open"])
def test_ret_9_the_log_start_survives(store: Store, how: str) -> None:
    values = store.fill(20)
    store.log.advance_log_start(12)
    getattr(store, how)()
    assert store.log.log_start_offset == 12
    assert store.values() == values[12:]
    assert store.base_offsets() == [9, 18], "what is wholly below is deleted when opening"
    check_log(store.log)


def test_ret_9_the_log_start_never_goes_back_nor_beyond_the_end(store: Store) -> None:
    store.fill(5)
    store.log.advance_log_start(3)
    store.log.advance_log_start(1)
    assert store.log.log_start_offset == 3
    with pytest.raises(OffsetOutOfRangeError, match="expected 3 to 5"):
        store.log.advance_log_start(6)
    store.log.advance_log_start(5)
    assert store.values() == []
    assert store.log.durable_end_offset == 5, "what is deleted needs no sync (LOG-6)"
    check_log(store.log)
    store.kill_and_open()
    assert store.append(b"next") == 5


def test_ret_9_a_log_start_that_could_not_be_recorded_is_recorded_by_the_next_call() -> None:
    # The second call found the log start where it was to be, said so, and a kill brought the records back.
    plan = FaultPlan()
    disk = memory_disk_of()
    store = Store(Disk(FaultyFileSystem(disk.filesystem, plan), disk.root), segment_bytes=1024)
    values = store.fill(20)
    plan.fail("write_at", errno.EIO, path="*/STATE*")
    with pytest.raises(OSError, match="Input/output error"):
        store.log.advance_log_start(12)
    store.log.advance_log_start(12)
    store.kill_and_open()
    assert store.log.log_start_offset == 12
    assert store.values() == values[12:]


# ---- retention


def test_retention_frees_a_disk_that_has_no_room_for_the_new_log_start() -> None:
    # Recording it takes a few bytes more: without them nothing could ever be deleted from a disk that others had filled.
    disk = memory_disk_of(1_000_000)
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0, retention_bytes=1500)
    values = store.fill(200)
    ballast = disk.filesystem.open(disk.path("ballast"), create=True)
    ballast.allocate(0, disk.filesystem.free_bytes(disk.root))
    assert disk.filesystem.free_bytes(disk.root) == 0
    with pytest.raises(DiskFullError):
        store.directory.checkpoint()
    assert store.log.delete_expired(store.clock.time_ms(), store.log.log_end_offset)
    assert disk.filesystem.free_bytes(disk.root) > 0
    start = store.log.log_start_offset
    assert start > 0
    assert store.values() == values[start:]
    store.kill_and_open()
    assert store.log.log_start_offset == start
    assert store.values() == values[start:]
    check_log(store.log)


def test_ret_7_the_log_start_is_the_first_remaining_segment(store: Store) -> None:
    values = store.fill(30)
    store.with_config(retention_bytes=1500)
    assert store.log.delete_expired(0, 30) == 1
    assert store.log.log_start_offset == store.base_offsets()[0] == 9
    with pytest.raises(OffsetOutOfRangeError):
        store.log.read(8, 100)
    assert store.values() == values[9:]
    assert store.log.delete_expired(0, 30) == 0
    check_log(store.log)
    assert store.kill_and_open().log_start_offset == 9


def test_ret_4_room_that_a_power_loss_left_behind_a_segment_does_not_count(store: Store) -> None:
    # The file was found as large as it once was, and as much more was deleted: the log dropped below the limit.
    values = store.fill(20)
    store.kill()
    store.disk.cut(store.segment_path(9), 65_536)
    store.open()
    store.with_config(retention_bytes=1500)
    assert store.log.delete_expired(0, high_watermark=20) == 0
    assert store.values() == values
    assert store.log.size_bytes == 20 * BATCH
    check_log(store.log)


def test_ret_6_the_active_segment_goes_after_a_new_one_was_rolled(store: Store) -> None:
    store.fill(3)
    store.clock.advance(HOUR_MS)
    store.with_config(retention_ms=1000)
    assert store.log.delete_expired(store.clock.time_ms(), 3) == 1
    assert store.base_offsets() == [3]
    assert (store.log.log_start_offset, store.log.log_end_offset) == (3, 3)
    assert store.log.delete_expired(store.clock.time_ms(), 3) == 0, "the empty one stays"
    check_log(store.log)
    for how in (store.kill_and_open, store.reopen):
        assert how().log_end_offset == 3
    assert store.append(b"next") == 3


def test_ret_5_nothing_above_the_high_watermark_goes(store: Store) -> None:
    store.fill(30)
    store.with_config(retention_bytes=0)
    assert store.log.delete_expired(0, 17) == 1
    assert store.log.log_start_offset == 9


def test_a_segment_without_a_loaded_index_expires_by_its_greatest_timestamp(store: Store) -> None:
    """RET-3: also after opening, when only its file is known."""
    now = store.clock.time_ms()
    store.append(b"x" * 600, timestamp_ms=now - 10 * HOUR_MS)
    store.append(b"x" * 600, timestamp_ms=now)
    store.append(b"x" * 600, timestamp_ms=now - 10 * HOUR_MS)
    store.with_config(retention_ms=HOUR_MS)
    store.reopen()
    assert store.log.delete_expired(now, 3) == 1, "the second one pins the third"
    assert store.log.log_start_offset == 1


def test_log_4_files_are_renamed_first_and_deleted_later(store: Store) -> None:
    store.fill(20)
    retired: list[tuple[list[str], int]] = []
    store.log.on_files_retired = lambda paths, delay_ms: retired.append((paths, delay_ms))
    store.with_config(retention_bytes=0, file_delete_delay_ms=777)
    data, mapping = store.log.read(0, 1 << 20), store.log.segments[0].mapping_for_read()
    assert store.log.delete_expired(0, 18) == 2
    ((paths, delay_ms),) = retired
    assert delay_ms == 777
    assert all(path.endswith(".deleted") for path in paths)
    assert sorted(paths) == [f"{store.log_path}/{n}" for n in store.names() if "deleted" in n]
    assert mapping[: len(data)] == data, "who was reading goes on"
    store.kill_and_open()
    assert not [name for name in store.names() if "deleted" in name]
    check_log(store.log)


def test_without_anybody_to_delete_later_files_go_at_once(store: Store) -> None:
    store.fill(20)
    store.with_config(retention_bytes=0)
    store.log.delete_expired(0, 18)
    assert {name[:20] for name in store.names()} == {f"{18:020d}"}


@pytest.mark.parametrize("how", ["retention", "the log start"])
def test_dying_anywhere_in_a_deletion_loses_nothing_that_stays(how: str) -> None:
    for number in range(100):
        inner = memory_disk_of()
        disk = Disk(HookedFileSystem(inner.filesystem), inner.root)
        store = Store(disk, segment_bytes=1024, index_interval_bytes=0, retention_bytes=1500)
        values = store.fill(40)
        hook = hook_of(disk.filesystem).hook = DieAt(number)
        try:
            if how == "retention":
                store.log.delete_expired(0, 40)
            else:
                store.log.advance_log_start(20)
            died = False
        except Killed:
            died = True
        hook_of(disk.filesystem).hook = lambda call, path: None
        store.kill_and_open()
        start = store.log.log_start_offset
        assert start in ((0, 18) if how == "retention" else (0, 20)), hook.died_at
        assert store.values() == values[start:], hook.died_at
        check_log(store.log)
        store.fill(5)
        store.close()
        if not died:
            assert number
            return
    pytest.fail("never got to the end")


# ---- truncation


@pytest.mark.parametrize("offset", [0, 1, 8, 9, 10, 17, 18, 19])
@pytest.mark.parametrize("how", ["nothing", "reopen", "kill_and_open"])
def test_truncating_cuts_the_log_there(store: Store, offset: int, how: str) -> None:
    values = store.fill(20)
    store.log.truncate_to(offset)
    assert store.log.log_end_offset == store.log.durable_end_offset == offset
    check_log(store.log)
    if how != "nothing":
        getattr(store, how)()
    assert store.values() == values[:offset]
    new = store.fill(30, size=12, start=offset)
    assert store.values() == [*values[:offset], *new]
    check_log(store.log)
    store.kill_and_open()
    assert store.values() == [*values[:offset], *new]
    check_log(store.log)


def test_truncating_inside_a_batch_cuts_all_of_it(store: Store) -> None:
    store.append(b"a")
    store.append(b"b", b"c", b"d")
    store.log.truncate_to(3)
    assert store.log.log_end_offset == 1


def test_truncating_at_or_beyond_the_end_does_nothing(store: Store) -> None:
    store.fill(3)
    store.log.truncate_to(3)
    store.log.truncate_to(99)
    assert store.log.log_end_offset == 3
    store.log.advance_log_start(2)
    with pytest.raises(OffsetOutOfRangeError):
        store.log.truncate_to(1)


def test_what_is_appended_behind_a_cut_has_timestamps_of_its_own(store: Store) -> None:
    store.append(b"a", timestamp_ms=100)
    store.append(b"b", timestamp_ms=900)
    store.log.truncate_to(1)
    store.append(b"c", timestamp_ms=200)
    for _ in range(2):
        found = store.log.offset_of_max_timestamp()
        assert found is not None
        assert (found.offset, found.timestamp_ms) == (1, 200)
        store.kill_and_open()


def test_a_cut_segment_rolls_by_the_time_of_its_own_first_batch(memory_disk: Disk) -> None:
    # It counted from the year 1969, and rolled at the next append.
    store = Store(memory_disk, segment_bytes=300, segment_ms=1000)
    for number in range(6):
        store.append(b"12345678", timestamp_ms=5000 + number)
    store.reopen()
    store.with_config(segment_bytes=1 << 20)
    store.log.truncate_to(1)
    store.append(b"next", timestamp_ms=5999)
    assert store.base_offsets() == [0]
    store.append(b"late", timestamp_ms=6001)
    assert store.base_offsets() == [0, 2]
    store.close()


def test_dying_anywhere_in_a_truncation_leaves_it_done_or_not_begun() -> None:
    for number in range(200):
        inner = memory_disk_of()
        disk = Disk(HookedFileSystem(inner.filesystem), inner.root)
        hook = DieAt(number)
        store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
        values = store.fill(40)
        hook_of(disk.filesystem).hook = hook
        died = False
        try:
            store.log.truncate_to(12)
        except Killed:
            died = True
        hook_of(disk.filesystem).hook = lambda call, path: None
        store.kill_and_open()
        assert store.log.log_end_offset in (40, 12), hook.died_at
        assert store.values() == values[: store.log.log_end_offset], hook.died_at
        assert store.recovery.outcome in (RecoveryOutcome.SCANNED, RecoveryOutcome.CLEAN)
        check_log(store.log)
        new = store.fill(5)
        expected = values[: store.log.log_end_offset - 5] + new
        store.kill_and_open()
        assert store.values() == expected, hook.died_at
        store.close()
        if not died:
            assert number > 10
            return
    pytest.fail("never got to the end")


def test_appends_are_refused_while_a_truncation_runs_and_after_one_that_failed() -> None:
    # One that was appended in between would be cut off at the next open, acknowledged or not.
    inner = memory_disk_of()
    disk = Disk(HookedFileSystem(inner.filesystem), inner.root)
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
    store.fill(40)
    syncs: list[str] = []

    def fail_second_sync(call: str, path: str) -> None:
        if call in CHANGING_CALLS:
            with pytest.raises(StorageError, match="truncation to offset 12"):
                raise_as_append(store)
        if call.startswith("sync") and path.endswith(".log"):
            syncs.append(path)
            raise OSError(5, "Input/output error")

    store.log.sync()
    hook_of(disk.filesystem).hook = fail_second_sync
    with pytest.raises(OSError, match="Input/output error"):
        store.log.truncate_to(12)
    hook_of(disk.filesystem).hook = lambda call, path: None
    assert syncs
    with pytest.raises(StorageError):
        store.append(b"x")
    store.kill_and_open()
    assert store.log.log_end_offset == 12
    assert store.append(b"x") == 12
    store.close()


def raise_as_append(store: Store) -> None:
    """Do what an append does first; the lock may be held by the truncation itself."""
    log = store.log
    assert log._active.limit == 0
    log._prepare(100, 0, 1)


def test_there_is_no_truncation_after_a_failed_sync() -> None:
    inner = memory_disk_of()
    disk = Disk(HookedFileSystem(inner.filesystem), inner.root)
    store = Store(disk, segment_bytes=1024)
    store.fill(3)

    def fail(call: str, path: str) -> None:
        if call == "sync":
            raise OSError(5, "Input/output error")

    hook_of(disk.filesystem).hook = fail
    with pytest.raises(DurabilityError):
        store.log.truncate_to(1)
    assert store.log.log_end_offset == 3
    store.kill()


def test_a_reader_of_what_is_being_cut_is_out_of_range_and_not_told_of_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(5)
    segment = store.log._active
    original, calls = type(segment).read, []

    def read(self: object, *arguments: object) -> object:
        if not calls:
            calls.append(1)
            end = segment.position
            store.log.truncate_to(2)
            segment.position, position = end, segment.position
            try:
                return original(segment, *arguments)  # type: ignore[arg-type]
            finally:
                segment.position = position
        return original(segment, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(segment), "read", read)
    with pytest.raises(OffsetOutOfRangeError):
        store.log.read(3, 100)


# ---- a disk that is full to the last byte


def full_store(calls: list[int]) -> Store:
    """A log whose STATE cannot be written for so many calls as *calls* says."""

    def hook(call: str, path: str) -> None:
        if call == "write_atomically" and path.endswith("/STATE") and calls[0]:
            calls[0] -= 1
            raise DiskFullError(f"{path}: full")

    disk = memory_disk_of()
    return Store(
        Disk(HookedFileSystem(disk.filesystem, hook), disk.root),
        segment_bytes=1024,
        index_interval_bytes=0,
    )


def test_a_log_start_that_cannot_be_made_durable_says_so() -> None:
    failures = [0]
    store = full_store(failures)
    store.fill(5)
    failures[0] = 1
    with pytest.raises(DiskFullError):
        store.log.advance_log_start(3)


def test_indexes_of_what_goes_make_room_for_saying_so_where_there_are_any() -> None:
    failures = [0]
    store = full_store(failures)
    values = store.fill(30)
    store.disk.filesystem.unlink(store.segment_path(0, ".idx"))
    store.with_config(retention_bytes=1500)
    failures[0] = 1
    assert store.log.delete_expired(0, 30) == 1
    assert store.values() == values[9:]
    check_log(store.log)

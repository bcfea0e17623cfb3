"""A sync that failed, and what may be believed after the log was opened again (durability 3.8, "fsyncgate")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DurabilityError
from streamlog.storage import RecoveryOutcome
from streamlog.storage.directory_state import DirectoryState
from tests.support.forgetful_files import ForgetfulFileSystem
from tests.support.storage import TOPIC_ID, Disk, Store, check_log
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Reboot = Callable[[], None]


@pytest.fixture
def disk() -> ForgetfulFileSystem:
    return ForgetfulFileSystem(memory_disk_of().filesystem)


@pytest.fixture
def store(disk: ForgetfulFileSystem) -> Store:
    """Segments of 16 KiB, so that the records of a test are in several pages of several files."""
    return Store(Disk(disk, "/root"), segment_bytes=16 * 1024)


def fail_a_sync(store: Store, disk: ForgetfulFileSystem) -> None:
    disk.failing = True
    with pytest.raises(DurabilityError, match="Input/output error"):
        store.log.sync()
    disk.failing = False


def state_of(store: Store) -> DirectoryState:
    return DirectoryState.read(store.disk.filesystem, f"{store.path}/STATE")


@pytest.mark.parametrize("synced", [0, 7, 150])
@pytest.mark.parametrize("end", ["close", "kill"])
def test_what_a_failed_sync_left_in_the_cache_is_durable_only_once_it_was_stored_again(
    store: Store, disk: ForgetfulFileSystem, reboot: Reboot, synced: int, end: str
) -> None:
    # The next sync succeeded without writing anything, and the log called its records durable.
    values = store.fill(synced, size=100)
    store.log.sync()
    store.directory.checkpoint()
    values += store.fill(200, size=100)
    fail_a_sync(store, disk)
    if end == "close":
        with pytest.raises(DurabilityError):
            store.close()
    else:
        store.kill()
    store.open()
    assert store.values() == values
    assert store.log.durable_end_offset == synced
    store.log.sync()
    assert store.log.durable_end_offset == synced + 200
    store.directory.checkpoint()
    store.kill()
    disk.drop_cache()
    reboot()
    store.open()
    assert store.values() == values
    check_log(store.log)
    store.close()


def test_the_disk_of_these_tests_forgets_what_was_not_stored_again(
    store: Store, disk: ForgetfulFileSystem
) -> None:
    store.fill(200, size=100)
    fail_a_sync(store, disk)
    path = store.segment_path()
    before = disk.read_file(path, 1 << 20)
    file = disk.open(path)
    file.sync_data()
    file.write_at(4096, before[4096:4097])
    file.sync_data()
    file.close()
    store.kill()
    disk.drop_cache()
    after = disk.read_file(path, 1 << 20)
    assert [n for n in range(4) if any(after[n * 4096 : n * 4096 + 4096])] == [1]


@pytest.mark.parametrize("append_after", [False, True])
def test_a_close_after_a_failed_sync_says_so_and_does_not_count_as_clean(
    store: Store, disk: ForgetfulFileSystem, append_after: bool
) -> None:
    store.fill(3)
    fail_a_sync(store, disk)
    if append_after:
        with pytest.raises(DurabilityError):
            store.append(b"x")
    with pytest.raises(DurabilityError):
        store.close()
    state = state_of(store)
    assert not state.is_clean
    assert state.checkpoints[f"{TOPIC_ID}/0"].sync_failed == 1
    assert state.checkpoints[f"{TOPIC_ID}/0"].recovery_offset == 0


@pytest.mark.parametrize("end", ["close", "kill"])
def test_pages_that_were_dropped_after_a_failed_sync_count_as_lost(
    store: Store, disk: ForgetfulFileSystem, end: str
) -> None:
    # On the same boot: the log was silently shorter, and its offsets were given again under the same epoch.
    values = store.fill(10)
    store.log.sync()
    store.fill(20)
    fail_a_sync(store, disk)
    if end == "close":
        with pytest.raises(DurabilityError):
            store.close()
    else:
        store.kill()
    disk.drop_cache()
    store.open()
    assert not store.directory.recovery_report.power_may_have_failed
    assert store.values() == values
    assert store.log.leader_epoch == 1
    assert store.log.end_offset_for_epoch(0) == (0, 10)
    assert state_of(store).checkpoints[f"{TOPIC_ID}/0"].epochs == (0, 0, 1, 10)
    store.kill_and_open()
    assert store.log.leader_epoch == 1, "once for each failure"
    store.fill(3)
    store.reopen()
    assert store.recovery.outcome is RecoveryOutcome.CLEAN
    store.close()


def test_a_failed_sync_that_cannot_be_noted_is_raised_all_the_same(
    store: Store, disk: ForgetfulFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    store.fill(3)

    def fail(call: str, path: str) -> None:
        if call == "write_atomically":
            raise OSError(28, "No space left on device", path)

    disk.hook = fail
    with caplog.at_level("WARNING", "streamlog"):
        fail_a_sync(store, disk)
    assert "that a sync failed could not be noted" in caplog.text
    disk.hook = lambda call, path: None
    store.kill()


def test_good_batches_behind_dropped_pages_go_to_quarantine(
    store: Store, disk: ForgetfulFileSystem
) -> None:
    values = store.fill(60, size=100)
    fail_a_sync(store, disk)
    with pytest.raises(DurabilityError):
        store.close()
    size = disk.file_size(store.segment_path())
    store.disk.patch(store.segment_path(), 4096, bytes(min(4096, size - 4096)))
    store.open()
    assert store.recovery.outcome is RecoveryOutcome.LOST_PAGES
    assert store.recovery.quarantine_path is not None
    assert store.values() == values[: store.log.log_end_offset]
    store.close()


def test_a_tail_that_cannot_be_stored_again_keeps_the_log_closed(
    store: Store, disk: ForgetfulFileSystem
) -> None:
    values = store.fill(30)
    store.kill()

    def fail(call: str, path: str) -> None:
        if call == "write_at" and path.endswith(".log"):
            raise OSError(5, "Input/output error", path)

    disk.hook = fail
    with pytest.raises(OSError, match="Input/output error"):
        store.open()
    disk.hook = lambda call, path: None
    store.open()
    assert store.values() == values
    store.close()


def test_a_clean_open_writes_no_log_file(store: Store, disk: ForgetfulFileSystem) -> None:
    store.fill(30)
    calls: list[tuple[str, str]] = []
    store.close()
    disk.hook = lambda call, path: calls.append((call, path))
    store.open()
    assert [c for c in calls if c[1].endswith(".log") and c[0] != "file_size"] == []
    store.close()

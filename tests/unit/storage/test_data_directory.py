"""The directory of a broker: who may use it, what is in it, how it was left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import (
    AlreadyOpenError,
    ClosedError,
    CorruptLogError,
    DataLossError,
    DurabilityError,
    ForkedError,
    NotStreamlogDirectoryError,
    StorageError,
    UnsupportedFormatError,
)
from streamlog.runtime import TEMPORARY_SUFFIX, OsFileSystem, RandomSource, Runtime, VirtualClock
from streamlog.storage import DataDirectory, PartitionLog
from streamlog.storage.checkpoint_file import read_checkpoint, write_checkpoint
from streamlog.storage.directory_state import STATE_NAME, DirectoryState
from streamlog.testing import CrashFileSystem, FaultPlan, FaultyFileSystem
from streamlog.testing.crash_images import power_images
from tests.support.hooked_files import (
    CHANGING_CALLS,
    CallLog,
    DieAt,
    HookedFileSystem,
    Killed,
    hook_of,
)
from tests.support.storage import TOPIC_ID, Disk, Store, check_log, read_values
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def runtime_on(disk: Disk) -> Runtime:
    return Runtime(clock=VirtualClock(), filesystem=disk.filesystem, random=RandomSource(1))


def open_directory(disk: Disk, name: str = "data") -> DataDirectory:
    return DataDirectory.open(disk.path(name), runtime_on(disk), min_free_bytes=0)


# ---- making and opening


def test_a_new_directory_has_its_files_and_counts_as_clean(disk: Disk) -> None:
    directory = open_directory(disk, "a/b/c")
    assert disk.filesystem.list_dir(disk.path("a/b/c")) == [
        "FORMAT", "LOCK", "META", "STATE", "quarantine", "topics",
    ]  # fmt: skip
    report = directory.recovery_report
    assert (report.clean, report.generation, report.power_may_have_failed) == (True, 1, False)
    assert directory.manifest == {}
    assert len(directory.directory_id) == 32
    directory.close()
    again = open_directory(disk, "a/b/c")
    assert again.directory_id == directory.directory_id
    assert (again.recovery_report.clean, again.recovery_report.generation) == (True, 2)
    again.close()


def test_the_generation_can_be_raised_durably_while_the_directory_is_open(disk: Disk) -> None:
    """IDM-1: producer ids are made of it."""
    directory = open_directory(disk)
    assert directory.generation == 1
    assert [directory.raise_generation(), directory.raise_generation(7)] == [2, 7]
    assert directory.raise_generation(5) == 8  # never down
    directory.abandon(ForkedError("killed"))
    again = open_directory(disk)
    assert again.generation == 9
    again.close()
    with pytest.raises(ClosedError):
        again.raise_generation()


def test_its_name_and_those_of_new_parents_survive_a_power_failure(memory_disk: Disk) -> None:
    # Nobody synced the directory that it was made in: with it all that had been acknowledged would have gone.
    synced: list[str] = []

    def hook(call: str, path: str) -> None:
        if call == "sync_dir":
            synced.append(path)

    disk = Disk(HookedFileSystem(memory_disk.filesystem, hook), memory_disk.root)
    open_directory(disk, "a/b").close()
    assert synced[:3] == ["/", "/root", "/root/a"]
    synced.clear()
    open_directory(disk, "a/b").close()
    assert "/root" not in synced


@pytest.mark.parametrize("at", [1, 2, 3])
def test_its_name_survives_a_power_failure_though_the_first_attempt_to_make_it_failed(
    at: int,
) -> None:
    # The second attempt found the directory there and took its name for durable: a power loss then took everything.
    plan = FaultPlan()
    disk = Disk(FaultyFileSystem(CrashFileSystem(), plan), "")
    plan.fail("sync_dir", errno.EIO, at=at)
    with pytest.raises(OSError, match="Input/output error"):
        open_directory(disk, "a/b")
    open_directory(disk, "a/b").store_manifest({"topics": {}})
    inner = disk.filesystem.inner
    assert isinstance(inner, CrashFileSystem)
    image = next(power_images(inner, RandomSource(1).stream("images")))
    assert image.description == "nothing unsynced"
    assert image.filesystem().exists("/a/b/META")


def test_a_parent_that_may_not_be_read_is_no_obstacle(memory_disk: Disk) -> None:
    def hook(call: str, path: str) -> None:
        if (call, path) == ("sync_dir", "/root"):
            raise PermissionError(13, "Permission denied", path)

    disk = Disk(HookedFileSystem(memory_disk.filesystem, hook), memory_disk.root)
    open_directory(disk).close()


def test_dying_anywhere_while_it_is_made_leaves_one_that_opens() -> None:
    # With META and without FORMAT it was taken for somebody else's, and refused for good.
    for number in range(100):
        inner = memory_disk_of()
        hook = DieAt(number)
        died = False
        try:
            open_directory(Disk(HookedFileSystem(inner.filesystem, hook), inner.root))
        except Killed:
            died = True
        if not died:
            assert number > 5
            return
        _forget_locks(inner)
        directory = open_directory(inner)
        assert directory.manifest == {}
        assert directory.recovery_report.damaged_partitions == []
        directory.close()
    pytest.fail("never got to the end")


def _forget_locks(disk: Disk) -> None:
    """What a dead process held."""
    disk.filesystem._locked.clear()  # type: ignore[attr-defined]


def test_dirty_is_written_before_anything_else_changes(store: Store) -> None:
    """A stale CLEAN would skip recovery on a log that needs it."""
    store.fill(3)
    store.close()
    changes: list[tuple[str, str]] = []
    states: list[str] = []

    def hook(call: str, path: str) -> None:
        if call in CHANGING_CALLS and call != "lock_dir":
            changes.append((call, path.removeprefix(store.path)))
            states.append(read_checkpoint(inner, f"{store.path}/STATE", "STATE")["state"])

    inner = store.disk.filesystem
    store.disk = Disk(HookedFileSystem(inner, hook), store.disk.root)
    store.runtime = runtime_on(store.disk)
    store.open()
    store.append(b"x")
    assert changes[0] == ("write_atomically", "/STATE")
    assert states[0] == "CLEAN"
    assert set(states[1:]) == {"DIRTY"}


# ---- refusing


def test_somebody_elses_directory_is_refused_and_left_alone(disk: Disk) -> None:
    path = disk.path("data")
    disk.filesystem.make_dir(path)
    disk.write(f"{path}/photo.jpg", b"jpg")
    with pytest.raises(NotStreamlogDirectoryError, match=r"found photo\.jpg"):
        open_directory(disk)
    assert disk.filesystem.list_dir(path) == ["photo.jpg"]


@pytest.mark.parametrize("what", ["topics", "META", "damaged META", "a newer META"])
def test_data_without_a_format_file_is_refused_and_left_alone(disk: Disk, what: str) -> None:
    path = disk.path("data")
    open_directory(disk).close()
    disk.filesystem.unlink(f"{path}/FORMAT")
    if what == "topics":
        disk.filesystem.make_dir(f"{path}/topics/t-0")
    elif what == "META":
        write_checkpoint(disk.filesystem, f"{path}/META", "META", {"topics": {"t": 1}})
    elif what == "a newer META":
        disk.flip(f"{path}/META", 3)
    else:
        disk.flip(f"{path}/META", 20)
    before = disk.filesystem.list_dir(path)
    with pytest.raises(NotStreamlogDirectoryError, match="without a FORMAT file"):
        open_directory(disk)
    assert disk.filesystem.list_dir(path) == before


def test_a_newer_format_is_refused_by_name(disk: Disk) -> None:
    open_directory(disk).close()
    path = disk.path("data/FORMAT")
    write_checkpoint(disk.filesystem, path, "FORMAT", {"format_version": 2})
    with pytest.raises(
        UnsupportedFormatError, match="format version 2, this streamlog reads up to 1"
    ):
        open_directory(disk)
    write_checkpoint(disk.filesystem, path, "FORMAT", {"format_version": "?"})
    with pytest.raises(CorruptLogError, match="expected a format version"):
        open_directory(disk)
    write_checkpoint(disk.filesystem, path, "FORMAT", {"format_version": 1})
    open_directory(disk).close()


@pytest.mark.parametrize("name", ["FORMAT", "META"])
def test_a_damaged_or_missing_list_of_topics_stops_the_open(disk: Disk, name: str) -> None:
    open_directory(disk).close()
    path = disk.path(f"data/{name}")
    data = disk.read(path)
    for position in range(len(data)):
        disk.flip(path, position)
        with pytest.raises(
            (CorruptLogError, UnsupportedFormatError), match=name if position != 3 else "version"
        ):
            open_directory(disk)
        disk.write(path, data)
    if name == "META":
        disk.filesystem.unlink(path)
        with pytest.raises(CorruptLogError, match="expected a META file, found none"):
            open_directory(disk)
        disk.write(path, data)
    open_directory(disk).close()


def test_a_network_file_system_is_refused_unless_asked_for(
    memory_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(memory_disk.filesystem), "is_network", lambda self, path: True)
    with pytest.raises(UnsupportedFormatError, match="network file system"):
        open_directory(memory_disk)
    DataDirectory.open(
        memory_disk.path("data"), runtime_on(memory_disk), allow_network_fs=True
    ).close()


def test_a_second_opener_is_refused_until_the_first_has_closed(disk: Disk) -> None:
    """P9."""
    first = open_directory(disk)
    with pytest.raises(AlreadyOpenError) as caught:
        open_directory(disk)
    assert caught.value.path == disk.path("data")
    first.close()
    open_directory(disk).close()


def test_another_process_is_refused_as_well(tmp_path: Path) -> None:
    directory = DataDirectory.open(
        str(tmp_path / "data"), runtime_on(Disk(OsFileSystem(), str(tmp_path)))
    )
    code = """
        import os, sys
        from streamlog.errors import AlreadyOpenError
        from streamlog.runtime import OsFileSystem, RandomSource, Runtime, SystemClock
        from streamlog.storage import DataDirectory
        runtime = Runtime(clock=SystemClock(), filesystem=OsFileSystem(), random=RandomSource(1))
        try:
            DataDirectory.open(sys.argv[1], runtime)
        except AlreadyOpenError as error:
            print(error.pid)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), directory.path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
    assert int(done.stdout) == os.getpid()
    directory.close()


# ---- STATE


def test_any_damage_of_state_costs_a_scan_and_no_record(store: Store) -> None:
    """Also of the byte that holds its version: the directory stayed closed for good."""
    values = store.fill(12)
    store.close()
    path = f"{store.path}/STATE"
    data = store.disk.read(path)
    damages = [data[:n] for n in range(0, len(data), 7)]
    damages += [data[:n] + bytes((data[n] ^ 0x80,)) + data[n + 1 :] for n in range(len(data))]
    for damaged in damages[:: 3 if isinstance(store.disk.filesystem, OsFileSystem) else 1]:
        store.disk.write(path, damaged)
        store.open()
        assert not store.directory.recovery_report.clean
        assert "every log is read from its start" in store.directory.recovery_report.notes[0]
        assert store.values() == values
        store.kill()
    store.disk.write(path, data)
    store.open()
    assert store.directory.recovery_report.clean


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"state": "CLEAN", "generation": 1, "boot_id": "", "recovered": True, "logs": []},
        {"state": "CLEAN", "generation": "1", "boot_id": "", "recovered": True, "logs": {}},
        {"state": "CLEAN", "generation": 1, "boot_id": "", "recovered": 1, "logs": {}},
        {"state": "CLEAN", "generation": 1, "boot_id": "", "recovered": True, "logs": {"a": [1]}},
        {
            "state": "CLEAN",
            "generation": 1,
            "boot_id": "",
            "recovered": True,
            "logs": {"a": [0.5] * 9},
        },
    ],
)
def test_a_state_of_the_wrong_shape_is_done_without(
    memory_disk: Disk, content: dict[str, object]
) -> None:
    open_directory(memory_disk).close()
    write_checkpoint(memory_disk.filesystem, memory_disk.path("data/STATE"), "STATE", content)
    directory = open_directory(memory_disk)
    assert directory.recovery_report.notes
    directory.close()


def test_an_unknown_boot_counts_as_another_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlog.runtime.host.boot_id", lambda: "")
    store.kill_and_open()
    store.kill_and_open()
    assert store.directory.recovery_report.power_may_have_failed


def test_a_log_made_after_a_power_failure_starts_in_the_first_epoch(
    store: Store, reboot: Callable[[], None]
) -> None:
    # It started in the second one, of which nothing was on the disk: after the next power failure its offsets were given
    # again in the same epoch.
    store.kill()
    reboot()
    store.open()
    assert store.log.leader_epoch == 1
    store.directory.create_log_directory("new", 0)
    log = store.directory.open_log("new", 0, "another id", store.config)
    assert log.leader_epoch == 0


def test_a_power_failure_is_remembered_until_every_log_was_recovered(
    store: Store, reboot: Callable[[], None]
) -> None:
    store.directory.create_log_directory("t", 1)
    store.open_log(1)
    store.append(b"a")
    store.kill()
    reboot()
    for _ in range(3):
        store.open_directory()
        assert store.directory.recovery_report.power_may_have_failed
        store.open_log(0)
        store.kill()
    store.open_directory()
    store.open_log(0)
    store.open_log(1)
    store.directory.finish_opening(set())
    store.kill()
    store.open_directory()
    assert not store.directory.recovery_report.power_may_have_failed


def test_closing_before_every_log_was_recovered_does_not_count_as_clean(
    store: Store, reboot: Callable[[], None]
) -> None:
    store.kill()
    reboot()
    store.open_directory()
    store.close()
    store.open_directory()
    report = store.directory.recovery_report
    assert not report.clean
    assert report.power_may_have_failed


def test_a_log_that_could_not_be_opened_keeps_the_directory_unclean(store: Store) -> None:
    store.fill(3)
    store.close()

    def fail(call: str, path: str) -> None:
        if call == "list_dir" and path == store.log_path:
            raise OSError(24, "Too many open files")

    inner = store.disk.filesystem
    hooked = HookedFileSystem(inner, fail)
    store.runtime = runtime_on(Disk(hooked, store.disk.root))
    store.open_directory()
    with pytest.raises(OSError, match="Too many"):
        store.open_log()
    store.directory.finish_opening(set())
    hooked.hook = lambda call, path: None
    store.close()
    store.open_directory()
    assert not store.directory.recovery_report.clean
    store.open_log()
    assert len(store.values()) == 3


def test_new_epochs_are_durable_also_when_another_log_could_not_be_opened(
    store: Store, reboot: Callable[[], None]
) -> None:
    # They were in memory only, until the next checkpoint; after another power failure the same epoch began elsewhere.
    store.directory.create_log_directory("t", 1)
    store.open_log(1)
    store.fill(3)
    store.kill()
    reboot()

    def fail(call: str, path: str) -> None:
        if call == "list_dir" and path == store.log_path:
            raise OSError(24, "Too many open files")

    store.runtime = runtime_on(Disk(HookedFileSystem(store.disk.filesystem, fail), store.disk.root))
    store.open_directory()
    with pytest.raises(OSError, match="Too many"):
        store.open_log(0)
    assert store.open_log(1).leader_epoch == 1
    store.directory.finish_opening(set())
    state = DirectoryState.read(store.disk.filesystem, f"{store.path}/STATE")
    assert state.checkpoints[f"{TOPIC_ID}/1"].leader_epoch == 1
    assert not state.is_recovered


# ---- logs


def test_state_forgets_logs_of_topics_that_are_gone(store: Store) -> None:
    # Deleted just before a crash: what STATE said of them stayed for good.
    store.directory.create_log_directory("u", 0)
    store.directory.open_log("u", 0, "other-id", store.config)
    store.directory.checkpoint()
    store.kill()
    store.open()
    store.directory.checkpoint()
    state = DirectoryState.read(store.disk.filesystem, f"{store.path}/STATE")
    assert list(state.checkpoints) == [f"{TOPIC_ID}/0"]


def test_state_keeps_what_it_knows_of_a_log_that_cannot_be_opened(store: Store) -> None:
    store.fill(20)
    store.close()
    before = DirectoryState.read(store.disk.filesystem, f"{store.path}/STATE").checkpoints
    store.disk.filesystem.unlink(store.segment_path(9))
    store.open_directory()
    with pytest.raises(DataLossError):
        store.open_log()
    store.directory.finish_opening({store.log.topic_partition})
    store.close()
    after = DirectoryState.read(store.disk.filesystem, f"{store.path}/STATE")
    assert after.is_clean
    assert after.checkpoints == before


def test_a_deleted_log_that_could_not_be_opened_does_not_keep_the_directory_unclean(
    memory_disk: Disk,
) -> None:
    calls = CallLog()
    store = Store(Disk(HookedFileSystem(memory_disk.filesystem, calls), memory_disk.root))
    store.close()
    store.open_directory()
    calls.failures["is_dir"] = OSError(24, "Too many open files")
    with pytest.raises(OSError, match="Too many"):
        store.open_log()
    calls.failures.clear()
    store.directory.finish_opening({store.log.topic_partition})
    store.directory.delete_unopened_log("t", 0, TOPIC_ID)
    store.close()
    store.open_directory()
    assert store.directory.recovery_report.clean


def test_directories_that_belong_to_no_topic_are_reported_and_left_alone(store: Store) -> None:
    """NATS #7556: nothing is deleted because it looks orphaned."""
    store.disk.filesystem.make_dir(f"{store.path}/topics/unknown-7")
    store.disk.write(f"{store.path}/topics/unknown-7/{0:020d}.log", b"records")
    store.reopen()
    assert store.directory.recovery_report.ignored_paths == [f"{store.path}/topics/unknown-7"]
    assert store.disk.filesystem.exists(f"{store.path}/topics/unknown-7/{0:020d}.log")


def test_what_is_left_of_a_creation_makes_way_for_the_next(store: Store) -> None:
    path = f"{store.path}/topics/new-0"
    store.disk.filesystem.make_dir(path)
    store.disk.write(f"{path}/{0:020d}.log", b"")
    store.directory.create_log_directory("new", 0)
    assert store.disk.filesystem.list_dir(path) == []
    assert store.disk.filesystem.list_dir(f"{store.path}/topics") == ["new-0", "t-0"]


def test_a_log_that_nobody_knew_of_is_moved_to_quarantine_and_not_deleted(store: Store) -> None:
    # META came from an older backup, say: creating the topic again deleted all its records.
    store.fill(20)
    store.close()
    files = {name: store.disk.read(f"{store.log_path}/{name}") for name in store.names()}
    store.open_directory()
    store.directory.create_log_directory("t", 0)
    assert store.names() == []
    (name,) = store.disk.filesystem.list_dir(f"{store.path}/quarantine")
    kept = f"{store.path}/quarantine/{name}"
    assert set(store.disk.filesystem.list_dir(kept)) >= {*files, "reason.json"}
    for name, data in files.items():
        assert store.disk.read(f"{kept}/{name}") == data
    log = store.directory.open_log("t", 0, "another id", store.config)
    assert log.log_end_offset == 0


def test_a_deleted_log_is_gone_with_its_files(store: Store) -> None:
    store.fill(20)
    log = store.log
    store.directory.delete_log(log)
    assert store.disk.filesystem.list_dir(f"{store.path}/topics") == []
    for call in (
        lambda: log.append_value(b"x", 0),
        lambda: log.append(store.batch(b"x")),
        lambda: log.read(0, 100),
        lambda: log.advance_log_start(1),
    ):
        with pytest.raises(ClosedError, match="topic was deleted"):
            call()
    log.close()
    store.close()
    store.open_directory()
    assert store.directory.recovery_report.clean


def test_a_log_that_was_never_opened_can_be_deleted(store: Store) -> None:
    store.close()
    store.open_directory()
    store.directory.delete_unopened_log("t", 0, TOPIC_ID)
    store.directory.delete_unopened_log("t", 0, TOPIC_ID)
    assert store.disk.filesystem.list_dir(f"{store.path}/topics") == []


def test_an_interrupted_deletion_is_finished_by_the_next_open(disk: Disk) -> None:
    store = Store(disk)
    store.fill(3)
    store.close()
    filesystem = disk.filesystem
    filesystem.rename(store.log_path, f"{store.path}/topics/t-0.1.0-delete")
    filesystem.make_dir(f"{store.path}/topics/t-0.1.0-delete/nested")
    store.open_directory()
    assert filesystem.list_dir(f"{store.path}/topics") == []
    store.close()


def test_one_that_cannot_be_finished_is_noted_and_stops_nothing(memory_disk: Disk) -> None:
    # A directory in it, of a file manager say, kept the data directory closed for good.
    open_directory(memory_disk).close()
    memory_disk.filesystem.make_dir(memory_disk.path("data/topics/t-0.1.0-delete"))

    def fail(call: str, path: str) -> None:
        if call == "remove_dir":
            raise PermissionError(1, "Operation not permitted", path)

    directory = open_directory(
        Disk(HookedFileSystem(memory_disk.filesystem, fail), memory_disk.root)
    )
    assert "could not be removed" in directory.recovery_report.notes[0]
    directory.close()


def test_two_deletions_of_one_name_do_not_meet(store: Store) -> None:
    store.disk.filesystem.make_dir(f"{store.path}/topics/t-0.1.0-delete")
    store.directory.delete_log(store.log)
    assert store.disk.filesystem.list_dir(f"{store.path}/topics") == ["t-0.1.0-delete"]


def test_a_file_or_link_in_the_place_of_a_log_is_data_loss(store: Store) -> None:
    store.close()
    store.disk.filesystem.remove_dir(store.log_path)
    store.disk.write(store.log_path, b"not a directory")
    with pytest.raises(CorruptLogError, match="expected a directory"):
        store.open()
    store.open_directory()
    assert store.disk.filesystem.exists(store.log_path)


def test_many_logs_keep_apart(disk: Disk) -> None:
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
    for partition in range(1, 5):
        store.directory.create_log_directory("t", partition)
        store.open_log(partition)
        store.fill(partition * 7)
    for partition in range(1, 5):
        store.directory.create_log_directory("other", partition)
    store.kill()
    store.open_directory()
    for partition in range(5):
        store.open_log(partition)
        assert store.log.log_end_offset == partition * 7
        check_log(store.log)
    assert store.directory.recovery_report.scanned_bytes == sum(
        p.scanned_bytes for p in store.directory.recovery_report.partitions
    )
    store.close()


# ---- the manifest


def test_the_manifest_is_kept_across_opens(disk: Disk) -> None:
    directory = open_directory(disk)
    directory.store_manifest({"topics": {"t": [1, None, "x"]}})
    directory.abandon(StorageError("killed"))
    again = open_directory(disk)
    assert again.manifest == {"topics": {"t": [1, None, "x"]}}
    again.close()
    with pytest.raises(ClosedError, match="closed"):
        again.store_manifest({})


# ---- closing


def test_closing_twice_changes_nothing(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(ClosedError, match="closed"):
        store.directory.checkpoint()
    with pytest.raises(ClosedError, match="closed"):
        store.open_log()


def test_closing_goes_on_after_an_error_and_raises_the_first(memory_disk: Disk) -> None:
    calls = CallLog()
    disk = Disk(HookedFileSystem(memory_disk.filesystem, calls), memory_disk.root)
    store = Store(disk)
    store.append(b"a")
    store.directory.create_log_directory("t", 1)
    other = store.open_log(1)
    store.append(b"b")
    calls.failures["sync"] = OSError(5, "Input/output error")
    with pytest.raises(DurabilityError, match="t-0"):
        store.close()
    with pytest.raises(Exception, match="closed"):
        other.append_value(b"x", 0)
    calls.failures.clear()
    store.open_directory()
    assert not store.directory.recovery_report.clean
    for partition in (0, 1):
        assert read_values(store.open_log(partition)) == [(0, b"a" if partition == 0 else b"b")]
    store.close()


def test_a_state_that_cannot_be_written_is_raised_and_everything_let_go(memory_disk: Disk) -> None:
    calls = CallLog()
    disk = Disk(HookedFileSystem(memory_disk.filesystem, calls), memory_disk.root)
    store = Store(disk)
    store.append(b"a")
    calls.failures["write_atomically"] = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output error"):
        store.close()
    calls.failures.clear()
    store.open()
    assert not store.directory.recovery_report.clean
    assert store.values() == [b"a"]
    store.close()


def test_closed_on_request_as_unclean(store: Store) -> None:
    store.append(b"a")
    store.directory.close(clean=False)
    store.open()
    assert not store.directory.recovery_report.clean
    assert store.values() == [b"a"]


def test_no_checkpoint_is_written_once_closing_has_begun(memory_disk: Disk) -> None:
    # One that was under way wrote DIRTY over CLEAN, into a directory that was somebody else's by then.
    states: list[str] = []

    def hook(call: str, path: str) -> None:
        if call == "write_atomically" and path.endswith("STATE"):
            states.append(threading.current_thread().name)
            if len(states) == before + 1:
                second.start()  # while this one is being written
                hook_of(disk.filesystem).hook = note

    def note(call: str, path: str) -> None:
        if call == "write_atomically" and path.endswith("STATE"):
            states.append(threading.current_thread().name)

    disk = Disk(HookedFileSystem(memory_disk.filesystem, note), memory_disk.root)
    store = Store(disk)
    before = len(states)
    second = threading.Thread(target=store.close, name="closing", daemon=True)
    hook_of(disk.filesystem).hook = hook
    store.directory.checkpoint()
    second.join(20)
    assert states[before:] == [threading.current_thread().name, "closing"]
    with pytest.raises(ClosedError):
        store.directory.checkpoint()
    store.open_directory()
    assert store.directory.recovery_report.clean
    store.close()


# ---- fork


def test_a_forked_child_drops_everything_without_a_lock_and_the_parent_goes_on(
    tmp_path: Path,
) -> None:
    """3.18: locks may be held, at the moment of the fork, by threads that the child does not have."""
    code = """
        import os, sys, threading
        from streamlog.config import TopicConfig
        from streamlog.errors import ClosedError, ForkedError
        from streamlog.runtime import OsFileSystem, RandomSource, Runtime, SystemClock
        from streamlog.storage import DataDirectory

        runtime = Runtime(clock=SystemClock(), filesystem=OsFileSystem(), random=RandomSource(1))
        directory = DataDirectory.open(sys.argv[1], runtime)
        directory.create_log_directory("t", 0)
        directory.sync_topics()
        log = directory.open_log("t", 0, "id", TopicConfig())
        log.append_value(b"before", 1)
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            log.lock.acquire()
            with log.segments[0]._open_lock, log._segments._lock, directory._checkpoint_lock:
                held.set()
                let_go.wait(30)
            log.lock.release()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(30)
        child = os.fork()
        if child == 0:
            directory.abandon(ForkedError("forked"))
            refused = 0
            for call in (
                lambda: log.read(0, 100),
                lambda: log.append_value(b"x", 1),
                lambda: log.sync(9),
                lambda: log.offset_for_timestamp(0),
                lambda: directory.checkpoint(),
            ):
                try:
                    call()
                except (ForkedError, ClosedError):
                    refused += 1
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        let_go.set()
        holder.join()
        log.append_value(b"after", 2)
        directory.close()
        directory = DataDirectory.open(sys.argv[1], runtime)
        assert directory.recovery_report.clean
        print(directory.open_log("t", 0, "id", TopicConfig()).log_end_offset)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"


def test_a_file_that_never_got_its_name_is_removed(store: Store) -> None:
    store.close()
    leftover = f"{store.path}/{STATE_NAME}.x{TEMPORARY_SUFFIX}"
    store.disk.write(leftover, b"half")
    store.open()
    assert not store.disk.filesystem.exists(leftover)


def test_deleting_one_log_leaves_the_others(store: Store) -> None:
    store.directory.create_log_directory("other", 0)
    other = store.directory.open_log("other", 0, "other id", store.config)
    store.append(b"a")
    store.directory._check()
    store.directory.delete_log(other)
    store.directory._check()
    assert store.values() == [b"a"]


def test_a_log_whose_creation_was_cut_short_gives_way_to_its_successor(store: Store) -> None:
    store.directory.create_log_directory("new", 0)
    first = store.directory.open_log("new", 0, "first id", store.config)
    store.directory.create_log_directory("new", 0)
    with pytest.raises(ClosedError, match="created anew"):
        first.append_value(b"lost", 0)
    second = store.directory.open_log("new", 0, "second id", store.config)
    second.append_value(b"kept", 0)
    store.directory._check()
    assert second.log_end_offset == 1


def test_a_log_whose_opening_was_interrupted_at_its_end_gives_way_to_its_successor(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the first was still there at the end, and what it recorded of its file was taken for what the second had lost."""

    def interrupted(directory: DataDirectory, started_ms: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    store.directory.create_log_directory("new", 0)
    monkeypatch.setattr(DataDirectory, "_finish_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.directory.open_log("new", 0, "first id", store.config)
    store.directory.create_log_directory("new", 0)
    second = store.directory.open_log("new", 0, "second id", store.config)
    second.append_value(b"kept", 0)
    store.close()
    store.open()
    again = store.directory.open_log("new", 0, "second id", store.config)
    assert read_values(again) == [(0, b"kept")]


def test_a_close_that_is_interrupted_leaves_no_log_in_use(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(b"a")
    log = store.log

    def interrupted(log: PartitionLog) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(PartitionLog, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.close()
    with pytest.raises(ClosedError):
        log.append_value(b"late", 0)
    store.open()
    assert not store.directory.recovery_report.clean
    assert store.values() == [b"a"]

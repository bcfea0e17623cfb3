from __future__ import annotations

from collections.abc import Callable

import pytest

from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    DataLossError,
    ForkedError,
    NotStreamlogDirectoryError,
    UnsupportedFormatError,
)
from streamlog.runtime import RandomSource, Runtime, VirtualClock
from streamlog.storage.checkpoint_file import write_checkpoint
from streamlog.storage.directory_state import DirectoryState
from streamlog.storage.read_only_directory import ReadOnlyDirectory
from streamlog.storage.recovery_report import RecoveryOutcome
from tests.support.following import Follower
from tests.support.frozen_files import FrozenFileSystem
from tests.support.storage import TOPIC, TOPIC_ID, Disk, Store


def opened(disk: Disk, path: str) -> ReadOnlyDirectory:
    runtime = Runtime(
        clock=VirtualClock(), filesystem=FrozenFileSystem(disk.filesystem), random=RandomSource(1)
    )
    return ReadOnlyDirectory.open(path, runtime)


def test_nothing_is_made_where_there_is_no_directory(memory_disk: Disk) -> None:
    path = memory_disk.path("data")
    with pytest.raises(
        NotStreamlogDirectoryError, match="found no directory; read_only=True makes none"
    ):
        opened(memory_disk, path)
    memory_disk.filesystem.make_dir(path)
    with pytest.raises(NotStreamlogDirectoryError, match="FORMAT file.*found none in it"):
        opened(memory_disk, path)


def test_what_a_writer_stored_is_there(store: Store) -> None:
    store.directory.store_manifest({"topics": 1})
    reader = opened(store.disk, store.path)
    assert reader.manifest == {"topics": 1}
    assert reader.directory_id == store.directory.directory_id
    assert reader.generation == store.directory.generation
    report = reader.recovery_report
    assert (report.clean, report.generation, report.power_may_have_failed) == (False, 1, False)
    store.close()
    assert opened(store.disk, store.path).recovery_report.clean


def test_a_look_tells_whether_the_manifest_changed(store: Store) -> None:
    reader = opened(store.disk, store.path)
    assert not reader.refresh()
    store.directory.checkpoint()
    assert not reader.refresh()
    store.directory.store_manifest({"topics": 1})
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.manifest == {"topics": 1}


def test_the_whole_file_is_read_only_when_its_first_bytes_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = opened(store.disk, store.path)
    reads: list[str] = []
    read_file = FrozenFileSystem.read_file
    monkeypatch.setattr(
        FrozenFileSystem,
        "read_file",
        lambda self, path, limit: reads.append(path) or read_file(self, path, limit),
    )
    for _ in range(3):
        reader.refresh()
    assert reads == []
    store.fill(1)
    store.log.sync()
    store.directory.checkpoint()
    reader.refresh()
    assert reads == [f"{store.path}/STATE"]


@pytest.mark.parametrize("name", ["FORMAT", "META"])
def test_damage_that_stops_a_writer_stops_a_reader(store: Store, name: str) -> None:
    store.close()
    store.disk.flip(f"{store.path}/{name}", 15)
    with pytest.raises(CorruptLogError, match=name):
        opened(store.disk, store.path)


def test_a_newer_format_is_refused(store: Store) -> None:
    write_checkpoint(
        store.disk.filesystem, f"{store.path}/FORMAT", "FORMAT", {"format_version": 99}
    )
    with pytest.raises(UnsupportedFormatError, match="format version 99"):
        opened(store.disk, store.path)


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_bad_state_is_done_without_and_noted(store: Store, how: str) -> None:
    store.fill(4)
    store.close()
    if how == "damaged":
        store.disk.flip(f"{store.path}/STATE", 30)
    else:
        store.disk.filesystem.unlink(f"{store.path}/STATE")
    follower = Follower(store)
    assert follower.directory.recovery_report.notes == [
        "STATE cannot be used, every log is read from its start"
    ]
    assert follower.values() == [b"%08d" % number for number in range(4)]
    store.open()
    store.fill(1)
    follower.refresh()
    follower.check()


def test_state_of_another_boot_means_that_the_power_may_have_failed(
    store: Store, reboot: Callable[[], None]
) -> None:
    store.kill()
    reboot()
    assert opened(store.disk, store.path).recovery_report.power_may_have_failed
    state = DirectoryState.read(store.disk.filesystem, f"{store.path}/STATE")
    assert not state.is_clean


def test_a_log_without_a_directory_is_data_loss(store: Store) -> None:
    reader = opened(store.disk, store.path)
    with pytest.raises(DataLossError, match="t-7.*expected a directory, found none"):
        reader.open_log(TOPIC, 7, TOPIC_ID, store.config)
    (recovery,) = reader.recovery_report.partitions
    assert recovery.outcome is RecoveryOutcome.DATA_LOSS
    assert "expected a directory" in recovery.message


def test_a_log_that_is_forgotten_or_closed_says_why(store: Store) -> None:
    follower = Follower(store)
    other = follower.open_log()
    follower.directory.forget_log(other, ClosedError("the topic was deleted"))
    with pytest.raises(ClosedError, match="the topic was deleted"):
        other.refresh()
    third = follower.open_log()
    follower.directory.close()
    with pytest.raises(ClosedError, match="t-0: the log is closed"):
        third.refresh()
    with pytest.raises(ClosedError, match="the data directory is closed"):
        follower.refresh()


def test_forgetting_one_log_leaves_the_others(store: Store) -> None:
    store.fill(1)
    store.directory.create_log_directory(TOPIC, 1)
    follower = Follower(store)
    other = follower.directory.open_log(TOPIC, 1, TOPIC_ID, store.config)
    follower.directory.forget_log(other, ClosedError("the topic was deleted"))
    assert follower.values() == [b"00000000"]
    with pytest.raises(ClosedError, match="the topic was deleted"):
        other.refresh()


def test_the_child_of_a_fork_lets_go_of_everything(store: Store) -> None:
    store.fill(1)
    follower = Follower(store)
    follower.directory.abandon(ForkedError("forked"))
    with pytest.raises(ForkedError, match="forked"):
        follower.log.read(0, 10)
    with pytest.raises(ForkedError, match="forked"):
        follower.log.refresh()
    with pytest.raises(ClosedError):
        follower.directory.refresh()

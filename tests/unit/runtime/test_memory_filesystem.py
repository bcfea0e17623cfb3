from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import AlreadyOpenError, DiskFullError
from streamlog.runtime import MemoryFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime import File


@pytest.mark.parametrize(
    "attempt",
    [
        lambda file: file.write_at(100, bytes(901)),
        lambda file: file.write_at(0, bytes(1001)),
        lambda file: file.write_at(5_000, b"x"),
        lambda file: file.allocate(100, 1001),
        lambda file: file.truncate(1001),
    ],
)
def test_file_beyond_the_capacity_is_disk_full_and_unchanged(
    attempt: Callable[[File], object],
) -> None:
    filesystem = MemoryFileSystem(capacity_bytes=1000)
    file = filesystem.open("/a", create=True)
    file.write_at(0, b"x" * 100)
    with pytest.raises(DiskFullError) as caught:
        attempt(file)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/a")
    assert "900 are free" in str(caught.value)
    assert file.read_at(0, 99_999) == b"x" * 100
    file.allocate(100, 1000)
    assert filesystem.free_bytes("/") == 0


def test_files_share_the_capacity_and_give_it_back() -> None:
    filesystem = MemoryFileSystem(capacity_bytes=1000)
    one = filesystem.open("/one", create=True)
    one.allocate(0, 600)
    other = filesystem.open("/other", create=True)
    with pytest.raises(DiskFullError, match=r"No room to add 500 bytes, 400 are free: '/other'"):
        other.allocate(0, 500)
    one.truncate(500)
    other.allocate(0, 500)
    filesystem.unlink("/one")
    assert filesystem.free_bytes("/") == 500
    other.allocate(500, 1000)
    other.write_at(0, bytes(1000))


def test_write_atomically_needs_room_for_both_and_keeps_the_old_without_it() -> None:
    filesystem = MemoryFileSystem(capacity_bytes=1000)
    filesystem.write_atomically("/META", b"x" * 600)
    with pytest.raises(DiskFullError):
        filesystem.write_atomically("/META", b"y" * 600)
    assert filesystem.read_file("/META", 1000) == b"x" * 600
    filesystem.write_atomically("/META", b"y" * 400)
    assert filesystem.free_bytes("/") == 600
    file = filesystem.open("/META")
    file.write_at(400, bytes(600))
    with pytest.raises(DiskFullError, match="/META"):
        file.write_at(1000, b"x")


def test_without_a_capacity_there_is_always_room() -> None:
    assert MemoryFileSystem().free_bytes("/") > 1 << 60


def test_free_bytes_of_a_missing_directory_raises() -> None:
    with pytest.raises(FileNotFoundError):
        MemoryFileSystem().free_bytes("/missing")


def test_two_file_systems_share_nothing() -> None:
    one, other = MemoryFileSystem(), MemoryFileSystem()
    one.open("/a", create=True)
    lock = one.lock_dir("/")
    assert not other.exists("/a")
    other.lock_dir("/").release()
    lock.release()


def test_lock_goes_with_the_directory_when_that_is_renamed() -> None:
    filesystem = MemoryFileSystem()
    filesystem.make_dir("/data")
    lock = filesystem.lock_dir("/data")
    filesystem.rename("/data", "/moved")
    filesystem.make_dir("/data")
    with pytest.raises(AlreadyOpenError):
        filesystem.lock_dir("/moved")
    filesystem.lock_dir("/data").release()
    lock.abandon()
    filesystem.lock_dir("/moved").release()


def test_lock_time_comes_from_the_clock_it_was_given() -> None:
    filesystem = MemoryFileSystem(time_ms=lambda: 1_700_000_000_123)
    filesystem.lock_dir("/")
    with pytest.raises(AlreadyOpenError) as caught:
        filesystem.lock_dir("/")
    assert caught.value.since == "2023-11-14T22:13:20.123+00:00"


def test_forked_child_can_use_its_copy_while_a_parents_thread_held_the_lock(
    run_python: Callable[..., str],
) -> None:
    answer = run_python(
        """
        import os
        from streamlog.runtime import MemoryFileSystem
        filesystem = MemoryFileSystem()
        filesystem.open("/a", create=True)
        filesystem._lock.acquire()
        if os.fork() == 0:
            os._exit(7 if filesystem.exists("/a") else 1)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        """
    )
    assert answer == "7"


def test_repr_counts_files() -> None:
    filesystem = MemoryFileSystem()
    filesystem.open("/a", create=True)
    assert repr(filesystem) == "<MemoryFileSystem with 1 files>"

"""An error of a `FaultyFileSystem` is the one that the real file system raises when the system fails it."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from streamlog.errors import DiskFullError
from streamlog.runtime import MemoryFileSystem, OsFileSystem
from streamlog.testing import (
    FILE_SYSTEM_CALLS,
    CrashFileSystem,
    FaultPlan,
    FaultyFileSystem,
    VirtualClock,
)
from streamlog.testing.crash_images import power_images
from tests.support.system_faults import NUMBERS, SYSTEM_CALLS, faulty_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamlog.runtime import File, FileSystem


class Case(NamedTuple):
    """One call, the system's call behind it, and how to make it; `file` is open on ``<root>/a``."""

    call: str
    system_call: str
    make: Callable[[FileSystem, str, File], object]


CASES = [
    Case("allocate", "posix_fallocate", lambda fs, root, file: file.allocate(10, 9000)),
    Case("close", "close", lambda fs, root, file: file.close()),
    Case("exists", "lstat", lambda fs, root, file: fs.exists(f"{root}/a")),
    Case("file_size", "lstat", lambda fs, root, file: fs.file_size(f"{root}/a")),
    Case("free_bytes", "statvfs", lambda fs, root, file: fs.free_bytes(root)),
    Case("is_dir", "lstat", lambda fs, root, file: fs.is_dir(root)),
    Case("list_dir", "listdir", lambda fs, root, file: fs.list_dir(root)),
    Case("lock_dir", "open", lambda fs, root, file: fs.lock_dir(root)),
    Case("make_dir", "mkdir", lambda fs, root, file: fs.make_dir(f"{root}/new")),
    Case("map", "mmap", lambda fs, root, file: file.map(5, writable=True)),
    Case("modified_ms", "lstat", lambda fs, root, file: fs.modified_ms(f"{root}/a")),
    Case("open", "open", lambda fs, root, file: fs.open(f"{root}/a", read_only=True)),
    Case("open", "open", lambda fs, root, file: fs.open(f"{root}/new", create=True)),
    Case("read_at", "pread", lambda fs, root, file: file.read_at(1, 3)),
    Case("read_file", "open", lambda fs, root, file: fs.read_file(f"{root}/a", 99)),
    Case("remove_dir", "rmdir", lambda fs, root, file: fs.remove_dir(f"{root}/dir")),
    Case("rename", "replace", lambda fs, root, file: fs.rename(f"{root}/a", f"{root}/b")),
    Case("size", "fstat", lambda fs, root, file: file.size()),
    Case("sync", "fsync", lambda fs, root, file: file.sync()),
    Case("sync_data", "fdatasync", lambda fs, root, file: file.sync_data()),
    Case("sync_dir", "fsync", lambda fs, root, file: fs.sync_dir(root)),
    Case("truncate", "ftruncate", lambda fs, root, file: file.truncate(3)),
    Case("unlink", "unlink", lambda fs, root, file: fs.unlink(f"{root}/a")),
    Case("write_at", "pwrite", lambda fs, root, file: file.write_at(2, b"data")),
]


def prepared(filesystem: FileSystem, root: str) -> File:
    filesystem.make_dir(f"{root}/dir")
    file = filesystem.open(f"{root}/a", create=True)
    file.write_at(0, b"abcdefgh")
    return file


def error_of(make: Callable[[], object]) -> tuple[object, ...]:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - compared with another one
        make()
    error = caught.value
    return type(error), error.errno, str(error), error.filename, error.filename2


def test_every_call_is_tested() -> None:
    assert {case.call for case in CASES} == FILE_SYSTEM_CALLS


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.call)
def test_error_is_the_same_as_from_the_real_file_system(
    case: Case, number: int, tmp_path: Path
) -> None:
    root = str(tmp_path)
    real_file = prepared(OsFileSystem(), root)
    system_plan = FaultPlan(calls=SYSTEM_CALLS)
    with faulty_system(system_plan):
        # Of these files only: a broker that another test has dropped may be closing its own meanwhile.
        system_plan.fail(case.system_call, number, path=f"{root}*")
        expected = error_of(lambda: case.make(OsFileSystem(), root, real_file))
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    file = prepared(filesystem, root)
    plan.fail(case.call, number)
    assert error_of(lambda: case.make(filesystem, root, file)) == expected
    # And nothing was done.
    assert filesystem.list_dir(root) == ["a", "dir"]
    assert filesystem.read_file(f"{root}/a", 99) == b"abcdefgh"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.call)
def test_call_that_does_not_fail_goes_through(case: Case) -> None:
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    file = prepared(filesystem, "/root")
    before = plan.calls[case.call]
    if case.call == "lock_dir":
        filesystem.lock_dir("/root").release()
    else:
        case.make(filesystem, "/root", file)
    assert plan.calls[case.call] == before + 1


def test_slow_call_goes_through_after_its_time() -> None:
    clock = VirtualClock(0)
    plan = FaultPlan(clock)
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    plan.slow("*", 10)
    file = prepared(filesystem, "/root")
    file.sync_data()
    filesystem.rename("/root/a", "/root/b")
    file.close()
    assert clock.now == 60
    plan.clear()
    assert filesystem.read_file("/root/b", 99) == b"abcdefgh"


def test_short_write_leaves_the_first_half() -> None:
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    file = prepared(filesystem, "/root")
    plan.write_short(errno.ENOSPC)
    with pytest.raises(DiskFullError, match="No room to write 2 bytes at 10: '/root/a'"):
        file.write_at(8, b"1234")
    assert file.read_at(0, 99) == b"abcdefgh12"


def test_what_a_failed_sync_was_to_write_is_written_by_none_that_follows() -> None:
    plan = FaultPlan()
    disk = CrashFileSystem()
    filesystem = FaultyFileSystem(disk, plan)
    file = filesystem.open("/a", create=True)
    file.write_at(0, b"safe")
    file.sync()
    filesystem.sync_dir("/")
    file.write_at(4096, b"lost")
    plan.fail("sync*", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync_data()
    file.sync_data()
    assert file.read_at(4096, 4) == b"lost"
    for image in power_images(disk, random.Random(1)):
        found = image.filesystem().read_file("/a", 1 << 20)
        assert (found[:4], found[4096:]) == (b"safe", bytes(4))
    file.write_at(4096, b"new!")
    file.sync_data()
    image = next(power_images(disk, random.Random(1)))
    assert image.filesystem().read_file("/a", 1 << 20)[4096:] == b"new!"


def test_failing_close_lets_the_file_go() -> None:
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    file = prepared(filesystem, "/root")
    plan.fail("close", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        file.close()
    with pytest.raises(Exception, match="the file is closed"):
        file.size()


@pytest.mark.parametrize("call", ["open", "write_at", "sync", "close", "rename"])
def test_atomic_write_fails_at_each_of_its_steps_and_leaves_the_old_content(call: str) -> None:
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    filesystem.write_atomically("/META", b"old")
    plan.fail(call, errno.ENOSPC)
    with pytest.raises(DiskFullError):
        filesystem.write_atomically("/META", b"new")
    assert filesystem.list_dir("/") == ["META"]
    assert filesystem.read_file("/META", 99) == b"old"


def test_atomic_write_steps_over_a_leftover_that_could_not_be_removed() -> None:
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    plan.fail("rename", errno.EIO)
    plan.fail("unlink", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        filesystem.write_atomically("/META", b"half")
    (leftover,) = filesystem.list_dir("/")
    again = FaultyFileSystem(filesystem.inner, plan)
    again.write_atomically("/META", b"new")
    assert again.list_dir("/") == ["META", leftover]


def test_atomic_write_whose_directory_is_not_synced_has_put_the_new_content_in_place() -> None:
    plan = FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    plan.fail("sync_dir", errno.EIO)
    with pytest.raises(OSError, match="Input/output error: '/'"):
        filesystem.write_atomically("/META", b"new")
    assert filesystem.read_file("/META", 99) == b"new"


def test_wrapper_shows_what_it_wraps() -> None:
    inner = MemoryFileSystem()
    plan = FaultPlan()
    filesystem = FaultyFileSystem(inner, plan)
    assert filesystem.inner is inner
    assert repr(filesystem) == f"FaultyFileSystem({inner!r}, {plan!r})"
    assert not filesystem.is_network("/")
    assert filesystem.boot_id() == inner.boot_id()
    file = filesystem.open("/a", create=True)
    assert repr(file) == "<FaultyFile <MemoryFile /a>>"
    file.allocate(0, 4096)
    mapping = file.map(4096, writable=True)
    filesystem.prefault(mapping, 0, 4096)
    filesystem.words(mapping)[0] = 7
    assert file.read_at(0, 1) == b"\x07"

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DiskFullError
from streamlog.runtime import OsFileSystem, system_calls
from streamlog.runtime.os_file import OsFile
from tests.support.os_errors import raises_errno
from tests.support.system_faults import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_ROOM = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]

# What each method asks of the system, and how to call it.
CALLS: dict[str, tuple[object, str, Callable[[OsFile], object]]] = {
    "size": (os, "fstat", lambda file: file.size()),
    "allocate": (system_calls, "allocate", lambda file: file.allocate(0, 100)),
    "truncate": (os, "ftruncate", lambda file: file.truncate(100)),
    "read_at": (system_calls, "pread", lambda file: file.read_at(0, 4)),
    "write_at": (system_calls, "pwrite", lambda file: file.write_at(0, b"new")),
    "map": (sys.modules[OsFile.__module__], "_map", lambda file: file.map(4, writable=True)),
    "sync_data": (system_calls, "sync_file_data", lambda file: file.sync_data()),
    "sync": (system_calls, "sync_file", lambda file: file.sync()),
}


@pytest.fixture
def file(tmp_path: Path) -> OsFile:
    file = OsFileSystem().open(str(tmp_path / "a"), create=True)
    assert isinstance(file, OsFile)
    file.write_at(0, b"data")
    return file


@pytest.mark.parametrize("number", [*NO_ROOM, errno.EIO])
@pytest.mark.parametrize("method", CALLS)
def test_every_error_is_translated_and_names_the_file(
    file: OsFile, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    owner, name, call = CALLS[method]

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with raises_errno(number) as caught:
            call(file)
    assert isinstance(caught.value, DiskFullError) == (number in NO_ROOM)
    assert caught.value.filename == file.path
    assert file.read_at(0, 99) == b"data"


def test_error_of_close_is_translated(file: OsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system reports only then that there was no room."""
    fd, close = file._fd, os.close

    def fail(closed: int) -> None:
        if closed != fd:  # somebody else's file, which the collector happened to find just now
            return close(closed)
        raise OSError(errno.ENOSPC, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        with pytest.raises(DiskFullError):
            file.close()
    os.close(fd)
    file.close()


def test_error_of_closing_a_dropped_file_reaches_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be printed as an exception that was ignored, and fail this very test."""
    file = OsFileSystem().open(str(tmp_path / "b"), create=True)
    assert isinstance(file, OsFile)
    fd, close = file._fd, os.close
    failed = []

    def close_and_fail(closed: int) -> None:
        close(closed)
        if closed == fd:
            failed.append(closed)
            raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close_and_fail)
        del file
        gc.collect()
    assert failed == [fd]


def test_failed_allocation_that_extended_the_file_is_undone(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ext4 leaves the file long, and the disk full, when space runs out half way (durability F2)."""

    def extend_and_fail(fd: int, start: int, length: int) -> None:
        os.ftruncate(fd, start + length)
        raise OSError(errno.ENOSPC, "injected")

    monkeypatch.setattr(os, "posix_fallocate", extend_and_fail)
    with pytest.raises(DiskFullError, match="No room to allocate 8192 bytes at 4: "):
        file.allocate(4, 8196)
    assert file.read_at(0, 99) == b"data"


def test_failed_undoing_of_an_allocation_does_not_hide_the_first_error(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extend_and_fail(fd: int, start: int, length: int) -> None:
        os.pwrite(fd, b"x", start + length - 1)
        raise OSError(errno.ENOSPC, "injected")

    def fail(*_: int) -> None:
        raise OSError(errno.EIO, "injected too")

    monkeypatch.setattr(os, "posix_fallocate", extend_and_fail)
    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(DiskFullError):
        file.allocate(4, 8196)


def test_short_writes_and_reads_are_continued(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_calls, "pwrite", lambda fd, data, at: os.pwrite(fd, data[:3], at))
    monkeypatch.setattr(system_calls, "pread", lambda fd, size, at: os.pread(fd, min(size, 4), at))
    file.write_at(2, b"0123456789")
    assert file.read_at(0, 12) == b"da0123456789"
    assert file.read_at(1, 99) == b"a0123456789"


def test_write_tells_how_much_was_left_when_the_room_ran_out(
    file: OsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def four_then_full(fd: int, data: bytes, position: int) -> int:
        if position == 0:
            return os.pwrite(fd, data[:4], position)
        raise OSError(errno.ENOSPC, "injected")

    monkeypatch.setattr(system_calls, "pwrite", four_then_full)
    with pytest.raises(DiskFullError, match="No room to write 6 bytes at 4: "):
        file.write_at(0, b"0123456789")


def test_disk_limit_is_disk_full_and_not_a_signal(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    """RLIMIT_FSIZE is a full disk that needs no root: EFBIG, and short writes before it (F5)."""
    answer = run_python(
        """
        import errno, resource, sys
        from streamlog.errors import DiskFullError
        from streamlog.runtime import OsFileSystem, join_path
        filesystem, root = OsFileSystem(), sys.argv[1]
        filesystem.write_atomically(join_path(root, "META"), b"old")
        file = filesystem.open(join_path(root, "a"), create=True)
        file.write_at(0, b"data")
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        for attempt in (
            lambda: file.allocate(4, 8193),
            lambda: file.allocate(4, 1 << 20),
            lambda: file.truncate(8193),
            lambda: filesystem.write_atomically(join_path(root, "META"), bytes(8193)),
        ):
            try:
                attempt()
            except DiskFullError as error:
                assert error.errno == errno.EFBIG and error.filename.startswith(root), error
            else:
                raise AssertionError("no error")
            assert file.size() == 4
        assert filesystem.read_file(join_path(root, "META"), 99) == b"old"
        assert filesystem.list_dir(root) == ["META", "a"]
        try:
            file.write_at(8188, b"0123456789")
        except DiskFullError as error:
            print(error)
        file.allocate(0, 8192)
        print(file.read_at(8188, 99))
        """,
        str(tmp_path),
    )
    assert answer == f"[Errno 27] No room to write 6 bytes at 8192: '{tmp_path}/a'\nb'0123'"


def test_map_for_reading_refuses_stores(file: OsFile) -> None:
    mapping = file.map(4, writable=False)
    with pytest.raises(TypeError):
        mapping[0:1] = b"x"
    assert memoryview(mapping).readonly


def test_map_is_as_long_as_asked_for(file: OsFile) -> None:
    assert len(file.map(3, writable=True)) == 3


def test_dropped_file_gives_its_descriptor_back(file: OsFile) -> None:
    fd, path = file._fd, file.path
    other = OsFileSystem().open(path)
    assert isinstance(other, OsFile)
    other_fd = other._fd
    del other
    gc.collect()
    assert path_of(fd) == path
    assert path_of(other_fd) != path  # it may be somebody else's already


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_maps_and_files_use_known_numbers_of_descriptors(file: OsFile) -> None:
    """`fd_limit` is shared out by these: one a file and, before Python 3.13, one more a map."""

    def descriptors() -> int:
        paths = (path_of(int(fd)) for fd in os.listdir("/proc/self/fd"))
        return sum(path == file.path for path in paths)

    before = descriptors()
    maps = [file.map(4, writable=True) for _ in range(10)]
    per_map = 0 if sys.version_info >= (3, 13) else 1
    assert (before, descriptors()) == (1, 1 + 10 * per_map)
    del maps
    assert descriptors() == 1


def test_forked_child_cannot_write_into_the_parents_file(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    answer = run_python(
        """
        import os, sys
        from streamlog.errors import ClosedError
        from streamlog.runtime import OsFileSystem, join_path
        file = OsFileSystem().open(join_path(sys.argv[1], "a"), create=True)
        if os.fork() == 0:
            try:
                file.write_at(0, b"child")
            except ClosedError:
                os._exit(7)
            os._exit(1)
        _, status = os.wait()
        file.write_at(0, b"parent")
        print(os.waitstatus_to_exitcode(status), file.read_at(0, 99))
        """,
        str(tmp_path),
    )
    assert answer == "7 b'parent'"


def test_repr_names_the_file(file: OsFile) -> None:
    assert repr(file) == f"<OsFile {file.path}>"

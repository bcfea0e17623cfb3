from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DiskFullError, StorageError
from streamlog.runtime import OsFileSystem, os_filesystem, system_calls
from streamlog.runtime.os_file import OsFile
from tests.support.os_errors import raises_errno

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

filesystem = OsFileSystem()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- what is made, and what is refused


def test_files_and_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o022, 0o277):
        root = tmp_path / oct(umask)
        before = os.umask(umask)
        try:
            filesystem.make_dir(str(root / "x" / "y"))
            filesystem.open(str(root / "a"), create=True).close()
            filesystem.write_atomically(str(root / "b"), b"data")
        finally:
            os.umask(before)
        assert [mode(root / "x"), mode(root / "x" / "y")] == [0o700, 0o700]
        assert [mode(root / "a"), mode(root / "b")] == [0o600, 0o600]


def test_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    filesystem.make_dir(str(tmp_path))
    assert mode(tmp_path) == 0o755


def test_make_dir_with_a_bare_name_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filesystem.make_dir("x/y")
    filesystem.write_atomically("bare", b"data")
    assert sorted(os.listdir(tmp_path)) == ["bare", "x"]


def test_make_dir_without_a_name_is_refused() -> None:
    with pytest.raises(FileNotFoundError):
        filesystem.make_dir("")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_make_dir_where_no_directory_can_be_made_raises_what_the_system_says() -> None:
    with pytest.raises(FileNotFoundError, match="/proc/x"):
        filesystem.make_dir("/proc/x/y")


def test_make_dir_on_a_file_system_without_modes_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no modes here")

    monkeypatch.setattr(os, "chmod", refuse)
    filesystem.make_dir(str(tmp_path / "x"))
    assert (tmp_path / "x").is_dir()


@pytest.mark.parametrize("target_exists", [True, False])
@pytest.mark.parametrize("options", [{}, {"create": True}, {"read_only": True}])
def test_symbolic_link_is_not_opened(
    tmp_path: Path, options: dict[str, bool], target_exists: bool
) -> None:
    """A link planted in the data directory must not lead out of it (durability 3.22)."""
    target = tmp_path / "outside"
    if target_exists:
        target.write_bytes(b"secret")
    (tmp_path / "link").symlink_to(target)
    with raises_errno(errno.ELOOP):
        filesystem.open(str(tmp_path / "link"), **options)
    assert target.exists() == target_exists
    with raises_errno(errno.ELOOP):
        filesystem.read_file(str(tmp_path / "link"), 100)


def test_link_is_a_name_that_is_taken_but_no_directory(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "dir").symlink_to(tmp_path)
    assert filesystem.exists(str(tmp_path / "dangling"))
    assert not filesystem.is_dir(str(tmp_path / "dir"))
    with pytest.raises(FileExistsError):
        filesystem.make_dir(str(tmp_path / "dangling"))


@pytest.mark.parametrize("read_only", [True, False])
def test_pipe_in_place_of_a_file_is_refused_and_does_not_hang(
    tmp_path: Path, read_only: bool
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="/pipe is not a regular file"):
        filesystem.open(str(tmp_path / "pipe"), read_only=read_only)


def test_refused_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    first = os.open(tmp_path, os.O_RDONLY)
    os.close(first)
    with raises_errno(errno.EISDIR):
        filesystem.open(str(tmp_path / "x"), read_only=True)
    again = os.open(tmp_path, os.O_RDONLY)
    os.close(again)
    assert again == first


def test_exists_does_not_take_every_error_for_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be looked at is not a file that is gone: that would be data loss."""

    def fail(_: str) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(OSError, match="broken"):
        filesystem.exists(str(tmp_path))


# ---- errors

CALLS: dict[str, tuple[object, str, Callable[[str], object]]] = {
    "open": (os, "open", lambda root: filesystem.open(f"{root}/a", create=True)),
    "make_dir": (os, "mkdir", lambda root: filesystem.make_dir(f"{root}/x")),
    "remove_dir": (os, "rmdir", lambda root: filesystem.remove_dir(f"{root}/x")),
    "rename": (os, "replace", lambda root: filesystem.rename(f"{root}/b", f"{root}/a")),
    "unlink": (os, "unlink", lambda root: filesystem.unlink(f"{root}/b")),
    "sync_dir": (system_calls, "sync_directory", filesystem.sync_dir),
    "write_atomically": (os, "open", lambda root: filesystem.write_atomically(f"{root}/c", b"")),
    "lock_dir": (os, "open", filesystem.lock_dir),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("method", CALLS)
def test_every_error_is_translated_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    owner, name, call = CALLS[method]
    (tmp_path / "b").write_bytes(b"data")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with raises_errno(number) as caught:
            call(str(tmp_path))
    assert isinstance(caught.value, DiskFullError) == (number != errno.EIO)
    assert caught.value.filename.startswith(str(tmp_path))
    assert filesystem.list_dir(str(tmp_path)) == ["b"]


# ---- write_atomically


def record_calls(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    def recording(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls.append(name)
            return original(*arguments)

        return call

    for owner, name in (
        (OsFile, "write_at"),
        (OsFile, "sync"),
        (OsFile, "close"),
        (os, "replace"),
        (system_calls, "sync_directory"),
    ):
        monkeypatch.setattr(owner, name, recording(name, getattr(owner, name)))


def test_write_atomically_syncs_the_bytes_before_the_name_and_the_name_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other order can leave a new name on old or missing bytes after a power cut (F23)."""
    calls: list[str] = []
    record_calls(monkeypatch, calls)
    filesystem.write_atomically(str(tmp_path / "META"), b"data")
    assert calls == ["write_at", "sync", "close", "replace", "sync_directory"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (system_calls, "pwrite"),
        (system_calls, "sync_file"),
        (os, "replace"),
        (os, "close"),
    ],
)
def test_write_atomically_that_fails_changes_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int
) -> None:
    path = tmp_path / "META"
    path.write_bytes(b"old")
    original = getattr(owner, name)

    def fail(*arguments: object) -> None:
        if name == "close":
            original(*arguments)
        raise OSError(number, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with raises_errno(number):
            filesystem.write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["META"]


def test_write_atomically_interrupted_by_the_user_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(system_calls, "sync_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        filesystem.write_atomically(str(tmp_path / "META"), b"new")
    assert os.listdir(tmp_path) == []


def test_write_atomically_whose_last_sync_fails_says_so_with_the_new_content_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(system_calls, "sync_directory", fail)
    with pytest.raises(OSError, match="injected"):
        filesystem.write_atomically(str(tmp_path / "META"), b"new")
    assert (tmp_path / "META").read_bytes() == b"new"


def test_write_atomically_that_cannot_clean_up_raises_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "first")

    def fail_too(*_: object) -> None:
        raise OSError(errno.EIO, "second")

    monkeypatch.setattr(system_calls, "pwrite", fail)
    monkeypatch.setattr(os, "unlink", fail_too)
    with pytest.raises(DiskFullError):
        filesystem.write_atomically(str(tmp_path / "META"), b"new")
    (leftover,) = os.listdir(tmp_path)
    assert leftover.startswith("META.")
    assert leftover.endswith(".tmp")


def test_leftover_of_a_killed_process_with_our_number_is_stepped_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os_filesystem, "_temporary_number", iter([1, 2, 3]))
    leftover = tmp_path / f"META.{os.getpid()}-1.tmp"
    leftover.write_bytes(b"half")
    filesystem.write_atomically(str(tmp_path / "META"), b"new")
    assert (tmp_path / "META").read_bytes() == b"new"
    assert leftover.read_bytes() == b"half"


def test_link_in_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    (tmp_path / "META").symlink_to(outside)
    filesystem.write_atomically(str(tmp_path / "META"), b"new")
    assert outside.read_bytes() == b"untouched"
    assert (tmp_path / "META").read_bytes() == b"new"
    assert not (tmp_path / "META").is_symlink()


# ---- the disk


def test_free_bytes_is_what_the_disk_says(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    assert filesystem.free_bytes(str(tmp_path)) == pytest.approx(free, rel=0.1)


def test_modified_ms_is_the_files_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    os.utime(path, ns=(0, 1_234_567_999_999))
    assert filesystem.modified_ms(str(path)) == 1_234_567


def test_prefault_ignores_mappings_it_does_not_know() -> None:
    filesystem.prefault(bytearray(10), 0, 10)  # type: ignore[arg-type]
    assert repr(filesystem) == "OsFileSystem()"

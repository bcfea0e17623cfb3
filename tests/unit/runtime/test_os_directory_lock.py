from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import AlreadyOpenError
from streamlog.runtime import LOCK_FILE_NAME, OsFileSystem, boot_id, system_calls
from streamlog.runtime.os_directory_lock import OsDirectoryLock
from tests.support.os_errors import raises_errno

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OWNER = """
import sys
from streamlog.runtime import OsFileSystem
lock = OsFileSystem().lock_dir(sys.argv[1])
print("locked", flush=True)
sys.stdin.readline()
"""

# Forks; the child says who it is, once it is itself, and lives on until its pipe closes.
FORKING_OWNER = """
import os, sys
from streamlog.runtime import OsFileSystem
lock = OsFileSystem().lock_dir(sys.argv[1])
if os.fork() == 0:
    print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start_owner(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lock(path: Path) -> OsDirectoryLock:
    return OsDirectoryLock.acquire(str(path))


def test_lock_file_names_owner_time_and_boot_and_is_private(tmp_path: Path) -> None:
    held = lock(tmp_path)
    file = tmp_path / LOCK_FILE_NAME
    fields = dict(line.split("=") for line in file.read_text().splitlines())
    assert list(fields) == ["pid", "since", "boot_id"]
    assert fields["pid"] == str(os.getpid())
    assert fields["boot_id"] == boot_id()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert repr(held) == f"<OsDirectoryLock {tmp_path}>"
    held.release()
    assert repr(held) == f"<OsDirectoryLock {tmp_path} released>"
    assert file.exists()


def test_shorter_note_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE_NAME).write_text("x" * 10_000)
    held = lock(tmp_path)
    assert "x" not in (tmp_path / LOCK_FILE_NAME).read_text()
    held.release()


def test_same_directory_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    held = lock(tmp_path / "data")
    with pytest.raises(AlreadyOpenError):
        lock(tmp_path / "link")
    held.release()
    lock(tmp_path / "link").release()


def test_same_process_is_refused_even_where_the_systems_lock_lets_it_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where flock is emulated by record locks, which belong to the process (F25)."""
    monkeypatch.setattr(system_calls, "lock_exclusively", lambda _: True)
    held = lock(tmp_path)
    with pytest.raises(AlreadyOpenError):
        lock(tmp_path)
    held.release()


def test_closing_another_descriptor_of_the_lock_file_does_not_drop_the_lock(
    tmp_path: Path, start_owner: Callable[[str], subprocess.Popen[str]]
) -> None:
    """The trap of lockf (F25)."""
    held = lock(tmp_path)
    (tmp_path / LOCK_FILE_NAME).read_text()
    owner = start_owner(OWNER)
    assert owner.wait(20) != 0
    held.release()


def test_other_process_is_refused_with_the_owners_name_until_it_is_killed(
    tmp_path: Path, start_owner: Callable[[str], subprocess.Popen[str]]
) -> None:
    owner = start_owner(OWNER)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "locked\n"
    with pytest.raises(AlreadyOpenError) as caught:
        OsFileSystem().lock_dir(str(tmp_path))
    assert (caught.value.path, caught.value.pid) == (str(tmp_path), owner.pid)
    assert f"is in use by process {owner.pid} since 20" in str(caught.value)
    owner.send_signal(signal.SIGKILL)
    owner.wait(20)
    lock(tmp_path).release()


@pytest.mark.parametrize("note", [b"", b"\xff\xfe\x00", b"pid=abc\n", b"since", b"pid=\n"])
def test_owner_without_a_readable_note_is_another_process(
    tmp_path: Path, start_owner: Callable[[str], subprocess.Popen[str]], note: bytes
) -> None:
    owner = start_owner(OWNER)
    assert owner.stdout is not None
    owner.stdout.readline()
    (tmp_path / LOCK_FILE_NAME).write_bytes(note)
    with pytest.raises(AlreadyOpenError, match="in use by another process") as caught:
        lock(tmp_path)
    assert (caught.value.pid, caught.value.since) == (None, None)


def test_killed_owner_leaves_no_lock_although_its_forked_child_lives(
    tmp_path: Path, start_owner: Callable[[str], subprocess.Popen[str]]
) -> None:
    """flock belongs to the open file, which a child inherits: it has to close it (F25)."""
    owner = start_owner(FORKING_OWNER)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    with pytest.raises(AlreadyOpenError):
        lock(tmp_path)
    owner.send_signal(signal.SIGKILL)
    owner.wait(20)
    held = lock(tmp_path)
    os.kill(child, 0)  # it is still there
    os.kill(child, signal.SIGKILL)
    held.release()


def test_child_that_releases_or_ends_does_not_take_the_lock_from_its_parent(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    """LOCK_UN in a child unlocks for the parent as well (F25)."""
    answer = run_python(
        """
        import os, subprocess, sys
        from streamlog.errors import AlreadyOpenError
        from streamlog.runtime import OsFileSystem
        filesystem, path = OsFileSystem(), sys.argv[1]
        lock = filesystem.lock_dir(path)
        if os.fork() == 0:
            lock.release()
            lock.abandon()
            try:
                filesystem.lock_dir(path)
            except AlreadyOpenError as error:
                os._exit(7 if error.pid == os.getppid() else 8)
            os._exit(1)
        _, status = os.wait()
        print(os.waitstatus_to_exitcode(status))
        code = "import sys; from streamlog.runtime import OsFileSystem as F; F().lock_dir(sys.argv[1])"
        print(subprocess.run([sys.executable, "-c", code, path], capture_output=True).returncode)
        lock.release()
        print(subprocess.run([sys.executable, "-c", code, path], capture_output=True).returncode)
        """,
        str(tmp_path),
    )
    assert answer.split() == ["7", "1", "0"]


def test_release_in_a_child_that_python_did_not_notice_leaves_the_lock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork made by a C library runs no hook of ours; the process id gives it away."""
    held = lock(tmp_path)
    unlocked: list[int] = []
    monkeypatch.setattr(system_calls, "unlock", unlocked.append)
    held._pid, fd = -1, held._fd
    held.release()
    assert fd not in unlocked


def test_release_frees_the_lock_although_a_program_has_inherited_the_descriptor(
    tmp_path: Path,
) -> None:
    held = lock(tmp_path)
    inherited = os.dup(held._fd)
    held.release()
    lock(tmp_path).release()
    os.close(inherited)


def test_dropped_lock_is_free_again(tmp_path: Path) -> None:
    held = lock(tmp_path)
    del held
    lock(tmp_path).release()


def test_failure_half_way_leaves_the_directory_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "injected")

    for name in ("lock_exclusively", "pwrite"):
        with monkeypatch.context() as patch:
            patch.setattr(system_calls, name, fail)
            with pytest.raises(OSError, match="injected"):
                lock(tmp_path)
    lock(tmp_path).release()


def test_lock_file_that_appears_while_it_is_made_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower(path: str, flags: int) -> int:
        (tmp_path / LOCK_FILE_NAME).touch()
        return original(path, flags)

    original = system_calls.make_file
    monkeypatch.setattr(system_calls, "make_file", slower)
    lock(tmp_path).release()


def test_link_in_place_of_the_lock_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"untouched")
    (tmp_path / LOCK_FILE_NAME).symlink_to(tmp_path / "outside")
    with raises_errno(errno.ELOOP):
        lock(tmp_path)
    assert (tmp_path / "outside").read_bytes() == b"untouched"


def test_note_that_cannot_be_read_names_nobody(
    tmp_path: Path,
    start_owner: Callable[[str], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "injected")

    owner = start_owner(OWNER)
    assert owner.stdout is not None
    owner.stdout.readline()
    monkeypatch.setattr(system_calls, "pread", fail)
    with pytest.raises(AlreadyOpenError, match="in use by another process"):
        lock(tmp_path)

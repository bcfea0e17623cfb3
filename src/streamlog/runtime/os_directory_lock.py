"""The lock that keeps a second broker out of a directory."""

# The methods are documented where they are declared, in `DirectoryLock`.
# ruff: noqa: D102
from __future__ import annotations

import os
import re
from datetime import datetime, timezone

from streamlog.errors import AlreadyOpenError
from streamlog.runtime import host, system_calls
from streamlog.runtime.disk_errors import CLOSED_FD, raise_translated
from streamlog.runtime.filesystem import LOCK_FILE_NAME, DirectoryLock
from streamlog.runtime.fork import on_fork_in_child
from streamlog.runtime.threads import Lock

_NOTE_LIMIT_BYTES = 4096
_FIELD = re.compile(r"^(pid|since)=(.*)$", re.MULTILINE)

# Directories locked by this process, by (device, inode), with the time. The system's lock would do on
# a local disk; where it is emulated by record locks (NFS) it lets the same process in twice.
_held: dict[tuple[int, int], str] = {}
_held_lock = Lock()
if hasattr(os, "register_at_fork"):
    # A fork waits until no thread is half way through acquire(): the child would keep a descriptor
    # that nobody in it knows of, and with it the lock, however its parent ends.
    os.register_at_fork(
        before=_held_lock.acquire,
        after_in_parent=_held_lock.release,
        after_in_child=_held_lock.release,
    )


class OsDirectoryLock(DirectoryLock):
    """A lock on ``<directory>/LOCK``. Made by `acquire`."""

    __slots__ = ("_fd", "_key", "_pid", "path")

    def __init__(self, path: str, key: tuple[int, int]) -> None:
        self.path = path
        self._fd = CLOSED_FD
        self._key = key
        self._pid = os.getpid()
        on_fork_in_child(self)

    @classmethod
    def acquire(cls, path: str) -> OsDirectoryLock:
        """Lock the directory *path*; raise AlreadyOpenError if someone has."""
        note_path = os.path.join(path, LOCK_FILE_NAME)
        status = os.stat(path)
        key = (status.st_dev, status.st_ino)
        with _held_lock:
            if key in _held:
                raise _already_open(path, os.getpid(), _held[key])
            lock = cls(path, key)
            try:
                lock._fd = fd = _open_note(note_path)
            except OSError as error:
                raise_translated(error, note_path, "make the lock file")
            try:
                if not system_calls.lock_exclusively(fd):
                    raise _already_open(path, *_read_note(fd))
                since = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                _write_note(fd, since)
                _held[key] = since
            except BaseException as error:
                lock.abandon()
                if isinstance(error, AlreadyOpenError) or not isinstance(error, OSError):
                    raise
                raise_translated(error, note_path, "write the owner's name")
        return lock

    def release(self) -> None:
        if os.getpid() != self._pid:
            self.abandon()  # forked behind Python's back: the lock is the parent's
            return
        with _held_lock:
            fd = self._fd
            if fd == CLOSED_FD:
                return
            try:
                # Unlocked and not only closed: a child may have inherited the descriptor.
                system_calls.unlock(fd)
            finally:
                _held.pop(self._key, None)
                self._fd = CLOSED_FD  # last: after Ctrl-C all of it can be done again
                os.close(fd)

    def abandon(self) -> None:
        fd, self._fd = self._fd, CLOSED_FD
        if fd != CLOSED_FD:
            _held.pop(self._key, None)
            os.close(fd)  # unlocking here would take the lock from the parent

    def _forked(self) -> None:
        self.abandon()

    def __del__(self) -> None:
        if getattr(self, "_fd", CLOSED_FD) != CLOSED_FD:
            self.abandon()

    def __repr__(self) -> str:
        return f"<OsDirectoryLock {self.path}{' released' if self._fd == CLOSED_FD else ''}>"


def _already_open(path: str, pid: int | None, since: str | None) -> AlreadyOpenError:
    if pid == os.getpid():
        owner = "this process"
    else:
        owner = "another process" if pid is None else f"process {pid}"
    when = "" if since is None else f" since {since}"
    return AlreadyOpenError(f"{path} is in use by {owner}{when}", path=path, pid=pid, since=since)


def _open_note(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | system_calls.OPEN_FLAGS)
    except FileNotFoundError:
        pass
    try:
        return system_calls.make_file(path, os.O_RDWR)
    except FileExistsError:  # somebody was quicker; the lock decides who may stay
        return os.open(path, os.O_RDWR | system_calls.OPEN_FLAGS)


def _write_note(fd: int, since: str) -> None:
    note = f"pid={os.getpid()}\nsince={since}\nboot_id={host.boot_id()}\n".encode()
    os.ftruncate(fd, 0)
    system_calls.pwrite(fd, memoryview(note), 0)


def _read_note(fd: int) -> tuple[int | None, str | None]:
    """Return the owner's process id and time, None for what cannot be read."""
    try:
        note = system_calls.pread(fd, _NOTE_LIMIT_BYTES, 0).decode("ascii", "replace")
    except OSError:
        return None, None
    fields = dict(_FIELD.findall(note))
    pid = fields.get("pid", "")
    return int(pid) if pid.isdecimal() else None, fields.get("since")

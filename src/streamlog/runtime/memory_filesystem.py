"""A file system in memory, for brokers without a path and for tests."""

# The methods are documented where they are declared, in `FileSystem` and `DirectoryLock`.
# ruff: noqa: D102
from __future__ import annotations

import errno
import mmap
import os
import posixpath
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from streamlog.errors import AlreadyOpenError, StorageError
from streamlog.runtime.disk_errors import disk_full
from streamlog.runtime.filesystem import LOCK_FILE_NAME, DirectoryLock, File, FileSystem
from streamlog.runtime.fork import on_fork_in_child
from streamlog.runtime.mapping import prefault_pages, view_as_words
from streamlog.runtime.memory_file import MemoryContent, MemoryFile
from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.mapping import Mapping, Words

_UNLIMITED_BYTES = 1 << 62


def _system_time_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryFileSystem(FileSystem):
    """The surface of `OsFileSystem` over this process's memory.

    *capacity_bytes* is the size of the disk: beyond it, DiskFullError. Files count with their size,
    so what was allocated counts whether written or not; unlinked files no longer count. *time_ms*
    gives the times of modification.

    Paths are absolute whether they begin with "/" or not. Nothing outlives the object.
    """

    __slots__ = ("_capacity_bytes", "_directories", "_files", "_lock", "_locked", "_time_ms")

    def __init__(
        self, capacity_bytes: int | None = None, *, time_ms: Callable[[], int] = _system_time_ms
    ) -> None:
        self._capacity_bytes = capacity_bytes
        self._time_ms = time_ms
        self._lock = Lock()  # guards the names; the content of a file has a lock of its own
        self._files: dict[str, MemoryContent] = {}
        self._directories = {"/"}
        self._locked: dict[str, MemoryDirectoryLock] = {}
        on_fork_in_child(self)

    # ---- files

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        name = _absolute(path)
        with self._lock:
            if name in self._directories:
                raise StorageError(f"{path} is not a regular file", errno=errno.EISDIR)
            content = self._files.get(name)
            if content is not None and exclusive:
                raise _os_error(errno.EEXIST, path)
            if content is None:
                if not (create or exclusive):
                    raise _os_error(errno.ENOENT, path)
                self._check_parent(name, path)
                content = self._files[name] = MemoryContent(self._reserve, self._time_ms)
        return MemoryFile(path, content, read_only=read_only)

    def unlink(self, path: str) -> None:
        with self._lock:
            if self._files.pop(_absolute(path), None) is None:
                raise self._no_file(path)

    def file_size(self, path: str) -> int:
        return self._content(path).size

    def modified_ms(self, path: str) -> int:
        return self._content(path).modified_ms

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        content = self._content(path)
        if content.size > limit_bytes:
            raise StorageError(
                f"{path}: expected at most {limit_bytes} bytes, found {content.size}"
            )
        return content.read_at(0, content.size)

    def write_atomically(self, path: str, data: bytes) -> None:
        # Filled before it gets the name. As on a disk, old and new need room at the same time.
        self._reserve(None, len(data))
        new = MemoryContent(_reserved, self._time_ms)
        new.write_at(0, data)
        name = _absolute(path)
        with self._lock:
            self._check_parent(name, path)
            if name in self._directories:
                raise _os_error(errno.EISDIR, path)
            self._files[name] = new

    # ---- directories

    def exists(self, path: str) -> bool:
        name = _absolute(path)
        with self._lock:
            return name in self._files or name in self._directories

    def is_dir(self, path: str) -> bool:
        with self._lock:
            return _absolute(path) in self._directories

    def list_dir(self, path: str) -> list[str]:
        with self._lock:
            return sorted(self._names_in(path))

    def make_dir(self, path: str) -> None:
        name = _absolute(path)
        with self._lock:
            missing: list[str] = []
            while name not in self._directories:
                if name in self._files:
                    raise _os_error(errno.ENOTDIR if missing else errno.EEXIST, path)
                missing.append(name)
                name = posixpath.dirname(name)
            self._directories.update(missing)

    def remove_dir(self, path: str) -> None:
        with self._lock:
            if self._names_in(path):
                raise _os_error(errno.ENOTEMPTY, path)
            self._directories.remove(_absolute(path))

    def rename(self, source: str, target: str) -> None:
        old, new = _absolute(source), _absolute(target)
        with self._lock:
            self._check_parent(new, target)
            if old in self._files:
                if new in self._directories:
                    raise _os_error(errno.EISDIR, target)
                self._files[new] = self._files.pop(old)
            elif old in self._directories:
                self._rename_dir(old, new, target)
            else:
                raise _os_error(errno.ENOENT, source)

    def _rename_dir(self, old: str, new: str, target: str) -> None:
        if new in self._files:
            raise _os_error(errno.ENOTDIR, target)
        if new.startswith(old + "/"):
            raise _os_error(errno.EINVAL, target)
        if new != old and new in self._directories and self._names_in(new):
            raise _os_error(errno.ENOTEMPTY, target)

        def moved(name: str) -> str:
            return new + name[len(old) :] if f"{name}/".startswith(f"{old}/") else name

        self._files = {moved(name): content for name, content in self._files.items()}
        self._directories = {moved(name) for name in self._directories}

    def sync_dir(self, path: str) -> None:
        with self._lock:
            self._names_in(path)

    def lock_dir(self, path: str) -> DirectoryLock:
        name = _absolute(path)
        self.open(posixpath.join(name, LOCK_FILE_NAME), create=True).close()
        with self._lock:
            owner = self._locked.get(name)
            if owner is not None:
                raise AlreadyOpenError(
                    f"{path} is in use by this process since {owner.since}",
                    path=path,
                    pid=os.getpid(),
                    since=owner.since,
                )
            now = datetime.fromtimestamp(self._time_ms() / 1000, timezone.utc)
            lock = MemoryDirectoryLock(path, now.isoformat(timespec="milliseconds"), self._unlock)
            self._locked[name] = lock
            return lock

    def _unlock(self, lock: MemoryDirectoryLock) -> None:
        with self._lock:
            self._locked = {name: held for name, held in self._locked.items() if held is not lock}

    # ---- the disk

    def free_bytes(self, path: str) -> int:
        with self._lock:
            self._names_in(path)
            return max(self._free(), 0)

    def is_network(self, path: str) -> bool:
        return False

    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        if isinstance(mapping, mmap.mmap):
            prefault_pages(mapping, start, end)

    def words(self, mapping: Mapping) -> Words:
        return view_as_words(mapping)

    def _free(self) -> int:
        if self._capacity_bytes is None:
            return _UNLIMITED_BYTES
        return self._capacity_bytes - sum(content.size for content in self._files.values())

    def _reserve(self, content: MemoryContent | None, size: int) -> None:
        """Raise DiskFullError unless *content* may grow to *size*, or a new file of it be made."""
        if self._capacity_bytes is None:
            return
        with self._lock:
            wanted = size - (content.size if content is not None else 0)
            free = self._free()
            if wanted > free:
                name = next((name for name, c in self._files.items() if c is content), "new file")
                raise disk_full(name, f"add {wanted} bytes, {max(free, 0)} are free", errno.ENOSPC)

    # ---- names; the caller holds the lock

    def _names_in(self, path: str) -> set[str]:
        directory = _absolute(path)
        if directory not in self._directories:
            raise _os_error(errno.ENOTDIR if directory in self._files else errno.ENOENT, path)
        prefix = directory.rstrip("/") + "/"
        everything = [*self._files, *self._directories]
        below = [name[len(prefix) :] for name in everything if name.startswith(prefix)]
        return {name for name in below if name and "/" not in name}

    def _check_parent(self, name: str, path: str) -> None:
        parent = posixpath.dirname(name)
        if parent not in self._directories:
            raise _os_error(errno.ENOTDIR if parent in self._files else errno.ENOENT, path)

    def _content(self, path: str) -> MemoryContent:
        with self._lock:
            content = self._files.get(_absolute(path))
            if content is None:
                raise self._no_file(path)
            return content

    def _no_file(self, path: str) -> OSError:
        is_directory = _absolute(path) in self._directories
        return _os_error(errno.EISDIR if is_directory else errno.ENOENT, path)

    def _forked(self) -> None:
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<MemoryFileSystem with {len(self._files)} files>"


class MemoryDirectoryLock(DirectoryLock):
    """A lock on a directory of a `MemoryFileSystem`, which makes it."""

    __slots__ = ("_unlock", "path", "since")

    def __init__(
        self, path: str, since: str, unlock: Callable[[MemoryDirectoryLock], None]
    ) -> None:
        self.path = path
        self.since = since
        """When it was taken, in ISO 8601."""
        self._unlock = unlock

    def release(self) -> None:
        self._unlock(self)

    def abandon(self) -> None:
        self._unlock(self)  # a child has a copy of the whole file system, this lock included


def _absolute(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _os_error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _reserved(content: MemoryContent, size: int) -> None:
    """Stand in for `MemoryFileSystem._reserve` where that was asked already."""

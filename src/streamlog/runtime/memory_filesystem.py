"""A file system in memory, for brokers without a path and for tests."""

# The methods are documented where they are declared, in `FileSystem` and `DirectoryLock`.
# ruff: noqa: D102
from __future__ import annotations

import errno
import mmap
import os
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from streamlog.errors import AlreadyOpenError, StorageError
from streamlog.runtime.disk_errors import disk_full
from streamlog.runtime.filesystem import LOCK_FILE_NAME, DirectoryLock, File, FileSystem
from streamlog.runtime.fork import on_fork_in_child
from streamlog.runtime.mapping import prefault_pages, view_as_words
from streamlog.runtime.memory_file import MemoryContent, MemoryFile
from streamlog.runtime.memory_names import Directory, MemoryNames, os_error
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

    Paths are absolute whether they begin with "/" or not. Nothing outlives the object. Memory is
    taken for pages that were written, so an idle file costs a few KiB whatever its size.
    """

    __slots__ = ("_capacity_bytes", "_lock", "_locked", "_names", "_time_ms")

    def __init__(
        self, capacity_bytes: int | None = None, *, time_ms: Callable[[], int] = _system_time_ms
    ) -> None:
        self._capacity_bytes = capacity_bytes
        self._time_ms = time_ms
        self._lock = Lock()  # guards the names; each content has a lock of its own
        self._names = MemoryNames()
        self._locked: dict[int, MemoryDirectoryLock] = {}  # by id of the Directory: no aliases
        on_fork_in_child(self)

    # ---- files

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        with self._lock:
            if (create or exclusive) and self._names.find(path) is None:
                self._names.put_file(path, MemoryContent(self._reserve, self._time_ms))
            elif exclusive:
                raise os_error(errno.EEXIST, path)
            return MemoryFile(path, self._names.file(path), read_only=read_only)

    def unlink(self, path: str) -> None:
        with self._lock:
            self._names.remove_file(path)

    def file_size(self, path: str) -> int:
        with self._lock:
            return self._names.file(path).size

    def modified_ms(self, path: str) -> int:
        with self._lock:
            return self._names.file(path).modified_ms

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        with self._lock:
            content = self._names.file(path)
        if content.size > limit_bytes:
            raise StorageError(
                f"{path}: expected at most {limit_bytes} bytes, found {content.size}"
            )
        return content.read_at(0, content.size)

    def write_atomically(self, path: str, data: bytes) -> None:
        # As on a disk, the old and the new content need room at the same time.
        self._reserve(None, len(data))
        new = MemoryContent(self._reserve, self._time_ms, data)
        with self._lock:
            self._names.put_file(path, new)

    # ---- directories

    def exists(self, path: str) -> bool:
        with self._lock:
            return self._names.find(path) is not None

    def is_dir(self, path: str) -> bool:
        with self._lock:
            return isinstance(self._names.find(path), dict)

    def list_dir(self, path: str) -> list[str]:
        with self._lock:
            return sorted(self._names.directory(path))

    def make_dir(self, path: str) -> None:
        with self._lock:
            self._names.make_dir(path)

    def remove_dir(self, path: str) -> None:
        with self._lock:
            self._names.remove_dir(path)

    def rename(self, source: str, target: str) -> None:
        with self._lock:
            self._names.rename(source, target)

    def sync_dir(self, path: str) -> None:
        with self._lock:
            self._names.directory(path)

    def lock_dir(self, path: str) -> DirectoryLock:
        self.open(f"{path}/{LOCK_FILE_NAME}", create=True).close()
        now = datetime.fromtimestamp(self._time_ms() / 1000, timezone.utc)
        since = now.isoformat(timespec="milliseconds")
        lock: MemoryDirectoryLock | None = None
        try:
            with self._lock:
                directory = self._names.directory(path)
                owner = self._locked.get(id(directory))
                if owner is not None:
                    raise AlreadyOpenError(
                        f"{path} is in use by this process since {owner.since}",
                        path=path,
                        pid=os.getpid(),
                        since=owner.since,
                    )
                lock = MemoryDirectoryLock(path, since, directory, self._unlock)
                self._locked[id(directory)] = lock
        except BaseException:  # Ctrl-C: the caller does not know of it
            if lock is not None:
                self._unlock(lock)
            raise
        return lock

    def _unlock(self, lock: MemoryDirectoryLock) -> None:
        with self._lock:
            if self._locked.get(id(lock.directory)) is lock:
                del self._locked[id(lock.directory)]

    # ---- the disk

    def free_bytes(self, path: str) -> int:
        with self._lock:
            self._names.directory(path)
            return max(self._free(), 0)

    def is_network(self, path: str) -> bool:
        return False

    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        """Have the system provide the pages now: many at once cost half of what they do one by one."""
        if isinstance(mapping, mmap.mmap):
            prefault_pages(mapping, start, end)

    def words(self, mapping: Mapping) -> Words:
        return view_as_words(mapping)

    def _free(self) -> int:
        if self._capacity_bytes is None:
            return _UNLIMITED_BYTES
        return self._capacity_bytes - sum(content.size for _, content in self._names.files())

    def _reserve(self, content: MemoryContent | None, size: int) -> None:
        """Raise DiskFullError unless *content*, or a new file, has room to be *size* bytes."""
        if self._capacity_bytes is None:
            return
        with self._lock:
            wanted = size - (0 if content is None else content.size)
            free = self._free()
            if wanted > free:
                path = next((path for path, c in self._names.files() if c is content), "new file")
                attempt = f"add {wanted} bytes, {max(free, 0)} are free"
                raise disk_full(path, attempt, errno.ENOSPC)

    def _forked(self) -> None:
        self._lock = Lock()  # a thread of the parent may have held it

    def __repr__(self) -> str:
        return f"<MemoryFileSystem with {sum(1 for _ in self._names.files())} files>"


class MemoryDirectoryLock(DirectoryLock):
    """A lock on a directory of a `MemoryFileSystem`, which makes it."""

    __slots__ = ("_unlock", "directory", "path", "since")

    def __init__(
        self,
        path: str,
        since: str,
        directory: Directory,
        unlock: Callable[[MemoryDirectoryLock], None],
    ) -> None:
        self.path = path
        self.since = since
        """When it was taken, in ISO 8601."""
        self.directory = directory
        """What is locked; a reference, so that its id stays its own."""
        self._unlock = unlock

    def release(self) -> None:
        self._unlock(self)

    def abandon(self) -> None:
        self._unlock(self)  # a child has a copy of the whole file system, this lock included

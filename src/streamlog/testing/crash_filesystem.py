"""A file system whose power can be cut: it promises what POSIX promises and is no kinder."""

# The methods are documented where they are declared, in `FileSystem` and `DirectoryLock`.
# ruff: noqa: D102
from __future__ import annotations

import errno
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from streamlog.errors import AlreadyOpenError, StorageError
from streamlog.runtime import LOCK_FILE_NAME, TEMPORARY_SUFFIX, DirectoryLock, File, FileSystem, pid
from streamlog.runtime.atomic_write import replace_file
from streamlog.runtime.memory_names import os_error
from streamlog.testing.crash_content import CrashContent
from streamlog.testing.crash_directory import CrashDirectory, change_names
from streamlog.testing.crash_file import CrashFile, CrashWords
from streamlog.testing.crash_journal import CrashJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime import Mapping, Words

_UNLIMITED_BYTES = 1 << 62
_START_MS = 1_700_000_000_000


class CrashFileSystem(FileSystem):
    """A disk in memory that remembers what would be lost if the power went now.

    * ``file.sync_data()`` and ``file.sync()`` make bytes and size of a file safe, not its name;
    * ``sync_dir`` makes the names in one directory safe, not what they stand for;
    * anything else may or may not have reached the disk, page by page and name by name, in any order.

    `power_images` and `kill_image` (in `crash_images`) say what can be left at this moment;
    `CrashLab` does it all for a broker. *capacity_bytes* is the size of the disk; *time_ms* gives
    the times of modification, which stand still by default, so that equal disks are equal.

    Threads: any.
    """

    __slots__ = ("_locked", "_temporary_number", "boot", "journal", "root")

    def __init__(
        self, *, capacity_bytes: int | None = None, time_ms: Callable[[], int] = lambda: _START_MS
    ) -> None:
        self.journal = CrashJournal(time_ms, capacity_bytes)
        """The steps made so far. Internal to `streamlog.testing`."""
        self.root = CrashDirectory(self.journal)
        """The directory "/". Internal to `streamlog.testing`."""
        self.boot = 1
        """How often the machine was started."""
        self._temporary_number = 0
        self._locked: dict[int, CrashDirectoryLock] = {}

    @property
    def on_step(self) -> Callable[[str], None] | None:
        """Called after each change of the disk with a few words about it, with the disk's lock held."""
        return self.journal.on_step

    @on_step.setter
    def on_step(self, callback: Callable[[str], None] | None) -> None:
        self.journal.on_step = callback

    def switch_off(self) -> None:
        """Fail every later change with OSError: whoever still uses this disk has no power any more."""
        self.journal.is_off = True

    def boot_id(self) -> str:
        return f"boot-{self.boot}"

    # ---- files

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        directory, name = self._place(path)
        node = directory.entries.get(name)
        if node is None:
            if not (create or exclusive):
                raise os_error(errno.ENOENT, path)
            with self.journal.lock:
                step = self.journal.step()
                node = CrashContent(self.journal)
                change_names(step, (directory, name, node))
                self.journal.done("make", path)
        elif exclusive:
            raise os_error(errno.EEXIST, path)
        if isinstance(node, CrashDirectory):
            raise StorageError(f"{path} is not a regular file", errno=errno.EISDIR)
        return CrashFile(path, node, read_only=read_only)

    def unlink(self, path: str) -> None:
        directory, name = self._place(path)
        self._file(path)
        with self.journal.lock:
            step = self.journal.step()
            self._forget(directory, name)
            change_names(step, (directory, name, None))
            self.journal.done("unlink", path)

    def file_size(self, path: str) -> int:
        return self._file(path).size

    def modified_ms(self, path: str) -> int:
        return self._file(path).modified_ms

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        content = self._file(path)
        if content.size > limit_bytes:
            raise StorageError(
                f"{path}: expected at most {limit_bytes} bytes, found {content.size}"
            )
        return content.read_at(0, content.size)

    def write_atomically(self, path: str, data: bytes) -> None:
        while True:
            # Not by process id, as the real one: runs have to be equal.
            self._temporary_number += 1
            temporary = f"{path}.{self._temporary_number}{TEMPORARY_SUFFIX}"
            if not self.exists(temporary):
                break
        replace_file(self, path, data, temporary, self.open(temporary, exclusive=True))

    # ---- directories

    def exists(self, path: str) -> bool:
        return self._find(path) is not None

    def is_dir(self, path: str) -> bool:
        return isinstance(self._find(path), CrashDirectory)

    def list_dir(self, path: str) -> list[str]:
        return sorted(self._directory(path).entries)

    def make_dir(self, path: str) -> None:
        at, made = self.root, ""
        names = _components(path)
        for number, name in enumerate(names):
            made = f"{made}/{name}"
            node = at.entries.get(name)
            if node is None:
                with self.journal.lock:
                    step = self.journal.step()
                    node = CrashDirectory(self.journal)
                    change_names(step, (at, name, node))
                    self.journal.done("make_dir", made)
            elif not isinstance(node, CrashDirectory):
                is_last = number == len(names) - 1
                raise os_error(errno.EEXIST if is_last else errno.ENOTDIR, path)
            at = node

    def remove_dir(self, path: str) -> None:
        if self._directory(path).entries:
            raise os_error(errno.ENOTEMPTY, path)
        directory, name = self._place(path)
        with self.journal.lock:
            change_names(self.journal.step(), (directory, name, None))
            self.journal.done("remove_dir", path)

    def rename(self, source: str, target: str) -> None:
        old_directory, old_name = self._place(source)
        new_directory, new_name = self._place(target)
        moved, replaced = old_directory.entries.get(old_name), new_directory.entries.get(new_name)
        if moved is None:
            raise os_error(errno.ENOENT, source)
        if moved is replaced:
            return
        if isinstance(moved, CrashDirectory):
            if _components(target)[: len(_components(source))] == _components(source):
                raise os_error(errno.EINVAL, target)  # into itself
            if isinstance(replaced, CrashContent):
                raise os_error(errno.ENOTDIR, target)
            if replaced is not None and replaced.entries:
                raise os_error(errno.ENOTEMPTY, target)
        elif isinstance(replaced, CrashDirectory):
            raise os_error(errno.EISDIR, target)
        with self.journal.lock:
            step = self.journal.step()
            self._forget(new_directory, new_name)
            change_names(step, (old_directory, old_name, None), (new_directory, new_name, moved))
            self.journal.done("rename", f"{source} to {target}")

    def sync_dir(self, path: str) -> None:
        directory = self._directory(path)
        with self.journal.lock:
            self.journal.step()
            directory.sync()
            self.journal.done("sync_dir", path)

    def lock_dir(self, path: str) -> DirectoryLock:
        directory = self._directory(path)
        self.open(f"{path}/{LOCK_FILE_NAME}", create=True).close()
        with self.journal.lock:
            owner = self._locked.get(id(directory))
            if owner is not None:
                raise AlreadyOpenError(
                    f"{path} is in use by this process since {owner.since}",
                    path=path,
                    pid=pid(),
                    since=owner.since,
                )
            lock = CrashDirectoryLock(path, self, directory)
            self._locked[id(directory)] = lock
            return lock

    # ---- the disk

    def free_bytes(self, path: str) -> int:
        self._directory(path)
        journal = self.journal
        if journal.capacity_bytes is None:
            return _UNLIMITED_BYTES
        return max(journal.capacity_bytes - journal.used_bytes, 0)

    def is_network(self, path: str) -> bool:
        return False

    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        """Do nothing: it is memory already."""

    def words(self, mapping: Mapping) -> Words:
        return CrashWords(mapping)

    # ---- names

    def _find(self, path: str) -> CrashDirectory | CrashContent | None:
        node: CrashDirectory | CrashContent | None = self.root
        for name in _components(path):
            if not isinstance(node, CrashDirectory):
                return None
            node = node.entries.get(name)
        return node

    def _directory(self, path: str) -> CrashDirectory:
        node = self._find(path)
        if not isinstance(node, CrashDirectory):
            raise os_error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        return node

    def _file(self, path: str) -> CrashContent:
        node = self._find(path)
        if node is None:
            raise os_error(errno.ENOENT, path)
        if isinstance(node, CrashDirectory):
            raise StorageError(f"{path} is not a regular file", errno=errno.EISDIR)
        return node

    def _place(self, path: str) -> tuple[CrashDirectory, str]:
        """Return the directory that *path* is in, and its name there."""
        names = _components(path)
        if not names:
            raise os_error(errno.EBUSY, path)  # the root itself
        return self._directory("/".join(names[:-1])), names[-1]

    def _forget(self, directory: CrashDirectory, name: str) -> None:
        node = directory.entries.get(name)
        if isinstance(node, CrashContent):
            self.journal.used_bytes -= node.size

    def _unlock(self, lock: CrashDirectoryLock) -> None:
        with self.journal.lock:
            if self._locked.get(id(lock.directory)) is lock:
                del self._locked[id(lock.directory)]

    def __repr__(self) -> str:
        return f"<CrashFileSystem {self.boot_id()}, {self.journal.last_step} steps>"


class CrashDirectoryLock(DirectoryLock):
    """A lock on a directory of a `CrashFileSystem`, which makes it; gone with its power."""

    __slots__ = ("_disk", "directory", "path", "since")

    def __init__(self, path: str, disk: CrashFileSystem, directory: CrashDirectory) -> None:
        self.path = path
        self._disk = disk
        now = datetime.fromtimestamp(disk.journal.time_ms() / 1000, timezone.utc)
        self.since = now.isoformat(timespec="milliseconds")
        """When it was taken, in ISO 8601."""
        self.directory = directory
        """What is locked; a reference, so that its id stays its own."""

    def release(self) -> None:
        self._disk._unlock(self)

    def abandon(self) -> None:
        self._disk._unlock(self)


@lru_cache(4096)
def _components(path: str) -> tuple[str, ...]:
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]  # nothing is above the root
        elif name and name != ".":
            names.append(name)
    return tuple(names)

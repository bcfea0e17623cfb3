"""The real file system."""

# The methods are documented where they are declared, in `FileSystem`.
# ruff: noqa: D102
from __future__ import annotations

import errno
import itertools
import mmap
import os
import shutil
import stat
from typing import TYPE_CHECKING

from streamlog.errors import StorageError
from streamlog.runtime import mounts, system_calls
from streamlog.runtime.atomic_write import replace_file
from streamlog.runtime.disk_errors import raise_translated
from streamlog.runtime.filesystem import TEMPORARY_SUFFIX, File, FileSystem
from streamlog.runtime.mapping import prefault_pages, view_as_words
from streamlog.runtime.os_directory_lock import OsDirectoryLock
from streamlog.runtime.os_file import OsFile

if TYPE_CHECKING:
    from streamlog.runtime.filesystem import DirectoryLock
    from streamlog.runtime.mapping import Mapping, Words

_DIRECTORY_MODE = 0o700

# Process id and number make a temporary name unique without chance; O_EXCL makes it safe.
_temporary_number = itertools.count(1)


class OsFileSystem(FileSystem):
    """Files and directories of the operating system. It has no state; instances are equal."""

    __slots__ = ()

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        flags = os.O_RDONLY if read_only else os.O_RDWR
        try:
            if create or exclusive:
                try:
                    return OsFile(path, system_calls.make_file(path, flags))
                except FileExistsError:
                    if exclusive:
                        raise
            fd = os.open(path, flags | system_calls.OPEN_FLAGS)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.ELOOP):  # a link is not followed (O_NOFOLLOW)
                raise StorageError(f"{path} is not a regular file", errno=error.errno) from error
            raise_translated(error, path, "open the file")
        file = OsFile(path, fd)
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            file.close()
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise StorageError(f"{path} is not a regular file", errno=number)
        return file

    def exists(self, path: str) -> bool:
        return _mode(path) is not None  # not os.path.exists(), which hides every other error

    def is_dir(self, path: str) -> bool:
        mode = _mode(path)
        return mode is not None and stat.S_ISDIR(mode)

    def list_dir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def make_dir(self, path: str) -> None:
        try:
            os.mkdir(path, _DIRECTORY_MODE)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            return
        except FileNotFoundError:
            parent = os.path.dirname(path)
            if parent in ("", path) or os.path.isdir(parent):
                raise  # such as /proc, where nothing can be made
            self.make_dir(parent)
            self.make_dir(path)
            return
        except OSError as error:
            raise_translated(error, path, "make the directory")
        try:
            os.chmod(path, _DIRECTORY_MODE)  # whatever the umask took away
        except OSError:
            pass  # a file system without modes

    def remove_dir(self, path: str) -> None:
        try:
            os.rmdir(path)
        except OSError as error:
            raise_translated(error, path, "remove the directory")

    def rename(self, source: str, target: str) -> None:
        try:
            os.replace(source, target)
        except OSError as error:
            raise_translated(error, target, f"rename {source}")

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)  # a copy-on-write file system may need room for that
        except OSError as error:
            raise_translated(error, path, "remove the name")

    def sync_dir(self, path: str) -> None:
        try:
            system_calls.sync_directory(path)
        except OSError as error:
            raise_translated(error, path, "sync the directory")

    def file_size(self, path: str) -> int:
        return os.lstat(path).st_size

    def modified_ms(self, path: str) -> int:
        return os.lstat(path).st_mtime_ns // 1_000_000

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        file = self.open(path, read_only=True)
        try:
            size = file.size()
            if size > limit_bytes:
                raise StorageError(f"{path}: expected at most {limit_bytes} bytes, found {size}")
            return file.read_at(0, size)
        finally:
            file.close()

    def write_atomically(self, path: str, data: bytes) -> None:
        temporary, file = self._open_temporary(path)
        replace_file(self, path, data, temporary, file)

    def _open_temporary(self, path: str) -> tuple[str, File]:
        while True:
            number = next(_temporary_number)
            temporary = f"{path}.{os.getpid()}-{number}{TEMPORARY_SUFFIX}"
            try:
                return temporary, self.open(temporary, exclusive=True)
            except FileExistsError:
                continue  # left behind by a process of the same number that was killed

    def lock_dir(self, path: str) -> DirectoryLock:
        return OsDirectoryLock.acquire(path)

    def free_bytes(self, path: str) -> int:
        return shutil.disk_usage(path).free

    def is_network(self, path: str) -> bool:
        return mounts.is_network(path)

    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        if isinstance(mapping, mmap.mmap):
            prefault_pages(mapping, start, end)

    def words(self, mapping: Mapping) -> Words:
        return view_as_words(mapping)

    def __repr__(self) -> str:
        return "OsFileSystem()"


def _mode(path: str) -> int | None:
    """Return type and mode of what *path* names, a link itself included, or None."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None

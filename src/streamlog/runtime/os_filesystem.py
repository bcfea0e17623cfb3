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
from streamlog.runtime.disk_errors import raise_translated
from streamlog.runtime.filesystem import TEMPORARY_SUFFIX, File, FileSystem
from streamlog.runtime.mapping import prefault_pages, view_as_words
from streamlog.runtime.os_directory_lock import OsDirectoryLock
from streamlog.runtime.os_file import OsFile

if TYPE_CHECKING:
    from streamlog.runtime.filesystem import DirectoryLock
    from streamlog.runtime.mapping import Mapping, Words

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700

# Process id and number make a temporary name unique without chance; O_EXCL makes it safe.
_temporary_number = itertools.count(1)


class OsFileSystem(FileSystem):
    """Files and directories of the operating system. It has no state; instances are equal."""

    __slots__ = ()

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        flags = system_calls.OPEN_FLAGS | (os.O_RDONLY if read_only else os.O_RDWR)
        try:
            if create or exclusive:
                try:
                    return _made_file(path, flags)
                except FileExistsError:
                    if exclusive:
                        raise
            fd = os.open(path, flags)
        except OSError as error:
            raise_translated(error, path, "open the file")
        file = OsFile(path, fd)
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            file.close()
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise StorageError(f"{path} is not a regular file", errno=number)
        return file

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def is_dir(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

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
            if parent in ("", path):
                raise
            self.make_dir(parent)
            self.make_dir(path)
            return
        except OSError as error:
            raise_translated(error, path, "make the directory")
        os.chmod(path, _DIRECTORY_MODE)  # whatever the umask took away

    def remove_dir(self, path: str) -> None:
        os.rmdir(path)

    def rename(self, source: str, target: str) -> None:
        try:
            os.replace(source, target)
        except OSError as error:
            raise_translated(error, target, f"rename {source}")

    def unlink(self, path: str) -> None:
        os.unlink(path)

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
            data = file.read_at(0, limit_bytes + 1)
            if len(data) > limit_bytes:
                raise StorageError(
                    f"{path}: expected at most {limit_bytes} bytes, found {file.size()}"
                )
            return data
        finally:
            file.close()

    def write_atomically(self, path: str, data: bytes) -> None:
        temporary, file = self._open_temporary(path)
        try:
            try:
                file.write_at(0, data)
                file.sync()  # before the name: a power cut may keep the rename and lose the bytes
            finally:
                file.close()
            self.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        self.sync_dir(os.path.dirname(path) or ".")

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


def _made_file(path: str, flags: int) -> OsFile:
    fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    if hasattr(os, "fchmod"):
        os.fchmod(fd, _FILE_MODE)  # whatever the umask took away
    return OsFile(path, fd)

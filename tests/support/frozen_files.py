"""A file system that lets nobody change anything: what a read-only mount is, for any file system, and louder."""

from __future__ import annotations

from typing import NoReturn

from streamlog.runtime import DirectoryLock, File, FileSystem, Mapping, Words


class FrozenFile(File):
    """A file that may be read, and not even mapped for storing."""

    __slots__ = ("_file", "path")

    def __init__(self, file: File) -> None:
        self._file = file
        self.path = file.path

    def size(self) -> int:
        return self._file.size()

    def read_at(self, position: int, size: int) -> bytes:
        return self._file.read_at(position, size)

    def map(self, size: int, *, writable: bool) -> Mapping:
        raise AssertionError(f"{self.path} was mapped: its writer may cut it")

    def close(self) -> None:
        self._file.close()

    def allocate(self, start: int, end: int) -> NoReturn:
        raise AssertionError(f"{self.path} was allocated")

    def truncate(self, size: int) -> NoReturn:
        raise AssertionError(f"{self.path} was truncated")

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> NoReturn:
        raise AssertionError(f"{self.path} was written")

    def sync_data(self) -> NoReturn:
        raise AssertionError(f"{self.path} was synced")

    def sync(self) -> NoReturn:
        raise AssertionError(f"{self.path} was synced")


class FrozenFileSystem(FileSystem):
    """Passes on what only looks, and fails the test for everything else: locks as well."""

    __slots__ = ("_filesystem",)

    def __init__(self, filesystem: FileSystem) -> None:
        self._filesystem = filesystem

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        assert read_only, f"{path} was opened for writing"
        assert not create, f"{path} was to be made"
        assert not exclusive, f"{path} was to be made"
        return FrozenFile(self._filesystem.open(path, read_only=True))

    def exists(self, path: str) -> bool:
        return self._filesystem.exists(path)

    def is_dir(self, path: str) -> bool:
        return self._filesystem.is_dir(path)

    def list_dir(self, path: str) -> list[str]:
        return self._filesystem.list_dir(path)

    def file_size(self, path: str) -> int:
        return self._filesystem.file_size(path)

    def modified_ms(self, path: str) -> int:
        return self._filesystem.modified_ms(path)

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        return self._filesystem.read_file(path, limit_bytes)

    def free_bytes(self, path: str) -> int:
        return self._filesystem.free_bytes(path)

    def is_network(self, path: str) -> bool:
        return self._filesystem.is_network(path)

    def boot_id(self) -> str:
        return self._filesystem.boot_id()

    def make_dir(self, path: str) -> NoReturn:
        raise AssertionError(f"{path} was made")

    def remove_dir(self, path: str) -> NoReturn:
        raise AssertionError(f"{path} was removed")

    def rename(self, source: str, target: str) -> NoReturn:
        raise AssertionError(f"{source} was renamed to {target}")

    def unlink(self, path: str) -> NoReturn:
        raise AssertionError(f"{path} was unlinked")

    def sync_dir(self, path: str) -> NoReturn:
        raise AssertionError(f"{path} was synced")

    def write_atomically(self, path: str, data: bytes) -> NoReturn:
        raise AssertionError(f"{path} was written")

    def lock_dir(self, path: str) -> DirectoryLock:
        raise AssertionError(f"{path} was locked")

    def prefault(self, mapping: Mapping, start: int, end: int) -> NoReturn:
        raise AssertionError("pages were loaded for writing")

    def words(self, mapping: Mapping) -> Words:
        raise AssertionError("a map was to be stored into")

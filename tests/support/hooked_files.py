"""A file system that tells a hook about every call before making it; the hook may raise, or step in."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from streamlog.runtime import DirectoryLock, File, FileSystem, Mapping, Words

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGING_CALLS = frozenset(
    {
        "allocate",
        "lock_dir",
        "make",
        "make_dir",
        "remove_dir",
        "rename",
        "sync",
        "sync_data",
        "sync_dir",
        "truncate",
        "unlink",
        "write_at",
        "write_atomically",
    }
)
"""What may leave a trace on the disk: between two of these a kill makes no difference."""


class Killed(BaseException):
    """The process dies here, as far as the code under test can tell."""


class HookedFileSystem(FileSystem):
    """Forwards to *inner*; ``hook(call, path)`` runs first. A file that is made calls ``make``, not ``open``."""

    __slots__ = ("hook", "inner")

    def __init__(self, inner: FileSystem, hook: Callable[[str, str], None] | None = None) -> None:
        self.inner = inner
        self.hook: Callable[[str, str], None] = hook or (lambda call, path: None)

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        makes = create and not self.inner.exists(path)
        self.hook("make" if makes else "open", path)
        file = self.inner.open(path, create=create, exclusive=exclusive, read_only=read_only)
        return HookedFile(file, self)

    def exists(self, path: str) -> bool:
        self.hook("exists", path)
        return self.inner.exists(path)

    def is_dir(self, path: str) -> bool:
        self.hook("is_dir", path)
        return self.inner.is_dir(path)

    def list_dir(self, path: str) -> list[str]:
        self.hook("list_dir", path)
        return self.inner.list_dir(path)

    def make_dir(self, path: str) -> None:
        self.hook("make_dir", path)
        self.inner.make_dir(path)

    def remove_dir(self, path: str) -> None:
        self.hook("remove_dir", path)
        self.inner.remove_dir(path)

    def rename(self, source: str, target: str) -> None:
        self.hook("rename", source)
        self.inner.rename(source, target)

    def unlink(self, path: str) -> None:
        self.hook("unlink", path)
        self.inner.unlink(path)

    def sync_dir(self, path: str) -> None:
        self.hook("sync_dir", path)
        self.inner.sync_dir(path)

    def file_size(self, path: str) -> int:
        self.hook("file_size", path)
        return self.inner.file_size(path)

    def modified_ms(self, path: str) -> int:
        self.hook("modified_ms", path)
        return self.inner.modified_ms(path)

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        self.hook("read_file", path)
        return self.inner.read_file(path, limit_bytes)

    def write_atomically(self, path: str, data: bytes) -> None:
        self.hook("write_atomically", path)
        self.inner.write_atomically(path, data)

    def lock_dir(self, path: str) -> DirectoryLock:
        self.hook("lock_dir", path)
        return self.inner.lock_dir(path)

    def free_bytes(self, path: str) -> int:
        self.hook("free_bytes", path)
        return self.inner.free_bytes(path)

    def is_network(self, path: str) -> bool:
        self.hook("is_network", path)
        return self.inner.is_network(path)

    def boot_id(self) -> str:
        return self.inner.boot_id()

    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        self.inner.prefault(mapping, start, end)

    def words(self, mapping: Mapping) -> Words:
        return self.inner.words(mapping)


class HookedFile(File):
    """A file of a `HookedFileSystem`."""

    __slots__ = ("_inner", "_owner", "path")

    def __init__(self, inner: File, owner: HookedFileSystem) -> None:
        self._inner = inner
        self._owner = owner
        self.path = inner.path

    def size(self) -> int:
        self._owner.hook("size", self.path)
        return self._inner.size()

    def allocate(self, start: int, end: int) -> None:
        self._owner.hook("allocate", self.path)
        self._inner.allocate(start, end)

    def truncate(self, size: int) -> None:
        self._owner.hook("truncate", self.path)
        self._inner.truncate(size)

    def read_at(self, position: int, size: int) -> bytes:
        self._owner.hook("read_at", self.path)
        return self._inner.read_at(position, size)

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        self._owner.hook("write_at", self.path)
        self._inner.write_at(position, data)

    def map(self, size: int, *, writable: bool) -> Mapping:
        self._owner.hook("map_to_write" if writable else "map_to_read", self.path)
        return self._inner.map(size, writable=writable)

    def sync_data(self) -> None:
        self._owner.hook("sync_data", self.path)
        self._inner.sync_data()

    def sync(self) -> None:
        self._owner.hook("sync", self.path)
        self._inner.sync()

    def close(self) -> None:
        self._owner.hook("close", self.path)
        self._inner.close()


class CallLog:
    """A hook that notes the calls it is asked to watch, and fails those it is told to."""

    def __init__(self, *watched: str) -> None:
        self.watched = frozenset(watched)
        self.calls: list[str] = []
        self.failures: dict[str, BaseException] = {}

    def __call__(self, call: str, path: str) -> None:
        if call in self.watched:
            self.calls.append(call)
        if call in self.failures:
            raise self.failures[call]

    def taken(self) -> list[str]:
        """Return the calls since the last look."""
        calls, self.calls = self.calls, []
        return calls


class DieAt:
    """A hook that raises `Killed` instead of the *number*-th changing call, and at each one from there on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.died_at: tuple[str, str] | None = None

    def __call__(self, call: str, path: str) -> None:
        if call not in CHANGING_CALLS:
            return
        if self.count >= self.number:
            self.died_at = self.died_at or (call, path)
            raise Killed(f"instead of call {self.count}: {call} {path}")
        self.count += 1


def hook_of(filesystem: FileSystem) -> HookedFileSystem:
    """Return *filesystem* as what it is."""
    return cast("HookedFileSystem", filesystem)

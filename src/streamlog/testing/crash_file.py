"""An open file of a disk that can lose its power, and its maps."""

# The methods are documented where they are declared, in `File` and `Mapping`.
# ruff: noqa: D102
from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, overload

from streamlog.runtime import File, Mapping
from streamlog.runtime.disk_errors import closed

if TYPE_CHECKING:
    from streamlog.testing.crash_content import CrashContent


class CrashFile(File):
    """A file of a `CrashFileSystem`, which makes it."""

    __slots__ = ("_content", "_read_only", "path")

    def __init__(self, path: str, content: CrashContent, *, read_only: bool) -> None:
        self.path = path
        self._content: CrashContent | None = content
        self._read_only = read_only

    def _opened(self) -> CrashContent:
        if self._content is None:
            raise closed(self.path)
        return self._content

    def _writable(self) -> CrashContent:
        content = self._opened()
        if self._read_only:
            raise PermissionError(errno.EACCES, "The file was opened for reading", self.path)
        return content

    def size(self) -> int:
        return self._opened().size

    def allocate(self, start: int, end: int) -> None:
        content = self._writable()
        if start < end and end > content.size:
            content.resize(end, self.path)

    def truncate(self, size: int) -> None:
        self._writable().resize(size, self.path)

    def read_at(self, position: int, size: int) -> bytes:
        return self._opened().read_at(position, size)

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        self._writable().write_at(position, bytes(data), self.path)

    def map(self, size: int, *, writable: bool) -> Mapping:
        content = self._writable() if writable else self._opened()
        if not 0 < size <= content.size:
            raise ValueError(f"{self.path}: cannot map {size} of {content.size} bytes")
        return CrashMapping(content, size, self.path, writable=writable)

    def sync_data(self) -> None:
        self._opened().sync(self.path)

    def sync(self) -> None:
        self._opened().sync(self.path)

    def fail_sync(self) -> None:
        """Lose what a sync was to make safe; the caller raises."""
        self._opened().fail_sync(self.path)

    def close(self) -> None:
        self._content = None

    def __repr__(self) -> str:
        return f"<CrashFile {self.path}{' closed' if self._content is None else ''}>"


class CrashMapping:
    """A map of a `CrashContent`: each store through it is a step at which the power may go.

    A store or a read behind the end of the file raises RuntimeError: on a real system it kills the
    process.
    """

    __slots__ = ("_content", "_path", "_size", "_writable")

    def __init__(self, content: CrashContent, size: int, path: str, *, writable: bool) -> None:
        self._content = content
        self._size = size
        self._path = path
        self._writable = writable

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __getitem__(self, key: int | slice, /) -> int | bytes:
        if isinstance(key, int):
            return self._content.live[key]
        start, stop, step = key.indices(self._size)
        if stop > len(self._content.live):
            raise RuntimeError(
                f"{self._path}: SIGBUS: a read up to byte {stop} of a file of {self._content.size}"
            )
        return bytes(self._content.live[start:stop:step])

    @overload
    def __setitem__(self, key: int, value: int, /) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: bytes | bytearray | memoryview, /) -> None: ...
    def __setitem__(self, key: int | slice, value: int | bytes | bytearray | memoryview, /) -> None:
        if not self._writable:
            raise TypeError(f"{self._path}: mapped for reading")
        if isinstance(key, int):
            start, stop, data = key, key + 1, bytes((int(value),))
        else:
            start, stop, _ = key.indices(self._size)
            data = bytes(value)
        if stop - start != len(data):
            raise IndexError(f"expected {stop - start} bytes, found {len(data)}")
        self._content.store(start, data, self._path)

    def find(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        return self._content.live.find(sub, start, self._size if end is None else end)

    def __buffer__(self, flags: int, /) -> memoryview:
        raise BufferError("a map of a disk that can lose its power gives out no views")


class CrashWords:
    """A `CrashMapping` as 32-bit numbers, each stored in one step."""

    __slots__ = ("_mapping",)

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping

    def __len__(self) -> int:
        return len(self._mapping) // 4

    def __getitem__(self, index: int, /) -> int:
        return int.from_bytes(self._mapping[4 * index : 4 * index + 4], sys.byteorder)

    def __setitem__(self, index: int, value: int, /) -> None:
        self._mapping[4 * index : 4 * index + 4] = value.to_bytes(4, sys.byteorder)

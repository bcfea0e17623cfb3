"""One file in memory."""

# The methods are documented where they are declared, in `File`.
# ruff: noqa: D102
from __future__ import annotations

import errno
import mmap
import sys
from typing import TYPE_CHECKING

from streamlog.runtime.disk_errors import closed
from streamlog.runtime.filesystem import File
from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.mapping import Mapping

_PAGE_BYTES = mmap.PAGESIZE
#: The room that a file gets on top once it is larger than that.
_LARGE_BYTES = 1 << 20
_ROOM_BYTES = 1 << 30
#: How much longer the next map of a smaller one is.
_GROWTH = 16
_COPY_BYTES = 65_536
_ZEROS = bytes(_COPY_BYTES)


class MemoryContent:
    """The bytes behind a name: what a file system calls an inode. Open files share it.

    The bytes live in an anonymous map, of which the system provides only pages that were written.
    A file that outgrows its map gets another one, and the old one stays as it is for those who read
    it. Room costs nothing until it is written, so a file that is no longer small gets so much of it
    that it is not copied again: copying a large one would stop whoever appends for a tenth of a
    second. Where the system does not give that much, maps double.

    Threads: as for `File`.
    """

    __slots__ = ("_lock", "_reserve", "_time_ms", "mapping", "modified_ms", "size")

    def __init__(
        self,
        reserve: Callable[[MemoryContent, int], None],
        time_ms: Callable[[], int],
        data: bytes = b"",
    ) -> None:
        self.size = len(data)
        self.mapping: mmap.mmap | None = None
        """Where the bytes are; at least *size* long; None as long as the file is empty."""
        if data:
            self.mapping = _anonymous_map(len(data))
            self.mapping[: len(data)] = data
        self.modified_ms = time_ms()
        self._reserve = reserve
        self._time_ms = time_ms
        self._lock = Lock()

    def resize(self, size: int) -> None:
        """Set the size; new bytes read as zero. Raises DiskFullError from the file system."""
        with self._lock:
            if size > self.size:
                self._reserve(self, size)
                if self.mapping is None or size > len(self.mapping):
                    self.mapping = self._larger_map(size)
            elif self.mapping is not None and size < self.size:
                _clear(self.mapping, size, self.size)
            self.size = size
            self.modified_ms = self._time_ms()

    def _larger_map(self, size: int) -> mmap.mmap:
        old = self.mapping
        if old is None:
            return _anonymous_map(size)
        new = _roomy_map(size, len(old))
        for start in range(0, self.size, _COPY_BYTES):
            block = old[start : start + _COPY_BYTES]
            # A page of zeros that nobody wrote takes no memory; copying it would.
            if block != _ZEROS:
                new[start : start + len(block)] = block
        return new

    def read_at(self, position: int, size: int) -> bytes:
        """Return *size* bytes from *position*; fewer where the file ends."""
        _check_position(position, size)
        end = min(position + size, self.size)  # before the map: that one is never shorter
        mapping = self.mapping
        return b"" if mapping is None or position >= end else mapping[position:end]

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Store *data* at *position*, growing the file as needed."""
        view = memoryview(data).cast("B")
        _check_position(position, len(view))
        end = position + len(view)
        if not view:
            return  # as on a disk, writing nothing past the end does not grow the file
        if end > self.size:
            self.resize(end)
        if self.mapping is not None:
            self.mapping[position:end] = view
            self.modified_ms = self._time_ms()


class MemoryFile(File):
    """A file of a `MemoryFileSystem`, which makes it. Syncing does nothing."""

    __slots__ = ("_content", "_read_only", "path")

    def __init__(self, path: str, content: MemoryContent, *, read_only: bool) -> None:
        self.path = path
        self._content: MemoryContent | None = content
        self._read_only = read_only

    def _opened(self) -> MemoryContent:
        if self._content is None:
            raise closed(self.path)
        return self._content

    def _writable(self) -> MemoryContent:
        content = self._opened()
        if self._read_only:
            raise PermissionError(errno.EACCES, "The file was opened for reading", self.path)
        return content

    def size(self) -> int:
        return self._opened().size

    def allocate(self, start: int, end: int) -> None:
        content = self._writable()
        if start < end and end > content.size:
            content.resize(end)

    def truncate(self, size: int) -> None:
        _check_position(size, 0)
        self._writable().resize(size)

    def read_at(self, position: int, size: int) -> bytes:
        return self._opened().read_at(position, size)

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        self._writable().write_at(position, data)

    def map(self, size: int, *, writable: bool) -> Mapping:
        """Return the map that the file lives in, the same one until the file outgrows it.

        It is longer than *size* when the file has room to grow, and not protected against stores
        when mapped for reading only.
        """
        content = self._writable() if writable else self._opened()
        if content.mapping is None or not 0 < size <= content.size:
            raise ValueError(f"{self.path}: cannot map {size} of {content.size} bytes")
        return content.mapping

    def sync_data(self) -> None:
        self._opened()

    def sync(self) -> None:
        self._opened()

    def close(self) -> None:
        self._content = None

    def __repr__(self) -> str:
        return f"<MemoryFile {self.path}{' closed' if self._content is None else ''}>"


def _check_position(position: int, size: int) -> None:
    if position < 0 or size < 0:
        raise OSError(errno.EINVAL, f"Invalid position {position} or size {size}")


def _roomy_map(size: int, old_size: int) -> mmap.mmap:
    """Return a map of *size* bytes at least, for a file that had one of *old_size*, with room to grow."""
    doubled = max(size, 2 * old_size)
    if sys.platform != "win32":  # there, the system sets aside whatever is mapped
        try:
            return _anonymous_map(
                size + _ROOM_BYTES if size > _LARGE_BYTES else max(size, _GROWTH * old_size)
            )
        except OSError:
            pass  # a limit on addresses, or more than there is memory in all
    return _anonymous_map(doubled)


def _anonymous_map(size: int) -> mmap.mmap:
    size += -size % _PAGE_BYTES
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Private: a shared one would be a file of the system's, and a forked child would write into it.
    new = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        # Neighbouring maps look like one to the kernel: with huge pages, the first byte of each of
        # a thousand idle partitions would cost 2 MiB and not 4 KiB.
        try:
            new.madvise(mmap.MADV_NOHUGEPAGE)
        except OSError:
            pass  # a kernel without huge pages
    return new


def _clear(mapping: mmap.mmap, start: int, end: int) -> None:
    """Make ``start <= position < end`` zero, giving whole pages back to the system."""
    first = start + -start % _PAGE_BYTES
    last = end + -end % _PAGE_BYTES  # bytes past the end of the file are zero already
    if sys.platform == "linux" and first < last:
        mapping.madvise(mmap.MADV_DONTNEED, first, last - first)
        end = first
    for position in range(start, end, _COPY_BYTES):
        stop = min(position + _COPY_BYTES, end)
        mapping[position:stop] = _ZEROS[: stop - position]

"""One real file."""

# The methods are documented where they are declared, in `File`.
# ruff: noqa: D102
from __future__ import annotations

import mmap
import os
import sys
from typing import TYPE_CHECKING

from streamlog.runtime import system_calls
from streamlog.runtime.disk_errors import CLOSED_FD, closed, raise_translated
from streamlog.runtime.filesystem import File
from streamlog.runtime.fork import on_fork_in_child

if TYPE_CHECKING:
    from streamlog.runtime.mapping import Mapping


class OsFile(File):
    """A file of the operating system. Made by `OsFileSystem.open`.

    A forked child closes its copy at once: the file is the parent's. Closing while another thread is inside a call is a mistake of the caller's: the descriptor's
    number may be in use for another file by then.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        on_fork_in_child(self)

    def size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise_translated(error, self.path, "ask for the size")

    def allocate(self, start: int, end: int) -> None:
        if end <= start:
            return
        size = self.size()
        try:
            system_calls.allocate(self._fd, start, end, size)
        except OSError as error:
            self._cut_back_to(size)
            raise_translated(error, self.path, f"allocate {end - start} bytes at {start}")

    def _cut_back_to(self, size: int) -> None:
        # ext4 leaves a file extended, and the disk full, when posix_fallocate runs out of space
        # half way. Cutting needs no space; should it fail all the same, the first error matters.
        try:
            if os.fstat(self._fd).st_size > size:
                os.ftruncate(self._fd, size)
        except OSError:
            pass

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise_translated(error, self.path, f"set the size to {size} bytes")

    def read_at(self, position: int, size: int) -> bytes:
        try:
            data = system_calls.pread(self._fd, size, position)
            if len(data) == size or not data:
                return data
            parts = [data]
            missing = size - len(data)
            while missing:
                data = system_calls.pread(self._fd, missing, position + size - missing)
                if not data:
                    break
                parts.append(data)
                missing -= len(data)
            return b"".join(parts)
        except OSError as error:
            raise_translated(error, self.path, f"read {size} bytes at {position}")

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data).cast("B")
        try:
            # A short write is how a full disk announces itself; the next call gives the reason.
            while rest:
                written = system_calls.pwrite(self._fd, rest, position)
                rest = rest[written:]
                position += written
        except OSError as error:
            raise_translated(error, self.path, f"write {len(rest)} bytes at {position}")

    def map(self, size: int, *, writable: bool) -> Mapping:
        fd = self._opened()
        if size <= 0:
            raise ValueError(f"{self.path}: cannot map {size} bytes")
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        try:
            return _map(fd, size, access)
        except OSError as error:
            raise_translated(error, self.path, f"map {size} bytes")
        except ValueError as error:
            raise ValueError(f"{self.path}: cannot map {size} of {self.size()} bytes") from error

    def sync_data(self) -> None:
        try:
            system_calls.sync_file_data(self._opened())
        except OSError as error:
            raise_translated(error, self.path, "sync the data")

    def sync(self) -> None:
        try:
            system_calls.sync_file(self._opened())
        except OSError as error:
            raise_translated(error, self.path, "sync the file")

    def close(self) -> None:
        fd, self._fd = self._fd, CLOSED_FD
        if fd != CLOSED_FD:
            try:
                os.close(fd)
            except OSError as error:
                raise_translated(error, self.path, "close the file")

    def _opened(self) -> int:
        # Where the system would not answer -1 with EBADF: for mmap it is an anonymous map.
        if self._fd == CLOSED_FD:
            raise closed(self.path)
        return self._fd

    def _forked(self) -> None:
        self.close()

    def __del__(self) -> None:
        # Python does not know that the number stands for something to be given back.
        if getattr(self, "_fd", CLOSED_FD) != CLOSED_FD:
            try:
                os.close(self._fd)
            except OSError:
                pass  # the descriptor is gone all the same, and nobody is there to be told

    def __repr__(self) -> str:
        return f"<OsFile {self.path}{' closed' if self._fd == CLOSED_FD else ''}>"


def _map(fd: int, size: int, access: int) -> mmap.mmap:
    if sys.platform != "win32" and sys.version_info >= (3, 13):
        # Without a duplicate of the descriptor, kept for a resize() that we never call: this
        # halves how many descriptors a broker needs.
        return mmap.mmap(fd, size, access=access, trackfd=False)
    return mmap.mmap(fd, size, access=access)

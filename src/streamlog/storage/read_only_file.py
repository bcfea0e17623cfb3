"""The bytes of a file that another process writes: read where they are asked for, never mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, overload

if TYPE_CHECKING:
    from streamlog.runtime import File

#: What one read of the file fetches at least: walking over small batches then costs no call for each header.
WINDOW_BYTES = 64 * 1024

_SEARCH_BYTES = 1024 * 1024


class FileView:
    """A `Mapping` of the first *size* bytes of *file* that takes no map.

    The process that writes may cut a file at any time, and a read of a mapped page behind the new end kills the process that reads
    it; here it comes back shorter, which no checksum matches. For bytes that do not change any more: the last stretch that was
    read is kept, so that another *size* takes another view.

    Threads: any.
    """

    __slots__ = ("_file", "_size", "_window")

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._size = size
        # Where it starts, and what it holds: replaced as one.
        self._window = 0, b""

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...

    def __getitem__(self, key: int | slice, /) -> int | bytes:
        """Return one byte as a number, or a range. Raises OSError."""
        if not isinstance(key, slice):
            return self[key : key + 1][0]
        start, stop, _ = key.indices(self._size)
        if stop <= start:
            return b""
        window_start, window = self._window
        at = start - window_start
        if at >= 0 and stop - window_start <= len(window):
            return window[at : stop - window_start]
        if stop - start >= WINDOW_BYTES:
            return self._read(start, stop - start)
        window = self._read(start, min(WINDOW_BYTES, self._size - start))
        self._window = start, window
        return window[: stop - start]

    def find(self, sub: bytes, start: int = 0, end: int | None = None, /) -> int:
        """Return the lowest position of *sub* within ``start <= position < end``, or -1. Raises OSError."""
        end = self._size if end is None else min(end, self._size)
        while start + len(sub) <= end:
            chunk = self._read(start, min(_SEARCH_BYTES, end - start))
            found = chunk.find(sub)
            if found >= 0:
                return start + found
            # The last bytes again: it may begin in them.
            start += len(chunk) - len(sub) + 1
        return -1

    def _read(self, start: int, size: int) -> bytes:
        found = self._file.read_at(start, size)
        return found if len(found) == size else found + bytes(size - len(found))

    def __setitem__(self, key: int | slice, value: object, /) -> NoReturn:
        """Refuse: the file is somebody else's."""
        raise TypeError(f"{self._file.path}: open for reading only")

    def __buffer__(self, flags: int, /) -> NoReturn:
        """Refuse: there is nothing in memory."""
        raise TypeError(f"{self._file.path}: not in memory")

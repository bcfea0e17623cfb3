"""The bytes of a file that somebody else may be writing, read a window at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from streamlog.runtime import File, FileSystem, Mapping

_WINDOW_BYTES = 1 << 20


class FileBytes:
    """What `batch_scan` wants of a map, over plain reads: a file that shrinks under a map kills the process (SIGBUS).

    Slices behind the end are short, as those of bytes are. What was read is kept until `refresh`, so that one look sees one state.
    Threads: one.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._window = b""
        self._start = 0
        self._size = file.size()

    @classmethod
    def open(cls, filesystem: FileSystem, path: str) -> FileBytes:
        """Open the file at *path* for reading. It is closed with the last reference. Raises OSError."""
        return cls(filesystem.open(path, read_only=True))

    @property
    def mapping(self) -> Mapping:
        """This, for whoever reads a `Mapping`. Storing into it is not possible."""
        return cast("Mapping", self)

    def refresh(self) -> int:
        """Forget what was read, and return the size of the file now."""
        self._window = b""
        self._size = self._file.size()
        return self._size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, key: int | slice) -> int | bytes:
        if isinstance(key, int):
            return self._read(key, key + 1)[0]
        start, stop, _ = key.indices(self._size)
        return self._read(start, stop)

    def find(self, sub: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the lowest position of *sub* that lies wholly within start to end, or -1."""
        end = self._size if end is None else min(end, self._size)
        while start + len(sub) <= end:
            stop = min(start + _WINDOW_BYTES, end)
            found = self._read(start, stop).find(sub)
            if found >= 0:
                return start + found
            if stop == end:
                break
            start = stop - len(sub) + 1
        return -1

    def _read(self, start: int, stop: int) -> bytes:
        if stop <= start:
            return b""
        at = start - self._start
        if at < 0 or stop - self._start > len(self._window):
            if stop - start >= _WINDOW_BYTES:
                return self._file.read_at(start, stop - start)
            self._window = self._file.read_at(start, min(_WINDOW_BYTES, self._size - start))
            self._start, at = start, 0
        return self._window[at : at + stop - start]

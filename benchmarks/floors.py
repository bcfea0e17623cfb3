"""What cannot be beaten: the least that Python, memory and the disk need for the same bytes."""

from __future__ import annotations

import mmap
import os
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender

EMPTY_CALL = "empty call"
FDATASYNC = "fdatasync"


class _Empty:
    def call(self, value: object, key: object = None) -> None:
        pass


def empty_call(count: int) -> Contender:
    """*count* calls of a method that does nothing, with one keyword argument: the unit of the per-record targets."""

    def body(times: int) -> None:
        empty, value = _Empty(), b"x" * 100
        for _ in repeat(None, times):
            empty.call(value, key=None)

    return Contender.loop(EMPTY_CALL, body, count)


class AllocatedFile:
    """A file with all its room preallocated, stored into through a map and synced: the disk's own rate of small durable writes."""

    def __init__(self, path: Path, size: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self._fd, 0, size)
        os.fsync(self._fd)
        self._map = mmap.mmap(self._fd, size)
        self._size = size
        self._position = 0

    def contender(self, record: bytes, count: int) -> Contender:
        """*count* times: store *record* behind the last one, ``fdatasync``."""
        size = (len(record) + 7) & -8

        def body(times: int) -> None:
            fd, mapping, position = self._fd, self._map, self._position
            for _ in repeat(None, times):
                if position + size > self._size:
                    position = 0
                mapping[position : position + len(record)] = record
                position += size
                os.fdatasync(fd)
            self._position = position

        return Contender.loop(FDATASYNC, body, count)

    def close(self) -> None:
        self._map.close()
        os.close(self._fd)

    def __enter__(self) -> AllocatedFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

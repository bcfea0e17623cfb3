"""What cannot be beaten: the least that Python, memory and the disk need for the same bytes."""

from __future__ import annotations

import mmap
import os
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, within

EMPTY_CALL = "empty call"
FDATASYNC = "fdatasync"
ATOMIC_REPLACE = "replace a small file durably"

#: What an empty call takes on the machine that the absolute targets were written for, when nobody else uses it.
QUIET_CALL_S = 46e-9


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


def within_seconds(seconds: float) -> Target:
    """At most *seconds* of processor time, by the yardstick of `empty_call`, which has to be one of the contenders.

    An absolute target, made independent of how busy the machine is: 10 us are what 217 empty calls take on a quiet one.
    """
    return within(seconds, EMPTY_CALL, QUIET_CALL_S)


def atomic_replace(path: Path) -> Contender:
    """Write a small file, sync it, rename it over the old one, sync the directory: what a clean open cannot do without."""

    def body(_: int) -> None:
        fd = os.open(path.with_suffix(".tmp"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, b"x" * 100)
        os.fsync(fd)
        os.close(fd)
        os.replace(path.with_suffix(".tmp"), path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)

    return Contender.loop(ATOMIC_REPLACE, body, 1)


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

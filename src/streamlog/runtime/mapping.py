"""A file in memory: what ``File.map`` returns."""

from __future__ import annotations

import mmap
import sys
from typing import Protocol, overload


class Mapping(Protocol):
    """The bytes of a file, readable and, if mapped so, writable in place. An `mmap.mmap` is one.

    Nobody closes a mapping while others may read it: drop the references, and it goes with the
    last one and the last view. A mapping made with ``writable=False`` raises TypeError on a store.

    Threads: any may read; the bytes a single thread writes are its own affair until it tells.
    """

    def __len__(self) -> int:
        """Return the length in bytes."""

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...

    def __getitem__(self, key: int | slice, /) -> int | bytes:
        """Return one byte as a number, or a copy of a range."""

    @overload
    def __setitem__(self, key: int, value: int, /) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: bytes | bytearray | memoryview, /) -> None: ...

    def __setitem__(self, key: int | slice, value: int | bytes | bytearray | memoryview, /) -> None:
        """Store one byte, or a range of exactly the same length."""

    def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int:
        """Return the lowest position of *sub* within ``start <= position < end``, or -1."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """Let ``memoryview(mapping)`` work."""


class Words(Protocol):
    """What ``FileSystem.words`` returns: a `memoryview` of format ``"I"`` is one."""

    def __len__(self) -> int:
        """Return how many words there are."""

    def __getitem__(self, index: int, /) -> int:
        """Return the word at *index*, which counts words, not bytes."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Store a word."""


_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14; the mmap module has no name for it
_PAGE_BYTES = mmap.PAGESIZE


def prefault_pages(mapping: mmap.mmap, start: int, end: int) -> None:
    """Load the pages around ``start <= position < end`` for writing; do nothing if impossible."""
    first = start - start % _PAGE_BYTES
    length = min(end, len(mapping)) - first
    # The number means this on Linux only.
    if length > 0 and sys.platform == "linux":
        try:
            mapping.madvise(_POPULATE_WRITE, first, length)
        except (AttributeError, OSError, ValueError):
            pass  # an older kernel, a map for reading, a closed one: it was only a hint


def view_as_words(mapping: Mapping) -> memoryview[int]:
    """Return *mapping* as 32-bit words; the view keeps it alive."""
    return memoryview(mapping)[: len(mapping) & ~3].cast("I")

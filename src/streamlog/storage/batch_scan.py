"""Walking a mapped segment batch by batch, and finding the next good batch behind a bad place."""

from __future__ import annotations

from collections.abc import Iterator

from streamlog.record.checksum import crc32c
from streamlog.record.layout import HEADER_SIZE, MAGIC, BatchHeader, aligned, read_header
from streamlog.runtime import Mapping

_ZEROS = bytes(64 * 1024)

#: Where MAGIC stands in a header.
_MAGIC_AT = 8


def header_at(mapping: Mapping, position: int, end: int) -> BatchHeader | None:
    """Return the header at *position* when it is valid and its whole batch lies below *end*; None otherwise."""
    if position + HEADER_SIZE > end:
        return None
    header = read_header(mapping[position : position + HEADER_SIZE])
    if header is None or position + header.length > end:
        return None
    return header


def body_is_good(mapping: Mapping, position: int, header: BatchHeader) -> bool:
    """Whether the body of the batch at *position* has the checksum that its header names."""
    return crc32c(mapping[position + HEADER_SIZE : position + header.length]) == header.body_crc


def headers_from(mapping: Mapping, position: int, end: int) -> Iterator[tuple[int, BatchHeader]]:
    """Yield (position, header) batch after batch from *position*, until one is not valid or *end* is reached."""
    while (header := header_at(mapping, position, end)) is not None:
        yield position, header
        position += header.aligned_size


def find_next_batch(
    mapping: Mapping, start: int, end: int, min_offset: int
) -> tuple[int, BatchHeader] | None:
    """Return the first wholly good batch at or behind *start* whose base offset is at least *min_offset*.

    Searches for the magic with the speed of ``memmem``; a hit counts only with both checksums right, so payload bytes that look
    like a header are not believed. None when there is no such batch below *end*.
    """
    at = start + _MAGIC_AT
    while (found := mapping.find(MAGIC, at, end)) >= 0:
        position = found - _MAGIC_AT
        if position % 8 == 0:
            header = header_at(mapping, position, end)
            if (
                header is not None
                and header.base_offset >= min_offset
                and body_is_good(mapping, position, header)
            ):
                return position, header
        at = found + 1
    return None


def resync(
    mapping: Mapping, position: int, end: int, min_offset: int
) -> tuple[int, BatchHeader] | None:
    """Return the first good batch at or behind the bad place *position*, as :func:`find_next_batch` does.

    A bad batch's own frame is tried first: its value may be a copy of a batch, which a search would take for one of the log's.
    """
    header = header_at(mapping, position, end)
    if (
        header is not None
        and header.base_offset >= min_offset
        and body_is_good(mapping, position, header)
    ):
        return position, header
    start = position
    raw = mapping[position : min(position + HEADER_SIZE, end)]
    if raw[_MAGIC_AT : _MAGIC_AT + 4] == MAGIC:
        length = int.from_bytes(raw[:4], "little")
        framed = HEADER_SIZE + int.from_bytes(raw[12:16], "little")
        # One of the two sizes may be what is damaged, and lead to a batch further on: the one that skips least is right.
        frames = [position + aligned(size) for size in (framed, length) if size >= HEADER_SIZE]
        followers = [h for stop in frames if (h := _header_behind(mapping, stop, end, min_offset))]
        if followers:
            return find_next_batch(mapping, min(followers)[1], end, min_offset)
        if length == 0 and int.from_bytes(raw[16:24], "little") == min_offset:
            # Torn: the process died in the middle of storing the next batch, so nothing can have been stored behind it.
            start = position + aligned(framed)
    return find_next_batch(mapping, start, end, min_offset)


def _header_behind(
    mapping: Mapping, position: int, end: int, min_offset: int
) -> tuple[int, int] | None:
    """Return (base offset, position) of the batch at *position* if there is a valid header of a later batch."""
    header = header_at(mapping, position, end) if position < end else None
    if header is None or header.base_offset < min_offset:
        return None
    return header.base_offset, position


def is_zero(mapping: Mapping, start: int, end: int) -> bool:
    """Whether every byte from *start* to *end* is zero. Cost: memory speed."""
    while start < end:
        stop = min(start + len(_ZEROS), end)
        # One comparison: counting zeros goes byte by byte, and there may be 8 MiB of preallocated room.
        if mapping[start:stop] != _ZEROS[: stop - start]:
            return False
        start = stop
    return True

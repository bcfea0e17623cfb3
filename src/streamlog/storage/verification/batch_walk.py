"""Walking a `.log` file from its beginning to its end, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streamlog.record.batch_view import BatchView
from streamlog.record.checksum import crc32c
from streamlog.record.layout import HEADER_SIZE, BatchHeader
from streamlog.storage.batch_scan import header_at, is_zero, resync
from streamlog.storage.verification.file_bytes import FileBytes


class StoredBatch(NamedTuple):
    """A batch whose header is good."""

    position: int
    header: BatchHeader
    #: Whether the body has the checksum that the header names.
    is_valid: bool
    view: BatchView


class BadBytes(NamedTuple):
    """A place where no batch can be read."""

    position: int
    #: Where a good batch follows, or where the file ends.
    end: int
    #: The offset that was expected here, and the one that can be read next; None when nothing follows.
    expected_offset: int
    next_offset: int | None
    #: Whether the length word is zero, and nothing good follows: the last batch was never finished.
    is_unfinished: bool


class Room(NamedTuple):
    """Zeros up to the end of the file: room for more."""

    position: int
    end: int


def walk_batches(
    content: FileBytes, base_offset: int, *, is_growing: bool = False
) -> Iterator[StoredBatch | BadBytes | Room]:
    """Yield what is in the file from its beginning on, in order, without a gap; steps over damage.

    Where *is_growing*, somebody may be appending: a place that cannot be read is read once more before it counts as bad, and the walk
    ends with what was stored by then. Raises OSError.
    """
    mapping, end = content.mapping, len(content)
    position, expected = 0, base_offset
    has_looked_again = False
    while position < end:
        header = header_at(mapping, position, end)
        if header is None and is_growing and not has_looked_again:
            has_looked_again = True
            end = content.refresh()
            continue
        has_looked_again = False
        if header is not None:
            body = mapping[position + HEADER_SIZE : position + header.length]
            is_valid = crc32c(body) == header.body_crc
            yield StoredBatch(position, header, is_valid, BatchView(header, body))
            position += header.aligned_size
            expected = header.next_offset
            continue
        if is_zero(mapping, position, end):
            yield Room(position, end)
            return
        following = resync(mapping, position, end, expected)
        stop = end if following is None else following[0]
        is_unfinished = following is None and not any(mapping[position : position + 4])
        next_offset = None if following is None else following[1].base_offset
        yield BadBytes(position, stop, expected, next_offset, is_unfinished)
        if following is None:
            return
        position, expected = stop, following[1].base_offset

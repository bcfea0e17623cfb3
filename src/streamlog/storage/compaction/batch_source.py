"""The batches of a segment for whoever is about to drop the original: each one whole and good, and none missing."""

from __future__ import annotations

from collections.abc import Iterator

from streamlog.record.batch_view import BatchView
from streamlog.record.checksum import crc32c
from streamlog.record.layout import HEADER_SIZE, read_header
from streamlog.storage.segment import Segment


def batches_of(segment: Segment, start_offset: int) -> Iterator[BatchView]:
    """Yield the batches of the sealed *segment* from the one that holds *start_offset* on, with both checksums verified.

    Raises CorruptLogError at the first byte that is wrong or missing; ClosedError, FileNotFoundError or ValueError when the file is gone.
    """
    segment.ensure_indexes()
    end, next_offset = segment.position, segment.next_offset
    position, expected = 0, segment.base_offset
    if start_offset > expected:
        position, expected = segment.position_of(start_offset)
    mapping = segment.mapping_for_read() if end else b""
    while position < end:
        header = read_header(mapping[position : position + HEADER_SIZE])
        if header is None or header[4] != expected or position + header[0] > end:
            raise segment.damage_at(expected, "expected the next batch, found something else")
        body = mapping[position + HEADER_SIZE : position + header[0]]
        if crc32c(body) != header[5]:
            raise segment.damage_at(expected, "the checksum of its body is wrong")
        yield BatchView(header, body)
        position += header[0] + 7 & -8
        expected += header[11] + 1
    if expected != next_offset:
        raise segment.damage_at(expected, "expected a batch, found the end of the file")

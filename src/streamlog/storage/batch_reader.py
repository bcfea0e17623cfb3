"""Reading a segment batch by batch, each into bytes of its own: how consumers read."""

from __future__ import annotations

from streamlog.record.batch_view import BatchView
from streamlog.record.layout import HEADER_SIZE, read_header
from streamlog.storage.segment import _MAX_HINTS, Segment


def read_batches(
    segment: Segment, offset: int, max_bytes: int, upper_bound_offset: int | None
) -> list[BatchView] | None:
    """Return the batches that `Segment.read` would return as one piece; None when there are none.

    Each body is copied out of the map once. Cutting batches out of one large piece copies twice, and a piece of more than about
    100 KiB is memory fresh from the system at each read, whose page faults cost more than all the rest. ``max_bytes`` is softer
    than there: the batch that reaches it is the last. Raises as `Segment.read` does.
    """
    if not segment._index_loaded:
        segment.ensure_indexes()
    end = segment.position
    if end == 0:
        return None
    mapping = segment.mapping_for_read()
    position = segment._hints.get(offset, -1)
    header = (
        read_header(mapping[position : position + HEADER_SIZE]) if 0 <= position < end else None
    )
    if header is None or header[4] != offset or position + header[0] > end:
        located = segment.locate(offset, mapping, end)
        if located is None:
            return None
        position, header = located
    if upper_bound_offset is not None and header[4] >= upper_bound_offset:
        return None
    batches: list[BatchView] = []
    while True:
        length = header[0]
        batches.append(BatchView(header, mapping[position + HEADER_SIZE : position + length]))
        position += length + 7 & -8
        max_bytes -= length
        if max_bytes <= 0 or position >= end:
            break
        # Like header_at(), which would be another call for each batch.
        following = read_header(mapping[position : position + HEADER_SIZE])
        if (
            following is None
            or position + following[0] > end
            or following[4] != header[4] + header[11] + 1  # base_offset, last_offset_delta
        ):
            break  # damage: whoever reads on from here meets it
        if upper_bound_offset is not None and following[4] >= upper_bound_offset:
            break
        header = following
    hints = segment._hints
    if len(hints) >= _MAX_HINTS:
        hints.clear()
    hints[batches[-1].next_offset] = position
    return batches

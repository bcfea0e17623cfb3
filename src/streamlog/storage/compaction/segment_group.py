"""Which segments become one (CMP-8)."""

from __future__ import annotations

from collections.abc import Sequence

from streamlog.storage.segment import Segment

#: Offsets in the indexes are relative to the segment and four bytes wide (LOG-2).
MAX_RELATIVE_OFFSET = 2**31 - 1


def group_segments(
    segments: Sequence[Segment], segment_bytes: int, segment_index_bytes: int
) -> list[list[Segment]]:
    """Return *segments*, which follow each other, in groups of neighbours that together keep to the limits of one segment.

    A segment that is above a limit by itself is a group of its own. Loads the indexes of all. Source: Kafka
    ``Cleaner.groupSegmentsBySize``.
    """
    groups: list[list[Segment]] = []
    size = offsets_size = times_size = 0
    for segment in segments:
        segment.ensure_indexes()
        size += segment.position
        offsets_size += segment.offset_index.size_bytes
        times_size += segment.time_index.size_bytes
        if (
            groups
            and size <= segment_bytes
            and offsets_size <= segment_index_bytes
            and times_size <= segment_index_bytes
            and segment.next_offset - groups[-1][0].base_offset <= MAX_RELATIVE_OFFSET
        ):
            groups[-1].append(segment)
        else:
            groups.append([segment])
            size = segment.position
            offsets_size = segment.offset_index.size_bytes
            times_size = segment.time_index.size_bytes
    return groups

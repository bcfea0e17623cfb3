"""Putting a cleaned file in the place of the segments that it was made from, and finishing that after a crash (CMP-8).

STATE says which segments before a name changes, so whatever happens then, the next open knows what was to come: the file ``.cleaned``,
which is on the disk by then, becomes the first of them, and the others go. Nothing is lost where that was done already.
"""

from __future__ import annotations

from collections.abc import Callable

from streamlog.runtime import FileSystem
from streamlog.storage.compaction.cleaned_file import cleaned_path
from streamlog.storage.file_names import (
    LOG_SUFFIX,
    SEGMENT_SUFFIXES,
    base_offset_of,
    join,
    segment_stem,
)
from streamlog.storage.segment import Segment


def finish_swap(filesystem: FileSystem, directory: str, from_offset: int, to_offset: int) -> None:
    """Finish, while nobody has the log open, the swap of the segments from *from_offset* up to, not including, *to_offset*.

    Durable when it returns. Doing it again changes nothing, as long as no other ``.cleaned`` file was begun. Raises OSError.
    """
    stem = join(directory, segment_stem(from_offset))
    source, target = cleaned_path(directory, from_offset), stem + LOG_SUFFIX
    for suffix in SEGMENT_SUFFIXES:
        if suffix != LOG_SUFFIX:
            _remove(filesystem, stem + suffix)
    if filesystem.exists(source):
        filesystem.rename(source, target)
    for name in filesystem.list_dir(directory):
        base_offset = base_offset_of(name)
        if base_offset is not None and from_offset < base_offset < to_offset:
            for suffix in SEGMENT_SUFFIXES:
                _remove(filesystem, join(directory, segment_stem(base_offset) + suffix))
    filesystem.sync_dir(directory)


def _remove(filesystem: FileSystem, path: str) -> None:
    if filesystem.exists(path) and not filesystem.is_dir(path):
        filesystem.unlink(path)


def swapped(base_offsets: list[int], from_offset: int, to_offset: int) -> list[int]:
    """Return *base_offsets* as they are once the segments from *from_offset* up to *to_offset* are one."""
    before = [offset for offset in base_offsets if offset < from_offset]
    return [*before, from_offset, *(offset for offset in base_offsets if offset >= to_offset)]


def drop_leftovers(
    filesystem: FileSystem,
    segments: list[Segment],
    number: int,
    end_offset: int,
    delete: Callable[[list[Segment]], None],
) -> None:
    """Remove from *segments*, and *delete*, those behind *number*, which is whole and ends at *end_offset*, that it stands for.

    Without STATE nobody knows that a swap was under way; but only one leaves a segment that begins inside the one before it and ends
    no later. Or a roll whose file was made, and could be neither used nor deleted: then what was appended since is in the one before
    it, and the file is empty.
    """
    while len(segments) > number + 1 and segments[number + 1].base_offset < end_offset:
        if len(segments) > number + 2:
            is_leftover = segments[number + 2].base_offset <= end_offset
        else:
            is_leftover = not filesystem.file_size(segments[number + 1].path)
        if not is_leftover:
            return
        delete([segments.pop(number + 1)])

"""What is in the directory of a partition when it is opened."""

from __future__ import annotations

from streamlog.runtime import FileSystem
from streamlog.storage.file_names import (
    CLEANED_SUFFIX,
    DELETED_SUFFIX,
    LOG_SUFFIX,
    SEGMENT_SUFFIXES,
    TEMPORARY_SUFFIX,
    base_offset_of,
    join,
    snapshot_offset_of,
)

_LEFTOVERS = (DELETED_SUFFIX, TEMPORARY_SUFFIX, CLEANED_SUFFIX)


def list_segments(filesystem: FileSystem, directory: str) -> tuple[list[int], list[int]]:
    """Delete what a crash left half-deleted or half-written; return the base offsets of the segments and the offsets of the snapshots,
    both in order.
    """
    names = filesystem.list_dir(directory)
    base_offsets = sorted(base for name in names if (base := base_offset_of(name)) is not None)
    stems = {f"{base:020d}" for base in base_offsets}
    snapshots: list[int] = []
    for name in names:
        path = join(directory, name)
        orphan_index = (
            name.endswith(SEGMENT_SUFFIXES)
            and not name.endswith(LOG_SUFFIX)
            and name[:20] not in stems
        )
        offset = snapshot_offset_of(name)
        if not (name.endswith(_LEFTOVERS) or orphan_index or offset is not None):
            continue
        if filesystem.is_dir(path):
            continue
        if offset is None:
            filesystem.unlink(path)
        else:
            snapshots.append(offset)
    return base_offsets, snapshots

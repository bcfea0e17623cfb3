"""Which segments a log has while another process adds, deletes and merges them."""

from __future__ import annotations

from typing import NamedTuple

from streamlog.errors import DataLossError
from streamlog.runtime import FileSystem
from streamlog.storage.compaction.cleaned_file import cleaned_path
from streamlog.storage.compaction.segment_swap import swapped
from streamlog.storage.file_names import LOG_SUFFIX, base_offset_of, join, segment_stem
from streamlog.storage.log_segments import fingerprint
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.structs import TopicPartition


class SegmentLayout(NamedTuple):
    """The segments of a log by base offset, and where it starts."""

    base_offsets: list[int]
    log_start_offset: int


def list_layout(
    filesystem: FileSystem,
    directory: str,
    topic_partition: TopicPartition,
    checkpoint: PartitionCheckpoint | None,
    *,
    power_failed: bool,
) -> SegmentLayout:
    """Return the layout of the log in *directory*, as recovery would take it, and change nothing.

    A truncation that STATE tells of counts as done, a swap of compaction from the moment in which it is. Raises DataLossError when durable records are missing: either they are, or the
    checkpoint is older than the files, which the caller finds out by reading STATE again. FileNotFoundError: no directory.
    """
    names = filesystem.list_dir(directory)
    found = sorted(base for name in names if (base := base_offset_of(name)) is not None)
    if checkpoint is None:
        base_offsets = found or [0]
        return SegmentLayout(base_offsets, base_offsets[0])
    start, durable_end = checkpoint.log_start_offset, checkpoint.recovery_offset
    confirmed = found
    if checkpoint.swapping_to_offset >= 0:
        place = checkpoint.swapping_from_offset, checkpoint.swapping_to_offset
        # STATE counts them as they will be. In the files it is so from the moment in which the cleaned one has the name of the first.
        confirmed = swapped(found, *place)
        if cleaned_path(directory, place[0]) not in [join(directory, name) for name in names]:
            found = list(confirmed)
    while len(found) > 1 and found[1] <= start:
        found = found[1:]  # retention is about to take it
    is_new = durable_end <= start
    if (not found or found[0] > start) and is_new and (not found or power_failed):
        return SegmentLayout([start], start)

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise DataLossError(
                f"{topic_partition}: {directory}: {what}; records below offset {durable_end} were durable",
                topic_partition=topic_partition,
                first_bad_offset=start,
                next_good_offset=None,
                file=directory,
                position=0,
            )

    require(bool(found), "no segment file")
    require(found[0] <= start, f"the first segment starts at offset {found[0]}, the log at {start}")
    last = checkpoint.segment_base_offset
    if last not in found:
        require(
            durable_end <= max(found[0], start),
            f"segment file {last:020d}{LOG_SUFFIX} is missing",
        )
        return SegmentLayout(found, start)
    path = join(directory, segment_stem(last) + LOG_SUFFIX)
    size = filesystem.file_size(path)
    require(
        size >= checkpoint.segment_position,
        f"{path}: expected at least {checkpoint.segment_position} bytes, found {size}",
    )
    counted = fingerprint(confirmed, start, last)
    require(
        counted == (checkpoint.sealed_count, checkpoint.sealed_crc),
        f"expected {checkpoint.sealed_count} segment files before {last:020d}{LOG_SUFFIX} "
        f"(checksum of their offsets {checkpoint.sealed_crc:08x}), found {counted[0]} ({counted[1]:08x})",
    )
    if checkpoint.truncating_to_offset >= 0:
        found = found[: found.index(last) + 1]
    return SegmentLayout(found, start)

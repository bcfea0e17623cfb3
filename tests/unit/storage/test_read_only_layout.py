"""Every answer that a listing and a checkpoint can give together; what a writer makes of the same is in `test_followed_log.py`."""

from __future__ import annotations

import pytest

from streamlog.errors import DataLossError
from streamlog.runtime import MemoryFileSystem
from streamlog.storage.log_segments import fingerprint
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.read_only_layout import SegmentLayout, list_layout
from streamlog.structs import TopicPartition

HERE = TopicPartition("t", 0)


def point(
    start: int, end: int, base: int, bases: tuple[int, ...] = (), position: int = 0, **fields: int
) -> PartitionCheckpoint:
    count, crc = fingerprint([*bases, base], start, base)
    return PartitionCheckpoint(
        start, end, base, position, 0, -1, -1, 0, sealed_count=count, sealed_crc=crc, **fields
    )


def layout(
    bases: list[int], checkpoint: PartitionCheckpoint | None, *, power_failed: bool = False
) -> SegmentLayout:
    disk = MemoryFileSystem()
    disk.make_dir("/t-0")
    names = [f"{base:020d}.log" for base in bases]
    for name in [*names, "00000000000000000003.idx", "00000000000000000001.log.deleted"]:
        disk.open(f"/t-0/{name}", create=True).write_at(0, bytes(100))
    return list_layout(disk, "/t-0", HERE, checkpoint, power_failed=power_failed)


def test_without_a_checkpoint_all_files_count() -> None:
    assert layout([], None) == SegmentLayout([0], 0)
    assert layout([7, 9], None) == SegmentLayout([7, 9], 7)


def test_what_a_checkpoint_confirms_is_taken() -> None:
    assert layout([0, 5, 9], point(0, 9, 9, (0, 5))) == SegmentLayout([0, 5, 9], 0)
    assert layout([0, 5, 9, 12], point(6, 7, 5)) == SegmentLayout([5, 9, 12], 6)


def test_a_new_log_begins_where_it_starts() -> None:
    assert layout([], point(0, 0, 0)) == SegmentLayout([0], 0)
    assert layout([], point(8, 8, 0)) == SegmentLayout([8], 8)
    assert layout([8], point(8, 8, 4)) == SegmentLayout([8], 8)


def test_after_a_power_failure_a_file_without_a_beginning_is_nothing() -> None:
    assert layout([5], point(0, 0, 0), power_failed=True) == SegmentLayout([0], 0)
    with pytest.raises(DataLossError, match="first segment starts at offset 5, the log at 0"):
        layout([5], point(0, 0, 0))
    with pytest.raises(DataLossError, match="first segment starts at offset 5, the log at 0"):
        layout([5], point(0, 9, 5), power_failed=True)


def test_a_truncation_under_way_counts_as_done() -> None:
    cut = point(0, 6, 5, (0,), truncating_to_offset=6)
    assert layout([0, 5, 9], cut) == SegmentLayout([0, 5], 0)


@pytest.mark.parametrize(
    ("bases", "checkpoint", "message"),
    [
        ([], point(0, 3, 0), "no segment file; records below offset 3 were durable"),
        ([0, 5], point(0, 12, 9, (0, 5)), "segment file 00000000000000000009.log is missing"),
        ([0, 9], point(0, 12, 9, (0, 5)), "expected 2 segment files before"),
        ([0], point(0, 12, 0, position=101), "expected at least 101 bytes, found 100"),
    ],
)
def test_durable_records_that_are_missing_are_data_loss(
    bases: list[int], checkpoint: PartitionCheckpoint, message: str
) -> None:
    with pytest.raises(DataLossError, match=message) as error:
        layout(bases, checkpoint)
    assert error.value.topic_partition == HERE
    assert error.value.file == "/t-0"


def test_without_a_directory_there_is_nothing_to_list() -> None:
    with pytest.raises(FileNotFoundError):
        list_layout(MemoryFileSystem(), "/t-0", HERE, None, power_failed=False)


@pytest.mark.parametrize(
    ("names", "bases"), [([0, 4, 8, 12], [0, 12]), ([0, 8, 12], [0, 12]), ([0, 12], [0, 12])]
)
def test_a_swap_counts_from_the_moment_it_is_done(names: list[int], bases: list[int]) -> None:
    """The cleaned file has the first one's name, and the others go one after the other."""
    swap = point(0, 13, 12, (0,), swapping_from_offset=0, swapping_to_offset=12)
    assert layout(names, swap) == SegmentLayout(bases, 0)


def test_a_swap_that_was_only_announced_is_not_seen() -> None:
    swap = point(5, 13, 12, (4,), swapping_from_offset=4, swapping_to_offset=12)
    disk = MemoryFileSystem()
    disk.make_dir("/t-0")
    for name in ("0.log", "4.log", "8.log", "12.log", "4.log.cleaned"):
        base, suffix = name.split(".", 1)
        disk.open(f"/t-0/{int(base):020d}.{suffix}", create=True)
    found = list_layout(disk, "/t-0", HERE, swap, power_failed=False)
    assert found == SegmentLayout([4, 8, 12], 5)

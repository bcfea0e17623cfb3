"""The indexes of a segment: kept in memory, flushed now and then, rebuilt from the log when in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import DiskFullError
from streamlog.storage import index_file
from tests.support.hooked_files import HookedFileSystem
from tests.support.segments import T0, append, new_segment, read_values, reopened
from tests.support.storage import Disk, Store
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from streamlog.storage.segment import Segment

BATCH = 104


def fill(segment: Segment, count: int, timestamps_ms: list[int] | None = None) -> None:
    for number in range(count):
        stamp = T0 + number if timestamps_ms is None else timestamps_ms[number]
        append(segment, b"%08d" % number, timestamp_ms=stamp)


def entries(segment: Segment) -> tuple[bytes, bytes]:
    return segment.offset_index.pack(), segment.time_index.pack()


# ---- making entries


@pytest.mark.parametrize(("interval", "every"), [(0, 1), (103, 1), (104, 2), (250, 3), (4096, 40)])
def test_an_entry_is_made_when_more_than_the_interval_was_stored_since(
    memory_disk: Disk, interval: int, every: int
) -> None:
    """LOG-3."""
    segment = new_segment(memory_disk, 50, index_interval_bytes=interval)
    fill(segment, 100)
    expected = [(n, n * BATCH) for n in range(every, 100, every)]
    assert segment.offset_index.pack() == b"".join(
        o.to_bytes(4, "little") + p.to_bytes(4, "little") for o, p in expected
    )


def test_time_entries_only_rise(memory_disk: Disk) -> None:
    """LOG-3: the time index is monotonic, whatever the records' timestamps do."""
    segment = new_segment(memory_disk)
    fill(segment, 6, [T0, T0 + 5, T0 + 3, T0 + 5, T0 + 9, T0])
    assert segment.time_floor(T0 + 5) == 1
    assert segment.time_floor(T0 + 8) == 1
    assert segment.time_floor(T0 + 9) == 4
    assert len(segment.time_index) == 2


@pytest.mark.parametrize(("index_bytes", "falling", "expected"), [(64, True, 8), (64, False, 3)])
def test_the_limit_drops_to_zero_when_an_index_is_full(
    memory_disk: Disk, index_bytes: int, falling: bool, expected: int
) -> None:
    """LOG-2: the next append goes by the slow path, which rolls. It used to go on until the room was used up."""
    segment = new_segment(memory_disk, segment_index_bytes=index_bytes)
    count = 0
    while segment.limit or not count:
        append(segment, b"12345678", timestamp_ms=T0 + (-count if falling else count))
        count += 1
    assert segment.index_is_full
    # The first batch has no entry; the time index keeps room for its closing entry.
    assert count - 1 == expected


# ---- flushing


def test_flushing_appends_what_is_new_and_says_how_far_it_reaches(disk: Disk) -> None:
    segment = new_segment(disk)
    fill(segment, 3)
    segment.flush_indexes()
    fill(segment, 2, [T0 + 10, T0 + 11])
    segment.flush_indexes()
    segment.flush_indexes()
    for path, packed in zip(
        (segment.offset_index_path, segment.time_index_path), entries(segment), strict=True
    ):
        content = index_file.read_entries(disk.filesystem, path, segment.position)
        assert content == (packed, segment.position, True, disk.filesystem.file_size(path))


def test_nothing_is_written_for_a_segment_whose_indexes_were_never_loaded(disk: Disk) -> None:
    segment = new_segment(disk)
    fill(segment, 3)
    other = reopened(segment, disk, sealed=False)
    other.flush_indexes()
    assert not disk.filesystem.exists(segment.offset_index_path)


def test_the_closing_time_entry_is_written_although_the_rest_was_flushed_before(
    disk: Disk,
) -> None:
    # A checkpoint had flushed up to the same position: the entry of the greatest timestamp never reached the file. The
    # next process took the segment for older than it was: retention deleted it early, lookups by time passed it over.
    segment = new_segment(disk, index_interval_bytes=4096)
    fill(segment, 3, [T0, T0 + 500, T0 + 1])
    segment.flush_indexes()
    segment.seal()
    other = reopened(segment, disk, sealed=True)
    assert other.largest_timestamp_ms() == T0 + 500
    assert other.time_floor(T0 + 500) == 1


def test_each_flush_holds_the_greatest_timestamp_so_far(disk: Disk) -> None:
    # The file says that it tells everything up to a position: the peak between two entries has to be in it, too, for
    # the blocks behind may be lost with the power.
    segment = new_segment(disk, index_interval_bytes=4096)
    fill(segment, 3, [T0, T0 + 500, T0 + 1])
    segment.flush_indexes()
    size = disk.filesystem.file_size(segment.time_index_path)
    fill(segment, 3, [T0 + 2, T0 + 3, T0 + 4])
    segment.seal()
    disk.cut(segment.time_index_path, size)
    disk.filesystem.unlink(segment.offset_index_path)
    disk.write(segment.offset_index_path, b"")
    assert reopened(segment, disk, sealed=True).largest_timestamp_ms() == T0 + 500


def test_a_full_disk_stops_the_flush_and_a_later_one_catches_up() -> None:
    disk = memory_disk_of(70_000)
    segment = new_segment(disk)
    fill(segment, 5)
    ballast = disk.filesystem.open("/root/ballast", create=True)
    ballast.allocate(0, disk.filesystem.free_bytes("/root"))
    with pytest.raises(DiskFullError):
        segment.flush_indexes()
    disk.filesystem.unlink("/root/ballast")
    segment.flush_indexes()
    other = reopened(segment, disk, sealed=False)
    other.load_indexes()
    assert entries(other) == entries(segment)


# ---- loading


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("interval", [0, 250, 1 << 20])
def test_loading_gives_back_what_was_there(disk: Disk, sealed: bool, interval: int) -> None:
    segment = new_segment(disk, 9, index_interval_bytes=interval)
    fill(segment, 20)
    if sealed:
        segment.seal()
    else:
        segment.flush_indexes()
        fill(segment, 1, [T0 + 100])  # after the flush: taken from the log
    other = reopened(segment, disk, sealed=sealed)
    other.load_indexes()
    assert other.offset_index.pack() == segment.offset_index.pack()
    assert other.largest_timestamp_ms() == segment.max_timestamp_ms
    assert other.max_timestamp_offset == segment.max_timestamp_offset
    assert other.time_floor(T0 + 5) <= 5


@pytest.mark.parametrize("suffixes", [(".idx",), (".tix",), (".idx", ".tix")])
def test_deleted_index_files_are_rebuilt_from_the_log(disk: Disk, suffixes: tuple[str]) -> None:
    segment = new_segment(disk)
    fill(segment, 20)
    segment.seal()
    for suffix in suffixes:
        disk.filesystem.unlink(segment.path.replace(".log", suffix))
    other = reopened(segment, disk, sealed=True)
    assert other.largest_timestamp_ms() == T0 + 19
    assert read_values(other, 17) == [b"%08d" % n for n in range(17, 20)]
    assert other.offset_index.pack() == segment.offset_index.pack()
    other.flush_indexes()
    third = reopened(segment, disk, sealed=True)
    third.load_indexes()
    assert entries(third) == entries(other)


@given(st.data())
def test_index_files_damaged_in_any_way_never_change_an_answer(data: st.DataObject) -> None:
    disk = memory_disk_of()
    stamps = data.draw(st.lists(st.integers(T0, T0 + 30), min_size=3, max_size=25))
    interval = data.draw(st.sampled_from([0, 250]))
    segment = new_segment(disk, index_interval_bytes=interval)
    half = len(stamps) // 2
    fill(segment, half, stamps[:half])
    segment.flush_indexes()
    fill(segment, len(stamps) - half, stamps[half:])
    segment.seal()
    for path in (segment.offset_index_path, segment.time_index_path):
        content = bytearray(disk.read(path))
        kind = data.draw(st.sampled_from(["none", "flip", "cut", "junk", "delete"]))
        at = data.draw(st.integers(0, len(content) - 1))
        if kind == "flip":
            content[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[at:]
        elif kind == "junk":
            content += data.draw(st.binary(min_size=1, max_size=40))
        if kind == "delete":
            disk.filesystem.unlink(path)
        else:
            disk.write(path, bytes(content))
    other = reopened(segment, disk, sealed=True)
    assert other.largest_timestamp_ms() == max(stamps)
    assert other.max_timestamp_offset == stamps.index(max(stamps))
    for offset in range(len(stamps)):
        assert read_values(other, offset, 1) == [read_values(segment, offset, 1)[0]]
    for stamp in stamps:
        assert all(earlier < stamp for earlier in stamps[: other.time_floor(stamp)])
    other.flush_indexes()
    third = reopened(segment, disk, sealed=True)
    third.load_indexes()
    assert third.offset_index.pack() == other.offset_index.pack()
    assert not third._rewrite_is_due, "what was damaged was replaced"


def test_entries_of_batches_that_were_cut_since_are_dropped(disk: Disk) -> None:
    # The index file is never synced and may be ahead of the log after a power loss.
    segment = new_segment(disk)
    fill(segment, 10, [T0 + n for n in range(9)] + [T0 + 900])
    segment.flush_indexes()
    other = reopened(segment, disk, sealed=False)
    other.position, other.next_offset = 5 * BATCH, 5
    other.load_indexes()
    assert other.largest_timestamp_ms() == T0 + 4
    third = reopened(other, disk, sealed=False)
    third.load_indexes()
    assert entries(third) == entries(other)
    content = index_file.read_entries(disk.filesystem, segment.time_index_path, segment.position)
    assert content.covers == 5 * BATCH, "replaced at once: a later process must not believe it"


def test_impossible_entries_with_good_checksums_are_not_believed(disk: Disk) -> None:
    segment = new_segment(disk)
    fill(segment, 5)
    segment.seal()
    entry = (1).to_bytes(4, "little") + (BATCH).to_bytes(4, "little")
    index_file.replace_entries(
        disk.filesystem, segment.offset_index_path, entry + entry, segment.position
    )
    other = reopened(segment, disk, sealed=True)
    other.load_indexes()
    assert entries(other) == entries(segment)


def test_a_full_disk_keeps_nobody_from_reading() -> None:
    # Rebuilding wrote the index file at once, in the middle of a read, and the read failed with DiskFullError.
    disk = memory_disk_of(200_000)
    segment = new_segment(disk)
    fill(segment, 20)
    segment.seal()
    disk.patch(segment.offset_index_path, 0, b"junk")
    ballast = disk.filesystem.open("/root/ballast", create=True)
    ballast.allocate(0, disk.filesystem.free_bytes("/root"))
    other = reopened(segment, disk, sealed=True)
    assert read_values(other, 15) == [b"%08d" % n for n in range(15, 20)]
    assert not disk.filesystem.exists(segment.offset_index_path), "better none than a wrong one"
    disk.filesystem.unlink("/root/ballast")
    other.flush_indexes()
    third = reopened(segment, disk, sealed=True)
    third.load_indexes()
    assert entries(third) == entries(other)


def test_an_index_that_can_neither_be_read_nor_replaced_is_done_without(
    memory_disk: Disk,
) -> None:
    segment = new_segment(memory_disk)
    fill(segment, 20)
    segment.seal()

    def hook(call: str, path: str) -> None:
        if path.endswith((".idx", ".tix")):
            raise OSError(5, "Input/output error", path)

    hooked = Disk(HookedFileSystem(memory_disk.filesystem, hook), memory_disk.root)
    other = reopened(segment, hooked, sealed=True)
    assert read_values(other, 15) == [b"%08d" % n for n in range(15, 20)]
    assert other.largest_timestamp_ms() == T0 + 19


def test_damage_in_the_log_is_skipped_and_what_follows_is_indexed(disk: Disk) -> None:
    segment = new_segment(disk, index_interval_bytes=1 << 20)
    fill(segment, 10)
    segment.seal()
    disk.filesystem.unlink(segment.offset_index_path)
    disk.flip(segment.path, 4 * BATCH + 30)
    other = reopened(segment, disk, sealed=True)
    assert read_values(other, 5) == [b"%08d" % n for n in range(5, 10)]
    assert other.offset_index.floor(6) == 5 * BATCH, "a lookup must not have to walk across damage"
    assert other.largest_timestamp_ms() == T0 + 9


def test_indexes_are_loaded_once(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    fill(segment, 3)
    segment.seal()
    other = reopened(segment, memory_disk, sealed=True)
    other.load_indexes()
    before = entries(other)
    other.load_indexes()
    assert entries(other) == before


def test_a_batch_further_away_than_an_index_entry_can_say_is_left_out_and_found_all_the_same(
    memory_disk: Disk,
) -> None:
    # Written by nobody here, with both checksums right: filling the index was an OverflowError.
    segment = new_segment(memory_disk, index_interval_bytes=1 << 20)
    fill(segment, 3)
    segment.next_offset = far = 1 << 33
    append(segment, b"far")
    other = reopened(segment, memory_disk, sealed=False)
    other.index_interval_bytes = 0
    other.load_indexes()
    assert len(other.offset_index) == 2
    assert read_values(other, 2, 1) == [b"00000002"]
    assert read_values(other, far, 1) == [b"far"]


def test_only_an_index_that_is_there_is_removed_when_it_cannot_be_rewritten() -> None:
    def no_index(call: str, path: str) -> None:
        if path.endswith((".idx", ".tix")) and call in ("make", "write_at", "write_atomically"):
            raise OSError(5, "no index today", path)

    disk = memory_disk_of()
    hooked = HookedFileSystem(disk.filesystem)
    store = Store(Disk(hooked, disk.root), segment_bytes=1024, index_interval_bytes=0)
    values = store.fill(20)
    store.close()
    disk.filesystem.unlink(store.segment_path(0, ".idx"))
    disk.flip(store.segment_path(0, ".tix"), 0)
    hooked.hook = no_index
    store.open()
    assert store.log.segments[0].read(0, 100, None) is not None
    assert store.values() == values
    assert not disk.filesystem.exists(store.segment_path(0, ".tix"))
    store.kill()

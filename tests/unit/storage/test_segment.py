"""One file of batches: storing, reading, truncating. Source of several cases: Kafka ``LogSegmentTest``."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import CorruptLogError
from streamlog.record import build_batch, build_single_value_batch, split_batches
from streamlog.record.layout import HEADER_SIZE, aligned, read_header
from streamlog.storage.batch_reader import read_batches
from streamlog.structs import NO_TIMESTAMP
from tests.support.hooked_files import HookedFileSystem
from tests.support.segments import (
    T0,
    append,
    append_value,
    new_segment,
    read_values,
    reopened,
)
from tests.support.storage import Disk
from tests.unit.storage.conftest import memory_disk_of

BATCH = 104  # bytes of a batch of one value of 8 bytes: 80 + 12 + 1 + 2 + 8, rounded up


# ---- storing


def test_a_stored_batch_is_read_back_with_offset_and_epoch(disk: Disk) -> None:
    segment = new_segment(disk, 100)
    assert append(segment, b"a", None, b"", timestamp_ms=T0 + 5) == 100
    assert (segment.next_offset, segment.position) == (103, aligned(80 + 12 + 1 + 3 + 1 + 2))
    data = segment.read(100, 1000, None)
    assert data is not None
    (batch,) = split_batches(data)
    batch.check()
    assert batch.values() == [b"a", None, b""]
    assert (batch.base_offset, batch.next_offset, batch.leader_epoch) == (100, 103, 3)
    assert batch.timestamps_ms() == [T0 + 5] * 3


@pytest.mark.parametrize("size", [0, 1, 7, 8, 255, 256, 65_535, 65_536, 300_000])
def test_the_short_way_for_one_value_writes_the_same_bytes(memory_disk: Disk, size: int) -> None:
    long_way, short_way = new_segment(memory_disk, 0), new_segment(memory_disk, 500_000)
    append(long_way, b"x" * size)
    short_way.next_offset = 0  # the base offset is in the bytes
    append_value(short_way, b"x" * size)
    expected, found = long_way.read(0, 1, None), short_way.mapping_for_read()
    assert expected == found[: short_way.position]
    assert (long_way.max_timestamp_ms, long_way.next_offset) == (
        short_way.max_timestamp_ms,
        short_way.next_offset,
    )


def test_the_short_way_never_lowers_the_greatest_timestamp(memory_disk: Disk) -> None:
    # A clock that was set back did: retention then deleted too early and lookups by time missed records.
    segment = new_segment(memory_disk)
    append_value(segment, b"late", T0 + 100)
    append_value(segment, b"early", T0)
    assert (segment.max_timestamp_ms, segment.max_timestamp_offset) == (T0 + 100, 0)
    append_value(segment, b"later", T0 + 101)
    assert (segment.max_timestamp_ms, segment.max_timestamp_offset) == (T0 + 101, 2)


def test_a_large_batch_is_stored_in_two_pieces(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    values = [b"y" * 20_000, b"z" * 30_000]
    append(segment, *values)
    append(segment, b"next")
    assert read_values(segment, 0) == [*values, b"next"]


def test_the_gap_between_two_batches_is_zero(disk: Disk) -> None:
    segment = new_segment(disk)
    append(segment, b"abc")
    size = 80 + 12 + 1 + 2 + 3
    assert segment.position == aligned(size) > size
    assert disk.read(segment.path)[size : segment.position] == bytes(segment.position - size)


# ---- reading


def test_a_read_returns_whole_batches_up_to_max_bytes(disk: Disk) -> None:
    segment = new_segment(disk)
    for number in range(10):
        append(segment, b"%08d" % number)
    assert segment.position == 10 * BATCH
    for max_bytes in (0, 1, BATCH, 2 * BATCH - 1, 2 * BATCH, 5 * BATCH + 7, 1 << 20):
        data = segment.read(3, max_bytes, None)
        assert data is not None
        assert len(data) == BATCH * min(max(max_bytes // BATCH, 1), 7)
        assert split_batches(data)[0].base_offset == 3


def test_a_read_inside_a_batch_returns_it_from_its_start(disk: Disk) -> None:
    segment = new_segment(disk, 10)
    append(segment, b"a", b"b", b"c")
    append(segment, b"d")
    assert read_values(segment, 12, 1) == [b"a", b"b", b"c"]
    assert read_values(segment, 13, 1) == [b"d"]


def test_a_read_stops_below_the_bound(disk: Disk) -> None:
    segment = new_segment(disk)
    for number in range(10):
        append(segment, b"%08d" % number, b"")
    data = segment.read(0, 1 << 20, 4)
    assert data is not None
    assert split_batches(data)[-1].base_offset == 2
    assert split_batches(segment.read(0, 1 << 20, 5) or b"")[-1].base_offset == 4
    assert not segment.read(4, 1 << 20, 4)


def test_an_empty_segment_and_the_end_of_one_give_nothing(disk: Disk) -> None:
    segment = new_segment(disk)
    assert segment.read(0, 100, None) is None
    append(segment, b"a")
    assert segment.read(1, 100, None) is None


@pytest.mark.parametrize("interval", [0, 250, 1 << 20])
def test_reading_on_from_where_a_read_ended_needs_no_lookup(
    memory_disk: Disk, interval: int
) -> None:
    segment = new_segment(memory_disk, index_interval_bytes=interval)
    values = [b"%08d" % number for number in range(300)]
    for value in values:
        append(segment, value)
    read: list[bytes | None] = []
    offset = 0
    while data := segment.read(offset, 3 * BATCH, None):
        batches = split_batches(data)
        assert len(data) <= 3 * BATCH
        read += [value for batch in batches for value in batch.values()]
        offset = batches[-1].next_offset
        if offset < 300:
            assert segment._hints[offset] == offset * BATCH
    assert read == values


def test_hints_are_bounded_and_a_wrong_one_is_found_out(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    for number in range(200):
        append(segment, b"%08d" % number)
    for offset in range(199):
        segment.read(offset, 1, None)
    assert len(segment._hints) <= 64
    segment._hints.clear()
    segment._hints[5] = 7 * BATCH
    segment._hints[6] = 7 * BATCH + 8
    segment._hints[7] = 1 << 30
    for offset in (5, 6, 7):
        assert read_values(segment, offset, 1) == [b"%08d" % offset]


@given(st.data())
def test_any_read_agrees_with_a_list(data: st.DataObject) -> None:
    # Batches of different sizes and counts, sparse indexes, any offset, any limit, any bound.
    disk = memory_disk_of()
    segment = new_segment(disk, 5, index_interval_bytes=data.draw(st.sampled_from([0, 200, 4096])))
    model: list[tuple[int, int, int]] = []  # (base offset, next offset, size)
    for count, size in data.draw(
        st.lists(st.tuples(st.integers(1, 4), st.integers(0, 300)), min_size=1, max_size=30)
    ):
        before = segment.position
        base = append(segment, *([b"v" * size] * count))
        model.append((base, segment.next_offset, segment.position - before))
    for _ in range(10):
        offset = data.draw(st.integers(5, segment.next_offset - 1))
        max_bytes = data.draw(st.integers(0, segment.position + 100))
        bound = data.draw(st.none() | st.integers(offset + 1, segment.next_offset + 1))
        found = split_batches(segment.read(offset, max_bytes, bound) or b"")
        at = next(n for n, (_, end, _) in enumerate(model) if end > offset)
        expected = [model[at]]
        total = model[at][2]
        for batch in model[at + 1 :]:
            total += batch[2]
            if total > max_bytes or (bound is not None and batch[0] >= bound):
                break
            expected.append(batch)
        assert [(b.base_offset, b.next_offset) for b in found] == [e[:2] for e in expected]
        assert segment.position_of(offset) == (sum(m[2] for m in model[:at]), model[at][0])


# ---- damage


def test_a_damaged_header_raises_naming_offset_file_and_where_to_go_on(disk: Disk) -> None:
    segment = new_segment(disk, 20)
    for number in range(6):
        append(segment, b"%08d" % number)
    segment.flush_indexes()
    disk.flip(segment.path, 2 * BATCH + 20)
    other = reopened(segment, disk, sealed=False)
    with pytest.raises(CorruptLogError) as caught:
        other.read(22, 1, None)
    error = caught.value
    assert (error.first_bad_offset, error.next_good_offset) == (22, 23)
    assert (error.file, error.position) == (segment.path, 2 * BATCH)
    assert segment.path in str(error)
    assert read_values(other, 20, 1 << 20) == [b"00000000", b"00000001"]
    assert read_values(other, 23) == [b"00000003", b"00000004", b"00000005"]


@pytest.mark.parametrize("sealed", [True, False])
def test_damage_at_the_end_is_readable_again_from_where_the_next_append_goes(
    disk: Disk, sealed: bool
) -> None:
    segment = new_segment(disk)
    for number in range(6):
        append(segment, b"%08d" % number)
    disk.flip(segment.path, 5 * BATCH + 8)
    other = reopened(segment, disk, sealed=False)
    other.sealed = sealed
    with pytest.raises(CorruptLogError) as caught:
        other.read(5, 1, None)
    assert caught.value.next_good_offset == 6


def test_an_index_entry_that_points_into_nowhere_costs_a_walk_and_nothing_else(
    disk: Disk,
) -> None:
    segment = new_segment(disk)
    for number in range(6):
        append(segment, b"%08d" % number)
    segment.offset_index.truncate(0)
    segment.offset_index.append(3, 2 * BATCH + 16)
    assert read_values(segment, 4, 1) == [b"00000004"]
    segment.offset_index.truncate(0)
    segment.offset_index.append(1, 4 * BATCH)  # a batch behind the one that is looked for
    assert read_values(segment, 2, 1) == [b"00000002"]


# ---- sealing, closing


def test_sealing_trims_the_file_and_writes_the_indexes(disk: Disk) -> None:
    segment = new_segment(disk)
    for number in range(6):
        append(segment, b"%08d" % number)
    segment.seal()
    assert disk.filesystem.file_size(segment.path) == 6 * BATCH
    assert disk.filesystem.exists(segment.offset_index_path)
    assert disk.filesystem.exists(segment.time_index_path)
    assert segment.limit == 0
    assert read_values(segment, 0) == [b"%08d" % n for n in range(6)]


def test_closing_trims_the_file_and_lets_go_of_it(disk: Disk) -> None:
    segment = new_segment(disk)
    append(segment, b"12345678")
    segment.close()
    assert disk.filesystem.file_size(segment.path) == BATCH
    assert segment._file is None
    new_segment(disk, 7).close()
    assert not disk.filesystem.exists(new_segment(disk, 7).path)


def test_a_sealed_segment_costs_one_look_at_its_size_until_it_is_used(disk: Disk) -> None:
    segment = new_segment(disk, 3)
    append(segment, b"a", timestamp_ms=T0 + 7)
    append(segment, b"b", timestamp_ms=T0)
    segment.seal()
    other = reopened(segment, disk, sealed=True)
    assert (other.position, other.synced_position) == (segment.position, segment.position)
    assert other._file is None
    assert other.max_timestamp_ms == NO_TIMESTAMP
    assert other.largest_timestamp_ms() == T0 + 7
    assert read_values(other, 3) == [b"a", b"b"]


def test_room_that_was_never_given_back_is_not_content(disk: Disk) -> None:
    # Killed between writing the indexes of a sealed segment and cutting its file.
    segment = new_segment(disk)
    append(segment, b"a")
    segment.flush_indexes()
    other = reopened(segment, disk, sealed=True)
    assert other.position == disk.filesystem.file_size(segment.path)
    assert read_values(other, 0) == [b"a"]
    assert other.position == segment.position
    assert other.read(1, 100, None) is None


def test_a_segment_without_records_has_the_time_of_its_file(disk: Disk) -> None:
    """RET-3."""
    segment = new_segment(disk)
    segment.create()
    assert segment.largest_timestamp_ms() == disk.filesystem.modified_ms(segment.path)


# ---- truncating


@pytest.mark.parametrize("keep", range(6))
@pytest.mark.parametrize("interval", [0, 250])
def test_truncating_zeroes_the_tail_and_appends_go_on_there(
    disk: Disk, keep: int, interval: int
) -> None:
    segment = new_segment(disk, 10, index_interval_bytes=interval)
    for number in range(6):
        append(segment, b"%08d" % number, timestamp_ms=T0 + number)
    segment.seal()
    size = disk.filesystem.file_size(segment.path)
    segment.truncate(keep * BATCH, 10 + keep)
    assert not segment.sealed
    assert disk.read(segment.path)[keep * BATCH :] == bytes(size - keep * BATCH)
    assert (segment.position, segment.next_offset) == (keep * BATCH, 10 + keep)
    assert segment.first_timestamp_ms == (T0 if keep else NO_TIMESTAMP)
    assert segment.max_timestamp_ms == (T0 + keep - 1 if keep else NO_TIMESTAMP)
    append(segment, b"new", timestamp_ms=T0 + 50)
    assert read_values(segment, 10)[keep:] == [b"new"]
    other = reopened(segment, disk, sealed=False)
    assert read_values(other, 10 + keep) == [b"new"]
    assert other.largest_timestamp_ms() == T0 + 50


def test_truncating_does_not_shorten_the_file_under_a_reader(disk: Disk) -> None:
    # Reading a map behind the end of its file kills the process.
    segment = new_segment(disk)
    for _ in range(3):
        append(segment, b"x" * 5000)
    segment.seal()
    mapping, end = segment.mapping_for_read(), segment.position
    segment.truncate(0, 0)
    segment.close()
    assert disk.filesystem.file_size(segment.path) >= end
    assert mapping[:end] == bytes(end)


def test_truncating_forgets_where_reads_ended(disk: Disk) -> None:
    segment = new_segment(disk)
    for number in range(4):
        append(segment, b"%08d" % number)
    read_values(segment, 0, BATCH)
    segment.truncate(BATCH, 1)
    assert not segment._hints


# ---- the layout on disk


def test_the_header_has_its_fields_where_the_table_says(disk: Disk) -> None:
    segment = new_segment(disk, 258)
    batch = build_batch([b"v"], T0)
    append(segment, b"v")
    data = disk.read(segment.path)
    assert int.from_bytes(data[0:4], "little") == batch.size_bytes
    assert data[8:12] == b"SLB\x01"
    assert int.from_bytes(data[12:16], "little") == len(batch.body)
    assert int.from_bytes(data[16:24], "little") == 258
    assert int.from_bytes(data[64:72], "little") == T0
    header = read_header(data[:HEADER_SIZE])
    assert header is not None
    assert (header.base_offset, header.record_count) == (258, 1)
    assert header.first_timestamp_ms == header.max_timestamp_ms == T0
    assert data[HEADER_SIZE : batch.size_bytes] == build_single_value_batch(b"v", T0).body


def test_an_empty_segment_holds_nothing_at_its_beginning(disk: Disk) -> None:
    segment = new_segment(disk)
    segment.create()
    assert segment.position_of(0) == (0, 0)
    assert read_batches(segment, 0, 100, None) is None
    segment.seal()
    assert segment.sealed
    assert disk.filesystem.file_size(segment.path) == 0


def test_no_batch_is_read_that_begins_at_the_bound(disk: Disk) -> None:
    segment = new_segment(disk)
    append(segment, b"a", b"b")
    assert read_batches(segment, 1, 100, 0) is None


def test_what_follows_a_bad_batch_is_found_without_an_index(disk: Disk) -> None:
    segment = new_segment(disk, index_interval_bytes=10_000)
    append(segment, b"a")
    bad = segment.position
    for value in (b"bad", b"c", b"d"):
        append(segment, value)
    disk.flip(segment.path, bad + 20)
    assert read_values(segment, 3) == [b"d"]
    with pytest.raises(CorruptLogError):
        segment.read(1, 100, None)


def test_damage_behind_the_end_of_the_file_is_at_its_end(disk: Disk) -> None:
    segment = new_segment(disk)
    append(segment, b"a")
    error = segment.damage_at(1, "not there")
    assert (error.position, error.first_bad_offset, error.next_good_offset) == (
        segment.position,
        1,
        1,
    )


def test_a_map_that_another_reader_made_meanwhile_is_used(disk: Disk) -> None:
    segment = new_segment(disk)
    append(segment, b"a")
    segment.seal()
    lock, made = segment._open_lock, []

    class Overtaken:
        def __enter__(self) -> None:
            segment._open_lock = lock
            made.append(segment.mapping_for_read())
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    segment._open_lock = Overtaken()  # type: ignore[assignment]
    assert segment.mapping_for_read() is made[0]
    segment._check()


def test_a_segment_whose_indexes_cannot_be_written_is_closed_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_index(call: str, path: str) -> None:
        if path.endswith((".idx", ".tix")) and call in ("make", "write_at"):
            raise OSError(5, "no index today", path)

    disk = memory_disk_of()
    segment = new_segment(Disk(HookedFileSystem(disk.filesystem, no_index), disk.root))
    append(segment, b"a")
    with caplog.at_level(logging.WARNING, "streamlog"):
        segment.close()
    assert "index not written" in caplog.text
    assert disk.filesystem.file_size(segment.path) == segment.position
    other = reopened(segment, disk, sealed=True)
    assert read_values(other, 0) == [b"a"]

"""Index files held against the batches: each entry has to be true, and what they claim to cover as well (LOG-3)."""

from __future__ import annotations

import struct

import pytest

from streamlog.storage import index_file
from streamlog.storage.verification.batch_walk import StoredBatch, walk_batches
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.storage.verification.index_check import IndexCheck
from tests.support.segments import append, new_segment
from tests.unit.storage.conftest import memory_disk_of

BASE = 100
T0 = 1_000


class Indexed:
    """A closed segment of five batches; those at offsets 101 to 104 are in the offset index, and all but 102 bring a new greatest timestamp."""

    def __init__(self) -> None:
        disk = memory_disk_of()
        segment = new_segment(disk, BASE)
        segment.ensure_indexes()
        for timestamp_ms in (T0, T0 + 10, T0 + 5, T0 + 20, T0 + 30):
            append(segment, b"v" * 20, timestamp_ms=timestamp_ms)
        segment.close()
        self.filesystem = disk.filesystem
        self.stem = segment.path.removesuffix(".log")
        self.size = self.filesystem.file_size(segment.path)
        self.offsets = self._entries(".idx", "<II")
        self.times = self._entries(".tix", "<qq")

    def _entries(self, suffix: str, layout: str) -> list[tuple[int, ...]]:
        content = index_file.read_entries(self.filesystem, self.stem + suffix, self.size)
        return list(struct.iter_unpack(layout, content.entries))

    def write_offsets(self, entries: list[tuple[int, ...]], covers: int | None = None) -> None:
        self._write(".idx", b"".join(struct.pack("<II", *entry) for entry in entries), covers)

    def write_times(self, entries: list[tuple[int, ...]], covers: int | None = None) -> None:
        self._write(".tix", b"".join(struct.pack("<qq", *entry) for entry in entries), covers)

    def _write(self, suffix: str, payload: bytes, covers: int | None) -> None:
        covers = self.size if covers is None else covers
        index_file.replace_entries(self.filesystem, self.stem + suffix, payload, covers)

    def problems(
        self, *, is_closed: bool = True, has_damage: bool = False, up_to: int | None = None
    ) -> list[str]:
        """Return each problem with the suffix of its file; the log is read *up_to* a byte."""
        check = IndexCheck(self.filesystem, self.stem, BASE, self.size)
        end = 0
        for item in walk_batches(FileBytes.open(self.filesystem, self.stem + ".log"), BASE):
            assert isinstance(item, StoredBatch)
            if up_to is None or item.position < up_to:
                check.see(item.position, item.header)
                end = item.position + item.header.aligned_size
        found = check.problems(end, is_closed=is_closed, has_damage=has_damage)
        return [f"{path.removeprefix(self.stem)}: {message}" for path, message in found]


@pytest.fixture
def indexed() -> Indexed:
    return Indexed()


def test_indexes_as_they_were_written_agree(indexed: Indexed) -> None:
    assert [offset for offset, _ in indexed.offsets] == [1, 2, 3, 4]
    assert [entry[0] - T0 for entry in indexed.times] == [10, 20, 30]
    assert indexed.problems() == []
    assert indexed.problems(is_closed=False) == []


def test_missing_indexes_are_no_problem(indexed: Indexed) -> None:
    for suffix in (".idx", ".tix"):
        indexed.filesystem.unlink(indexed.stem + suffix)
    assert indexed.problems() == []


def test_an_empty_log_with_empty_indexes_agrees(indexed: Indexed) -> None:
    indexed.write_offsets([], 0)
    indexed.write_times([], 0)
    assert indexed.problems(up_to=0) == []


def test_an_entry_of_another_offset_is_named(indexed: Indexed) -> None:
    (_, position), *rest = indexed.offsets
    indexed.write_offsets([(7, position), *rest])
    assert indexed.problems() == [f".idx: entry of byte {position}: expected offset 101, found 107"]


def test_an_entry_of_a_byte_where_no_batch_begins_is_named(indexed: Indexed) -> None:
    (relative, position), *rest = indexed.offsets
    indexed.write_offsets([(relative, position + 8), *rest])
    expected = [f".idx: expected the batch of offset 101 at byte {position + 8}, found none"]
    assert indexed.problems() == expected
    assert indexed.problems(is_closed=False) == expected


def test_a_file_of_half_entries_is_named(indexed: Indexed) -> None:
    for suffix, size in ((".idx", 8), (".tix", 16)):
        content = index_file.read_entries(indexed.filesystem, indexed.stem + suffix, indexed.size)
        payload = content.entries + b"\0" * 3
        index_file.replace_entries(indexed.filesystem, indexed.stem + suffix, payload, indexed.size)
        message = f"{suffix}: expected entries of {size} bytes, found {len(payload)} bytes"
        assert message in indexed.problems()


@pytest.mark.parametrize("by_ms", [-3, 3])
def test_a_timestamp_that_is_not_that_of_the_batch_is_named(indexed: Indexed, by_ms: int) -> None:
    (timestamp_ms, relative), *rest = indexed.times
    indexed.write_times([(timestamp_ms + by_ms, relative), *rest])
    assert indexed.problems() == [
        (
            f".tix: entry of offset {relative + BASE}: expected the greatest timestamp so far, {T0 + 10}, "
            f"found {T0 + 10 + by_ms}"
        )
    ]


def test_an_entry_of_a_batch_that_is_not_the_greatest_so_far_is_named(indexed: Indexed) -> None:
    indexed.write_times([(T0 + 5, 2), *indexed.times[1:]])
    assert indexed.problems() == [
        f".tix: entry of offset 102: expected the greatest timestamp so far, {T0 + 10}, found {T0 + 5}"
    ]


def test_timestamps_that_do_not_rise_are_named(indexed: Indexed) -> None:
    first, second, third = indexed.times
    indexed.write_times([second, first, third])
    assert indexed.problems() == [".tix: expected rising timestamps"]


def test_a_last_entry_that_is_missing_is_named(indexed: Indexed) -> None:
    indexed.write_times(indexed.times[:-1])
    assert indexed.problems() == [
        f".tix: up to byte {indexed.size}: expected the greatest timestamp {T0 + 30}, found {T0 + 20}"
    ]


def test_an_index_that_ends_earlier_is_held_against_what_it_covers(indexed: Indexed) -> None:
    end = indexed.offsets[2][1]  # before the batch of 103
    indexed.write_times(indexed.times[:1], end)
    indexed.write_offsets(indexed.offsets[:2], end)
    assert indexed.problems() == []
    indexed.write_times([], end)
    assert indexed.problems() == [
        f".tix: up to byte {end}: expected the greatest timestamp {T0 + 10}, found -1"
    ]


def test_a_torn_index_is_named_once_the_log_was_closed(indexed: Indexed) -> None:
    for suffix in (".idx", ".tix"):
        path = indexed.stem + suffix
        file = indexed.filesystem.open(path)
        file.write_at(file.size(), b"torn")
        expected = f"{suffix}: expected whole blocks with the right checksums, found other bytes"
        assert indexed.problems() == indexed.problems(has_damage=True) == [expected]
        assert indexed.problems(is_closed=False) == []
        file.truncate(file.size() - 4)


def test_an_index_ahead_of_its_log_is_named_once_the_log_was_closed(indexed: Indexed) -> None:
    end = indexed.offsets[-1][1]  # the last batch is lost
    found = indexed.problems(up_to=end)
    assert found == [
        f".idx: expected to tell of {end} bytes, found {indexed.size}",
        f".tix: expected to tell of {end} bytes, found {indexed.size}",
        f".idx: expected the batch of offset 104 at byte {end}, found none",
        ".tix: expected a batch at offset 104, found none",
    ]
    assert indexed.problems(up_to=end, is_closed=False) == []


def test_what_was_lost_to_damage_is_not_held_against_the_indexes(indexed: Indexed) -> None:
    assert indexed.problems(up_to=indexed.offsets[-1][1], has_damage=True) == []

"""The index of aborted transactions of one segment: kept in memory, flushed now and then, found again when in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import DiskFullError
from streamlog.record.control import ControlType
from streamlog.storage import index_file
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.transaction_index import KnownTransactions
from tests.support.hooked_files import HookedFileSystem
from tests.support.segments import (
    append,
    append_marker,
    append_transactional,
    new_segment,
    reopened,
)
from tests.support.storage import Disk
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from streamlog.storage.segment import Segment

ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT


def segment_of(disk: Disk) -> Segment:
    """Return a segment as a log appends to it."""
    segment = new_segment(disk, 10)
    segment.ensure_indexes()
    segment.transactions.begin(0, segment.next_offset)
    return segment


def abort(segment: Segment, producer_id: int = 7) -> AbortedTransaction:
    """Append a transaction of one record and its abort marker, and note it as a log does."""
    first = append_transactional(segment, producer_id)
    return end(segment, producer_id, first)


def end(segment: Segment, producer_id: int, first: int) -> AbortedTransaction:
    last = append_marker(segment, producer_id, ABORT)
    aborted = AbortedTransaction(producer_id, first, last, last + 1)
    segment.transactions.add(aborted)
    return aborted


def entries(segment: Segment, offset: int = 0) -> list[AbortedTransaction]:
    return list(segment.transactions.ended_from(offset))


def find(segment: Segment, open_before: dict[int, tuple[int, int]] | None = None) -> None:
    in_file = segment.read_transactions()
    mapping = segment.mapping_for_read() if segment.position else None
    segment.transactions.find(
        in_file,
        open_before or {},
        mapping,
        segment.position,
        segment.base_offset,
        segment.next_offset,
    )


def packed(*entries: tuple[int, ...]) -> bytes:
    return b"".join(
        number.to_bytes(8, "little", signed=True) for entry in entries for number in entry
    )


def end_entry(segment: Segment) -> tuple[int, int, int, int]:
    """Return what closes a block that tells everything of *segment*."""
    return (-1, segment.next_offset, -(2**15) - 1, segment.position)


def covers(disk: Disk, segment: Segment) -> int:
    content = index_file.read_entries(disk.filesystem, segment.transactions.path, segment.position)
    assert content.is_whole
    return content.covers


def sealed(segment: Segment, disk: Disk) -> Segment:
    """Return the segment of the next process, which goes on in a later one."""
    other = reopened(segment, disk, sealed=True)
    other.ensure_indexes()  # which gives preallocated room back, as sealing does
    return other


def opened(segment: Segment, disk: Disk) -> Segment:
    """Return the active segment of the next process."""
    other = reopened(segment, disk, sealed=False)
    other.transactions.begin(other.position, other.next_offset)
    return other


# ---- appending


def test_what_was_aborted_is_found_by_its_marker(memory_disk: Disk) -> None:
    """TXN-15."""
    segment = segment_of(memory_disk)
    first, second = abort(segment), abort(segment)
    assert entries(segment) == [first, second]
    assert entries(segment, first.last_offset) == [first, second]
    assert entries(segment, first.last_offset + 1) == [second]
    assert entries(segment, second.last_offset + 1) == []


def test_being_told_twice_makes_one_entry(memory_disk: Disk) -> None:
    segment = segment_of(memory_disk)
    aborted = abort(segment)
    segment.transactions.add(aborted)
    assert entries(segment) == [aborted]


# ---- flushing


def test_each_flush_appends_what_is_new(disk: Disk) -> None:
    segment = segment_of(disk)
    abort(segment)
    segment.flush_transactions({})
    size = disk.filesystem.file_size(segment.transactions.path)
    segment.flush_transactions({})  # nothing is new
    assert disk.filesystem.file_size(segment.transactions.path) == size == 80
    abort(segment)
    append(segment, b"plain")
    segment.flush_transactions({})
    assert disk.filesystem.file_size(segment.transactions.path) == 160
    assert covers(disk, segment) == segment.position


def test_nothing_is_written_for_an_empty_segment(memory_disk: Disk) -> None:
    segment = segment_of(memory_disk)
    segment.flush_transactions({7: (0, 3)})
    assert not memory_disk.filesystem.exists(segment.transactions.path)


def test_the_next_process_reads_what_was_flushed_and_goes_on_behind_it(disk: Disk) -> None:
    segment = segment_of(disk)
    expected = [abort(segment)]
    began = append_transactional(segment, 8)
    segment.flush_transactions({8: (0, began)})
    other = opened(segment, disk)
    assert not other.transactions.is_known
    other.flush_transactions({8: (0, began)})
    assert other.transactions.is_known, "the file told everything"
    expected.append(end(other, 8, began))
    assert entries(other) == expected
    other.flush_transactions({})
    third = opened(other, disk)
    find(third)
    assert entries(third) == expected


def test_a_flush_does_not_walk_the_log(memory_disk: Disk) -> None:
    segment = segment_of(memory_disk)
    before = abort(segment)
    other = opened(segment, memory_disk)
    after = abort(other)
    other.flush_transactions({})
    assert not other.transactions.is_known
    assert not memory_disk.filesystem.exists(segment.transactions.path)
    find(other)
    assert entries(other) == [before, after]
    other.flush_transactions({})
    assert covers(memory_disk, other) == other.position


def test_a_file_that_says_too_often_what_is_open_is_written_afresh(memory_disk: Disk) -> None:
    # The size of the log bounds how much is read of the file: 40 open transactions at each checkpoint are soon more than that.
    segment = segment_of(memory_disk)
    began = {pid: (0, append_transactional(segment, pid)) for pid in range(40)}
    for _ in range(20):
        abort(segment, 99)
        segment.flush_transactions(began)
        assert covers(memory_disk, segment) == segment.position
    other = opened(segment, memory_disk)
    other.flush_transactions({})
    assert entries(other) == entries(segment)


def test_more_open_transactions_than_the_segment_has_room_for_are_not_written(
    memory_disk: Disk,
) -> None:
    segment = segment_of(memory_disk)
    append(segment, b"plain")
    segment.flush_transactions(dict.fromkeys(range(100), (0, 0)))
    assert not memory_disk.filesystem.exists(segment.transactions.path)


def test_a_full_disk_stops_the_flush_and_a_later_one_catches_up() -> None:
    disk = memory_disk_of(70_000)
    segment = segment_of(disk)
    aborted = abort(segment)
    ballast = disk.filesystem.open("/root/ballast", create=True)
    ballast.allocate(0, disk.filesystem.free_bytes("/root"))
    with pytest.raises(DiskFullError):
        segment.flush_transactions({})
    disk.filesystem.unlink("/root/ballast")
    segment.flush_transactions({})
    other = opened(segment, disk)
    find(other)
    assert entries(other) == [aborted]


def test_junk_behind_the_last_block_is_replaced(disk: Disk) -> None:
    segment = segment_of(disk)
    aborted = abort(segment)
    segment.flush_transactions({})
    path = segment.transactions.path
    disk.write(path, disk.read(path) + b"torn")
    other = opened(segment, disk)
    other.flush_transactions({})
    assert disk.filesystem.file_size(path) == 80
    assert entries(other) == [aborted]


# ---- finding


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_missing_file_is_made_again_from_the_log(disk: Disk, is_sealed: bool) -> None:
    segment = segment_of(disk)
    expected = [abort(segment)]
    began = append_transactional(segment, 8)
    other = sealed(segment, disk) if is_sealed else opened(segment, disk)
    find(other)
    assert entries(other) == expected
    if is_sealed:
        assert other.transactions.open_at_end == {8: (0, began)}
        assert covers(disk, other) == other.position
    else:
        assert other.transactions.open_at_end is None
        assert not disk.filesystem.exists(other.transactions.path)


def test_a_short_file_is_made_again_from_the_log(disk: Disk) -> None:
    """Where it ends may be in the middle of a batch by now, if the log has lost some that come before."""
    segment = segment_of(disk)
    began = append_transactional(segment, 8)
    segment.flush_transactions({8: (0, began)})
    expected = end(segment, 8, began)
    other = sealed(segment, disk)
    assert other.read_transactions() == KnownTransactions([], {}, 0, False)
    find(other)
    assert entries(other) == [expected]
    assert covers(disk, other) == other.position


def test_a_sealed_file_with_junk_behind_it_is_believed_and_cleaned(disk: Disk) -> None:
    """The transaction began in an earlier segment, and only the file says where."""
    segment = segment_of(disk)
    expected = end(segment, 8, 3)
    segment.flush_transactions({})
    path = segment.transactions.path
    disk.patch(path, disk.filesystem.file_size(path), b"junk")
    other = sealed(segment, disk)
    find(other)
    assert entries(other) == [expected]
    assert covers(disk, other) == other.position


def test_the_open_ones_of_an_earlier_flush_do_not_count(disk: Disk) -> None:
    segment = segment_of(disk)
    began = append_transactional(segment, 8)
    segment.flush_transactions({8: (0, began)})
    append_marker(segment, 8, COMMIT)
    segment.flush_transactions({})
    other = sealed(segment, disk)
    find(other)
    assert other.transactions.open_at_end == {}


def test_a_file_ahead_of_the_log_is_not_believed(disk: Disk) -> None:
    segment = segment_of(disk)
    aborted = abort(segment)
    position, next_offset = segment.position, segment.next_offset
    abort(segment)
    segment.flush_transactions({})
    segment.position, segment.next_offset = position, next_offset  # cut off by a power loss
    other = opened(segment, disk)
    assert other.read_transactions() == KnownTransactions([], {}, 0, False)
    find(other)
    assert entries(other) == [aborted]
    after = abort(other)
    other.flush_transactions({})
    assert covers(disk, other) == other.position
    third = opened(other, disk)
    find(third)
    assert entries(third) == [aborted, after]


@pytest.mark.parametrize(
    "payload",
    [
        AbortedTransaction(7, 12, 11, 13),
        AbortedTransaction(7, 3, 9, 10),
        AbortedTransaction(7, 10, 99, 100),
        AbortedTransaction(7, 10, -(2**15) - 2, 100),
    ],
)
def test_impossible_entries_with_good_checksums_are_not_believed(
    memory_disk: Disk, payload: AbortedTransaction
) -> None:
    segment = segment_of(memory_disk)
    aborted = abort(segment)
    raw = packed(payload, end_entry(segment))
    path = segment.transactions.path
    index_file.replace_entries(memory_disk.filesystem, path, raw, segment.position)
    other = sealed(segment, memory_disk)
    find(other)
    assert entries(other) == [aborted]


def test_entries_that_come_again_are_not_believed(memory_disk: Disk) -> None:
    segment = segment_of(memory_disk)
    aborted = abort(segment)
    segment.flush_transactions({})
    raw = memory_disk.read(segment.transactions.path)[16:]
    assert raw == packed(aborted, end_entry(segment))
    path = segment.transactions.path
    index_file.replace_entries(memory_disk.filesystem, path, raw[:32] + raw, segment.position)
    other = sealed(segment, memory_disk)
    assert other.read_transactions().position == 0
    index_file.replace_entries(memory_disk.filesystem, path, raw[:-1], segment.position)
    assert other.read_transactions().position == 0
    find(other)
    assert entries(other) == [aborted]


def test_a_file_that_cannot_be_read_is_made_again(
    memory_disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(call: str, path: str) -> None:
        if path.endswith(".txn") and call in ("read_file", "write_atomically"):
            raise OSError(5, "cannot", path)

    segment = segment_of(memory_disk)
    aborted = abort(segment)
    segment.flush_transactions({})
    hooked = Disk(HookedFileSystem(memory_disk.filesystem, refuse), memory_disk.root)
    other = sealed(segment, hooked)
    find(other)
    assert entries(other) == [aborted]
    assert "cannot be read" in caplog.text
    assert "it stays in memory" in caplog.text


def test_an_empty_segment_has_nothing_to_find(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    segment.create()
    other = sealed(segment, memory_disk)
    find(other, {7: (0, 3)})
    assert entries(other) == []
    assert other.transactions.open_at_end == {7: (0, 3)}


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("end_offset", [None, 11, 13])
def test_a_file_for_which_another_offset_follows_is_made_again_from_the_log(
    memory_disk: Disk, end_offset: int | None, is_sealed: bool
) -> None:
    """The log lost as many bytes before as came since; or the file is of before its blocks told where they end."""
    segment = segment_of(memory_disk)
    aborted = abort(segment)
    end = () if end_offset is None else ((-1, end_offset, -(2**15) - 1, segment.position),)
    path = segment.transactions.path
    index_file.replace_entries(memory_disk.filesystem, path, packed(*end), segment.position)
    other = sealed(segment, memory_disk) if is_sealed else opened(segment, memory_disk)
    assert other.read_transactions() == KnownTransactions([], {}, 0, False)
    find(other)
    assert entries(other) == [aborted]
    other.flush_transactions({})
    third = sealed(segment, memory_disk)
    assert third.read_transactions() == KnownTransactions([aborted], {}, segment.position, True)


def test_where_an_earlier_block_ends_does_not_count(memory_disk: Disk) -> None:
    segment = segment_of(memory_disk)
    expected = [abort(segment)]
    segment.flush_transactions({})
    expected.append(abort(segment))
    segment.flush_transactions({})
    other = sealed(segment, memory_disk)
    assert other.read_transactions() == KnownTransactions(expected, {}, segment.position, True)
    path = segment.transactions.path
    raw = packed(expected[0], end_entry(segment), (-1, 1, -(2**15) - 1, segment.position - 8))
    index_file.replace_entries(memory_disk.filesystem, path, raw, segment.position)
    assert sealed(segment, memory_disk).read_transactions().aborted == expected[:1]


@given(st.binary(max_size=300), st.booleans())
def test_whatever_is_in_the_file_it_is_read(content: bytes, is_block: bool) -> None:
    disk = memory_disk_of()
    segment = segment_of(disk)
    aborted = abort(segment)
    path = segment.transactions.path
    if is_block:
        content += packed(end_entry(segment))
        index_file.replace_entries(disk.filesystem, path, content, segment.position)
    else:
        disk.write(path, content)
    found = sealed(segment, disk).read_transactions()
    assert found.position in (0, segment.position)
    assert all(
        10 <= one.last_offset < 12 and one.first_offset <= aborted.last_offset
        for one in found.aborted
    )


# ---- the first transaction of a log


def test_nobody_walks_what_was_there_before_the_first_transaction(disk: Disk) -> None:
    segment = segment_of(disk)
    append(segment, b"plain")
    other = opened(segment, disk)
    earlier = sealed(segment, disk)
    for one in (other, earlier):
        one.transactions.begin_without(one.position)
        assert one.transactions.is_known
        assert entries(one) == []
    assert earlier.transactions.open_at_end == {}
    aborted = abort(other)
    other.flush_transactions({})
    assert covers(disk, other) == other.position
    third = opened(other, disk)
    find(third)
    assert entries(third) == [aborted]


# ---- cutting


@pytest.mark.parametrize("junk", [b"", b"torn"])
def test_a_file_ahead_of_the_log_is_deleted_and_another_one_is_not(disk: Disk, junk: bytes) -> None:
    segment = segment_of(disk)
    segment.forget_transactions_ahead()  # there is none
    abort(segment)
    position = segment.position
    abort(segment)
    segment.flush_transactions({})
    path = segment.transactions.path
    segment.forget_transactions_ahead()
    assert disk.filesystem.exists(path)
    disk.patch(path, disk.filesystem.file_size(path), junk)
    if not junk:
        segment.position = position  # cut off
    segment.forget_transactions_ahead()
    assert not disk.filesystem.exists(path)


def test_a_file_that_cannot_be_read_is_not_ahead_of_the_log(disk: Disk) -> None:
    segment = segment_of(disk)
    abort(segment)
    disk.filesystem.make_dir(segment.transactions.path)
    segment.forget_transactions_ahead()
    assert disk.filesystem.is_dir(segment.transactions.path)


def test_a_truncation_forgets_what_was_cut_off(disk: Disk) -> None:
    segment = segment_of(disk)
    aborted = abort(segment)
    position, next_offset = segment.position, segment.next_offset
    abort(segment)
    segment.flush_transactions({})
    segment.truncate(position, next_offset)
    assert not disk.filesystem.exists(segment.transactions.path)
    find(segment)
    assert entries(segment) == [aborted]
    after = abort(segment)
    segment.flush_transactions({})
    assert entries(segment) == [aborted, after]
    other = opened(segment, disk)
    find(other)
    assert entries(other) == [aborted, after]


def test_a_directory_that_took_the_name_of_the_file_is_left_alone(disk: Disk) -> None:
    segment = segment_of(disk)
    abort(segment)
    disk.filesystem.make_dir(segment.transactions.path)
    segment.transactions.forget()
    assert disk.filesystem.is_dir(segment.transactions.path)
    other = sealed(segment, disk)
    find(other)
    assert entries(other) == entries(segment)


def test_a_truncation_to_nothing_starts_over(disk: Disk) -> None:
    segment = segment_of(disk)
    abort(segment)
    segment.truncate(0, segment.base_offset)
    assert segment.transactions.is_known
    assert entries(segment) == []

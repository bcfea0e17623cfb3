"""Files of aborted transactions held against the markers of two segments, one transaction going on from the first to the second (TXN-15)."""

from __future__ import annotations

import pytest

from streamlog.record.control import ControlType
from streamlog.storage import index_file
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.segment import Segment
from streamlog.storage.transaction_index import KnownTransactions
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.storage.verification.transaction_check import TransactionCheck
from tests.support.segments import append, append_marker, append_transactional, new_segment
from tests.unit.storage.conftest import memory_disk_of

ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT
#: Offsets 10 to 12: 7 aborts; 13: 8 begins and goes on into the second segment, where it ends at 15.
FIRST = [AbortedTransaction(7, 10, 12, 13)], {8: (0, 13)}
SECOND = [AbortedTransaction(8, 13, 15, 16)], {9: (0, 16)}
Told = tuple[list[AbortedTransaction], dict[int, tuple[int, int]]]


class Transactional:
    """Two segments, and the file of each as it should be."""

    def __init__(self) -> None:
        self.disk = disk = memory_disk_of()
        first = new_segment(disk, 10)
        append_transactional(first, 7)
        append(first, b"plain")
        append_marker(first, 7, ABORT)
        append_transactional(first, 8)
        second = new_segment(disk, 14)
        append(second, b"plain")
        append_marker(second, 8, ABORT)
        append_transactional(second, 9)
        self.segments = [first, second]
        for segment, told in zip(self.segments, (FIRST, SECOND), strict=True):
            segment._trim()
            self.tell(segment, told)

    def tell(self, segment: Segment, told: Told, covers: int | None = None) -> None:
        """Write *told* into the file of *segment*."""
        index = segment.transactions
        known = KnownTransactions(*told, covers or segment.position, True)
        index._try_to_replace(known, segment.next_offset)

    def problems(self, log_start: int = 10, *, may_have_gaps: bool = False) -> list[str | None]:
        filesystem = self.disk.filesystem
        check = TransactionCheck(filesystem, log_start, may_have_gaps=may_have_gaps)
        return [
            check.problem(
                segment.path.removesuffix(".log"),
                FileBytes.open(filesystem, segment.path),
                segment.position,
                (segment.base_offset, segment.next_offset),
            )
            for segment in self.segments
        ]


@pytest.fixture
def log() -> Transactional:
    return Transactional()


def test_files_as_they_are_written_agree(log: Transactional) -> None:
    assert log.problems() == [None, None]
    assert log.problems(may_have_gaps=True) == [None, None]


@pytest.mark.parametrize("is_empty", [False, True])
def test_what_is_open_goes_on_from_a_segment_without_a_file(
    log: Transactional, is_empty: bool
) -> None:
    path = log.segments[0].transactions.path
    if is_empty:
        log.disk.write(path, b"")
    else:
        log.disk.filesystem.unlink(path)
    assert log.problems() == [None, None]


def test_a_file_that_does_not_tell_everything_yet_is_not_used(log: Transactional) -> None:
    second = log.segments[1]
    log.tell(second, ([], {}), covers=second.position - 8)
    assert log.problems() == [None, None]


def test_a_damaged_file_is_named(log: Transactional) -> None:
    first = log.segments[0]
    log.disk.flip(first.transactions.path, 30)
    problem, following = log.problems()
    assert problem == (
        f"expected whole blocks that tell of {first.position} bytes of this segment, found other bytes"
    )
    assert following is None


def test_bytes_behind_the_last_block_are_named(log: Transactional) -> None:
    path = log.segments[1].transactions.path
    log.disk.write(path, log.disk.read(path) + b"?")
    assert "found other bytes" in str(log.problems()[1])


def test_a_file_ahead_of_its_segment_is_named(log: Transactional) -> None:
    second = log.segments[1]
    log.tell(second, SECOND, covers=second.position + 8)
    assert "found other bytes" in str(log.problems()[1])


@pytest.mark.parametrize(
    "told",
    [
        [],
        [AbortedTransaction(8, 14, 15, 16)],
        [AbortedTransaction(9, 13, 15, 16)],
        [AbortedTransaction(3, 14, 14, 15), *SECOND[0]],
    ],
    ids=["missing", "other first offset", "other producer", "one too many"],
)
def test_aborted_transactions_that_do_not_agree_are_named(
    log: Transactional, told: list[AbortedTransaction]
) -> None:
    second = log.segments[1]
    log.tell(second, (told, SECOND[1]))
    first, problem = log.problems()
    assert first is None
    assert str(problem).startswith(
        f"up to byte {second.position}: expected aborted transactions {{(8, 15): 13}}, found "
    )


@pytest.mark.parametrize("told", [{}, {9: (0, 14)}, {9: (0, 16), 3: (0, 15)}])
def test_open_transactions_that_do_not_agree_are_named(
    log: Transactional, told: dict[int, tuple[int, int]]
) -> None:
    log.tell(log.segments[1], (SECOND[0], told))
    assert "expected open transactions {9: 16}, found " in str(log.problems()[1])


def test_where_compaction_may_have_been_a_file_may_tell_of_more_but_not_of_less(
    log: Transactional,
) -> None:
    second = log.segments[1]
    more = [AbortedTransaction(3, 14, 14, 15), *SECOND[0]], {9: (0, 15), 3: (0, 15)}
    log.tell(second, more)
    assert log.problems(may_have_gaps=True) == [None, None]
    for less in (([], SECOND[1]), (SECOND[0], {}), (SECOND[0], {9: (0, 17)})):
        log.tell(second, less)
        assert log.problems(may_have_gaps=True)[1] is not None


def test_what_began_before_the_log_does_is_not_held_against_it(log: Transactional) -> None:
    del log.segments[0]
    assert log.problems(log_start=14) == [None]
    second = log.segments[0]
    log.tell(second, ([AbortedTransaction(8, 13, 15, 16)], {9: (0, 12)}))
    assert log.problems(log_start=14) == [None]
    log.tell(second, (SECOND[0], {}))
    assert "expected open transactions {9: 16}" in str(log.problems(log_start=14)[0])


def test_the_file_of_another_segment_is_not_believed(log: Transactional) -> None:
    first, second = log.segments
    log.disk.write(second.transactions.path, log.disk.read(first.transactions.path))
    assert "found other bytes" in str(log.problems()[1])


def test_impossible_entries_with_the_right_checksum_are_named(log: Transactional) -> None:
    second = log.segments[1]
    path = second.transactions.path
    raw = b"\1" * 32 + log.disk.read(path)[-32:]
    index_file.replace_entries(log.disk.filesystem, path, raw, second.position)
    assert "found other bytes" in str(log.problems()[1])


def test_a_file_of_before_blocks_told_where_they_end_is_not_used(log: Transactional) -> None:
    second = log.segments[1]
    path = second.transactions.path
    for raw in (log.disk.read(path)[16:-32], b""):
        index_file.replace_entries(log.disk.filesystem, path, raw, second.position)
        assert log.problems() == [None, None]


def test_a_file_for_which_the_log_ends_with_another_offset_is_named(log: Transactional) -> None:
    second = log.segments[1]
    second.next_offset -= 1
    log.tell(second, SECOND)
    second.next_offset += 1
    assert "found other bytes" in str(log.problems()[1])

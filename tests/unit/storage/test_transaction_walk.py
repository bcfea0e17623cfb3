"""Aborted transactions found by walking headers and markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.record import build_batch
from streamlog.record.control import ControlType, build_marker
from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.transaction_walk import walk_transactions
from tests.support.segments import (
    T0,
    append,
    append_batch,
    append_marker,
    append_transactional,
    new_segment,
    reopened,
)

if TYPE_CHECKING:
    from streamlog.storage.segment import Segment
    from tests.support.storage import Disk

ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT


def walk(
    segment: Segment,
    opened: dict[int, tuple[int, int]] | None = None,
) -> list[AbortedTransaction]:
    return list(
        walk_transactions(
            segment.mapping_for_read(),
            segment.position,
            segment.base_offset,
            {} if opened is None else opened,
            segment.next_offset,
        )
    )


def test_an_abort_marker_makes_an_entry_and_a_commit_marker_none(memory_disk: Disk) -> None:
    """TXN-15."""
    segment = new_segment(memory_disk, 100)
    append(segment, b"plain")
    append_transactional(segment, 7, b"a", b"b")
    append_transactional(segment, 8, b"c")
    append_transactional(segment, 7, b"d")
    append_marker(segment, 7, ABORT)  # 105
    append_marker(segment, 8, COMMIT)
    append_transactional(segment, 7, b"e")  # 107
    append_marker(segment, 7, ABORT)
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == [
        AbortedTransaction(7, 101, 105, 103),
        AbortedTransaction(7, 107, 108, 109),
    ]
    assert opened == {}


def test_what_stays_open_is_told(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    append_transactional(segment, 8)
    append_transactional(segment, 7)
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == []
    assert opened == {7: (0, 0), 8: (0, 1)}


def test_a_transaction_that_began_before_keeps_its_first_offset(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk, 50)
    append_marker(segment, 7, ABORT)
    append_marker(segment, 9, ABORT)  # nothing of it is here: no entry
    assert walk(segment, {7: (0, 3), 8: (0, 5)}) == [AbortedTransaction(7, 3, 50, 5)]


def test_only_what_lies_before_the_end_counts(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    append_marker(segment, 7, ABORT)
    position, next_offset = segment.position, segment.next_offset
    append_transactional(segment, 7)
    append_marker(segment, 7, ABORT)
    segment.position, segment.next_offset = position, next_offset
    assert walk(segment) == [AbortedTransaction(7, 0, 1, 2)]


def test_damage_is_stepped_over(memory_disk: Disk) -> None:
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    damaged = segment.position
    append(segment, b"plain")
    append_marker(segment, 7, ABORT)
    segment.release_files()
    memory_disk.flip(segment.path, damaged)
    segment = reopened(segment, memory_disk, sealed=False)
    assert walk(segment) == [AbortedTransaction(7, 0, 2, 3)]


def test_damage_at_the_end_ends_the_walk_and_what_is_open_there(memory_disk: Disk) -> None:
    """Nobody knows how: what is appended later says nothing of it."""
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    damaged = segment.position
    append_marker(segment, 7, ABORT)
    segment.release_files()
    memory_disk.flip(segment.path, damaged)
    segment = reopened(segment, memory_disk, sealed=False)
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == [AbortedTransaction(7, 0, 1, 0)]
    assert opened == {}


def test_a_batch_that_comes_again_counts_once(memory_disk: Disk) -> None:
    # A lost write can bring a batch back in the place of a later one (docs/decisions/0002).
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    append_marker(segment, 7, ABORT)
    again = build_batch([b"in a transaction"], T0)
    again.attributes |= TRANSACTIONAL_BIT
    again.producer_id, again.producer_epoch, again.base_sequence = 7, 0, 0
    segment.next_offset = 0
    append_batch(segment, again)
    segment.next_offset = 2
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == [AbortedTransaction(7, 0, 1, 2)]
    assert opened == {}


def test_batches_of_a_later_segment_begin_and_end_nothing(memory_disk: Disk) -> None:
    """The files of two segments were swapped: what is open behind this one did not begin in a later one."""
    segment = new_segment(memory_disk)
    segment.next_offset = 64
    append_transactional(segment, 7)
    append_transactional(segment, 8)
    append_marker(segment, 9, COMMIT)
    segment.next_offset = 32
    opened = {9: (0, 3)}
    assert walk(segment, opened) == [AbortedTransaction(9, 3, 31, 3)]
    assert opened == {}


@pytest.mark.parametrize("key", [None, b"", b"\0\0\0\7"])
def test_a_marker_that_nobody_can_read_aborts_nothing(memory_disk: Disk, key: bytes | None) -> None:
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    marker = build_batch([b"\0\0\0\0\0\0"], T0, [key])
    marker.attributes = CONTROL_BIT | TRANSACTIONAL_BIT
    marker.producer_id, marker.producer_epoch = 7, 0
    append_batch(segment, marker)
    append_batch(segment, build_marker(ABORT, 7, 0, 0, T0))
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == []
    assert opened == {}


def append_of_epoch(segment: Segment, epoch: int) -> None:
    batch = build_batch([b"in a transaction"], T0)
    batch.attributes |= TRANSACTIONAL_BIT
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, epoch, 0
    append_batch(segment, batch)


@pytest.mark.parametrize("next_batch_is_there", [True, False])
@pytest.mark.parametrize("in_body", [True, False])
def test_a_transaction_whose_marker_is_damaged_is_not_committed_with_the_next_one(
    memory_disk: Disk, next_batch_is_there: bool, in_body: bool
) -> None:
    segment = new_segment(memory_disk)
    append_of_epoch(segment, 0)
    damaged = segment.position + (81 if in_body else 0)
    append_batch(segment, build_marker(ABORT, 7, 1, 0, T0))
    if next_batch_is_there:
        append_of_epoch(segment, 1)
    append_batch(segment, build_marker(COMMIT, 7, 2, 0, T0))
    segment.release_files()
    memory_disk.flip(segment.path, damaged)
    segment = reopened(segment, memory_disk, sealed=False)
    opened: dict[int, tuple[int, int]] = {}
    stable = 2 if next_batch_is_there else 3
    assert walk(segment, opened) == [AbortedTransaction(7, 0, 2, stable)]
    assert opened == {}


def test_what_a_segment_lost_the_end_of_is_aborted_there(memory_disk: Disk) -> None:
    """The files of later segments say nothing of it, and a commit marker there is of a later transaction."""
    segment = new_segment(memory_disk)
    append_of_epoch(segment, 0)
    segment.next_offset = 5
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == [AbortedTransaction(7, 0, 4, 0)]
    assert opened == {}


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_marker_that_is_not_where_it_belongs_does_not_leave_its_transaction_open(
    memory_disk: Disk, is_lost: bool
) -> None:
    """Every batch that is there is good: the marker is gone, or comes behind a batch of higher offsets, where nobody reads it."""
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    begin = segment.position
    append_marker(segment, 7, ABORT)
    end = segment.position
    append(segment, b"plain")
    content = bytes(segment.mapping_for_read()[: segment.position])
    segment.release_files()
    changed = content[end:] if is_lost else content[end:] + content[begin:end]
    memory_disk.patch(segment.path, begin, changed.ljust(len(content) - begin, b"\0"))
    segment = reopened(segment, memory_disk, sealed=False)
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == [AbortedTransaction(7, 0, 2, 0)]
    assert opened == {}


@pytest.mark.parametrize("damaged", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_what_is_aborted_behind_damage_is_found(
    memory_disk: Disk, damaged: tuple[int, ...]
) -> None:
    segment = new_segment(memory_disk)
    positions = []
    for _ in range(2):
        positions.append(segment.position)
        append(segment, b"plain")
    positions.append(segment.position)
    append_transactional(segment, 7)
    append_marker(segment, 7, ABORT)
    segment.release_files()
    for number in damaged:
        memory_disk.flip(segment.path, positions[number])
    segment = reopened(segment, memory_disk, sealed=False)
    expected = [] if 2 in damaged else [AbortedTransaction(7, 2, 3, 4)]
    assert walk(segment) == expected


def test_junk_between_batches_casts_no_doubt_on_what_is_open(memory_disk: Disk) -> None:
    """The offsets go on behind it: nothing is missing."""
    segment = new_segment(memory_disk)
    append_transactional(segment, 7)
    place = segment.position
    append(segment, b"plain")
    content = segment.mapping_for_read()[: segment.position]
    segment.release_files()
    memory_disk.patch(segment.path, place, b"\xff" * 8 + content[place:])
    segment = reopened(segment, memory_disk, sealed=False)
    segment.position += 8
    opened: dict[int, tuple[int, int]] = {}
    assert walk(segment, opened) == []
    assert opened == {7: (0, 0)}

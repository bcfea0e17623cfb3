"""Sequences, epochs and transactions: what a producer can have written and what not (IDM-3, IDM-4, TXN-8)."""

from __future__ import annotations

import pytest

from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT, BatchHeader
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.storage.verification.producer_check import ProducerCheck

MARKER = CONTROL_BIT | TRANSACTIONAL_BIT


def batch(
    offset: int, sequence: int, *, records: int = 1, epoch: int = 0, attributes: int = 0
) -> BatchHeader:
    return BatchHeader(
        *(80, 0, b"", 0, offset, 0, 0, attributes, 0, 0, records, records - 1),
        *(sequence, 7, epoch, 0, 0, 0, 0),
    )


def problems(*batches: BatchHeader, may_have_gaps: bool = False) -> list[str | None]:
    check = ProducerCheck(may_have_gaps=may_have_gaps)
    return [check.problem(header) for header in batches]


def test_sequences_that_go_on_are_right_also_around_the_end() -> None:
    found = problems(batch(0, MAX_SEQUENCE - 1, records=2), batch(2, 0, records=3), batch(5, 3))
    assert found == [None, None, None]


@pytest.mark.parametrize("sequence", [0, 2, 5])
def test_a_sequence_that_does_not_follow_is_named(sequence: int) -> None:
    first, second = problems(batch(0, 2), batch(1, sequence))
    assert first is None
    assert second is not None
    assert f"expected sequence 3, found {sequence}" in second


def test_gaps_are_right_where_compaction_may_have_been_but_going_back_is_not() -> None:
    assert problems(batch(0, 2), batch(1, 9), may_have_gaps=True) == [None, None]
    assert problems(batch(0, 2), batch(1, 2), may_have_gaps=True)[1] is not None


def test_a_new_epoch_begins_at_zero() -> None:
    assert problems(batch(0, 4), batch(1, 0, epoch=1)) == [None, None]
    assert problems(batch(0, 4), batch(1, 5, epoch=1))[1] is not None


def test_an_epoch_never_goes_back() -> None:
    _, found = problems(batch(0, 0, epoch=3), batch(1, 0, epoch=2))
    assert found == "producer 7: expected epoch 3 or greater, found 2"


def test_a_marker_ends_the_transaction() -> None:
    check = ProducerCheck(may_have_gaps=False)
    assert check.problem(batch(0, 0, attributes=TRANSACTIONAL_BIT)) is None
    assert check.open == {7: 0}
    assert check.problem(batch(1, -1, epoch=1, attributes=MARKER)) is None
    assert check.open == {}
    assert check.problem(batch(2, 0, epoch=1)) is None


def test_a_plain_batch_inside_a_transaction_is_named() -> None:
    _, found = problems(batch(0, 0, attributes=TRANSACTIONAL_BIT), batch(1, 1))
    assert found is not None
    assert "open since offset 0" in found


def test_nothing_is_known_behind_a_gap_in_the_log() -> None:
    check = ProducerCheck(may_have_gaps=False)
    check.problem(batch(0, 4))
    check.forget()
    assert check.problem(batch(9, 33)) is None


def test_batches_without_a_producer_are_not_looked_at() -> None:
    plain = batch(0, 5)._replace(producer_id=-1)
    assert problems(plain, plain, batch(2, 0)) == [None, None, None]


def test_a_batch_of_a_producer_needs_a_sequence() -> None:
    (found,) = problems(batch(0, -1))
    assert found == "producer 7: expected a sequence, found -1"

"""Which batches were aborted, and how long markers stay."""

from __future__ import annotations

import pytest

from streamlog.record.layout import (
    CONTROL_BIT,
    DELETE_HORIZON_BIT,
    MAGIC,
    TRANSACTIONAL_BIT,
    BatchHeader,
)
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.compaction.transaction_retention import AbortedData, MarkerRetention


def header(producer_id: int, base_offset: int, *, horizon_ms: int | None = None) -> BatchHeader:
    attributes = CONTROL_BIT | TRANSACTIONAL_BIT
    if horizon_ms is not None:
        attributes |= DELETE_HORIZON_BIT
    first_ms = 5 if horizon_ms is None else horizon_ms
    return BatchHeader(
        *(0, 0, MAGIC, 0, base_offset, 0, 0, attributes, 0, 0, 1, 0),
        *(0, producer_id, 0, 0, 0, first_ms, 5),
    )


def test_cmp_4_a_batch_is_aborted_from_the_first_offset_of_its_transaction_to_the_marker() -> None:
    aborted = AbortedData(
        [
            AbortedTransaction(7, 10, 20, 0),
            AbortedTransaction(8, 12, 22, 0),
            AbortedTransaction(7, 30, 40, 0),
        ]
    )
    found = [offset for offset in range(50) if aborted.has(header(7, offset))]
    assert found == [*range(10, 21), *range(30, 41)]
    assert not aborted.has(header(9, 15))


def test_cmp_6_a_marker_behind_data_of_its_transaction_stays_as_it_is() -> None:
    markers = MarkerRetention(set(), 1000)
    markers.saw_data(7)
    assert markers.may_go(header(7, 3)) is False
    markers.saw_data(7)
    assert markers.may_go(header(7, 5, horizon_ms=1)) is False


def test_cmp_6_a_marker_without_data_gets_a_horizon() -> None:
    markers = MarkerRetention(set(), 1000)
    markers.saw_data(7)
    markers.may_go(header(7, 3))
    assert markers.may_go(header(7, 5)) is None
    assert markers.may_go(header(8, 6)) is None


@pytest.mark.parametrize(("horizon_ms", "goes"), [(999, True), (1000, True), (1001, False)])
def test_cmp_6_a_marker_goes_at_its_horizon(horizon_ms: int, goes: bool) -> None:
    assert MarkerRetention(set(), 1000).may_go(header(7, 3, horizon_ms=horizon_ms)) is goes


def test_cmp_7_the_last_marker_of_a_producer_stays() -> None:
    markers = MarkerRetention({3, 4}, 1000)
    assert markers.may_go(header(7, 3)) is False
    assert markers.may_go(header(7, 4, horizon_ms=1)) is False

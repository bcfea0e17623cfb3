"""Batches of aborted transactions lose their records, and no others do (TXN-14)."""

from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.aborted_filter import Aborted, empty_aborted
from streamlog.record import (
    BatchView,
    Codec,
    ControlType,
    ProducerStamp,
    build_batch,
    build_marker,
)
from streamlog.record.layout import TRANSACTIONAL_BIT
from tests.support.consuming import T0, append
from tests.support.sparse import Kept, append_cleaned


@pytest.fixture
def batches(broker: Broker) -> list[BatchView]:
    """0 plain, 1 A, 2 B, 3 A, 4 marker of A, 5 A, 6 marker of B, 7 plain; A is producer 7, B is 8."""
    broker.create_topic("t", partitions=1)
    log = broker.partition(*T0).log

    stamps = {key: ProducerStamp(*key, is_transactional=True) for key in [(7, 0), (8, 0), (7, 1)]}

    def transactional(producer_id: int, epoch: int) -> None:
        batch = build_batch([b"x"], 0)
        batch.stamp = stamps[producer_id, epoch]
        log.append(batch)

    append(broker, [b"plain"])
    transactional(7, 0)
    transactional(8, 0)
    transactional(7, 0)
    log.append(build_marker(ControlType.ABORT, 7, 1, 0, 0))
    transactional(7, 1)
    log.append(build_marker(ControlType.ABORT, 8, 1, 0, 0))
    append(broker, [b"plain"])
    return log.read_batches(0, 1 << 20)


@pytest.mark.parametrize(
    ("aborted", "empty"),
    [
        ([], []),
        ([(7, 1, 4, 2)], [1, 3]),
        ([(8, 2, 6, 5)], [2]),
        ([(7, 1, 4, 2), (8, 2, 6, 5)], [1, 2, 3]),
        # By marker: the one that began later may have ended first.
        ([(8, 2, 6, 5), (7, 1, 4, 2)], [1, 2, 3]),
        ([(7, 1, 4, 2), (7, 5, 9, 10)], [1, 3, 5]),
        # The marker at 4 is damaged: the index has it over at 5, and the log aborted all of it.
        ([(7, 1, 5, 2), (7, 1, 9, 10)], [1, 3, 5]),
        ([(7, 1, 9, 10), (7, 1, 5, 2)], [1, 3, 5]),
        ([(99, 0, 9, 10)], []),
    ],
)
def test_the_batches_between_first_offset_and_marker_are_emptied(
    batches: list[BatchView], aborted: list[Aborted], empty: list[int]
) -> None:
    empty_aborted(batches, aborted)
    assert [view.base_offset for view in batches if not view.record_count] == empty
    assert [view.next_offset for view in batches] == list(range(1, 9))
    assert all(view.body == b"" for view in batches if not view.record_count)


def test_a_read_that_begins_inside_of_a_transaction_knows_it(batches: list[BatchView]) -> None:
    later = batches[3:6]
    empty_aborted(later, [(7, 1, 4, 2)])
    assert [view.record_count for view in later] == [0, 1, 1]


def test_a_marker_that_is_not_there_does_not_abort_what_follows(batches: list[BatchView]) -> None:
    # Damage took it: what tells where the transaction ended is the index, and not the marker alone.
    without = batches[:4] + batches[5:]
    empty_aborted(without, [(7, 1, 4, 2)])
    assert [view.base_offset for view in without if not view.record_count] == [1, 3]


def test_a_batch_that_compaction_left_gaps_in_is_emptied_like_any_other(broker: Broker) -> None:
    broker.create_topic("gaps", partitions=1)
    log = broker.partition("gaps", 0).log
    first = build_batch([b"x"], 0)
    first.stamp = ProducerStamp(7, 0, is_transactional=True)
    log.append(first)
    append_cleaned(
        log,
        [Kept(2), Kept(5)],
        9,
        codec=Codec.LZ4,
        producer=(7, 0, 1),
        attributes=TRANSACTIONAL_BIT,
    )
    (view,) = log.read_batches(1, 1)
    assert list(view.offsets()) == [3, 6]
    empty_aborted([view], [(7, 0, 10, 11)])
    assert (list(view.offsets()), view.record_count, view.next_offset) == ([], 0, 10)

"""Which of the batches that were read belong to transactions that were aborted (TXN-14)."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING

from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT

if TYPE_CHECKING:
    from streamlog.record import BatchView

Aborted = tuple[int, int, int, int]
"""Producer id, first offset, last offset (the marker's), last stable offset: an `AbortedTransaction`."""


def empty_aborted(batches: Iterable[BatchView], aborted: Iterable[Aborted]) -> None:
    """Take the records out of those of *batches*, in offset order, that belong to one of the *aborted* transactions.

    What is left of such a batch is like one whose records were all compacted away: nothing to deliver, and a position behind it
    (LOG-8). *aborted* are those that overlap the batches, whatever their order. Source: Kafka ``CompletedFetch.consumeAbortedTransactionsUpTo``.
    """
    waiting = sorted(aborted, key=itemgetter(1), reverse=True)
    last_offsets: dict[int, int] = {}
    for view in batches:
        while waiting and waiting[-1][1] <= view.base_offset:
            producer_id, _, last_offset, _ = waiting.pop()
            # Where a marker was damaged, one transaction may be named twice, with the offset where it must be over and that where
            # it was ended.
            last_offsets[producer_id] = max(last_offset, last_offsets.get(producer_id, -1))
        # By the offset of the marker, which may be damaged, or further on than was read.
        if (
            view.attributes & TRANSACTIONAL_BIT
            and view.base_offset < last_offsets.get(view.producer_id, -1)
            and not view.attributes & CONTROL_BIT
        ):
            view.record_count = 0
            view.body = b""

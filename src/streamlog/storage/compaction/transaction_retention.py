"""What compaction does with transactions: whose data goes, and how long their markers stay (CMP-4, CMP-6)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from streamlog.record.layout import CONTROL_BIT, DELETE_HORIZON_BIT, BatchHeader
from streamlog.storage.aborted_transaction import AbortedTransaction


class AbortedData:
    """Which batches belong to transactions that were aborted, from an index of those. Immutable."""

    __slots__ = ("_by_producer",)

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        """*aborted* in the order of their markers."""
        # First offsets and markers, both rising, by producer id.
        self._by_producer: dict[int, tuple[list[int], list[int]]] = {}
        for entry in aborted:
            firsts, lasts = self._by_producer.setdefault(entry.producer_id, ([], []))
            firsts.append(entry.first_offset)
            lasts.append(entry.last_offset)

    def has(self, header: BatchHeader) -> bool:
        """Whether the batch of records with this *header*, which is part of a transaction, was aborted."""
        found = self._by_producer.get(header.producer_id)
        if found is None:
            return False
        firsts, lasts = found
        at = bisect_left(lasts, header.base_offset)
        return at < len(lasts) and firsts[at] <= header.base_offset


class MarkerRetention:
    """Decides about markers as they come, in the order of the log.

    A marker whose transaction still had a batch in front of it stays: without it that batch would be of an open transaction. Once there is
    none, it stays for ``delete_retention_ms`` more, for readers who have read such a batch before.

    Threads: one. Source: Kafka ``CleanedTransactionMetadata``.
    """

    __slots__ = ("_last_batches", "_now_ms", "_with_data")

    def __init__(self, last_batches: set[int], now_ms: int) -> None:
        """*last_batches* are the base offsets of those that tell what their producers wrote last (CMP-7)."""
        self._last_batches = last_batches
        self._now_ms = now_ms
        self._with_data: set[int] = set()

    def saw_data(self, producer_id: int) -> None:
        """There is a batch of a transaction of this producer, with or without records."""
        self._with_data.add(producer_id)

    def may_go(self, header: BatchHeader) -> bool | None:
        """Whether the marker with this *header* goes now; None: not yet, and from now on its time runs."""
        assert header.attributes & CONTROL_BIT
        had_data = header.producer_id in self._with_data
        self._with_data.discard(header.producer_id)
        if had_data or header.base_offset in self._last_batches:
            return False
        if not header.attributes & DELETE_HORIZON_BIT:
            return None
        return header.first_timestamp_ms <= self._now_ms

"""One aborted transaction of a partition, as readers of committed records need to know it."""

from __future__ import annotations

from typing import NamedTuple


class AbortedTransaction(NamedTuple):
    """Which offsets of which producer count for nothing. Source: Kafka ``AbortedTxn`` (TXN-15)."""

    producer_id: int
    #: That of its first batch in the partition.
    first_offset: int
    #: That of its abort marker. Every transactional batch of the producer in between belongs to it.
    last_offset: int
    #: Where the first transaction that was still open began when the marker was written, else the offset behind the marker. What
    #: is aborted later begins there or behind, so whoever reads below it need not look at later entries.
    last_stable_offset: int

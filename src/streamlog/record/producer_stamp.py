"""What an idempotent producer puts on each batch that it sends to one partition."""

from __future__ import annotations

from collections.abc import Callable

from streamlog.record.layout import TRANSACTIONAL_BIT, producer_fields, single_flags

RecentBatch = tuple[int, int, int, int]
"""First sequence, last sequence, base offset and greatest timestamp of a batch that is in the log."""


class ProducerStamp:
    """Id, epoch and next sequence number of one producer in one partition (IDM-1). One for each (producer, partition, epoch).

    Made by the client. Whoever appends hands it to the log, which takes the sequence number from it and moves it on under its own
    lock, once the batch is stored: two threads that append never get the same, and an append that failed uses none up.
    """

    __slots__ = (
        "is_transactional",
        "next_sequence",
        "producer_epoch",
        "producer_fields",
        "producer_id",
        "remember",
        "single_flags",
    )

    def __init__(
        self, producer_id: int, producer_epoch: int, is_transactional: bool = False
    ) -> None:
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.is_transactional = is_transactional
        #: The sequence number of the next record. Written by the log alone.
        self.next_sequence = 0
        #: Where the log notes a batch of this stamp, None when the next one needs a closer look. Written by the log alone.
        self.remember: Callable[[RecentBatch], None] | None = None
        # What the header of a batch of one plain record says in every such batch: packed once.
        self.single_flags = single_flags(TRANSACTIONAL_BIT if is_transactional else 0)
        self.producer_fields = producer_fields(producer_id, producer_epoch)

    def __repr__(self) -> str:
        kind = "transactional producer" if self.is_transactional else "producer"
        return f"<ProducerStamp of {kind} {self.producer_id} epoch {self.producer_epoch} next {self.next_sequence}>"

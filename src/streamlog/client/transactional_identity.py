"""Who a transactional producer is to the partitions that it writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.producer_identity import ProducerIdentity
from streamlog.record import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.structs import ProducerIdAndEpoch

_NOBODY = -1


class TransactionalIdentity(ProducerIdentity):
    """Id and epoch as the coordinator gave them for the present transaction, and the maker of its stamps.

    Unlike an idempotent producer it never counts an epoch up by itself: a sequence that does not fit is the
    end of the transaction, and the next one has another epoch (TXN-11). Threads: any; `take` between
    transactions. Source: Kafka ``TransactionManager``, KIP-890.
    """

    __slots__ = ("_has_written",)

    def __init__(self) -> None:
        super().__init__(lambda: _NOBODY)
        self._has_written = False

    def take(self, identity: ProducerIdAndEpoch) -> None:
        """Let the stamps from here on be those of *identity*."""
        self.current = identity
        self._has_written = False

    def stamp(self) -> ProducerStamp:
        """Return the first stamp of a queue. Before `take` it is nobody's, and no partition takes it."""
        return ProducerStamp(*self.current, is_transactional=True)

    def renewed(self, stamp: ProducerStamp) -> ProducerStamp:
        """Return a stamp for the queue's new partition: its topic was deleted and created again."""
        if stamp.next_sequence and self.is_of(stamp):
            self._has_written = True
        return self.stamp()

    def is_of(self, stamp: ProducerStamp) -> bool:
        """Return whether *stamp* is of the present transaction."""
        return self.current == (stamp.producer_id, stamp.producer_epoch)

    def has_written(self, stamps: Iterable[ProducerStamp | None]) -> bool:
        """Return whether any of *stamps*, or one that was renewed, is on a batch in a partition."""
        return self._has_written or any(
            stamp is not None and stamp.next_sequence > 0 and self.is_of(stamp) for stamp in stamps
        )

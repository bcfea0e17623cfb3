"""Who an idempotent producer is to the partitions that it writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record import ProducerStamp
from streamlog.runtime import Lock
from streamlog.structs import ProducerIdAndEpoch

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PRODUCER_EPOCH = 2**15 - 1
"""The greatest epoch there is; a new producer id follows."""


class ProducerIdentity:
    """The producer's id and epoch, and the maker of its stamps.

    Each queue has a stamp of its own, and each further stamp of a queue has a greater epoch or another
    id than those before: a partition that knows the old one can take the sequence from 0 on for new,
    and never for a batch that it has already. The other queues go on with the epoch that they have,
    until they need a new one. Threads: any. Source: Kafka ``TransactionManager``, KIP-360.
    """

    __slots__ = ("_lock", "_new_producer_id", "current")

    def __init__(self, new_producer_id: Callable[[], int]) -> None:
        self._new_producer_id = new_producer_id
        self._lock = Lock()
        self.current = ProducerIdAndEpoch(new_producer_id(), 0)
        """What the next stamp carries."""

    def __repr__(self) -> str:
        return f"<ProducerIdentity {self.current.producer_id} epoch {self.current.producer_epoch}>"

    def stamp(self) -> ProducerStamp:
        """Return the first stamp of a queue (IDM-1)."""
        return ProducerStamp(*self.current)

    def renewed(self, stamp: ProducerStamp) -> ProducerStamp:
        """Return the stamp that follows *stamp* in its queue: its sequence begins at 0 again (IDM-6).

        Epochs are counted up here; nobody else has this producer id. Raises what taking another id
        raises, when the epochs of this one are used up.
        """
        with self._lock:
            if self.current == (stamp.producer_id, stamp.producer_epoch):
                producer_id, epoch = self.current
                if epoch < MAX_PRODUCER_EPOCH:
                    self.current = ProducerIdAndEpoch(producer_id, epoch + 1)
                else:
                    self.current = ProducerIdAndEpoch(self._new_producer_id(), 0)
            return ProducerStamp(*self.current)

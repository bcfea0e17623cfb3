"""What must hold from one batch of a producer to the next: epochs, sequence numbers, transactions (IDM-3, IDM-4, TXN-8)."""

from __future__ import annotations

from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT, BatchHeader
from streamlog.record.sequence import MAX_SEQUENCE, advance

_HALF = (MAX_SEQUENCE + 1) // 2


class ProducerCheck:
    """Told of every batch of a log in order, says what no producer can have written."""

    def __init__(self, *, may_have_gaps: bool) -> None:
        """*may_have_gaps*: whether compaction may have taken batches of a producer that is still there."""
        self._may_have_gaps = may_have_gaps
        # By producer id: its epoch, and the last sequence of that, -1 when it is not known.
        self._known: dict[int, tuple[int, int]] = {}
        # First offsets of the open transactions.
        self.open: dict[int, int] = {}

    def forget(self) -> None:
        """Batches are missing here: nothing is known any more."""
        self._known.clear()
        self.open.clear()

    def problem(self, header: BatchHeader) -> str | None:
        """Take the batch, and return what is wrong with it; None when nothing is."""
        producer_id, epoch = header.producer_id, header.producer_epoch
        if producer_id < 0:
            return None
        known = self._known.get(producer_id)
        if known is not None and epoch < known[0]:
            return f"producer {producer_id}: expected epoch {known[0]} or greater, found {epoch}"
        if header.attributes & CONTROL_BIT:
            last = known[1] if known is not None and known[0] == epoch else -1
            self._known[producer_id] = epoch, last
            self.open.pop(producer_id, None)
            return None
        if header.base_sequence < 0:
            return f"producer {producer_id}: expected a sequence, found {header.base_sequence}"
        problem = None if known is None else self._sequence_problem(header, known)
        last = advance(header.base_sequence, header.last_offset_delta)
        self._known[producer_id] = epoch, last
        if header.attributes & TRANSACTIONAL_BIT:
            self.open.setdefault(producer_id, header.base_offset)
        elif producer_id in self.open:
            problem = problem or (
                f"producer {producer_id}: expected a batch of the transaction that is open since offset "
                f"{self.open[producer_id]}, found one without a transaction"
            )
        return problem

    def _sequence_problem(self, header: BatchHeader, known: tuple[int, int]) -> str | None:
        epoch, last = known
        if epoch == header.producer_epoch:
            if last < 0:
                return None
            expected = advance(last, 1)
        else:
            expected = 0
        skipped = (header.base_sequence - expected) & MAX_SEQUENCE
        if not skipped or (self._may_have_gaps and skipped < _HALF):
            return None
        return f"producer {header.producer_id}: expected sequence {expected}, found {header.base_sequence}"

"""The idempotent producers of one log: what they may append next, and whose transactions are open."""

from __future__ import annotations

from collections.abc import Callable

from streamlog.errors import (
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTxnStateError,
    OutOfOrderSequenceError,
    TransactionCoordinatorFencedError,
)
from streamlog.record.control import ControlType, read_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.sequence import last_sequence
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.producer_entry import ProducerEntry
from streamlog.structs import TopicPartition


class ProducerStates:
    """Producer entries by producer id, and the transactions that are open.

    :meth:`check` says whether a batch may be appended; what was stored is then told to :meth:`appended` or :meth:`completed`, which
    may be told twice (Ctrl-C in between) and believe whatever they are told, so that they serve for rebuilding from a log as well.

    Threads: the holder of the log's lock; `first_unstable_offset` may be read by any. Source: Kafka ``ProducerStateManager``.
    """

    def __init__(self, topic_partition: TopicPartition) -> None:
        self.topic_partition = topic_partition
        self.entries: dict[int, ProducerEntry] = {}
        #: The first offset of the oldest open transaction; None without one.
        self.first_unstable_offset: int | None = None
        #: Told of a transaction that was aborted before `first_unstable_offset` moves past it; perhaps twice.
        self.on_aborted: Callable[[AbortedTransaction], None] | None = None
        # First offsets of open transactions by producer id, in the order of the offsets.
        self._open: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<ProducerStates of {self.topic_partition}: {len(self.entries)}, {len(self._open)} in transactions>"

    def open_transactions(self) -> dict[int, tuple[int, int]]:
        """Return epoch and first offset of each open transaction, by producer id, the oldest first."""
        return {
            producer_id: (self.entries[producer_id].producer_epoch, first_offset)
            for producer_id, first_offset in self._open.items()
        }

    def is_open(self, producer_id: int, producer_epoch: int) -> bool:
        """Whether this producer, in this epoch, has an open transaction here. Threads: any."""
        entry = self.entries.get(producer_id)
        return (
            entry is not None
            and entry.first_open_offset >= 0
            and entry.producer_epoch == producer_epoch
        )

    # ---- before an append

    def check(self, batch: PendingBatch) -> int | None:
        """Return None when *batch* may be appended; the offset it has already when it was, with ``max_timestamp_ms`` set to what was
        stored (IDM-2).

        Raises OutOfOrderSequenceError (IDM-3, IDM-4), InvalidProducerEpochError (IDM-4), InvalidTxnStateError (IDM-8),
        InvalidRecordError (a sequence is missing, REC-10), TransactionCoordinatorFencedError (a marker of an older coordinator).
        """
        if batch.is_control:
            self._check_marker(batch)
            return None
        sequence, epoch = batch.base_sequence, batch.producer_epoch
        if sequence < 0 or epoch < 0:
            raise InvalidRecordError(
                f"{self._name(batch)}: expected an epoch and a sequence of 0 or more, found {epoch} and {sequence}"
            )
        entry = self.entries.get(batch.producer_id)
        if entry is None:
            return None  # IDM-5
        if epoch == entry.producer_epoch:
            last = last_sequence(sequence, batch.record_count)
            for known in entry.recent:
                if known[0] == sequence and known[1] == last:
                    batch.max_timestamp_ms = known[3]
                    return known[2]
        elif epoch < entry.producer_epoch:
            raise self._old_epoch(batch, entry)
        expected = entry.next_sequence if epoch == entry.producer_epoch else 0
        if sequence != expected:
            raise OutOfOrderSequenceError(
                f"{self._name(batch)}: expected sequence {expected}, found {sequence} (epoch {epoch}, the last one was of epoch "
                f"{entry.producer_epoch})"
            )
        if entry.first_open_offset >= 0 and not batch.is_transactional:
            raise InvalidTxnStateError(
                f"{self._name(batch)}: expected a batch of the transaction that is open since offset {entry.first_open_offset}, "
                "found one without a transaction"
            )
        if (
            entry.first_open_offset < 0
            and epoch == entry.producer_epoch
            and batch.is_transactional
            and getattr(batch, "verified_marker_offset", entry.marker_offset) != entry.marker_offset
        ):
            # Of a producer that keeps its epoch: that of any other has changed.
            raise InvalidTxnStateError(
                f"{self._name(batch)}: expected a batch of a transaction that is open, found one of a transaction that the marker "
                f"at offset {entry.marker_offset} has ended"
            )
        return None

    def _check_marker(self, batch: PendingBatch) -> None:
        _, coordinator_epoch = read_marker(batch)
        entry = self.entries.get(batch.producer_id)
        if entry is None:
            return
        if batch.producer_epoch < entry.producer_epoch:
            raise self._old_epoch(batch, entry)
        if coordinator_epoch < entry.coordinator_epoch:
            raise TransactionCoordinatorFencedError(
                f"{self._name(batch)}: expected a marker of coordinator epoch {entry.coordinator_epoch} or greater, "
                f"found {coordinator_epoch}"
            )

    def _old_epoch(self, batch: PendingBatch, entry: ProducerEntry) -> InvalidProducerEpochError:
        hint = ": a newer producer has the id, or the transaction timed out"
        return InvalidProducerEpochError(
            f"{self._name(batch)}: expected epoch {entry.producer_epoch} or greater, found {batch.producer_epoch}"
            + hint * (batch.is_transactional and not batch.is_control)
        )

    def _name(self, batch: PendingBatch) -> str:
        return f"{self.topic_partition}: producer {batch.producer_id}"

    # ---- after it

    def appended(
        self,
        producer_id: int,
        producer_epoch: int,
        base_sequence: int,
        record_count: int,
        attributes: int,
        base_offset: int,
        timestamp_ms: int,
    ) -> ProducerEntry:
        """Note a batch of records that is in the log at *base_offset*, and return the entry of its producer.

        *record_count* counts those that compaction took as well; *timestamp_ms* is the greatest.
        """
        entry = self.entries.get(producer_id)
        if entry is None:
            self.entries[producer_id] = entry = ProducerEntry(producer_id, producer_epoch)
        elif entry.producer_epoch != producer_epoch:
            # In this order, as in completed(): told again after an interruption, it starts over.
            entry.unlink()
            entry.recent.clear()
            entry.producer_epoch = producer_epoch
        recent = entry.recent
        if not recent or recent[-1][2] != base_offset:
            last = last_sequence(base_sequence, record_count)
            recent.append((base_sequence, last, base_offset, timestamp_ms))
        if attributes & TRANSACTIONAL_BIT:
            entry.first_open_offset = self._open.setdefault(producer_id, base_offset)
            self._find_first_unstable()
        return entry

    def completed(
        self,
        producer_id: int,
        producer_epoch: int,
        control_type: ControlType,
        coordinator_epoch: int,
        offset: int,
        timestamp_ms: int,
    ) -> None:
        """Note a marker that is in the log at *offset*: the transaction of this producer is over (TXN-8)."""
        entry = self.entries.get(producer_id)
        if entry is None:
            self.entries[producer_id] = entry = ProducerEntry(producer_id, producer_epoch)
        entry.unlink()
        first_offset = self._open.get(producer_id)
        if (
            first_offset is not None
            and control_type is ControlType.ABORT
            and self.on_aborted is not None
        ):
            others = [first for other, first in self._open.items() if other != producer_id]
            stable = others[0] if others else offset + 1
            self.on_aborted(AbortedTransaction(producer_id, first_offset, offset, stable))
        if entry.producer_epoch != producer_epoch:
            entry.recent.clear()
            entry.producer_epoch = producer_epoch
        entry.coordinator_epoch = coordinator_epoch
        entry.marker_offset, entry.marker_timestamp_ms = offset, timestamp_ms
        entry.first_open_offset = -1
        self._open.pop(producer_id, None)
        self._find_first_unstable()

    def _find_first_unstable(self) -> None:
        self.first_unstable_offset = next(iter(self._open.values()), None)

    # ---- keeping

    def unlink_all(self) -> None:
        """Have whoever appends next be checked: these states are about to be replaced, or the log is closing."""
        for entry in self.entries.values():
            entry.unlink()

    def expire(self, now_ms: int, producer_id_expiration_ms: int) -> int:
        """Forget the producers whose last batch is so old, but none with an open transaction; return how many (IDM-5)."""
        expired = [
            entry
            for entry in self.entries.values()
            if entry.first_open_offset < 0
            and now_ms - entry.last_timestamp_ms >= producer_id_expiration_ms
        ]
        for entry in expired:
            entry.unlink()
            del self.entries[entry.producer_id]
        return len(expired)

    def pack(self) -> list[list[int]]:
        """Return all entries, for a snapshot."""
        return [entry.pack() for entry in self.entries.values()]

    def unpack(self, packed: object) -> None:
        """Take the entries that :meth:`pack` gave. Raises ValueError, having taken none, when these are no such thing."""
        if type(packed) is not list or any(type(fields) is not list for fields in packed):
            raise ValueError(f"expected a list of lists, found {packed!r:.100}")
        entries = [ProducerEntry.unpack(fields) for fields in packed]
        self.entries = {entry.producer_id: entry for entry in entries}
        opened = [(e.first_open_offset, e.producer_id) for e in entries if e.first_open_offset >= 0]
        self._open = {producer_id: first_offset for first_offset, producer_id in sorted(opened)}
        self._find_first_unstable()

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        opened = {e.producer_id: e.first_open_offset for e in self.entries.values()}
        assert self._open == {i: first for i, first in opened.items() if first >= 0}
        assert list(self._open.values()) == sorted(self._open.values())
        assert self.first_unstable_offset == min(self._open.values(), default=None)
        for producer_id, entry in self.entries.items():
            assert entry.producer_id == producer_id
            offsets = [batch[2] for batch in entry.recent]
            assert offsets == sorted(set(offsets))
            stamp = entry.stamp
            if stamp is not None:
                assert stamp.remember == entry.recent.append
                assert stamp.producer_epoch == entry.producer_epoch
                assert stamp.next_sequence == entry.next_sequence
                assert stamp.is_transactional == (entry.first_open_offset >= 0)

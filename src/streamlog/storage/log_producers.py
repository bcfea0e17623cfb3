"""Appending for idempotent producers: what they sent is checked, and what was stored is noted, under the log's lock."""

from __future__ import annotations

import logging
from abc import abstractmethod

from streamlog.errors import InvalidTxnStateError, OutOfOrderSequenceError
from streamlog.record.batch_builder import build_single_value_batch
from streamlog.record.control import read_marker
from streamlog.record.layout import (
    HEADER_SIZE,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    TRANSACTIONAL_BIT,
)
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.producer_stamp import ProducerStamp
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.runtime import locked
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.log_syncing import SyncableLog
from streamlog.storage.producer_replay import replay_all
from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.producer_state import ProducerStates
from streamlog.storage.segment import Segment
from streamlog.storage.transaction_lookup import aborted_between
from streamlog.structs import ProducerStateInfo, TopicPartition

_logger = logging.getLogger("streamlog")

#: A snapshot is due once so much was appended: up to 5,000 batches of 200 bytes, which take 10 ms to read again.
_SNAPSHOT_BYTES = 1024 * 1024

#: Offsets in the index are relative to the segment and four bytes wide (LOG-2).
MAX_RELATIVE_OFFSET = 2**31 - 1


class ProducerLog(SyncableLog):
    """The part of a log that knows its producers and their transactions.

    The states follow the log: a batch is stored, then noted, then published. Ctrl-C in between is made good before the lock is free.
    """

    _roll_after_ms: int
    _snapshots: ProducerSnapshots

    def __init__(self, directory: str, topic_partition: TopicPartition) -> None:
        super().__init__(directory, topic_partition)
        #: Whether a batch of a transaction was ever stored. Never taken back: without one, reading committed records costs nothing.
        self.has_transactions = False
        # Whether a producer with an id ever wrote: not taken back either.
        self._has_producers = False
        # None until somebody asks, in a log that has some: opening a log takes no longer for its having producers. Never None in
        # one that has transactions, whose readers ask at once.
        self._producers: ProducerStates | None = None
        # Where the active segment ended when the last snapshot was taken, as far as one was taken in it.
        self._snapshot_position = 0

    @abstractmethod
    def _prepare(self, size: int, max_timestamp_ms: int, record_count: int) -> Segment:
        """Do what an append needs done first and return the segment to append to."""

    @property
    def last_stable_offset(self) -> int:
        """The end of what belongs to no open transaction (TXN-13); the log end when none is open. Threads: any."""
        # In this order: a transaction is noted before its first record is published.
        end_offset = self._next_offset
        if not self.has_transactions:
            return end_offset
        assert self._producers is not None
        unstable = self._producers.first_unstable_offset
        if unstable is None or unstable >= end_offset:
            return end_offset
        return max(unstable, self._log_start_offset)

    def has_open_transaction(self, producer_id: int, producer_epoch: int) -> bool:
        """Whether this producer, in this epoch, has a transaction open here. Threads: any."""
        producers = self._producers
        return (
            self.has_transactions
            and producers is not None
            and producers.is_open(producer_id, producer_epoch)
        )

    def last_marker_offset(self, producer_id: int) -> int:
        """Return the offset of the last marker of this producer; -1 without one, or when it is not known any more. Threads: any."""
        producers = self._producers
        entry = None if producers is None else producers.entries.get(producer_id)
        return -1 if entry is None else entry.marker_offset

    @locked
    def next_sequence(self, producer_id: int, producer_epoch: int) -> int:
        """Return the sequence number that the next batch of this producer, in this epoch, has to begin with."""
        entry = self._known_producers().entries.get(producer_id)
        is_known = entry is not None and entry.producer_epoch == producer_epoch
        return entry.next_sequence if entry is not None and is_known else 0

    @locked
    def open_transactions(self) -> dict[int, tuple[int, int]]:
        """Return epoch and first offset of each transaction that is open here, by producer id, the oldest first."""
        return self._open_transactions()

    def aborted_transactions(self, start_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """Return the aborted transactions with an offset from *start_offset* up to, not including, *end_offset*, by marker.

        *end_offset* at most `last_stable_offset`. Where an index file is missing, the first one who asks walks the log. Raises
        OSError when that cannot be read, ClosedError. Threads: any.
        """
        if not self.has_transactions:
            return []
        self._check_usable()
        return aborted_between(self._segments, start_offset, end_offset)

    def _note_aborted(self, aborted: AbortedTransaction) -> None:
        self._active.transactions.add(aborted)

    def _open_transactions(self) -> dict[int, tuple[int, int]]:
        """Return epochs and first offsets of the transactions that are open, by producer id."""
        return self._known_producers().open_transactions() if self.has_transactions else {}

    def _flush_transactions(self, segment: Segment) -> None:
        """Write out which transactions were aborted in *segment*, the last one, and which are open at its end."""
        if self.has_transactions:
            try:
                segment.flush_transactions(self._open_transactions())
            except OSError as error:  # derived data
                _logger.warning(
                    "%s: %s not written, it is made again at the next open: %s",
                    self.topic_partition,
                    segment.transactions.path,
                    error,
                )

    @locked
    def describe_producers(self) -> list[ProducerStateInfo]:
        """Return what is known of each producer, by producer id."""
        self._check_usable()
        entries = sorted(self._known_producers().entries.items())
        return [
            ProducerStateInfo(
                producer_id,
                entry.producer_epoch,
                entry.recent[-1][1] if entry.recent else NO_SEQUENCE,
                entry.last_timestamp_ms,
                entry.coordinator_epoch if entry.coordinator_epoch >= 0 else None,
                entry.first_open_offset if entry.first_open_offset >= 0 else None,
            )
            for producer_id, entry in entries
        ]

    @locked
    def expire_producers(self, now_ms: int, producer_id_expiration_ms: int) -> int:
        """Forget the producers that last wrote so long ago, but none in a transaction; return how many went (IDM-5)."""
        # Those that nobody asked for yet are found by their batches, and expire the next time.
        producers = self._producers
        return 0 if producers is None else producers.expire(now_ms, producer_id_expiration_ms)

    # ---- with the lock held

    def _known_producers(self) -> ProducerStates:
        """Return the producers, found again in the log if nobody asked before: from the last good snapshot on, by the headers."""
        producers = self._producers
        if producers is None:
            self._producers = producers = self._find_producers()
        return producers

    def _find_producers(self) -> ProducerStates:
        states = ProducerStates(self.topic_partition)
        if self._has_producers:
            replay_all(self._segments.in_order(), self._snapshots.load(states), states)
        states.on_aborted = self._note_aborted
        return states

    def _take_snapshot(self) -> None:
        """Write a snapshot at the log end, unless there is one, or nobody to write of. Never raises OSError: it is derived data."""
        if not self._has_producers or self._snapshots.latest_offset == self._next_offset:
            return
        try:
            self._snapshots.write(
                self._next_offset, self._known_producers(), self._segments.base_offsets()
            )
            self._snapshot_position = self._active.position
        except OSError as error:
            _logger.warning(
                "%s: no snapshot of its producers was written: %s", self.topic_partition, error
            )

    def _take_snapshot_if_due(self) -> None:
        """Write a snapshot when so much was appended since the last one that reading it again would take its time."""
        if (
            self._producers is not None
            and self._active.position - self._snapshot_position > _SNAPSHOT_BYTES
        ):
            self._take_snapshot()

    def _forget_producers(self, end_offset: int) -> bool:
        """Find the producers again in a log that ends at *end_offset* now; return whether a name went that must not come back."""
        if self._producers is not None:
            self._producers.unlink_all()
        self._snapshot_position = 0
        deleted = self._snapshots.delete_above(end_offset)
        # Not None in between: readers ask for the last stable offset without the lock.
        self._producers = self._find_producers() if self.has_transactions else None
        return deleted

    def _drop_old_snapshots(self) -> None:
        """Delete the snapshots from before the first segment."""
        try:
            self._snapshots.delete_below(self._segments.first().base_offset)
        except OSError as error:
            _logger.warning(
                "%s: an old snapshot of its producers stays: %s", self.topic_partition, error
            )

    def _append_of_producer(self, batch: PendingBatch) -> int:
        """Append *batch*, a marker or of a producer with an id, unless the log has it already; return its base offset.

        Raises what `ProducerStates.check` and `_prepare` raise, with the batch as it was.
        """
        stamp = batch.stamp
        takes_sequence = stamp is not None and batch.base_sequence < 0
        remember, sequence = None, NO_SEQUENCE
        offset = self._next_offset
        try:
            if stamp is not None and takes_sequence:
                remember = stamp.remember
                batch.producer_id = stamp.producer_id
                batch.producer_epoch = stamp.producer_epoch
                batch.base_sequence = sequence = stamp.next_sequence
                if stamp.is_transactional:
                    batch.attributes |= TRANSACTIONAL_BIT
            if (
                remember is None
                and (known_offset := self._known_producers().check(batch)) is not None
            ):
                self._check_usable()
                if takes_sequence:
                    raise self._not_sent_yet(batch, known_offset)
                return known_offset
            record_count = batch.record_count
            size = HEADER_SIZE + len(batch.body)
            segment = self._active
            if (  # as in PartitionLog.append()
                segment.position + size + 7 > segment.limit
                or batch.max_timestamp_ms > self._roll_after_ms
                or offset + record_count - segment.base_offset > MAX_RELATIVE_OFFSET
            ):
                segment = self._prepare(size, batch.max_timestamp_ms, record_count)
            segment.append(batch, offset, self._leader_epoch)
            if remember is not None and stamp is not None:
                # Linked: what _note would find out is known to be so.
                remember(
                    (
                        sequence,
                        sequence + record_count - 1 & MAX_SEQUENCE,
                        offset,
                        batch.max_timestamp_ms,
                    )
                )
                stamp.next_sequence = sequence + record_count & MAX_SEQUENCE
            else:
                self._note(batch, offset, takes_sequence)
            self._next_offset = segment.next_offset
        except BaseException:
            if self._active.next_offset > offset:  # stored, and then interrupted (Ctrl-C)
                self._note(batch, offset, takes_sequence)
                self._next_offset = self._active.next_offset
            elif takes_sequence:
                batch.producer_id = NO_PRODUCER_ID
                batch.producer_epoch = NO_PRODUCER_EPOCH
                batch.base_sequence = NO_SEQUENCE
                batch.attributes &= ~TRANSACTIONAL_BIT
            raise
        return offset

    def _not_sent_yet(self, batch: PendingBatch, known_offset: int) -> OutOfOrderSequenceError:
        return OutOfOrderSequenceError(
            f"{self.topic_partition}: producer {batch.producer_id}: the new batch of sequence {batch.base_sequence} would count as "
            f"the one at offset {known_offset}"
        )

    def _append_unlinked(self, value: bytes, timestamp_ms: int, stamp: ProducerStamp) -> int:
        """Append one plain record of *stamp* with a closer look at its producer."""
        if stamp.is_transactional and not self.has_open_transaction(
            stamp.producer_id, stamp.producer_epoch
        ):
            raise InvalidTxnStateError(
                f"{self.topic_partition}: producer {stamp.producer_id} epoch {stamp.producer_epoch}: expected an open transaction, "
                "found none"
            )
        batch = build_single_value_batch(value, timestamp_ms)
        batch.stamp = stamp
        return self._append_of_producer(batch)

    def _note(self, batch: PendingBatch, offset: int, takes_sequence: bool) -> None:
        """Note that *batch* is stored at *offset*; once more if need be."""
        producers, stamp = self._known_producers(), batch.stamp
        self._has_producers = True
        if batch.is_transactional and not self.has_transactions:
            for segment in self._segments.in_order():
                segment.transactions.begin_without(segment.position)
            self.has_transactions = True
        if batch.is_control:
            producers.completed(
                batch.producer_id,
                batch.producer_epoch,
                *read_marker(batch),
                offset,
                batch.max_timestamp_ms,
            )
            return
        entry = producers.appended(
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence,
            batch.record_count,
            batch.attributes,
            offset,
            batch.max_timestamp_ms,
        )
        next_sequence = entry.next_sequence
        if stamp is not None and takes_sequence:
            stamp.next_sequence = next_sequence
        if (
            stamp is not None
            and stamp.next_sequence == next_sequence
            and stamp.producer_epoch == entry.producer_epoch
            and stamp.producer_id == entry.producer_id
        ):
            entry.link(stamp)
        else:
            entry.unlink()

    def _note_value(self, stamp: ProducerStamp, offset: int, timestamp_ms: int) -> None:
        """Note one record of a linked *stamp*, stored at *offset*, as far as that was not done."""
        entry = self._known_producers().entries[stamp.producer_id]
        recent, sequence = entry.recent, stamp.next_sequence
        if not recent or recent[-1][2] != offset:
            recent.append((sequence, sequence, offset, timestamp_ms))
        stamp.next_sequence = entry.next_sequence

    def _check(self) -> None:
        """Assert what holds of an undamaged log while no call is under way. For tests."""
        super()._check()
        producers = self._producers
        if producers is not None:
            producers._check()
            assert self._has_producers or not producers.entries
            assert self.has_transactions or producers.first_unstable_offset is None
        assert self._has_producers or not self.has_transactions
        assert producers is not None or not self.has_transactions
        assert all(offset <= self._next_offset for offset in self._snapshots.offsets)
        assert self._log_start_offset <= self.last_stable_offset <= self._next_offset

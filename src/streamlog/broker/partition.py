"""One partition of a topic: leader rules on the way down, the visible bound on the way up."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from streamlog.broker.refused_log import RefusedLog
from streamlog.errors import (
    ClosedError,
    InvalidRecordError,
    InvalidTxnStateError,
    OffsetOutOfRangeError,
    PolicyViolationError,
    StorageError,
)
from streamlog.record import build_single_value_batch
from streamlog.structs import Durability, Isolation, OffsetAndTimestamp, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.append_gate import AppendGate
    from streamlog.config import TopicConfig
    from streamlog.errors import CorruptLogError, StreamlogError
    from streamlog.record import BatchView, PendingBatch, ProducerStamp
    from streamlog.runtime import Signal
    from streamlog.runtime.threads import Lock
    from streamlog.storage.aborted_transaction import AbortedTransaction
    from streamlog.storage.leader_epochs import EpochEndOffset
    from streamlog.storage.partition_log import PartitionLog
    from streamlog.structs import ProducerStateInfo

_Error = TypeVar("_Error", bound=Exception)

HIGH_WATERMARK = -1
"""``delete_records`` up to everything that is readable. Source: Kafka ``DeleteRecordsRequest``."""


class Partition:
    """A partition as its leader sees it. Made by the topic registry; threads: any, for every method.

    * write: `append`, `append_value`, `sync`, `delete_records`, `ack_durability`
    * transactions: `append_marker`, `verify_transaction`, `describe_producers`
    * read: `read`, `offset_for_timestamp`, `offset_of_max_timestamp`
    * bounds: `log_start_offset` <= `last_stable_offset` <= `high_watermark` <= `log_end_offset`
      (LOG-6)
    * wait: `add_waiter`, `remove_waiter`

    Once the topic is deleted every call raises `UnknownTopicOrPartitionError`; once the broker is
    closed `ClosedError`; when recovery found the log damaged as a whole `CorruptLogError`. Source:
    Kafka ``cluster/Partition.scala``.
    """

    __slots__ = (
        "_gate",
        "_promise",
        "_waiters",
        "_waiters_lock",
        "log",
        "topic_partition",
        "verify_transaction",
    )

    def __init__(
        self,
        topic_partition: TopicPartition,
        log: PartitionLog | RefusedLog,
        gate: AppendGate,
        *,
        waiters_lock: Lock,
        promise: Durability,
    ) -> None:
        self.topic_partition = topic_partition
        self.log = cast("PartitionLog", log)
        """The log, or a `RefusedLog` that raises why there is none. Internal to the broker."""
        self._gate = gate
        # What an append survives without a sync: the process on a disk, nothing in memory.
        self._promise = promise
        self._waiters: tuple[Signal, ...] = ()
        self._waiters_lock = waiters_lock
        self.verify_transaction: Callable[[int, int, TopicPartition], object] = _refuse_transaction
        """Called with producer id, producer epoch and this partition before the first batch of a
        transaction is stored here (TXN-11); raises why that may not be. The broker sets it to
        the transaction coordinator's ``add_partition``.
        """

    def __repr__(self) -> str:
        return f"<Partition {self.topic_partition}>"

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.topic_partition.topic

    @property
    def number(self) -> int:
        """The partition's number, from 0."""
        return self.topic_partition.partition

    @property
    def leader_epoch(self) -> int:
        """Stamped on each batch; grows when opening could not rule out that records were lost (REP-4)."""
        return self.log.leader_epoch

    # ---- write

    def append(self, batch: PendingBatch) -> int:
        """Store *batch* and return the offset of its first record; waiting readers are woken.

        All of the batch is stored or nothing (REC-8). Under LogAppendTime ``batch.max_timestamp_ms``
        is the broker's time afterwards. With ``flush_messages`` set, returns after the sync that the
        count asks for.

        Raises `MessageTooLargeError`, `RecordBatchTooLargeError` (REC-6), `InvalidRecordError`
        (REC-7, REC-10), `InvalidTimestampError` (REC-4), `DiskFullError`: nothing was stored, no offset
        used. Raises `DurabilityError` when the sync failed: the batch is readable and may or may not
        survive. Source: Kafka ``Partition.appendRecordsToLeader``.

        A batch with a stamp gets the next sequence number of its producer; one that has a sequence is
        checked, and its offset is the one it has already when it comes again (IDM-2). Raises, with
        nothing stored, `OutOfOrderSequenceError` (IDM-3), `InvalidProducerEpochError` (IDM-4),
        `InvalidTxnStateError` (IDM-8), and for the first batch of a transaction what
        `verify_transaction` raises.
        """
        stamp = batch.stamp
        if (
            # What a linked stamp sends next was checked with what it sent before.
            (stamp.remember is None if stamp is not None else batch.producer_id >= 0)
            or batch.attributes
            or (stamp is not None and batch.base_sequence >= 0)
        ):
            self._check_producer(batch)
        gate = self._gate
        if batch.max_timestamp_ms > gate.newest_ms or len(batch.body) > gate.max_body_bytes:
            gate.admit(batch, self.topic_partition)
        log = self.log
        try:
            base_offset = log.append(batch)
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None
        # The log has published the batch before we look for waiters, and a reader registers before
        # it looks at the log: whichever comes first, one of the two sees the other.
        waiters = self._waiters
        if waiters:
            for signal in waiters:
                signal.set()
        flush_messages = gate.flush_messages
        if flush_messages:
            end_offset = base_offset + batch.record_count
            if end_offset - log.durable_end_offset >= flush_messages:
                log.sync(end_offset)
        return base_offset

    def append_takes_long(
        self, size_bytes: int, is_compressed: bool, max_timestamp_ms: int, producer_id: int
    ) -> bool:
        """Return whether an append of a Kafka batch of so many bytes may take long: because it is looked into, or waits for a disk. That is for
        a sync that the topic asks for, for a file, or for somebody else who does. Whoever has no time asks first, with -1 for no producer id;
        raises why there is no log.
        """
        return self._gate.takes_long(size_bytes, is_compressed) or self.log.append_may_wait(
            size_bytes, self._gate.stored_ms(max_timestamp_ms), producer_id
        )

    def append_value(
        self, value: bytes, timestamp_ms: int, stamp: ProducerStamp | None = None
    ) -> int:
        """Store one record that has a value and nothing else, and return its offset.

        What `append` does for such a batch, in half the time; the same errors. Where the broker sets
        the timestamps (LogAppendTime) use `append`, whose batch tells which one it was. When this
        raises, ``stamp.next_sequence`` has moved exactly if the record was stored all the same.
        """
        gate = self._gate
        if (
            timestamp_ms > gate.newest_ms
            or len(value) > gate.max_value_bytes
            # The first of its stamp, or somebody else wrote for this producer meanwhile.
            or (stamp is not None and stamp.remember is None)
        ):
            batch = build_single_value_batch(value, timestamp_ms)
            batch.stamp = stamp
            return self.append(batch)
        log = self.log
        try:
            offset = log.append_value(value, timestamp_ms, stamp)
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None
        waiters = self._waiters  # as in append
        if waiters:
            for signal in waiters:
                signal.set()
        flush_messages = gate.flush_messages
        if flush_messages and offset + 1 - log.durable_end_offset >= flush_messages:
            log.sync(offset + 1)
        return offset

    def append_marker(self, batch: PendingBatch) -> int:
        """Store a batch of ``record.build_marker`` and return its offset; waiting readers are woken, for
        the last stable offset may have moved. Internal: the transaction coordinator.

        Never syncs: whoever needs the marker to last knows when. Raises `InvalidProducerEpochError` for
        an epoch below the producer's, `TransactionCoordinatorFencedError` for an older coordinator,
        and what `append` raises for want of room. Source: Kafka ``WriteTxnMarkersRequest``.
        """
        try:
            offset = self.log.append(batch)
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None
        for signal in self._waiters:  # as in append
            signal.set()
        return offset

    @property
    def append_refusal(self) -> StreamlogError | None:
        """Why nothing can be appended until the directory is opened again: the log cannot be used, its end
        is damaged, or a sync of it failed. None when something can, or at least may when it is tried again.
        """
        log = cast("PartitionLog | RefusedLog", self.log)
        return log.error if isinstance(log, RefusedLog) else log.append_refusal

    def describe_producers(self) -> list[ProducerStateInfo]:
        """Return what is known of each idempotent producer that wrote here, by producer id.

        Those that wrote nothing for ``producer_id_expiration_ms`` are forgotten (IDM-5). Source: Kafka
        ``Admin.describeProducers``.
        """
        return self.log.describe_producers()

    def _check_producer(self, batch: PendingBatch) -> None:
        """Raise why *batch* may not come from a client (REC-10); have its transaction verified if need be."""
        stamp = batch.stamp
        is_transactional = batch.is_transactional
        if stamp is None or batch.base_sequence >= 0:
            producer_id, producer_epoch = batch.producer_id, batch.producer_epoch
        else:
            producer_id, producer_epoch = stamp.producer_id, stamp.producer_epoch
            is_transactional |= stamp.is_transactional
        if batch.is_control:
            raise InvalidRecordError(
                f"{self.topic_partition}: expected records, found a control batch from a client"
            )
        if producer_id < 0:
            if is_transactional:
                raise InvalidRecordError(
                    f"{self.topic_partition}: expected a producer id in a batch of a transaction, found none"
                )
        elif stamp is None and batch.base_sequence < 0:
            raise InvalidRecordError(
                f"{self.topic_partition}: expected a sequence in a batch of producer {producer_id}, found none"
            )
        if is_transactional and not self.log.has_open_transaction(producer_id, producer_epoch):
            # With no lock held. Whatever ends the transaction before the batch is stored writes a marker
            # here as well, which raises the epoch, or is another one than now: the log then refuses the batch.
            batch.verified_marker_offset = self.log.last_marker_offset(producer_id)
            self.verify_transaction(producer_id, producer_epoch, self.topic_partition)

    def ack_durability(self) -> Durability:
        """Return what a record survives once `append` has returned: DISK with ``flush_messages=1``,
        else PROCESS, and NONE in a broker that lives in memory.
        """
        if self._gate.flush_messages == 1 and self._promise is Durability.PROCESS:
            return Durability.DISK
        return self._promise

    def sync(self) -> None:
        """Return when all that was appended before the call is on disk. Raises `DurabilityError`."""
        log = self.log
        try:
            log.sync()
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None

    def delete_records(self, offset: int) -> int:
        """Move the log start up to *offset*, -1 meaning the high watermark, and return the log start.

        That may be above the first record of an open transaction, and moves the last stable offset up. Readers see the new start at once; whole segments below it go later, at the next retention
        run. An offset below the present log start changes nothing. Raises `OffsetOutOfRangeError`
        above the high watermark or below -1, `PolicyViolationError` when ``cleanup_policy`` is set
        and lacks ``delete`` (RET-9).
        """
        log = self.log
        policy = log.config.cleanup_policy
        if policy and "delete" not in policy:
            raise PolicyViolationError(
                f"{self.topic_partition}: records can be deleted only where cleanup_policy contains "
                f"'delete', found {','.join(policy)!r}"
            )
        high_watermark = self.high_watermark
        if offset == HIGH_WATERMARK:
            offset = high_watermark
        if not 0 <= offset <= high_watermark:
            raise OffsetOutOfRangeError(
                f"{self.topic_partition}: expected an offset to delete up to from 0 to the high "
                f"watermark {high_watermark}, or -1, found {offset}",
                offsets={self.topic_partition: offset},
            )
        log.advance_log_start(
            offset
        )  # also what is done already: an earlier call may have failed half-way
        if log.has_transactions:
            self.wake_waiters()  # the last stable offset is never below the log start
        return log.log_start_offset

    # ---- read

    def read(
        self, offset: int, max_bytes: int, isolation: Isolation = Isolation.READ_UNCOMMITTED
    ) -> bytes:
        """Return whole batches from the one that holds *offset* on; ``b""`` at the visible end.

        About *max_bytes*, at least one batch when there is any (LOG-7); the first batch may begin
        below *offset*. Raises `OffsetOutOfRangeError` outside log start .. log end, `CorruptLogError`
        when what is stored there is damaged.
        """
        log = self.log
        try:
            return log.read(offset, max_bytes, self.end_offset(isolation))
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None

    def read_batches(self, offset: int, max_bytes: int, end_offset: int) -> list[BatchView]:
        """Return what `read` would, already cut into batches, each with bytes of its own: the faster
        way to records.

        *end_offset* is the visible end as the caller has just learned it: ``end_offset(isolation)``.
        An empty list at that end; raises as `read` does.
        """
        log = self.log
        try:
            return log.read_batches(offset, max_bytes, end_offset)
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None

    @property
    def has_transactions(self) -> bool:
        """Whether the log ever held a record of a transaction. If not, every reader sees the same."""
        return self.log.has_transactions

    def aborted_transactions(self, start_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """Return the aborted transactions with an offset from *start_offset* up to, not including, *end_offset*, by marker.

        *end_offset* at most `last_stable_offset`. Their batches are in what `read` returns; a reader of committed records leaves
        out the transactional ones of each producer between the offsets (TXN-14). Raises as `read` does. Source: Kafka
        ``UnifiedLog.collectAbortedTransactions``.
        """
        log = self.log
        try:
            return log.aborted_transactions(start_offset, end_offset)
        except (ClosedError, StorageError) as error:
            raise self._refusal_instead_of(error) from None

    def may_lack_tombstones(self, offset: int, idle_ms: int) -> bool:
        """Return whether compaction may have removed tombstones at or behind *offset* that somebody who read up to there
        *idle_ms* ago would have needed: they are kept for ``delete_retention_ms`` (CMP-5, CMP-9).
        """
        log = self.log
        return idle_ms >= log.config.delete_retention_ms and offset < log.first_dirty_offset

    def end_offset_for_epoch(self, leader_epoch: int) -> EpochEndOffset | None:
        """Return where the records of *leader_epoch* end in this log, None for an epoch it knows nothing of.

        A position behind that, of somebody who read a record of that epoch last, belongs to records that were cut off since
        (REP-4, REP-6). Source: Kafka ``Partition.lastOffsetForLeaderEpoch``, KIP-320.
        """
        return self.log.end_offset_for_epoch(leader_epoch)

    def epoch_at(self, offset: int) -> int | None:
        """Return the leader epoch of the record at *offset*, None before all that this log knows of."""
        return self.log.epoch_at(offset)

    def damage_at(self, offset: int, reason: str) -> CorruptLogError:
        """Return the error to raise for the batch of *offset*, whose content its reader found to be wrong:
        with the file, the place in it, and the offset from which the log can be read again.

        Raises as `read` does when the place cannot be read any more.
        """
        return self.log.damage_at(offset, reason)

    def offset_for_timestamp(
        self, timestamp_ms: int, isolation: Isolation = Isolation.READ_UNCOMMITTED
    ) -> OffsetAndTimestamp | None:
        """Return the first record at or after *timestamp_ms*, None when no visible one is (TIM-1).

        Timestamps need not be sorted: first means smallest offset. Raises ValueError below 0.
        """
        if timestamp_ms < 0:
            raise ValueError(
                f"{self.topic_partition}: expected a timestamp of 0 or later, found {timestamp_ms}"
            )
        return self.log.offset_for_timestamp(timestamp_ms, self.end_offset(isolation))

    def offset_of_max_timestamp(
        self, isolation: Isolation = Isolation.READ_UNCOMMITTED
    ) -> OffsetAndTimestamp | None:
        """Return the visible record with the greatest timestamp, the first of equals, None when
        there is no record (TIM-2, KIP-734).
        """
        return self.log.offset_of_max_timestamp(self.end_offset(isolation))

    # ---- bounds

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""
        return self.log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """The offset the next record will get."""
        return self.log.log_end_offset

    @property
    def high_watermark(self) -> int:
        """The end of what every in-sync replica has. This broker is the only one, so the log end."""
        return self.log.log_end_offset

    @property
    def last_stable_offset(self) -> int:
        """The end of what belongs to no open transaction, at most the high watermark (TXN-13)."""
        return self.log.last_stable_offset

    def end_offset(self, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> int:
        """Return the offset after the last one that a reader of *isolation* sees (TIM-3)."""
        if isolation is Isolation.READ_COMMITTED:
            return self.last_stable_offset
        return self.high_watermark

    # ---- wait

    def add_waiter(self, signal: Signal) -> None:
        """Set *signal* after every append, and when the partition goes away, until removed.

        To miss nothing: add the waiter (or clear its signal) first, *then* look at the log, then
        wait.
        """
        with self._waiters_lock:
            self._waiters = (*self._waiters, signal)

    def wake_waiters(self) -> None:
        """Have whoever waits look again: a bound moved without an append."""
        for signal in self._waiters:
            signal.set()

    def remove_waiter(self, signal: Signal) -> None:
        """Undo one `add_waiter`; nothing happens when *signal* was not waiting."""
        with self._waiters_lock:
            self._waiters = _without_one(self._waiters, signal)

    # ---- internal: the topic registry

    @property
    def is_refused(self) -> bool:
        """Whether there is no usable log: damaged, deleted, closed or forked away."""
        return isinstance(cast("PartitionLog | RefusedLog", self.log), RefusedLog)

    def apply_config(self, config: TopicConfig, gate: AppendGate) -> None:
        """Use *config* from the next call on. Internal: called by the registry alone."""
        self._gate = gate
        if not self.is_refused:
            self.log.config = config

    def refuse(self, error: StreamlogError) -> None:
        """Raise *error* from every later call and wake whoever waits. Internal: registry and broker.

        The log itself is not touched: the caller closes or deletes it.
        """
        self.log = cast("PartitionLog", RefusedLog(error))
        for signal in self._waiters:
            signal.set()

    def forget_waiters(self, waiters_lock: Lock) -> None:
        """Drop all waiters without waking them. Internal: in the child of a fork, where the lock may
        be held by a thread that does not exist.
        """
        self._waiters_lock = waiters_lock
        self._waiters = ()

    def _refusal_instead_of(self, error: _Error) -> _Error | StreamlogError:
        """Return why the log is out of use, if it is: *error* then only says that it was closed."""
        refused = cast("PartitionLog | RefusedLog", self.log)
        return refused.error if isinstance(refused, RefusedLog) else error


def _refuse_transaction(
    producer_id: int, producer_epoch: int, topic_partition: TopicPartition
) -> None:
    raise InvalidTxnStateError(
        f"{topic_partition}: producer {producer_id} epoch {producer_epoch}: expected a transaction that the coordinator knows, "
        "found no coordinator"
    )


def _without_one(waiters: tuple[Signal, ...], signal: Signal) -> tuple[Signal, ...]:
    for index, waiter in enumerate(waiters):
        if waiter is signal:
            return waiters[:index] + waiters[index + 1 :]
    return waiters

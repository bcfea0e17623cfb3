"""How a transaction ends: decided by one record, then told to every partition (TXN-8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from streamlog.broker.transactions.records import CommitMarker, LogEnd
from streamlog.broker.transactions.state import (
    COMMITTED,
    PREPARED,
    TransactionEvent,
    TransactionState,
    following,
)
from streamlog.errors import (
    ClosedError,
    ConcurrentTransactionsError,
    StreamlogError,
    TransactionAbortableError,
    UnknownTopicOrPartitionError,
)
from streamlog.record.control import ControlType
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.transactions.markers import MarkerWriter
    from streamlog.broker.transactions.store import TransactionStore
    from streamlog.broker.transactions.transaction import Transaction
    from streamlog.runtime.threads import Lock

_log = logging.getLogger("streamlog")
_T = TypeVar("_T")


class TransactionEnding:
    """The steps to the end of a transaction, for whoever has claimed it.

    * `claimed` runs one of the others while nobody else may change the transaction
    * `commit`, `abort`, `fence_and_abort` decide; `finish` writes the markers that are missing

    A commit goes: sync every partition of the transaction; store the decision and sync that: **the
    commit point**; write the markers; store that all are written. An abort syncs nothing of its own. All of this holds no
    lock, which is what the claim is for: markers wake readers, and those of offsets need the group
    coordinator, whose lock comes before the one here.

    A record that says commit is replaced only when its markers are on disk: whoever opens the directory
    after a loss of power finds one or the other. A partition that takes no marker, or cannot be synced,
    until the directory is opened again (`Partition.append_refusal`) holds up nobody but its readers: the
    transaction ends without it, and what it is owed by a commit goes from record to record. Whatever is interrupted (Ctrl-C) is finished by the
    next call for the id, or by the clock. Source: Kafka ``TransactionCoordinator.endTransaction``.
    """

    def __init__(
        self, broker: Broker, store: TransactionStore, markers: MarkerWriter, lock: Lock
    ) -> None:
        self._broker = broker
        self._clock = broker.runtime.clock
        self._store = store
        self._markers = markers
        self._lock = lock

    def claimed(self, transaction: Transaction, work: Callable[[Transaction], _T]) -> _T:
        """Return what *work* does with the transaction while nobody else may.

        Raises `ConcurrentTransactionsError` when somebody else has it, or had it until it expired. The caller holds no lock.
        """
        claim = object()
        try:
            with self._lock:
                if transaction.claim is not None:
                    raise ConcurrentTransactionsError(
                        f"transactional id {transaction.transactional_id!r}: its transaction is being "
                        "completed; try again"
                    )
                transaction.claim = claim
                if not self._store.has(transaction):
                    raise ConcurrentTransactionsError(
                        f"transactional id {transaction.transactional_id!r} expired at this moment; try again"
                    )
            return work(transaction)
        finally:
            if transaction.claim is claim:
                transaction.claim = None

    # ---- with the claim

    def take(
        self,
        transaction: Transaction,
        timeout_ms: int,
        expected: ProducerIdAndEpoch | None,
        announces: bool,
    ) -> ProducerIdAndEpoch:
        """Give the id to a producer: a new one gets a producer id, others another epoch (TXN-3, TXN-4)."""
        self._settle(transaction)
        following(transaction.state, TransactionEvent.TAKEN)
        producer_id, epoch = transaction.producer
        if not transaction.exists or transaction.is_exhausted or transaction.epochs_may_be_lost:
            taken = ProducerIdAndEpoch(self._broker.new_producer_id(), 0)
        else:
            taken = ProducerIdAndEpoch(producer_id, epoch + 1)
        with self._lock:
            record = transaction.record(
                TransactionState.EMPTY, taken, expected, self._clock.time_ms()
            )
            self._store.apply(
                transaction, record._replace(timeout_ms=timeout_ms, announces=announces)
            )
        return taken

    def commit(self, transaction: Transaction) -> None:
        """Decide that an ongoing transaction counts. It does, from the commit point on, in full.

        Raises `TransactionAbortableError` when one of its partitions could not be synced, or takes no marker:
        not decided; `DurabilityError` when the decision could not be synced: the next process finds out.
        """
        # Before the sync: all that is below these ends is on disk when the decision is.
        ends = {one: self._end_of(one) for one in transaction.partitions}
        self._sync(ends)
        for topic_partition in ends:
            transaction.unsynced.pop(topic_partition, None)
        self._settle(transaction)
        transaction.partitions = ends
        # A transaction that is claimed gets no new partitions. A record that another thread of the producer
        # has under way may still come before its marker; nobody was told that this commit keeps it, and it
        # is kept as any record is, by ``flush_ms``.
        self._prepare(transaction, TransactionEvent.COMMIT)
        self.sync_decision(transaction)

    def abort(self, transaction: Transaction) -> None:
        """Decide that an ongoing transaction, or one whose producer was fenced, counts for nothing."""
        self._settle(transaction)
        self._prepare(transaction, TransactionEvent.ABORT)

    def abort_lost(self, transaction: Transaction) -> None:
        """Abort what a producer had begun in the last process. Nothing of it is open any more."""
        with self._lock:
            transaction.begin_empty(self._clock.time_ms(), self._clock.monotonic_ms())
        self.abort(transaction)
        self.finish(transaction)

    def leave(self, transaction: Transaction) -> None:
        """Abort what a producer in another process has begun, before the broker closes. Its record goes on to
        say that something had begun, so that the producer is told when it comes back, and goes on then.
        """
        transaction.was_lost = True  # first: nothing of it can be committed any more
        home = self._store.home_or_create(transaction.transactional_id)
        for topic_partition in transaction.partitions:
            self._markers.write(
                topic_partition, ControlType.ABORT, *transaction.producer, home.leader_epoch
            )

    def fence_and_abort(self, transaction: Transaction) -> None:
        """Shut the producer of an ongoing transaction out and abort it."""
        with self._lock:
            transaction.fence()
        self.abort(transaction)
        self.finish(transaction)

    def finish(self, transaction: Transaction) -> bool:
        """Write the markers that a decided transaction lacks, and return whether it lacks none now.

        What cannot be written is logged; the decision stands. What cannot be written until the directory is
        opened again is not waited for: whoever opens it writes that (`LeftOpen`). Raises `DurabilityError`
        while the decision to commit is not on disk.
        """
        if transaction.state not in PREPARED:
            return True
        committed = transaction.state in COMMITTED
        if committed:
            self.sync_decision(transaction)
        control_type = ControlType.COMMIT if committed else ControlType.ABORT
        home = self._store.home_or_create(transaction.transactional_id)
        for topic_partition in list(transaction.unmarked):
            try:
                self._markers.write(
                    topic_partition,
                    control_type,
                    transaction.marked_producer_id,
                    transaction.marker_epoch,
                    home.leader_epoch,
                )
            except ClosedError:
                raise
            except (StreamlogError, OSError) as error:
                is_shut = self._markers.is_shut(topic_partition)
                _log.warning(
                    "%s: the marker that ends a transaction of %r could not be written, and will be"
                    " %s: %s",
                    topic_partition,
                    transaction.transactional_id,
                    "when the directory is opened again" if is_shut else "tried again",
                    error,
                )
                if not is_shut:
                    continue
            transaction.unmarked.remove(topic_partition)
        if transaction.unmarked:
            return False
        self._complete(transaction)
        return True

    def sync_decision(self, transaction: Transaction) -> None:
        """Return once the record of a prepared commit is on disk."""
        self._store.home_or_create(transaction.transactional_id).sync()

    def forget(self, transaction: Transaction) -> bool:
        """Forget an id that nobody uses (TXN-12), and return whether that could be done: not while it owes
        a marker.
        """
        following(transaction.state, TransactionEvent.EXPIRED)
        self._settle(transaction)
        if transaction.unsynced:
            return False
        with self._lock:
            self._store.forget(transaction)
        return True

    # ---- how

    def _prepare(self, transaction: Transaction, event: TransactionEvent) -> None:
        """Store the decision. Before it, everything is open; after it, nothing is."""
        state = following(transaction.state, event)
        was_fenced = transaction.state is TransactionState.PREPARE_EPOCH_FENCE
        producer = transaction.producer
        ended = None if was_fenced else producer
        if was_fenced:
            next_producer = producer  # whoever takes the id next gets another epoch
        elif transaction.announces:
            next_producer = producer
        elif transaction.is_exhausted:
            # Taken now: the client is told what to use next before the markers are written.
            next_producer = ProducerIdAndEpoch(self._broker.new_producer_id(), 0)
        else:
            next_producer = ProducerIdAndEpoch(producer.producer_id, producer.producer_epoch + 1)
        with self._lock:
            record = transaction.record(state, next_producer, ended, self._clock.time_ms())
            self._store.apply(transaction, record)

    def _complete(self, transaction: Transaction) -> None:
        state = following(transaction.state, TransactionEvent.COMPLETED)
        with self._lock:
            record = transaction.record(
                state, transaction.producer, transaction.ended, self._clock.time_ms()
            )
            try:
                self._store.apply(transaction, record)
            except (StreamlogError, OSError):
                # The markers are there: whoever opens the directory finds nothing open and agrees.
                _log.exception(
                    "The end of a transaction of %r was not noted", transaction.transactional_id
                )
                transaction.replay(record)

    def _settle(self, transaction: Transaction) -> None:
        """Return once the markers of the last commit are on disk, so that its record may be replaced. What
        stays in ``unsynced`` is owed, and part of the next record.
        """
        for topic_partition, marker in list(transaction.unsynced.items()):
            if self._is_on_disk(topic_partition, marker):
                del transaction.unsynced[topic_partition]

    def _is_on_disk(self, topic_partition: TopicPartition, marker: CommitMarker) -> bool:
        """Sync the partition, and return whether its marker is on disk, or of no use to anybody. Of a partition
        that is shut nobody knows whether it survives, or is there at all.
        """
        partition = self._markers.find(topic_partition)
        if partition is None or (
            marker.end is not None
            and marker.end.topic_id != self._store.topic_id(topic_partition.topic)
        ):
            return True  # deleted, with all that was committed there
        try:
            if partition.append_refusal is None:
                partition.sync()
                return True
        except UnknownTopicOrPartitionError:
            return True  # deleted at this moment
        except ClosedError:
            raise
        except StreamlogError:
            if partition.append_refusal is None:
                raise
        return False

    def _end_of(self, topic_partition: TopicPartition) -> LogEnd | None:
        partition = self._markers.find(topic_partition)
        if partition is None:
            return None
        topic_id = self._store.topic_id(topic_partition.topic)
        try:
            return None if topic_id is None else LogEnd(topic_id, partition.log_end_offset)
        except UnknownTopicOrPartitionError:
            return None  # deleted meanwhile

    def _sync(self, partitions: Iterable[TopicPartition]) -> None:
        for topic_partition in partitions:
            partition = self._markers.find(topic_partition)
            if partition is None:
                continue
            try:
                partition.sync()
                if (refusal := partition.append_refusal) is not None:
                    raise refusal
            except UnknownTopicOrPartitionError:
                pass  # deleted meanwhile, with all that was to be committed there
            except ClosedError:
                raise
            except StreamlogError as error:
                raise TransactionAbortableError(
                    f"{topic_partition}: the transaction can only be aborted: {error}"
                ) from error

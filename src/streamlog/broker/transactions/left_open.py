"""What a process that has ended left open in the partitions, and how the next one finishes it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamlog.broker.transactions.refusals import concurrent
from streamlog.errors import (
    ClosedError,
    StreamlogError,
    UnknownTopicOrPartitionError,
)
from streamlog.record.control import ControlType
from streamlog.storage.recovery_report import RecoveryOutcome
from streamlog.structs import ProducerIdAndEpoch

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.broker.transactions.markers import MarkerWriter
    from streamlog.broker.transactions.store import TransactionStore
    from streamlog.broker.transactions.transaction import Transaction
    from streamlog.runtime.threads import Lock

_log = logging.getLogger("streamlog")


class LeftOpen:
    """Finishes the transactions that were open when the directory was opened.

    Their producers ended with their process, so nobody can go on with one. One rule for every partition
    in which one is open: where the last record of the transactional id says that this transaction was
    committed, and names the partition, or that it owes its marker there, a COMMIT marker is missing;
    anything else counts for nothing. Of a producer that keeps its epoch the next transaction looks the
    same: it begins where the log ended when the one in the record was decided, or behind.

    A partition that takes no marker until the directory is opened once more keeps what is open, and hides
    it from readers of committed records; the id goes on without it.

    Such a producer may be in another process, and still there. It finds out when it asks for more: what
    was open is aborted.

    Threads: any. One at a time finishes, for a marker that comes a second time, and late, would end what
    a new producer of the id has begun meanwhile. Source: Kafka ``TransactionCoordinator.onElection``,
    which sends the markers of prepared transactions and lets open ones time out.
    """

    def __init__(self, store: TransactionStore, markers: MarkerWriter, lock: Lock) -> None:
        self._store = store
        self._markers = markers
        self._lock = lock
        self._open: dict[ProducerIdAndEpoch, list[tuple[Partition, int]]] = {}
        self._unreadable: set[int] = set()
        self._claim: object | None = None

    def look(self, partitions: Iterable[Partition]) -> None:
        """Note what is open in *partitions*. Called when the broker opens, before anybody can write."""
        for partition in partitions:
            if partition.is_refused:
                continue  # damaged: nobody reads it, and nothing can be written there
            for producer_id, (epoch, first_offset) in partition.log.open_transactions().items():
                producer = ProducerIdAndEpoch(producer_id, epoch)
                self._open.setdefault(producer, []).append((partition, first_offset))

    def concerns(self, transaction: Transaction) -> bool:
        """Whether something is still open of the id: it can neither go on nor be forgotten meanwhile."""
        ids = {marker.producer.producer_id for marker in list(transaction.unsynced.values())}
        ids.add(transaction.producer.producer_id)
        if transaction.ended is not None:
            ids.add(transaction.ended.producer_id)
        return any(producer.producer_id in ids for producer in list(self._open))

    def finish_of(self, transaction: Transaction) -> None:
        """Return once nothing of the id is open. Raises `ConcurrentTransactionsError` when that cannot be had."""
        if self.concerns(transaction):
            self.finish()
            if self.concerns(transaction):
                raise concurrent(transaction)

    def finish(self) -> bool:
        """Write the markers that are missing and return whether to try again later. What fails is logged.

        A transaction whose id may be in a partition of ``__transaction_state`` that cannot be read stays
        open: who knows what is said there.
        """
        if not self._open:
            return False
        claim = object()
        try:
            with self._lock:
                if self._claim is not None:
                    return True
                self._claim = claim
            return self._finish()
        finally:
            if self._claim is claim:
                self._claim = None

    def _finish(self) -> bool:
        all_are_known = self._load()
        with self._lock:
            transactions = list(self._store.transactions.values())
        known = {one.ended: one for one in transactions}
        known.update((one.producer, one) for one in transactions if one.announces)
        known.update(
            (marker.producer, one) for one in transactions for marker in list(one.unsynced.values())
        )
        known_ids = {one.producer.producer_id for one in transactions}
        try_again = False
        for producer, partitions in list(self._open.items()):
            transaction = known.get(producer)
            if not (transaction or all_are_known or producer.producer_id in known_ids):
                continue
            for place in list(partitions):
                if self._end(transaction, producer, *place):
                    partitions.remove(place)
            if partitions:
                try_again = True
            else:
                self._open.pop(producer, None)
        return try_again

    def _load(self) -> bool:
        """Load all ids; return whether that could be done."""
        for home in self._store.homes():
            if home.number in self._unreadable:
                continue  # damaged, or written by a newer version: trying again would not help
            try:
                with self._lock:
                    self._store.load(home)
            except ClosedError:
                raise
            except (StreamlogError, OSError):
                self._unreadable.add(home.number)
                _log.exception(
                    "%s: transactions that were left open stay open, and hide what follows, if their"
                    " ids are here",
                    home.topic_partition,
                )
        return not self._unreadable

    def _end(
        self,
        transaction: Transaction | None,
        producer: ProducerIdAndEpoch,
        partition: Partition,
        first_offset: int,
    ) -> bool:
        """Write the marker of one partition; return whether it is there, or cannot be before the next time."""
        producer_id, epoch = producer
        marker_epoch = epoch + 1
        control_type, coordinator_epoch = ControlType.ABORT, 0
        try:
            if transaction is not None:
                home = self._store.home_or_create(transaction.transactional_id)
                coordinator_epoch = home.leader_epoch
                if transaction.announces and producer == transaction.producer:
                    marker_epoch = epoch
                if self._is_committed(transaction, producer, partition, first_offset):
                    control_type = ControlType.COMMIT
                    # Whoever decided may have been killed before that was on the disk.
                    home.sync()
            if partition.log.has_open_transaction(producer_id, epoch):
                self._markers.write(
                    partition.topic_partition,
                    control_type,
                    producer_id,
                    marker_epoch,
                    coordinator_epoch,
                )
        except UnknownTopicOrPartitionError:
            pass  # deleted meanwhile
        except ClosedError:
            raise
        except (StreamlogError, OSError) as error:
            is_shut = partition.append_refusal is not None
            _log.warning(
                "%s: the transaction of producer %d that was left open could not be ended, and will"
                " be %s: %s",
                partition.topic_partition,
                producer_id,
                "when the directory is opened once more" if is_shut else "tried again",
                error,
            )
            return is_shut
        return True

    def _is_committed(
        self,
        transaction: Transaction,
        producer: ProducerIdAndEpoch,
        partition: Partition,
        first_offset: int,
    ) -> bool:
        """Whether what is open from *first_offset* is what the last record says was committed."""
        marker = transaction.unsynced.get(partition.topic_partition)
        if marker is None or marker.producer != producer:
            return False
        end = marker.end
        if end is None:
            return producer != transaction.producer
        is_later = producer == transaction.producer and first_offset >= end.offset
        if is_later or self._store.topic_id(partition.topic) != end.topic_id:
            return False
        found_end = partition.log_end_offset
        if found_end < end.offset:
            # All of it was on disk when it was decided: this is damage, whatever made it.
            message = (
                f"{partition.topic_partition}: expected the log to end at offset {end.offset} or behind it, where a"
                f" transaction of {transaction.transactional_id!r} was committed, found its end at {found_end}: what"
                f" is left of the transaction from offset {first_offset} on is not shown to readers of committed"
                f" records, and offsets {found_end} to {end.offset - 1} are given again"
            )
            _log.error("%s", message)
            recovery = partition.log.recovery
            recovery.outcome, recovery.message = RecoveryOutcome.DAMAGED, message
            return False
        return True

"""Transactions of producers that announce their partitions: the rules from before KIP-890."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamlog.broker.transactions.refusals import concurrent, fenced, lost, named
from streamlog.broker.transactions.state import COMMITTED, PREPARED, TransactionState
from streamlog.errors import InvalidTxnStateError, ProducerFencedError
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.transactions.ending import TransactionEnding
    from streamlog.broker.transactions.left_open import LeftOpen
    from streamlog.broker.transactions.store import TransactionStore
    from streamlog.broker.transactions.transaction import Transaction
    from streamlog.broker.transactions.watch import TransactionWatch
    from streamlog.runtime.threads import Lock

RETRY_MS = 5_000.0
"""So much later the markers that could not be written are tried again."""


class AnnouncedTransactions:
    """What is different with them: `begin`, and `end_lost` for a producer that outlived the broker.

    Such a producer keeps its epoch from one transaction to the next, so that neither the log nor the
    coordinator of the next process can tell by it what belongs to which. Hence its beginning is stored, as a
    mark on the record of the transaction before; not synced, for after a loss of power every such id is
    taken for one that had begun something. Threads: any. Source: Kafka ``TransactionCoordinator``, with the
    rules of ``transaction.version`` 0 and 1.
    """

    def __init__(
        self,
        broker: Broker,
        store: TransactionStore,
        ending: TransactionEnding,
        left_open: LeftOpen,
        watch: TransactionWatch,
        lock: Lock,
    ) -> None:
        self._clock = broker.runtime.clock
        self._look_interval_ms = (
            broker.config.transaction_abort_timed_out_transaction_cleanup_interval_ms
        )
        self._store = store
        self._ending = ending
        self._left_open = left_open
        self._watch = watch
        self._lock = lock

    def begin(
        self,
        transactional_id: str,
        caller: ProducerIdAndEpoch,
        partitions: Iterable[TopicPartition],
    ) -> None:
        """Let all of *partitions* be part of the caller's transaction, which the first call begins.

        Raises `InvalidProducerIdMappingError` for an id or a producer id that is not known, and after a
        transaction that was lost with the process in which it began; `ProducerFencedError` for an epoch
        that is over (TXN-10), `InvalidTxnStateError` for a producer that does not announce,
        `ConcurrentTransactionsError` (retriable) while the last transaction is completed, `DiskFullError`.
        """
        # First: Ctrl-C must not leave a transaction open that no clock ends.
        self._watch.arm(self._look_interval_ms)
        with self._lock:
            transaction = self._store.require(transactional_id)
            if caller != transaction.producer:
                raise fenced(transaction, caller)
            if not transaction.announces:
                raise InvalidTxnStateError(
                    f"{named(transaction)}: expected a producer that announces partitions, found one that "
                    "does not"
                )
            if (
                transaction.claim is not None
                or transaction.state in PREPARED
                or transaction.state is TransactionState.PREPARE_EPOCH_FENCE
                or self._left_open.concerns(transaction)
            ):
                raise concurrent(transaction)
            if transaction.may_be_lost:
                raise lost(transaction)
            now_ms, monotonic_ms = self._clock.time_ms(), self._clock.monotonic_ms()
            if transaction.state is not TransactionState.ONGOING:
                self._store.note_begun(transaction)
            for topic_partition in partitions:
                transaction.begin(topic_partition, now_ms, monotonic_ms)

    def end_lost(self, transaction: Transaction, commit: bool) -> None:
        """Answer the end of a transaction that may have begun in the last process, in which case it counts
        for nothing. For whoever has claimed it.

        Raises for a commit: `InvalidProducerIdMappingError`, after which the producer can go on, or
        `ProducerFencedError` where the transaction may as well be one that was committed before.
        """
        if commit and transaction.state in COMMITTED and not transaction.was_lost:
            raise ProducerFencedError(
                f"{named(transaction)}: the power failed, and whether the transaction was committed is not "
                "known: look at what is there"
            )
        if commit:
            raise lost(transaction)
        self._left_open.finish_of(transaction)
        if transaction.was_lost:
            self._watch.arm(RETRY_MS)
            self._ending.abort_lost(transaction)

"""The coordinator: who has a transactional id, what belongs to its transaction, and how that ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from streamlog.broker.transactions.announcing import RETRY_MS, AnnouncedTransactions
from streamlog.broker.transactions.checks import check_timeout, check_transactional_id
from streamlog.broker.transactions.description import (
    TransactionDescription,
    TransactionListing,
    describe_transaction,
    list_transaction,
)
from streamlog.broker.transactions.ending import TransactionEnding
from streamlog.broker.transactions.left_open import LeftOpen
from streamlog.broker.transactions.markers import MarkerWriter
from streamlog.broker.transactions.refusals import FENCED_HINT, concurrent, fenced, named
from streamlog.broker.transactions.state import (
    COMMITTED,
    OPEN,
    PREPARED,
    TransactionState,
)
from streamlog.broker.transactions.store import TransactionStore
from streamlog.broker.transactions.watch import TransactionWatch
from streamlog.errors import (
    ClosedError,
    ConcurrentTransactionsError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    ProducerFencedError,
    StreamlogError,
    TransactionalIdNotFoundError,
)
from streamlog.record.control import ControlType
from streamlog.runtime.threads import Lock
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.broker.transactions.transaction import Transaction

_log = logging.getLogger("streamlog")


class TransactionCoordinator:
    """All transactional ids of one broker. Made by the broker; used by producers and the admin client.

    * producers: `init_producer_id`, `end_transaction`, and those in other processes `announce`
    * partitions: `add_partition`
    * from outside: `describe`, `list_transactions`, `force_terminate`, `abort_hanging`
    * care: `finish_left_open`, `abort_timed_out`, `expire_ids`

    Lock order: the group coordinator's lock, the one here, a partition's. Whoever ends, fences or takes
    an id claims it, and does so without the lock; others are told to try again
    (`ConcurrentTransactionsError`). Times are the broker's. Threads: any. Source: Kafka
    ``TransactionCoordinator``, with the rules of ``transaction.version=2`` (KIP-890), and for producers that
    announce their partitions with those of version 1.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._config = broker.config
        self._clock = broker.runtime.clock
        self._lock = Lock()
        self._store = TransactionStore(broker)
        self._markers = MarkerWriter(broker)
        self._ending = TransactionEnding(broker, self._store, self._markers, self._lock)
        self._left_open = LeftOpen(self._store, self._markers, self._lock)
        self._watch = TransactionWatch(self._clock, broker.scheduler, self._look)
        self._announced = AnnouncedTransactions(
            broker, self._store, self._ending, self._left_open, self._watch, self._lock
        )

    # ---- producers

    def init_producer_id(
        self,
        transactional_id: str,
        transaction_timeout_ms: int,
        expected: ProducerIdAndEpoch | None = None,
        *,
        announces: bool = False,
    ) -> ProducerIdAndEpoch:
        """Give the id to the caller: return producer id and epoch of its first transaction (TXN-3).

        Whoever had it before is fenced from then on (TXN-16). With *expected*, what the caller has now,
        only the present owner gets an answer, and the same one when it asks again (TXN-4). One that
        *announces* names the partitions of a transaction by `announce` before it writes there, and keeps its
        epoch from one to the next.

        Raises TypeError and `InvalidConfigurationError` for what cannot be an id, `InvalidTxnTimeoutError`;
        `ProducerFencedError` unless *expected* is the owner; `ConcurrentTransactionsError` (retriable)
        while a transaction of the id is completed, and after an open one was aborted for it;
        `DiskFullError`.
        """
        check_transactional_id(transactional_id)
        check_timeout(
            transactional_id, transaction_timeout_ms, self._config.transaction_max_timeout_ms
        )
        with self._lock:
            transaction = self._store.find_or_create(transactional_id)
        return self._ending.claimed(
            transaction,
            partial(
                self._init,
                timeout_ms=transaction_timeout_ms,
                expected=expected,
                announces=announces,
            ),
        )

    def _init(
        self,
        transaction: Transaction,
        timeout_ms: int,
        expected: ProducerIdAndEpoch | None,
        announces: bool,
    ) -> ProducerIdAndEpoch:
        self._finish(transaction)  # what somebody was kept from finishing
        self._left_open.finish_of(transaction)
        # An id that expired is nobody's, and so still the caller's (TXN-10).
        if expected is not None and transaction.exists:
            # Of one that keeps its epoch both are the same, and it wants another.
            if expected == transaction.ended != transaction.producer:
                return transaction.producer
            if expected != transaction.producer:
                raise ProducerFencedError(str(fenced(transaction, expected)))
        if transaction.state in PREPARED:
            raise concurrent(transaction)
        if transaction.state in OPEN:
            self._fence_and_abort(transaction)
            raise concurrent(transaction)
        return self._ending.take(transaction, timeout_ms, expected, announces)

    def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, commit: bool
    ) -> ProducerIdAndEpoch:
        """Commit or abort the id's open transaction; return producer id and epoch of the next one (TXN-11),
        which for a producer that announces its partitions are the same.

        A commit returns once it survives a loss of power, in full (TXN-8); the caller has flushed. Once it
        is decided, markers that cannot be written are no error: they are tried again, and meanwhile a
        new transaction of the id gets `ConcurrentTransactionsError`; or they are left to whoever opens
        the directory next, where nothing can be written until then. A repeated call gets the same answer
        (TXN-9).

        Raises `InvalidProducerIdMappingError` for a producer id that is not the id's, `ProducerFencedError`
        for an epoch that is over (TXN-10), `InvalidTxnStateError` when nothing is open or the
        transaction ended the other way, `InvalidProducerIdMappingError` for the commit of one that was
        lost with the process in which it began, `ConcurrentTransactionsError` (retriable) while somebody else
        ends it, `DiskFullError` (retriable: not decided), `TransactionAbortableError` and `DurabilityError`
        (see `TransactionEnding.commit`).
        """
        caller = ProducerIdAndEpoch(producer_id, producer_epoch)
        with self._lock:
            transaction = self._store.require(transactional_id)
        return self._ending.claimed(transaction, partial(self._end, caller=caller, commit=commit))

    def _end(
        self, transaction: Transaction, caller: ProducerIdAndEpoch, commit: bool
    ) -> ProducerIdAndEpoch:
        if transaction.may_be_lost and caller == transaction.producer:
            self._announced.end_lost(transaction, commit)
        elif transaction.state is TransactionState.ONGOING and caller == transaction.producer:
            if commit:
                self._ending.commit(transaction)
            else:
                self._ending.abort(transaction)
        else:
            self._check_repeated_end(transaction, caller, commit)
        self._finish(transaction)
        return transaction.producer

    def _check_repeated_end(
        self, transaction: Transaction, caller: ProducerIdAndEpoch, commit: bool
    ) -> None:
        """Raise unless the transaction that *caller* wants to end did end so (TXN-9)."""
        if caller != transaction.ended:
            if caller != transaction.producer:
                raise fenced(transaction, caller)
        elif (
            transaction.state is not TransactionState.EMPTY
            and (transaction.state in COMMITTED) is commit
        ):
            return
        raise InvalidTxnStateError(
            f"transactional id {transaction.transactional_id!r}: expected an open transaction to "
            f"{'commit' if commit else 'abort'}, found state {transaction.state.value}"
        )

    def announce(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Iterable[TopicPartition],
    ) -> None:
        """Let all of *partitions* be part of the transaction of a producer that announces them; see
        `AnnouncedTransactions.begin`.
        """
        caller = ProducerIdAndEpoch(producer_id, producer_epoch)
        self._announced.begin(transactional_id, caller, partitions)

    # ---- partitions

    def add_partition(
        self, producer_id: int, producer_epoch: int, topic_partition: TopicPartition
    ) -> None:
        """Let the partition be part of the producer's transaction, which the first one begins (TXN-11).

        Called by a partition before it stores the first batch of a transaction. Never blocks, takes no
        lock of a partition, and stores nothing: what is open when the process ends is aborted.
        What a producer has to announce is not added, but has to be there.

        Raises `InvalidProducerIdMappingError` for a producer id that has no transactional id,
        `InvalidProducerEpochError` for another epoch than that of the next or present transaction
        (TXN-10), `InvalidTxnStateError` for a partition that was not announced, `ConcurrentTransactionsError` (retriable) while the last one is completed.
        """
        # First: Ctrl-C must not leave a transaction open that no clock ends.
        self._watch.arm(self._config.transaction_abort_timed_out_transaction_cleanup_interval_ms)
        with self._lock:
            transaction = self._store.find_by_producer_id(producer_id)
            if transaction is None:
                raise InvalidProducerIdMappingError(
                    f"{topic_partition}: expected a producer id that a transactional id has, found "
                    f"{producer_id}"
                )
            if transaction.producer.producer_epoch != producer_epoch:
                raise InvalidProducerEpochError(
                    f"{topic_partition}: transactional id {transaction.transactional_id!r}, producer "
                    f"{producer_id}: expected epoch {transaction.producer.producer_epoch}, found "
                    f"{producer_epoch}: {FENCED_HINT}"
                )
            if transaction.claim is not None or transaction.state in PREPARED:
                raise concurrent(transaction)
            if transaction.state is TransactionState.PREPARE_EPOCH_FENCE:
                raise InvalidProducerEpochError(
                    f"{topic_partition}: transactional id {transaction.transactional_id!r}: its "
                    "transaction is about to be aborted"
                )
            if transaction.announces:
                if (
                    transaction.state is not TransactionState.ONGOING
                    or topic_partition not in transaction.partitions
                ):
                    raise InvalidTxnStateError(
                        f"{topic_partition}: {named(transaction)}: expected a partition that was added "
                        "to the transaction, found one that was not"
                    )
                return
            transaction.begin(topic_partition, self._clock.time_ms(), self._clock.monotonic_ms())

    # ---- from outside

    def describe(self, transactional_id: str) -> TransactionDescription:
        """Return the id with its transaction. Raises `TransactionalIdNotFoundError`."""
        with self._lock:
            return describe_transaction(self._require(transactional_id))

    def list_transactions(self) -> list[TransactionListing]:
        """Return every transactional id, sorted. Raises `CorruptLogError`."""
        with self._lock:
            self._store.load_all()
            return self._listed()

    def _listed(self) -> list[TransactionListing]:
        return [
            list_transaction(transaction)
            for _, transaction in sorted(self._store.transactions.items())
            if transaction.exists
        ]

    def force_terminate(self, transactional_id: str) -> None:
        """Abort the id's open transaction and fence its producer; complete one that is decided (KIP-939).

        Nothing happens when nothing is open. Raises `TransactionalIdNotFoundError`,
        `ConcurrentTransactionsError` (retriable) while somebody ends it or when a marker cannot be
        written.
        """
        with self._lock:
            transaction = self._require(transactional_id)
        self._ending.claimed(transaction, self._terminate)

    def _terminate(self, transaction: Transaction) -> None:
        if transaction.state in OPEN:
            self._fence_and_abort(transaction)
        if not self._finish(transaction):
            raise concurrent(transaction)

    def abort_hanging(
        self, topic_partition: TopicPartition, producer_id: int, producer_epoch: int
    ) -> None:
        """Write an abort marker for a transaction that is open in a partition and unknown here.

        That takes the loss of a partition of ``__transaction_state``; what the coordinator knows is
        ended in all partitions at once, by `force_terminate`. Raises `InvalidTxnStateError` for a
        transaction that is not open there, or is known here; `UnknownTopicOrPartitionError`. Source:
        Kafka ``Admin.abortTransaction`` (KIP-664).
        """
        partition = self._broker.partition(*topic_partition)
        if not partition.log.has_open_transaction(producer_id, producer_epoch):
            raise InvalidTxnStateError(
                f"{topic_partition}: expected an open transaction of producer {producer_id} epoch "
                f"{producer_epoch}, found none"
            )
        with self._lock:
            transaction = self._store.find_transaction(
                ProducerIdAndEpoch(producer_id, producer_epoch), topic_partition
            )
        if transaction is not None:
            raise InvalidTxnStateError(
                f"{topic_partition}: the transaction of producer {producer_id} is that of transactional "
                f"id {transaction.transactional_id!r}: end it there, by "
                f"force_terminate_transaction({transaction.transactional_id!r})"
            )
        self._markers.write(topic_partition, ControlType.ABORT, producer_id, producer_epoch, 0)

    def _require(self, transactional_id: str) -> Transaction:
        transaction = self._store.find(transactional_id)
        if transaction is None:
            raise TransactionalIdNotFoundError(
                f"transactional id {transactional_id!r} does not exist"
            )
        return transaction

    # ---- care

    def finish_left_open(self, partitions: Iterable[Partition]) -> None:
        """Finish what processes that have ended left open in *partitions*, see `LeftOpen`. Called when the
        broker opens, before anybody can read or write. What cannot be finished now is tried again.
        """
        self._left_open.look(partitions)
        if self._left_open.finish():
            self._watch.arm(RETRY_MS)

    def abort_timed_out(self) -> None:
        """Abort what is open for longer than its timeout, and fence its producer (TXN-12); finish what
        somebody was kept from finishing. What fails is logged and stops nothing else.
        """
        now_ms = self._clock.monotonic_ms()
        with self._lock:
            transactions = list(self._store.transactions.values())
        for transaction in transactions:
            is_due = transaction.state is TransactionState.PREPARE_EPOCH_FENCE or (
                transaction.state is TransactionState.ONGOING
                and now_ms - transaction.started_monotonic_ms >= transaction.timeout_ms
            )
            if not is_due and transaction.state not in PREPARED:
                continue
            try:
                self._ending.claimed(
                    transaction, partial(self._abort_if, producer=transaction.producer)
                )
            except ConcurrentTransactionsError:
                continue  # somebody is at it
            except ClosedError:
                return
            except (StreamlogError, OSError) as error:
                _log.warning(
                    "The transaction of %r could not be ended, and will be tried again: %s",
                    transaction.transactional_id,
                    error,
                )

    def _abort_if(self, transaction: Transaction, producer: ProducerIdAndEpoch) -> None:
        if transaction.state in OPEN and transaction.producer == producer:
            _log.warning(
                "The transaction of %r is open for longer than its timeout, %d ms: aborting it",
                transaction.transactional_id,
                transaction.timeout_ms,
            )
            self._fence_and_abort(transaction)
        else:
            self._finish(transaction)

    def _look(self) -> None:
        """What the timer does."""
        if self._left_open.finish():
            self._watch.arm(RETRY_MS)
        self.abort_timed_out()
        with self._lock:
            states = {transaction.state for transaction in self._store.transactions.values()}
        if states & OPEN:
            self._watch.arm(
                self._config.transaction_abort_timed_out_transaction_cleanup_interval_ms
            )
        if states & PREPARED:
            self._watch.arm(RETRY_MS)

    def expire_ids(self) -> int:
        """Forget the ids that nobody used for ``transactional_id_expiration_ms``, none with an open
        transaction (TXN-12), and return how many. What fails is logged and stops nothing else.
        """
        for home in self._store.homes():
            try:
                with self._lock:
                    self._store.load(home)
            except (StreamlogError, OSError):
                _log.exception("Transactional ids in %s do not expire", home.topic_partition)
        with self._lock:
            transactions = list(self._store.transactions.values())
        expired = 0
        for transaction in transactions:
            try:
                expired += self._ending.claimed(transaction, self._expire)
            except ConcurrentTransactionsError:
                continue  # it is in use
            except ClosedError:
                break
            except (StreamlogError, OSError):
                _log.exception("Transactional id %r did not expire", transaction.transactional_id)
        return expired

    def _expire(self, transaction: Transaction) -> bool:
        idle_ms = self._clock.time_ms() - transaction.updated_ms
        is_settled = transaction.state not in OPEN and transaction.state not in PREPARED
        if not (transaction.exists and is_settled) or self._left_open.concerns(transaction):
            return False
        if idle_ms < self._config.transactional_id_expiration_ms:
            return False
        return self._ending.forget(transaction)

    def close(self) -> None:
        """Abort what is open and finish what is decided, as far as that is possible: the producers have
        closed, or are in other processes, where they learn of it from the next broker. What remains is logged, and finished by the next process.
        """
        self._watch.close()
        with self._lock:
            transactions = list(self._store.transactions.values())
        for transaction in transactions:
            try:
                if transaction.state is TransactionState.ONGOING and transaction.announces:
                    self._ending.claimed(transaction, self._ending.leave)
                elif transaction.state in OPEN or transaction.state in PREPARED:
                    self._ending.claimed(transaction, self._terminate)
            except (StreamlogError, OSError):
                _log.exception("The transaction of %r was left open", transaction.transactional_id)

    # ---- how

    def _finish(self, transaction: Transaction) -> bool:
        try:
            is_finished = self._ending.finish(transaction)
        except BaseException:
            self._watch.arm(RETRY_MS)
            raise
        if not is_finished:
            self._watch.arm(RETRY_MS)
        return is_finished

    def _fence_and_abort(self, transaction: Transaction) -> None:
        try:
            self._ending.fence_and_abort(transaction)
        except BaseException:
            self._watch.arm(RETRY_MS)
            raise
        self._finish(transaction)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        self._store._check()
        states = {transaction.state for transaction in self._store.transactions.values()}
        assert not states & (OPEN | PREPARED) or self._watch.when_ms < float("inf")

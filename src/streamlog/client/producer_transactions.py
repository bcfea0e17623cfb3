"""The calls of a producer about its transactions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakMethod

from streamlog.client.argument_checks import check_group_id, check_timeout
from streamlog.client.commits import to_offsets
from streamlog.client.transaction_manager import TransactionManager
from streamlog.client.transaction_requests import TransactionRequests
from streamlog.client.transaction_state import TransactionState
from streamlog.errors import (
    IllegalStateError,
    ProducerFencedError,
    TransactionAbortableError,
    TransactionAbortedError,
)
from streamlog.structs import ConsumerGroupMetadata

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from streamlog.broker.broker import Broker
    from streamlog.client.accumulator import RecordAccumulator
    from streamlog.client.sender import Sender
    from streamlog.client.topic_routes import TopicRoutes
    from streamlog.client.transactional_identity import TransactionalIdentity
    from streamlog.config import ProducerConfig
    from streamlog.structs import OffsetAndMetadata, TopicPartition

_logger = logging.getLogger("streamlog")

_OPEN = (TransactionState.IN_TRANSACTION, TransactionState.ABORTABLE_ERROR)
_ENDING = {TransactionState.COMMITTING: True, TransactionState.ABORTING: False}


class TransactionCalls:
    """Part of `Producer`, which supplies the attributes.

    No record costs a step for it: between transactions the tables of `send` are empty and the queues take
    no record, so that each one goes the long way, where it is refused. Threads: records from any; of
    these calls one at a time, a second one raises ConcurrentModificationError. Source: Kafka
    ``KafkaProducer``, ``TransactionManager``.
    """

    __slots__ = ()

    _accumulator: RecordAccumulator
    _broker: Broker
    _config: ProducerConfig
    _identity: TransactionalIdentity
    _routes: TopicRoutes
    _sender: Sender
    _transactions: TransactionManager | None

    def init_transactions(self, timeout_ms: float | None = None) -> None:
        """Get the ``transactional_id`` for this producer; call it once, before the first transaction.

        Whoever had the id is fenced: its open transaction is aborted, and its next call of these raises
        `ProducerFencedError` (TXN-3, TXN-16). Waits for a transaction that is being completed, up to
        *timeout_ms*, None meaning ``max_block_ms``; after StreamlogTimeoutError it may be called again.
        Raises IllegalStateError when it was called before, and without a ``transactional_id``;
        `InvalidTxnTimeoutError` for a ``transaction_timeout_ms`` above the broker's
        ``transaction_max_timeout_ms``.
        """
        manager = self._start("init_transactions")
        manager.initialize(self._time("init_transactions", timeout_ms))
        self._shut_gate(manager)  # still, but for another reason

    def begin_transaction(self) -> None:
        """Open a transaction. All records sent until its end belong to it, whoever sends them.

        Raises IllegalStateError before `init_transactions` and while one is open.
        """
        manager = self._start("begin_transaction")
        manager.begin()
        self._open_gate(manager)

    def send_offsets_to_transaction(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata | int],
        group: ConsumerGroupMetadata | str,
        *,
        timeout_ms: float | None = None,
    ) -> None:
        """Commit *offsets* of a consumer group if the transaction is committed, and only then (TXN-7).

        An offset is the *next* one to read. *group* is the reader's `Consumer.group_metadata`, which fences a
        reader that has lost its partitions; a bare ``group_id`` checks nothing. No offsets, no effect.

        Raises `CommitFailedError` when the group has gone on without this member, `FencedInstanceIdError`,
        StreamlogTimeoutError: the transaction is to be aborted then. `InvalidGroupIdError` for what can be
        no group's id, IllegalStateError outside of a transaction.
        """
        call = "send_offsets_to_transaction"
        manager = self._start(call)
        chosen, metadata = to_offsets(offsets), _group_metadata(group)
        manager.send_offsets(chosen, metadata, self._time(call, timeout_ms))

    def commit_transaction(self, timeout_ms: float | None = None) -> None:
        """Send what waits, then make all of the transaction visible at once, for good.

        When it returns, records and offsets survive the end of the process and a power failure, in every
        flush mode. Raises `TransactionAbortableError`, whose cause says why, when a record was lost: abort
        then (TXN-6). StreamlogTimeoutError after *timeout_ms*, None meaning ``max_block_ms``: nobody knows
        yet, and the only thing to do is to call it again. `ProducerFencedError`, and whatever else nobody
        can mend: close the producer. IllegalStateError outside of a transaction and inside a callback.
        """
        self._end("commit_transaction", True, timeout_ms)

    def abort_transaction(self, timeout_ms: float | None = None) -> None:
        """Undo the transaction: readers with ``read_committed`` never see it.

        What still waits here is not sent, and its futures fail with `TransactionAbortedError` (TXN-6). Raises
        as `commit_transaction`; after StreamlogTimeoutError the only thing to do is to call it again.
        """
        self._end("abort_transaction", False, timeout_ms)

    def transaction(self) -> Transaction:
        """Return a ``with`` block that is a transaction: committed at its end, aborted by an exception,
        any exception, which goes on then. A `TransactionAbortableError` that leaves it says so: there is
        nothing to abort any more. IllegalStateError at its end when it was ended inside.

        A commit that timed out is left as it is: call `commit_transaction` again, or close.
        """
        self._start("transaction")
        return Transaction(self)

    # ---- how they go

    def _make_manager(self) -> TransactionManager | None:
        """Return what a producer with a ``transactional_id`` needs; records are refused at first."""
        config, broker = self._config, self._broker
        if config.transactional_id is None:
            return None
        manager = TransactionManager(
            TransactionRequests(
                config.transactional_id,
                config.transaction_timeout_ms,
                config,
                broker.runtime.clock,
                lambda: broker.transaction_coordinator,
                lambda: broker.group_coordinator,
            )
        )
        self._shut_gate(manager)
        manager.on_error = partial(self._shut_gate, manager)
        # Timers hold the sender, and must not keep a producer and a broker that were dropped.
        record_failed = WeakMethod(manager.record_failed)

        def tell(error: BaseException) -> None:
            act = record_failed()
            if act is not None:
                act(error)

        self._sender.on_failure = tell
        return manager

    def _end(self, call: str, commit: bool, timeout_ms: float | None) -> None:
        manager = self._start(call)
        if self._sender.is_calling_back():
            raise IllegalStateError(f"{call} inside a callback would wait for that callback")
        time_ms = self._time(call, timeout_ms)
        self._end_within(manager, commit, time_ms)

    def _end_within(self, manager: TransactionManager, commit: bool, timeout_ms: float) -> None:
        def settle(left_ms: float) -> bool:
            self._shut_gate(manager)
            if not commit:
                self._discard(manager)
            return self._flush(left_ms)

        def has_written() -> bool:
            # Ctrl-C may have kept `begin_transaction` from giving out the stamps of this one.
            return self._identity.current == manager.identity and self._identity.has_written(
                queue.stamp for queue in self._accumulator.queues()
            )

        manager.end(commit, timeout_ms, settle, has_written)
        self._shut_gate(manager)  # from now on for another reason
        if not commit:
            self._sender.take_unclaimed_error()  # logged, and cured

    def _discard(self, manager: TransactionManager) -> None:
        """Fail what waits, instead of sending it. What is being appended is appended or fails."""
        error = TransactionAbortedError(
            f"the transaction of {manager.transactional_id!r} was aborted before this was appended"
        )
        error.__cause__ = manager.error
        self._accumulator.discard(error)

    def _leave_transaction(self, timeout_ms: float | None) -> None:
        """Before the producer closes: go on with an end that timed out, abort what is open.

        A failure is logged, since the producer closes anyhow: the transaction is aborted when it times
        out, or when the next producer takes the id. Source: Kafka ``Sender.run``.
        """
        manager = self._transactions
        if manager is None:
            return
        if timeout_ms is None:
            timeout_ms = max(self._config.max_block_ms, self._config.delivery_timeout_ms)
        state = manager.state
        commit = _ENDING.get(state, False)
        if state not in _OPEN and state not in _ENDING:
            return
        try:
            self._end_within(manager, commit, timeout_ms)
        except Exception as error:  # noqa: BLE001 - see above
            _logger.warning("%r is closed in state %r: %s", self, manager.state.value, error)
        if not commit:
            self._sender.take_unclaimed_error()  # logged; it is aborted, now or when it times out

    def _open_gate(self, manager: TransactionManager) -> None:
        assert manager.identity is not None
        self._identity.take(manager.identity)
        self._accumulator.admit(self._identity)
        self._routes.reopen()

    def _shut_gate(self, manager: TransactionManager) -> None:
        """Refuse records until the next transaction begins. Can be done again."""
        self._routes.shut()
        self._accumulator.bar(manager.refusal("send"))

    def _start(self, call: str) -> TransactionManager:
        """Return the manager, if this producer can be used and has one."""
        self._check_usable()
        if self._transactions is None:
            raise IllegalStateError(
                f"{call}: expected a producer with a transactional_id, found none"
            )
        return self._transactions

    def _time(self, call: str, timeout_ms: float | None) -> float:
        if timeout_ms is None:
            return self._config.max_block_ms
        check_timeout(call, timeout_ms)
        return timeout_ms

    def _check_usable(self) -> None:
        raise NotImplementedError

    def _flush(self, timeout_ms: float | None) -> bool:
        raise NotImplementedError


class Transaction:
    """The ``with`` block of `Producer.transaction`; gives the producer."""

    __slots__ = ("_producer",)

    def __init__(self, producer: TransactionCalls) -> None:
        self._producer = producer

    def __enter__(self) -> Any:
        self._producer.begin_transaction()
        return self._producer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abort(error)
            return
        manager = self._producer._transactions
        if manager is not None and manager.state is TransactionState.READY:
            raise IllegalStateError(
                f"the transaction of {manager.transactional_id!r}: expected one that the `with` block ends,"
                " found none open: commit_transaction or abort_transaction was called inside the block"
            )
        try:
            self._producer.commit_transaction()
        except BaseException as failure:
            self._abort(failure)
            raise

    def _abort(self, reason: BaseException) -> None:
        """Abort if that is still allowed; what goes wrong there must not hide the *reason*."""
        manager = self._producer._transactions
        if manager is None or manager.state not in _OPEN:
            return
        failure = manager.error
        try:
            self._producer.abort_transaction()
            if isinstance(reason, TransactionAbortableError) and reason.__cause__ is failure:
                # It said what to do, and that is done.
                reason.args = (
                    f"the transaction of {manager.transactional_id!r} was aborted: {failure}",
                )
        except ProducerFencedError as fenced:
            # Whoever has the id now aborted it, or the clock did: nothing is left open.
            _logger.warning(
                "%r: its transaction was over after %r: %s", self._producer, reason, fenced
            )
        except Exception:
            _logger.exception(
                "%r: its transaction could not be aborted after %r", self._producer, reason
            )


def _group_metadata(group: ConsumerGroupMetadata | str) -> ConsumerGroupMetadata:
    """Return *group* as metadata. Raises TypeError, `InvalidGroupIdError`, ValueError for a generation
    without a member.
    """
    if isinstance(group, str):
        return ConsumerGroupMetadata(check_group_id(group))
    if not isinstance(group, ConsumerGroupMetadata):
        raise TypeError(
            "send_offsets_to_transaction: group: expected a ConsumerGroupMetadata or a group_id, found"
            f" {type(group).__name__}"
        )
    check_group_id(group.group_id)
    if group.generation_id > 0 and not group.member_id:
        raise ValueError(
            f"send_offsets_to_transaction: group {group.group_id!r}: expected a member_id with"
            f" generation {group.generation_id}, found none"
        )
    return group

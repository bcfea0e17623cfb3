"""The transactions of one producer: its state, and its calls of the coordinators."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NoReturn, TypeVar

from streamlog.client.transaction_state import TransactionState, may_follow
from streamlog.errors import (
    CommitFailedError,
    ConcurrentModificationError,
    IllegalGenerationError,
    IllegalStateError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    ProducerFencedError,
    StaleMemberEpochError,
    StreamlogError,
    StreamlogTimeoutError,
    TransactionAbortableError,
    TransactionAbortedError,
    UnknownMemberIdError,
    UnknownProducerIdError,
)
from streamlog.runtime import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.client.transaction_requests import TransactionRequests
    from streamlog.structs import (
        ConsumerGroupMetadata,
        OffsetAndMetadata,
        ProducerIdAndEpoch,
        TopicPartition,
    )

T = TypeVar("T")

_State = TransactionState
_ENDS = {
    True: (_State.COMMITTING, "commit_transaction"),
    False: (_State.ABORTING, "abort_transaction"),
}


class TransactionManager:
    """Knows what a transactional producer may do next, and does it (TXN-5).

    * `initialize`, `begin`, `send_offsets`, `end`: the calls of the producer
    * `check_can_send` before a record; `record_failed` after one was lost

    What fails is either *abortable*, nothing but ``abort_transaction`` is allowed then, or *fatal*,
    nothing but ``close`` is (TXN-10). Fatal is what says that this producer is not the right one any
    more, or leaves open what became of the transaction: `ProducerFencedError`, also for an old epoch that
    a coordinator reports; `InvalidTxnStateError` from one; any other failure to decide. All else is
    abortable, an old epoch that a partition reports as well.

    A call that timed out, or was interrupted, is still to be finished, and can only be called again.
    Threads: records from any; of the calls one at a time, which is checked. Source: Kafka
    ``TransactionManager``.
    """

    def __init__(self, requests: TransactionRequests) -> None:
        self.transactional_id = requests.transactional_id
        self._requests = requests
        self._monotonic_ms = requests.monotonic_ms
        self._lock = Lock()
        self._state = _State.UNINITIALIZED
        self._error: BaseException | None = None
        self._pending_call: str | None = None
        self._is_busy = False
        self._has_begun = self._has_sent_offsets = False
        self.identity: ProducerIdAndEpoch | None = None
        """What records are stamped with; None before `initialize`."""
        self.on_error: Callable[[], None] | None = None
        """Called with no lock held whenever a failure ends what the producer may send."""

    @property
    def state(self) -> TransactionState:
        """The present state."""
        return self._state

    @property
    def error(self) -> BaseException | None:
        """What is to be cured by aborting, or cannot be; None in the other states."""
        return self._error

    # ---- records

    def check_can_send(self) -> None:
        """Raise unless records are taken now: IllegalStateError outside of a transaction,
        `TransactionAbortableError` or the fatal error after a failure.
        """
        if self._state is not _State.IN_TRANSACTION:
            raise self.refusal("send")
        self._has_begun = True

    def record_failed(self, error: BaseException) -> None:
        """Take note that a record of the transaction was lost: it can only be aborted now (TXN-6)."""
        if isinstance(error, TransactionAbortedError):
            return
        with self._lock:
            if isinstance(error, ProducerFencedError):
                self._fail(error, _State.FATAL_ERROR)
            elif may_follow(self._state, _State.ABORTABLE_ERROR):
                self._fail(error, _State.ABORTABLE_ERROR)
            else:
                return
            self._has_begun = True
        self._tell()

    # ---- calls of the producer

    def initialize(self, timeout_ms: float) -> ProducerIdAndEpoch:
        """Get a producer id, and fence whoever has it; wait for a transaction of theirs to end (TXN-3).

        Raises IllegalStateError when that is done already; `InvalidTxnTimeoutError`, which is fatal;
        `StreamlogTimeoutError`, after which the same call may be tried again.
        """

        def act() -> ProducerIdAndEpoch:
            self._renew("init_transactions", self._monotonic_ms() + timeout_ms)
            assert self.identity is not None
            return self.identity

        return self._call("init_transactions", _State.INITIALIZING, act)

    def begin(self) -> None:
        """Open a transaction, of which nobody else knows before its first record (TXN-11)."""
        with self._lock:
            self._check_no_call("begin_transaction")
            self._check_may("begin_transaction", _State.IN_TRANSACTION)
            # One after the other with no call in between, where Ctrl-C could come out.
            self._state = _State.IN_TRANSACTION
            self._has_begun = self._has_sent_offsets = False

    def send_offsets(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        group: ConsumerGroupMetadata,
        timeout_ms: float,
    ) -> None:
        """Make *offsets* part of the transaction (TXN-7).

        Raises, each of them abortable: `CommitFailedError` when the group knows no such member or
        generation, `FencedInstanceIdError`, `StreamlogTimeoutError`, and whatever else is wrong with the
        offsets, where Kafka's client would have to be closed. A failure is never forgotten: a commit
        without the offsets would not be exactly once.
        """
        call = "send_offsets_to_transaction"
        has_turn = False
        try:
            with self._lock:
                self._check_no_call(call)
                if self._state is not _State.IN_TRANSACTION:
                    raise self.refusal(call)
                has_turn = self._is_busy = True
            if not offsets:
                return
            identity = self.identity
            assert identity is not None
            self._has_begun = True
            self._requests.commit_offsets(
                call, identity, group, offsets, self._monotonic_ms() + timeout_ms
            )
            self._has_sent_offsets = True
        except (InvalidProducerEpochError, InvalidTxnStateError, ProducerFencedError) as error:
            self._raise_fatal(error, has_turn)
        except (UnknownMemberIdError, IllegalGenerationError, StaleMemberEpochError) as error:
            failure = CommitFailedError(
                f"transaction of {self.transactional_id!r}: the offsets do not go with it, because of"
                f" the group metadata they came with: {error}; abort, and read again from what is committed"
            )
            failure.__cause__ = error
            self._abortable(failure, has_turn)
            raise failure from error
        except BaseException as error:
            self._abortable(error, has_turn)
            raise
        finally:
            if has_turn:
                self._is_busy = False

    def end(
        self,
        commit: bool,
        timeout_ms: float,
        settle: Callable[[float], bool],
        has_written: Callable[[], bool],
    ) -> None:
        """Commit the transaction or abort it.

        *settle* sees to it that nothing is on its way to a partition any more, within the milliseconds it
        gets, and returns whether there was time enough; *has_written*, asked afterwards, whether any
        record of the transaction is in a partition. Raises `TransactionAbortableError` when records
        were lost, the transaction is to be aborted then; `StreamlogTimeoutError`, after which only the
        same call is allowed (TXN-6); what is fatal.
        """
        target, call = _ENDS[commit]
        deadline_ms = self._monotonic_ms() + timeout_ms

        def act() -> None:
            self._settle(call, commit, deadline_ms, settle)
            identity = self.identity
            assert identity is not None
            if isinstance(self._error, InvalidProducerIdMappingError):
                self._renew(call, deadline_ms)
            elif self._has_sent_offsets or has_written():
                self._decide(call, commit, identity, deadline_ms)
            elif commit or not self._has_begun:
                self._done(identity)  # nobody but this producer knows of the transaction
            else:
                # It may have got as far as the coordinator, or not.
                self._decide(call, commit, identity, deadline_ms, may_be_unknown=True)

        self._call(call, target, act)

    # ---- how they go

    def _call(self, call: str, target: TransactionState, act: Callable[[], T]) -> T:
        """Go to *target*, unless the same call did so before and was not finished, and act."""
        has_turn = False
        try:
            with self._lock:
                self._check_not_busy(call)
                if self._pending_call is None:
                    self._check_may(call, target)
                    self._state = target  # with no call in between, where Ctrl-C could come out
                    self._pending_call = call
                elif self._pending_call != call:
                    raise self.refusal(call)
                has_turn = self._is_busy = True
            return act()
        finally:
            if has_turn:
                self._is_busy = False

    def _settle(
        self, call: str, commit: bool, deadline_ms: float, settle: Callable[[float], bool]
    ) -> None:
        try:
            is_settled = settle(max(0.0, deadline_ms - self._monotonic_ms()))
        except BaseException as error:
            if commit:
                # Nothing is decided yet, so aborting is as good as trying the same again.
                self._abortable(error)
            raise
        if not is_settled:
            raise StreamlogTimeoutError(
                f"{call} of {self.transactional_id!r}: not everything that was sent was appended in time;"
                f" call {call} again"
            )
        if self._state is not _ENDS[commit][0]:  # a record was lost meanwhile
            raise self.refusal(call)

    def _decide(
        self,
        call: str,
        commit: bool,
        identity: ProducerIdAndEpoch,
        deadline_ms: float,
        *,
        may_be_unknown: bool = False,
    ) -> None:
        try:
            following = self._requests.end(call, identity, commit, deadline_ms)
        except StreamlogTimeoutError:
            raise
        except (
            InvalidProducerIdMappingError,
            UnknownProducerIdError,
            TransactionAbortableError,
        ) as error:
            if commit:
                self._abortable(error)
                raise
            self._renew(call, deadline_ms)
        except Exception as error:  # noqa: BLE001 - whatever it is, what became of it is open
            if not (may_be_unknown and isinstance(error, InvalidTxnStateError)):
                self._raise_fatal(error)
            self._renew(
                call, deadline_ms
            )  # no transaction to abort: a new epoch is all there is to do
        else:
            self._done(following)

    def _renew(self, call: str, deadline_ms: float) -> None:
        """Get an identity, another one for a producer that has one already."""
        try:
            following = self._requests.init(call, self.identity, deadline_ms)
        except StreamlogTimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - there is no identity to go on with
            self._raise_fatal(error)
        self._done(following)

    # ---- state; those above `_abortable` want the lock

    def _check_not_busy(self, call: str) -> None:
        if self._is_busy:
            raise ConcurrentModificationError(
                f"{call} of {self.transactional_id!r}: another thread is in a transactional call of this"
                " producer: expected one at a time"
            )

    def _check_no_call(self, call: str) -> None:
        self._check_not_busy(call)
        if self._pending_call is not None:
            raise self.refusal(call)

    def _check_may(self, call: str, target: TransactionState) -> None:
        if not may_follow(self._state, target):
            raise self.refusal(call)

    def _fail(self, error: BaseException, target: TransactionState) -> None:
        """Remember *error*; the first one of its kind counts."""
        if self._state is not target:
            self._error = error
            self._state = target
        self._pending_call = None

    def _abortable(self, error: BaseException, has_turn: bool = True) -> None:
        if has_turn:
            with self._lock:
                if may_follow(self._state, _State.ABORTABLE_ERROR):
                    self._fail(error, _State.ABORTABLE_ERROR)
            self._tell()

    def _raise_fatal(self, error: BaseException, has_turn: bool = True) -> NoReturn:
        """Raise *error*. A coordinator's old epoch means that the producer is fenced (TXN-10)."""
        fatal = error
        if isinstance(error, InvalidProducerEpochError):
            fatal = ProducerFencedError(str(error))
            fatal.__cause__ = error
        if has_turn:
            with self._lock:
                self._fail(fatal, _State.FATAL_ERROR)
            self._tell()
        raise fatal

    def _tell(self) -> None:
        if self.on_error is not None:
            self.on_error()

    def _done(self, identity: ProducerIdAndEpoch) -> None:
        """There is no transaction any more; the next one has *identity*."""
        with self._lock:
            self.identity = identity
            self._error = None
            self._state = _State.READY
            self._pending_call = None

    def refusal(self, call: str) -> BaseException:
        """Return the error of a *call* that the present state does not allow."""
        state, error, name = self._state, self._error, self.transactional_id
        if error is not None and state is _State.FATAL_ERROR:
            fresh = copy.copy(error)
            fresh.__cause__ = error.__cause__
            return fresh
        refusal: StreamlogError
        if error is not None and state is _State.ABORTABLE_ERROR:
            refusal = TransactionAbortableError(
                f"{call} of {name!r}: the transaction can only be aborted, call abort_transaction: {error}"
            )
            refusal.__cause__ = error
            return refusal
        if self._pending_call is not None:
            return IllegalStateError(
                f"{call} of {name!r}: {self._pending_call} is not finished: call that again"
            )
        return IllegalStateError(
            f"{call} of {name!r}: expected a producer that is {_EXPECTED[call]}, found one that is"
            f" {state.value}"
        )


_EXPECTED = {
    "init_transactions": "uninitialized",
    "begin_transaction": "ready, after init_transactions and with no transaction open",
    "send": "in transaction, after begin_transaction",
    "send_offsets_to_transaction": "in transaction, after begin_transaction",
    "commit_transaction": "in transaction",
    "abort_transaction": "in transaction",
}

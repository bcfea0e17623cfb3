"""The transactions of one producer, against coordinators that do what a test tells them.

TXN-3, TXN-5, TXN-6, TXN-7, TXN-9, TXN-10.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from streamlog.client.transaction_manager import TransactionManager
from streamlog.client.transaction_requests import TransactionRequests
from streamlog.client.transaction_state import TransactionState
from streamlog.config import ProducerConfig
from streamlog.errors import (
    CommitFailedError,
    ConcurrentModificationError,
    ConcurrentTransactionsError,
    DiskFullError,
    DurabilityError,
    FencedInstanceIdError,
    IllegalGenerationError,
    IllegalStateError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    InvalidTxnTimeoutError,
    OffsetMetadataTooLargeError,
    ProducerFencedError,
    RecordTooLargeError,
    StaleMemberEpochError,
    StreamlogTimeoutError,
    TransactionAbortableError,
    TransactionAbortedError,
    UnknownMemberIdError,
    UnknownProducerIdError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import (
    ConsumerGroupMetadata,
    OffsetAndMetadata,
    ProducerIdAndEpoch,
    TopicPartition,
)

S = TransactionState
OFFSETS = {TopicPartition("input", 0): OffsetAndMetadata(7)}
GROUP = ConsumerGroupMetadata("readers", 3, "member-1", "instance-1")


class Coordinators:
    """Answers with epoch after epoch; raises what `errors` holds first, and notes every call."""

    def __init__(self) -> None:
        self.errors: deque[BaseException] = deque()
        self.calls: list[tuple[Any, ...]] = []
        self.epoch = -1

    def init_producer_id(
        self,
        transactional_id: str,
        transaction_timeout_ms: int,
        expected: ProducerIdAndEpoch | None = None,
    ) -> ProducerIdAndEpoch:
        return self._answer("init", transactional_id, transaction_timeout_ms, expected)

    def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, commit: bool
    ) -> ProducerIdAndEpoch:
        return self._answer("end", transactional_id, producer_id, producer_epoch, commit)

    def commit_transactional_offsets(
        self,
        group_id: str,
        member_id: str,
        member_epoch: int,
        instance_id: str | None,
        producer_id: int,
        producer_epoch: int,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
    ) -> None:
        epoch = self.epoch
        self._answer(
            "offsets",
            group_id,
            member_id,
            member_epoch,
            instance_id,
            producer_id,
            producer_epoch,
            offsets,
        )
        self.epoch = epoch

    def _answer(self, *call: Any) -> ProducerIdAndEpoch:
        self.calls.append(call)
        if self.errors:
            raise self.errors.popleft()
        self.epoch += 1
        return ProducerIdAndEpoch(1000, self.epoch)


class Bench:
    """A manager, its coordinators and its clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.coordinators = Coordinators()
        self.manager = TransactionManager(
            TransactionRequests(
                "payments",
                60_000,
                ProducerConfig(),
                self.clock,
                lambda: self.coordinators,
                lambda: self.coordinators,
            )
        )
        self.settled_ms: list[float] = []
        self.settles = True
        self.has_written = True

    def initialize(self) -> None:
        self.manager.initialize(1000)

    def begin(self, *, sends: bool = True) -> None:
        self.manager.begin()
        if sends:
            self.manager.check_can_send()

    def end(self, commit: bool, timeout_ms: float = 1000) -> None:
        self.manager.end(commit, timeout_ms, self._settle, lambda: self.has_written)

    def offsets(self, timeout_ms: float = 1000) -> None:
        self.manager.send_offsets(OFFSETS, GROUP, timeout_ms)

    def _settle(self, timeout_ms: float) -> bool:
        self.settled_ms.append(timeout_ms)
        return self.settles

    def come_to(self, state: TransactionState) -> None:
        """Bring the manager into *state* by its own calls."""
        if state is S.UNINITIALIZED:
            return
        if state is S.INITIALIZING:
            self.coordinators.errors.append(ConcurrentTransactionsError("not yet"))
            with pytest.raises(StreamlogTimeoutError):
                self.manager.initialize(0)
            return
        self.initialize()
        if state is S.READY:
            return
        self.begin()
        if state in (S.COMMITTING, S.ABORTING):
            self.settles = False
            with pytest.raises(StreamlogTimeoutError):
                self.end(state is S.COMMITTING)
            self.settles = True
        elif state is S.ABORTABLE_ERROR:
            self.manager.record_failed(RecordTooLargeError("too large"))
        elif state is S.FATAL_ERROR:
            self.manager.record_failed(ProducerFencedError("a newer one is there"))


@pytest.fixture
def bench() -> Bench:
    return Bench()


CALLS: dict[str, tuple[Callable[[Bench], object], set[TransactionState]]] = {
    "init_transactions": (Bench.initialize, {S.UNINITIALIZED, S.INITIALIZING}),
    "begin_transaction": (Bench.begin, {S.READY}),
    "send": (lambda bench: bench.manager.check_can_send(), {S.IN_TRANSACTION}),
    "send_offsets_to_transaction": (Bench.offsets, {S.IN_TRANSACTION}),
    "commit_transaction": (lambda bench: bench.end(True), {S.IN_TRANSACTION, S.COMMITTING}),
    "abort_transaction": (
        lambda bench: bench.end(False),
        {S.IN_TRANSACTION, S.ABORTING, S.ABORTABLE_ERROR},
    ),
}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_in_each_state_is_allowed_or_refused_as_txn_5_says(
    bench: Bench, name: str, state: TransactionState
) -> None:
    """TXN-5, and TXN-6: after a timeout only the same call; in both error states the refusal says why."""
    call, allowed = CALLS[name]
    bench.come_to(state)
    assert bench.manager.state is state
    if state in allowed:
        call(bench)
        return
    calls = len(bench.coordinators.calls)
    expected: type[Exception] = IllegalStateError
    if state is S.FATAL_ERROR:
        expected = ProducerFencedError
    elif state is S.ABORTABLE_ERROR:
        expected = TransactionAbortableError
    with pytest.raises(expected) as caught:
        call(bench)
    if expected is TransactionAbortableError:
        assert isinstance(caught.value.__cause__, RecordTooLargeError)
    elif state in (S.INITIALIZING, S.COMMITTING, S.ABORTING):
        assert "call that again" in str(caught.value)
    assert bench.manager.state is state
    assert len(bench.coordinators.calls) == calls


# ---- init_transactions


def test_initialize_gets_the_identity_with_id_and_timeout(bench: Bench) -> None:
    bench.initialize()
    assert bench.manager.identity == (1000, 0)
    assert bench.coordinators.calls == [("init", "payments", 60_000, None)]


def test_initialize_waits_while_an_earlier_transaction_ends(bench: Bench) -> None:
    """TXN-3: CONCURRENT_TRANSACTIONS is tried again, with a growing pause."""
    bench.coordinators.errors.extend(ConcurrentTransactionsError("ending") for _ in range(3))
    start_ms = bench.clock.monotonic_ms()
    bench.initialize()
    assert bench.manager.state is S.READY
    assert bench.clock.monotonic_ms() - start_ms == 100 + 200 + 400


def test_initialize_that_timed_out_can_be_called_again(bench: Bench) -> None:
    """TXN-3: after max_block_ms it raises, and the same call goes on."""
    bench.coordinators.errors.extend(ConcurrentTransactionsError("ending") for _ in range(50))
    start_ms = bench.clock.monotonic_ms()
    with pytest.raises(StreamlogTimeoutError) as caught:
        bench.initialize()
    assert bench.clock.monotonic_ms() - start_ms == 1000
    assert isinstance(caught.value.__cause__, ConcurrentTransactionsError)
    bench.coordinators.errors.clear()
    bench.initialize()
    assert bench.manager.state is S.READY


def test_initialize_with_a_timeout_the_broker_refuses_is_fatal(bench: Bench) -> None:
    bench.coordinators.errors.append(InvalidTxnTimeoutError("900001"))
    with pytest.raises(InvalidTxnTimeoutError):
        bench.initialize()
    with pytest.raises(InvalidTxnTimeoutError):
        bench.initialize()
    assert bench.manager.state is S.FATAL_ERROR


def test_initialize_interrupted_can_be_called_again(bench: Bench) -> None:
    bench.coordinators.errors.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench.initialize()
    bench.initialize()
    assert bench.manager.state is S.READY


# ---- the end of a transaction


@pytest.mark.parametrize("commit", [True, False])
def test_an_end_goes_on_with_the_epoch_it_gets(bench: Bench, commit: bool) -> None:
    """TXN-11: every transaction has an epoch of its own."""
    bench.initialize()
    bench.begin()
    bench.end(commit)
    assert bench.coordinators.calls[-1] == ("end", "payments", 1000, 0, commit)
    assert bench.manager.identity == (1000, 1)
    bench.begin()
    bench.end(commit)
    assert bench.coordinators.calls[-1] == ("end", "payments", 1000, 1, commit)


def test_an_empty_transaction_ends_without_its_coordinator(bench: Bench) -> None:
    bench.has_written = False
    bench.initialize()
    for commit in (True, False):
        bench.begin(sends=False)
        bench.end(commit)
    assert [call[0] for call in bench.coordinators.calls] == ["init"]
    assert bench.manager.identity == (1000, 0)


def test_a_commit_of_sends_that_wrote_nothing_ends_without_its_coordinator(bench: Bench) -> None:
    """A serializer raised, say: there is nothing to decide, and TXN-9 has no EndTxn from Empty."""
    bench.has_written = False
    bench.initialize()
    bench.begin()
    bench.end(True)
    assert [call[0] for call in bench.coordinators.calls] == ["init"]


def test_an_abort_of_what_the_coordinator_never_heard_of_takes_a_new_epoch(bench: Bench) -> None:
    bench.has_written = False
    bench.initialize()
    bench.begin()
    bench.manager.record_failed(RecordTooLargeError("too large"))
    bench.coordinators.errors.append(InvalidTxnStateError("empty"))
    bench.end(False)
    assert bench.coordinators.calls[-1] == ("init", "payments", 60_000, (1000, 0))
    assert bench.manager.state is S.READY
    assert bench.manager.identity == (1000, 1)


def test_offsets_alone_make_a_transaction_to_decide(bench: Bench) -> None:
    bench.has_written = False
    bench.initialize()
    bench.begin(sends=False)
    bench.offsets()
    bench.end(True)
    assert bench.coordinators.calls[1:] == [
        ("offsets", "readers", "member-1", 3, "instance-1", 1000, 0, OFFSETS),
        ("end", "payments", 1000, 0, True),
    ]


def test_a_commit_waits_while_the_coordinator_is_busy(bench: Bench) -> None:
    """TXN-9: CONCURRENT_TRANSACTIONS while the same decision is being carried out."""
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.extend(ConcurrentTransactionsError("preparing") for _ in range(2))
    bench.end(True)
    assert bench.manager.state is S.READY


@pytest.mark.parametrize("commit", [True, False])
def test_an_end_that_timed_out_is_repeated_and_not_changed(bench: Bench, commit: bool) -> None:
    """TXN-6: retriable with the same call only."""
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.extend(DiskFullError("no room") for _ in range(50))
    with pytest.raises(StreamlogTimeoutError):
        bench.end(commit)
    with pytest.raises(IllegalStateError, match="is not finished: call that again"):
        bench.end(not commit)
    bench.coordinators.errors.clear()
    bench.end(commit)
    assert bench.manager.state is S.READY
    assert bench.manager.identity == (1000, 1)


def test_a_commit_has_one_deadline_for_records_and_decision(bench: Bench) -> None:
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.extend(ConcurrentTransactionsError("busy") for _ in range(50))

    def settle(timeout_ms: float) -> bool:
        assert timeout_ms == 1000
        bench.clock.advance(900)
        return True

    start_ms = bench.clock.monotonic_ms()
    with pytest.raises(StreamlogTimeoutError):
        bench.manager.end(True, 1000, settle, lambda: True)
    assert bench.clock.monotonic_ms() - start_ms == 1000


def test_a_record_lost_during_the_flush_of_a_commit_makes_it_raise(bench: Bench) -> None:
    """TXN-6: the commit raises, nothing is decided, and the transaction must be aborted."""
    bench.initialize()
    bench.begin()
    lost = StreamlogTimeoutError("orders-0: not appended in time")

    def settle(timeout_ms: float) -> bool:
        bench.manager.record_failed(lost)
        return True

    with pytest.raises(TransactionAbortableError) as caught:
        bench.manager.end(True, 1000, settle, lambda: True)
    assert caught.value.__cause__ is lost
    assert [call[0] for call in bench.coordinators.calls] == ["init"]
    with pytest.raises(TransactionAbortableError):
        bench.end(True)
    bench.end(False)
    assert bench.coordinators.calls[-1] == ("end", "payments", 1000, 0, False)
    assert bench.manager.state is S.READY


def test_a_commit_interrupted_while_it_flushes_can_be_aborted(bench: Bench) -> None:
    bench.initialize()
    bench.begin()

    def settle(timeout_ms: float) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.manager.end(True, 1000, settle, lambda: True)
    bench.end(False)
    assert bench.manager.state is S.READY


def test_a_commit_interrupted_while_it_is_decided_can_only_be_repeated(bench: Bench) -> None:
    """It may be decided already: aborting now would say what is not so."""
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench.end(True)
    with pytest.raises(IllegalStateError):
        bench.end(False)
    bench.end(True)
    assert bench.manager.state is S.READY


# ---- abortable and fatal: TXN-10


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ProducerFencedError("newer"), ProducerFencedError),
        (InvalidProducerEpochError("old epoch"), ProducerFencedError),
        (InvalidTxnStateError("decided otherwise"), InvalidTxnStateError),
        (DurabilityError("fdatasync failed"), DurabilityError),
        (OSError("bad disk"), OSError),
    ],
)
def test_an_end_that_the_coordinator_refuses_for_good_is_fatal(
    bench: Bench, error: Exception, raised: type[Exception], commit: bool
) -> None:
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.append(error)
    with pytest.raises(raised):
        bench.end(commit)
    assert bench.manager.state is S.FATAL_ERROR
    for call, _ in CALLS.values():
        with pytest.raises(raised):
            call(bench)


@pytest.mark.parametrize(
    "error",
    [
        InvalidProducerIdMappingError("expired"),
        UnknownProducerIdError("forgotten"),
        TransactionAbortableError("abort it"),
    ],
)
def test_a_commit_that_the_coordinator_wants_aborted_is_abortable(
    bench: Bench, error: Exception
) -> None:
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.append(error)
    with pytest.raises(type(error)):
        bench.end(True)
    assert bench.manager.state is S.ABORTABLE_ERROR
    bench.end(False)
    assert bench.manager.state is S.READY


def test_an_abort_of_an_expired_id_asks_for_another_instead(bench: Bench) -> None:
    """TXN-10: the coordinator would take no EndTxn of an id that it does not know."""
    bench.initialize()
    bench.begin()
    bench.manager.record_failed(InvalidProducerIdMappingError("expired"))
    bench.end(False)
    assert [call[0] for call in bench.coordinators.calls] == ["init", "init"]
    assert bench.coordinators.calls[-1][3] == (1000, 0)
    assert bench.manager.identity == (1000, 1)
    bench.begin()


@pytest.mark.parametrize(
    "error", [InvalidProducerIdMappingError("expired"), TransactionAbortableError("abort it")]
)
def test_an_abort_that_the_coordinator_cannot_do_takes_another_identity(
    bench: Bench, error: Exception
) -> None:
    """TXN-10: there is nothing of it any more, or nothing that a new epoch does not end."""
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.append(error)
    bench.end(False)
    assert [call[0] for call in bench.coordinators.calls] == ["init", "end", "init"]
    assert bench.manager.state is S.READY


def test_an_old_epoch_that_a_partition_reports_is_abortable(bench: Bench) -> None:
    """TXN-10: on the produce path; the coordinator says then whether the producer is fenced."""
    bench.initialize()
    bench.begin()
    bench.manager.record_failed(InvalidProducerEpochError("orders-0"))
    assert bench.manager.state is S.ABORTABLE_ERROR
    bench.coordinators.errors.append(ProducerFencedError("newer"))
    with pytest.raises(ProducerFencedError):
        bench.end(False)
    assert bench.manager.state is S.FATAL_ERROR


def test_a_fatal_error_after_an_abortable_one_takes_over(bench: Bench) -> None:
    bench.come_to(S.ABORTABLE_ERROR)
    bench.manager.record_failed(ProducerFencedError("newer"))
    with pytest.raises(ProducerFencedError):
        bench.end(False)


def test_the_first_abortable_error_is_the_one_reported(bench: Bench) -> None:
    bench.come_to(S.ABORTABLE_ERROR)
    bench.manager.record_failed(OSError("another"))
    with pytest.raises(TransactionAbortableError, match="too large"):
        bench.manager.check_can_send()


@pytest.mark.parametrize("state", [S.READY, S.ABORTING])
def test_a_record_lost_outside_of_a_transaction_changes_nothing(
    bench: Bench, state: TransactionState
) -> None:
    bench.come_to(state)
    bench.manager.record_failed(RecordTooLargeError("late"))
    assert bench.manager.state is state


def test_a_record_discarded_by_an_abort_is_no_failure(bench: Bench) -> None:
    bench.come_to(S.IN_TRANSACTION)
    bench.manager.record_failed(TransactionAbortedError("discarded"))
    assert bench.manager.state is S.IN_TRANSACTION


# ---- offsets: TXN-7


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (UnknownMemberIdError("left"), CommitFailedError),
        (IllegalGenerationError("old"), CommitFailedError),
        (StaleMemberEpochError("old"), CommitFailedError),
        (FencedInstanceIdError("another"), FencedInstanceIdError),
        (TransactionAbortableError("abort"), TransactionAbortableError),
        (InvalidProducerIdMappingError("expired"), InvalidProducerIdMappingError),
        (UnknownTopicOrPartitionError("gone"), UnknownTopicOrPartitionError),
        (OffsetMetadataTooLargeError("long"), OffsetMetadataTooLargeError),
        (OSError("bad disk"), OSError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_offsets_that_are_refused_leave_a_transaction_to_abort(
    bench: Bench, error: BaseException, raised: type[BaseException]
) -> None:
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.append(error)
    with pytest.raises(raised):
        bench.offsets()
    assert bench.manager.state is S.ABORTABLE_ERROR
    with pytest.raises(TransactionAbortableError):
        bench.end(True)
    bench.end(False)
    assert bench.manager.state is S.READY


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ProducerFencedError("newer"), ProducerFencedError),
        (InvalidProducerEpochError("old"), ProducerFencedError),
        (InvalidTxnStateError("odd"), InvalidTxnStateError),
    ],
)
def test_offsets_of_a_producer_that_is_not_the_one_are_fatal(
    bench: Bench, error: Exception, raised: type[Exception]
) -> None:
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.append(error)
    with pytest.raises(raised):
        bench.offsets()
    assert bench.manager.state is S.FATAL_ERROR


def test_offsets_are_tried_again_while_the_coordinator_is_busy(bench: Bench) -> None:
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.extend(ConcurrentTransactionsError("busy") for _ in range(2))
    bench.offsets()
    assert [call[0] for call in bench.coordinators.calls] == ["init", *["offsets"] * 3]


def test_offsets_that_were_not_sent_in_time_are_not_forgotten(bench: Bench) -> None:
    """A commit without them would deliver the same input again."""
    bench.initialize()
    bench.begin()
    bench.coordinators.errors.extend(ConcurrentTransactionsError("busy") for _ in range(50))
    with pytest.raises(StreamlogTimeoutError):
        bench.offsets()
    assert bench.manager.state is S.ABORTABLE_ERROR


def test_no_offsets_at_all_are_sent_to_nobody(bench: Bench) -> None:
    bench.initialize()
    bench.begin(sends=False)
    bench.manager.send_offsets({}, GROUP, 1000)
    assert [call[0] for call in bench.coordinators.calls] == ["init"]


# ---- threads


def test_a_second_call_while_one_is_under_way_is_refused(bench: Bench) -> None:
    bench.initialize()
    bench.begin()
    refused: list[str] = []

    def settle(timeout_ms: float) -> bool:
        for name, (call, _) in CALLS.items():
            if name != "send":
                with pytest.raises(ConcurrentModificationError):
                    call(bench)
                refused.append(name)
        return True

    bench.manager.end(True, 1000, settle, lambda: True)
    assert len(refused) == 5
    assert bench.manager.state is S.READY

"""The rules of IDM-* and the open transactions, without a log."""

from __future__ import annotations

import pytest

from streamlog.errors import (
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTxnStateError,
    OutOfOrderSequenceError,
    TransactionCoordinatorFencedError,
)
from streamlog.record import ControlType, ProducerStamp, build_batch, build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.producer_state import ProducerStates
from streamlog.structs import TopicPartition

T0 = 1_700_000_000_000


class Log:
    """Checks and notes batches as a log does, with offsets from 0 on."""

    def __init__(self) -> None:
        self.states = ProducerStates(TopicPartition("t", 0))
        self.aborted: list[AbortedTransaction] = []
        self.states.on_aborted = self.aborted.append
        self.end_offset = 0

    def send(
        self,
        sequence: int,
        count: int = 1,
        *,
        epoch: int = 0,
        pid: int = 7,
        txn: bool = False,
        at_ms: int = T0,
    ) -> int:
        """Return the offset of a batch of *count* records, appended or known already."""
        batch = build_batch([b"v"] * count, at_ms)
        batch.producer_id, batch.producer_epoch, batch.base_sequence = pid, epoch, sequence
        batch.attributes = TRANSACTIONAL_BIT if txn else 0
        known = self.states.check(batch)
        if known is not None:
            return known
        offset = self.end_offset
        self.states.appended(pid, epoch, sequence, count, batch.attributes, offset, at_ms)
        self.end_offset += count
        self.states._check()
        return offset

    def end(
        self,
        kind: ControlType,
        *,
        epoch: int = 1,
        pid: int = 7,
        coordinator: int = 0,
        at_ms: int = T0,
    ) -> int:
        marker = build_marker(kind, pid, epoch, coordinator, at_ms)
        assert self.states.check(marker) is None
        offset = self.end_offset
        self.states.completed(pid, epoch, kind, coordinator, offset, at_ms)
        self.end_offset += 1
        self.states._check()
        return offset


@pytest.fixture
def log() -> Log:
    return Log()


# ---- sequences


def test_golden_vector_of_the_sequences(log: Log) -> None:
    """semantics.md: (epoch 3, seq 10-14) resent, 15-19, 25-29, epoch 2, epoch 4 with 15 and with 0."""
    assert log.send(10, 5, epoch=3) == 0
    assert log.send(10, 5, epoch=3) == 0
    assert log.end_offset == 5
    assert log.send(15, 5, epoch=3) == 5
    with pytest.raises(OutOfOrderSequenceError, match="expected sequence 20, found 25"):
        log.send(25, 5, epoch=3)
    with pytest.raises(InvalidProducerEpochError, match="expected epoch 3 or greater, found 2"):
        log.send(20, 5, epoch=2)
    with pytest.raises(OutOfOrderSequenceError, match="expected sequence 0, found 15"):
        log.send(15, 5, epoch=4)
    assert log.send(0, 5, epoch=4) == 10


def test_idm_1_sequence_0_follows_the_greatest(log: Log) -> None:
    """semantics.md: last 2147483647, next valid 0."""
    assert log.send(MAX_SEQUENCE - 1, 2) == 0
    assert log.send(0) == 2
    assert log.send(MAX_SEQUENCE - 1, 2) == 0


def test_idm_1_batch_that_wraps_around_is_known_again(log: Log) -> None:
    assert log.send(MAX_SEQUENCE, 3) == 0
    assert log.send(MAX_SEQUENCE, 3) == 0
    assert log.send(2) == 3


def test_idm_2_five_batches_are_known_again_and_the_sixth_is_out_of_order(log: Log) -> None:
    offsets = [log.send(2 * n, 2) for n in range(6)]
    for n in range(1, 6):
        assert log.send(2 * n, 2) == offsets[n]
    with pytest.raises(OutOfOrderSequenceError):
        log.send(0, 2)


def test_idm_2_a_batch_of_another_length_is_not_the_same(log: Log) -> None:
    log.send(0, 5)
    with pytest.raises(OutOfOrderSequenceError):
        log.send(0, 4)


def test_idm_2_the_time_that_was_stored_comes_back(log: Log) -> None:
    log.send(0, at_ms=T0)
    batch = build_batch([b"v"], T0 + 99)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 0, 0
    assert log.states.check(batch) == 0
    assert batch.max_timestamp_ms == T0


def test_idm_4_a_new_epoch_forgets_the_batches_of_the_old_one(log: Log) -> None:
    log.send(0, 5, epoch=0)
    assert log.send(0, 5, epoch=1) == 5
    assert log.send(0, 5, epoch=1) == 5
    assert log.states.entries[7].next_sequence == 5


def test_idm_5_an_unknown_producer_may_begin_anywhere(log: Log) -> None:
    assert log.send(1234, pid=8, epoch=5) == 0
    with pytest.raises(OutOfOrderSequenceError):
        log.send(1234 + 2, pid=8, epoch=5)


@pytest.mark.parametrize(("sequence", "epoch"), [(-1, 0), (0, -1)])
def test_rec_10_a_producer_without_sequence_or_epoch_is_refused(
    log: Log, sequence: int, epoch: int
) -> None:
    with pytest.raises(InvalidRecordError):
        log.send(sequence, epoch=epoch)


def test_producers_do_not_mind_each_other(log: Log) -> None:
    for n in range(3):
        assert log.send(n, pid=1) == 2 * n
        assert log.send(n, pid=2) == 2 * n + 1
    assert sorted(log.states.entries) == [1, 2]


# ---- expiry


def test_idm_5_a_producer_that_wrote_long_ago_is_forgotten_but_not_in_a_transaction(
    log: Log,
) -> None:
    stamp = ProducerStamp(1, 0)
    log.send(0, pid=1, at_ms=T0)
    log.states.entries[1].link(stamp)
    stamp.next_sequence = 1
    log.send(0, pid=2, at_ms=T0 + 1)
    log.send(0, pid=3, at_ms=T0, txn=True)
    assert log.states.expire(T0 + 999, 1000) == 0
    assert log.states.expire(T0 + 1000, 1000) == 1
    assert sorted(log.states.entries) == [2, 3]
    assert stamp.remember is None
    log.end(ControlType.COMMIT, pid=3, at_ms=T0 + 2)
    assert log.states.expire(T0 + 1001, 1000) == 1
    assert log.states.expire(T0 + 1002, 1000) == 1
    assert log.states.entries == {}
    assert log.send(55, pid=1) == 4


# ---- transactions


def test_golden_vector_of_the_last_stable_offset(log: Log) -> None:
    """semantics.md: 0-4 plain, 5 A open, 6 plain, 7 B committed (marker at 8): LSO 5. Abort A: the log end."""
    log.end_offset = 5
    assert log.send(0, pid=1, txn=True) == 5
    log.end_offset += 1
    assert log.send(0, pid=2, txn=True) == 7
    assert log.states.open_transactions() == {1: (0, 5), 2: (0, 7)}
    assert log.end(ControlType.COMMIT, pid=2) == 8
    assert log.states.first_unstable_offset == 5
    assert log.end(ControlType.ABORT, pid=1) == 9
    assert log.states.first_unstable_offset is None
    assert log.aborted == [AbortedTransaction(1, 5, 9, 10)]


def test_txn_15_last_stable_offset_of_an_abort_is_where_the_oldest_other_one_began(
    log: Log,
) -> None:
    for producer_id in (1, 2, 3):
        log.send(0, pid=producer_id, txn=True)
    log.end(ControlType.ABORT, pid=2)
    log.end(ControlType.ABORT, pid=1)
    log.end(ControlType.ABORT, pid=3)
    assert log.aborted == [
        AbortedTransaction(2, 1, 3, 0),
        AbortedTransaction(1, 0, 4, 2),
        AbortedTransaction(3, 2, 5, 6),
    ]


def test_marker_without_a_transaction_aborts_nothing_but_fences(log: Log) -> None:
    log.end(ControlType.ABORT, epoch=3)
    assert log.aborted == []
    with pytest.raises(InvalidProducerEpochError):
        log.send(0, epoch=2)
    with pytest.raises(OutOfOrderSequenceError):
        log.send(1, epoch=3)
    assert log.send(0, epoch=3) == 1


def test_abort_that_nobody_wants_to_hear_of_ends_the_transaction_as_well(log: Log) -> None:
    log.states.on_aborted = None
    log.send(0, txn=True)
    log.end(ControlType.ABORT)
    assert log.states.first_unstable_offset is None


def test_txn_11_a_late_batch_of_an_ended_transaction_is_refused(log: Log) -> None:
    log.send(0, txn=True)
    log.end(ControlType.COMMIT, epoch=1)
    with pytest.raises(InvalidProducerEpochError):
        log.send(1, txn=True)
    assert log.send(0, epoch=1, txn=True) == 2


def test_marker_of_the_same_epoch_keeps_the_batches(log: Log) -> None:
    """IDM-2: a retry that comes after the marker of its transaction."""
    log.send(0, txn=True)
    log.end(ControlType.COMMIT, epoch=0)
    assert log.send(0, txn=True) == 0
    assert log.send(1, txn=True) == 2


def test_idm_8_a_write_without_the_open_transaction_is_refused(log: Log) -> None:
    log.send(0, txn=True)
    with pytest.raises(InvalidTxnStateError, match="open since offset 0"):
        log.send(1)
    assert log.states.is_open(7, 0)
    assert log.send(1, txn=True) == 1


def test_open_means_this_producer_in_this_epoch(log: Log) -> None:
    assert not log.states.is_open(7, 0)
    log.send(0)
    assert not log.states.is_open(7, 0)
    log.send(1, txn=True)
    assert log.states.is_open(7, 0)
    assert not log.states.is_open(7, 1)


def test_marker_of_an_older_epoch_or_coordinator_is_refused(log: Log) -> None:
    log.send(0, epoch=5, txn=True)
    with pytest.raises(InvalidProducerEpochError):
        log.end(ControlType.COMMIT, epoch=4)
    log.end(ControlType.COMMIT, epoch=6, coordinator=3)
    with pytest.raises(TransactionCoordinatorFencedError, match="epoch 3 or greater, found 2"):
        log.end(ControlType.COMMIT, epoch=7, coordinator=2)


# ---- told twice, kept, taken back


def test_being_told_twice_changes_nothing(log: Log) -> None:
    """Ctrl-C: whether the first time got through is not known."""
    for _ in range(2):
        log.states.appended(7, 0, 0, 3, TRANSACTIONAL_BIT, 0, T0)
    log.states._check()
    assert list(log.states.entries[7].recent) == [(0, 2, 0, T0)]
    for _ in range(2):
        log.states.completed(7, 1, ControlType.ABORT, 0, 3, T0)
    log.states._check()
    assert log.aborted == [AbortedTransaction(7, 0, 3, 4)]


def test_packed_states_are_unpacked_as_they_were(log: Log) -> None:
    log.send(0, 4, pid=1, txn=True)
    log.send(9, 2, pid=2, epoch=4)
    log.send(0, pid=3, txn=True)
    log.end(ControlType.COMMIT, pid=1)
    log.send(0, pid=1, epoch=1, txn=True)
    found = ProducerStates(TopicPartition("t", 0))
    found.unpack(log.states.pack())
    found._check()
    assert found.pack() == log.states.pack()
    assert found.open_transactions() == log.states.open_transactions() == {3: (0, 6), 1: (1, 8)}
    assert found.first_unstable_offset == 6
    assert repr(found) == "<ProducerStates of t-0: 3, 2 in transactions>"


@pytest.mark.parametrize("packed", [None, {}, [1], [[1, 2]], [[1, 0, -1, -1, -1, -1], "x"]])
def test_unpacking_anything_else_changes_nothing(log: Log, packed: PendingBatch) -> None:
    log.send(0)
    with pytest.raises(ValueError, match="expected"):
        log.states.unpack(packed)
    assert list(log.states.entries) == [7]


def test_unlinking_all_has_every_stamp_checked_again(log: Log) -> None:
    stamps = [ProducerStamp(pid, 0) for pid in (1, 2)]
    for stamp in stamps:
        log.send(0, pid=stamp.producer_id)
        stamp.next_sequence = 1
        log.states.entries[stamp.producer_id].link(stamp)
    log.states.unlink_all()
    assert [stamp.remember for stamp in stamps] == [None, None]

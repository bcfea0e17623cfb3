"""Appending for idempotent producers: what the log takes, and what it knows afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.errors import (
    ClosedError,
    DiskFullError,
    InvalidProducerEpochError,
    InvalidTxnStateError,
    OutOfOrderSequenceError,
    RecordBatchTooLargeError,
)
from streamlog.record import ControlType, PendingBatch, ProducerStamp, build_batch, build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.storage import PartitionLog, index_file
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.structs import ProducerStateInfo
from tests.support.hooked_files import HookedFileSystem
from tests.support.storage import Disk, Store, check_log, read_batches, read_values
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    pass

T0 = 1_700_000_000_000


@pytest.fixture
def log(store: Store) -> PartitionLog:
    return store.log


def batch_of(stamp: ProducerStamp, *values: bytes, at_ms: int = T0) -> PendingBatch:
    batch = build_batch(list(values), at_ms)
    batch.stamp = stamp
    return batch


def end(
    log: PartitionLog, kind: ControlType, *, producer_id: int = 7, epoch: int = 1, at_ms: int = T0
) -> int:
    return log.append(build_marker(kind, producer_id, epoch, 0, at_ms))


def headers(log: PartitionLog) -> list[tuple[int, int, int, bool, bool]]:
    """Producer id, epoch, sequence, transactional and control of each batch."""
    return [
        (b.producer_id, b.producer_epoch, b.base_sequence, b.is_transactional, b.is_control)
        for b in read_batches(log)
    ]


# ---- stamps


def test_stamped_values_and_batches_take_one_sequence_after_the_other(log: PartitionLog) -> None:
    """IDM-1."""
    stamp = ProducerStamp(7, 3)
    assert log.append_value(b"a", T0, stamp) == 0
    assert log.append_value(b"b", T0, stamp) == 1
    assert log.append(batch_of(stamp, b"c", b"d")) == 2
    assert log.append_value(b"e" * 300, T0, stamp) == 4
    assert log.append(batch_of(stamp, b"f", b"g", b"h")) == 5
    assert log.append_value(b"i", T0) == 8
    assert headers(log) == [
        (7, 3, 0, False, False),
        (7, 3, 1, False, False),
        (7, 3, 2, False, False),
        (7, 3, 4, False, False),
        (7, 3, 5, False, False),
        (-1, -1, -1, False, False),
    ]
    assert stamp.next_sequence == 8
    assert [value for _, value in read_values(log)][:3] == [b"a", b"b", b"c"]
    check_log(log)


@pytest.mark.parametrize("interval", [0, 1 << 20])
def test_stamped_values_are_indexed_and_their_greatest_time_is_known(interval: int) -> None:
    store = Store(memory_disk_of(), index_interval_bytes=interval)
    stamp = ProducerStamp(7, 0)
    for at_ms in (T0, T0 + 5, T0 + 3, T0 + 7):
        store.log.append_value(b"v", at_ms, stamp)
    segment = store.log.segments[0]
    assert (segment.max_timestamp_ms, segment.max_timestamp_offset) == (T0 + 7, 3)
    assert len(segment.offset_index) == (0 if interval else 3)
    check_log(store.log)
    store.close()


def test_idm_1_sequences_of_a_stamp_wrap_around(log: PartitionLog) -> None:
    stamp = ProducerStamp(7, 0)
    stamp.next_sequence = MAX_SEQUENCE - 2
    log.append_value(b"a", T0, stamp)
    log.append_value(b"b", T0, stamp)
    log.append_value(b"c", T0, stamp)
    assert stamp.next_sequence == 0
    stamp.next_sequence = MAX_SEQUENCE - 1
    other = ProducerStamp(8, 0)
    other.next_sequence = MAX_SEQUENCE - 1
    log.append(batch_of(other, b"d"))
    log.append(batch_of(other, b"e", b"f"))
    assert other.next_sequence == 1
    assert [h[2] for h in headers(log)] == [
        MAX_SEQUENCE - 2,
        MAX_SEQUENCE - 1,
        MAX_SEQUENCE,
        MAX_SEQUENCE - 1,
        MAX_SEQUENCE,
    ]


def test_idm_2_the_same_batch_again_is_not_stored_again(log: PartitionLog) -> None:
    stamp = ProducerStamp(7, 0)
    batches = [batch_of(stamp, b"a", b"b", at_ms=T0 + n) for n in range(6)]
    offsets = [log.append(batch) for batch in batches]
    end_offset = log.log_end_offset
    for batch, offset in list(zip(batches, offsets, strict=True))[1:]:
        batch.max_timestamp_ms = T0 + 1000
        assert log.append(batch) == offset
        assert batch.max_timestamp_ms == T0 + offset // 2
    with pytest.raises(OutOfOrderSequenceError):
        log.append(batches[0])
    assert log.log_end_offset == end_offset
    assert log.append(batch_of(stamp, b"c")) == end_offset
    check_log(log)


def test_idm_4_a_stamp_of_an_old_epoch_is_refused(log: PartitionLog) -> None:
    old, new = ProducerStamp(7, 0), ProducerStamp(7, 1)
    log.append_value(b"a", T0, old)
    log.append_value(b"b", T0, new)
    with pytest.raises(InvalidProducerEpochError):
        log.append_value(b"c", T0, old)
    with pytest.raises(InvalidProducerEpochError):
        log.append(batch_of(old, b"c"))
    assert (old.next_sequence, new.next_sequence) == (1, 1)
    check_log(log)


def test_new_batch_that_would_count_as_an_old_one_is_refused(log: PartitionLog) -> None:
    """Two stamps of one producer and epoch: the second one begins again, with records that nobody has seen."""
    log.append_value(b"a", T0, ProducerStamp(7, 0))
    batch = batch_of(ProducerStamp(7, 0), b"b")
    with pytest.raises(OutOfOrderSequenceError, match="would count as the one at offset 0"):
        log.append(batch)
    assert batch.base_sequence == -1
    assert log.log_end_offset == 1


def test_batch_that_was_refused_has_no_sequence_and_used_none(log: PartitionLog) -> None:
    stamp = ProducerStamp(7, 0, is_transactional=True)
    log.append(batch_of(stamp, b"a"))
    batch = batch_of(stamp, b"x" * 2000)
    with pytest.raises(RecordBatchTooLargeError):
        log.append(batch)
    with pytest.raises(RecordBatchTooLargeError):
        log.append_value(b"x" * 2000, T0, stamp)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (-1, -1, -1)
    assert batch.attributes == 0
    assert stamp.next_sequence == 1
    assert log.append(batch_of(stamp, b"b")) == 1
    check_log(log)


def test_first_batch_that_finds_no_room_leaves_no_trace_of_its_producer() -> None:
    store = Store(memory_disk_of(200_000), segment_bytes=1 << 20)
    stamp = ProducerStamp(7, 0)
    with pytest.raises(DiskFullError):
        store.log.append(batch_of(stamp, b"x" * 300_000))
    assert store.log.describe_producers() == []
    stamp.next_sequence = 5
    assert store.log.append_value(b"a", T0, stamp) == 0
    check_log(store.log)
    store.close()


def test_batch_with_a_sequence_of_its_own_has_the_stamp_checked_again(log: PartitionLog) -> None:
    stamp = ProducerStamp(7, 0)
    log.append_value(b"a", T0, stamp)
    batch = build_batch([b"b", b"c"], T0)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 0, 1
    log.append(batch)
    with pytest.raises(OutOfOrderSequenceError):
        log.append_value(b"d", T0, stamp)
    check_log(log)


def test_batch_of_an_older_stamp_of_its_producer_keeps_what_it_got(log: PartitionLog) -> None:
    """Its sequence was given when it was first stored, in a log that has lost it since."""
    stamp = ProducerStamp(7, 0)
    batch = batch_of(stamp, b"b")
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 0, 0
    stamp.next_sequence = 1
    log.append(batch)
    assert stamp.next_sequence == 1
    assert log.append_value(b"c", T0, stamp) == 1
    newer = ProducerStamp(7, 1)
    again = batch_of(newer, b"d")
    again.producer_id, again.producer_epoch, again.base_sequence = 7, 0, 2
    newer.next_sequence = 3
    log.append(again)
    assert newer.remember is None
    check_log(log)


def test_describe_tells_what_is_known_of_each_producer(log: PartitionLog) -> None:
    log.append_value(b"a", T0 + 1, ProducerStamp(9, 2))
    log.append(batch_of(ProducerStamp(7, 0, is_transactional=True), b"b", b"c"))
    log.append(build_marker(ControlType.ABORT, 8, 4, 6, T0 + 2))
    assert log.describe_producers() == [
        ProducerStateInfo(7, 0, 1, T0, None, 1),
        ProducerStateInfo(8, 4, -1, T0 + 2, 6, None),
        ProducerStateInfo(9, 2, 0, T0 + 1, None, None),
    ]
    assert log.expire_producers(T0 + 1001, 1000) == 1
    assert [info.producer_id for info in log.describe_producers()] == [7, 8]


def test_closed_log_takes_nothing_from_a_stamp_it_knew(store: Store) -> None:
    log, stamp = store.log, ProducerStamp(7, 0)
    batch = batch_of(stamp, b"a")
    log.append(batch)
    store.close()
    assert stamp.remember is None
    for append in (
        lambda: log.append(batch),
        lambda: log.append(batch_of(stamp, b"b")),
        lambda: log.append_value(b"b", T0, stamp),
    ):
        with pytest.raises(ClosedError):
            append()
    assert stamp.next_sequence == 1


# ---- transactions


def test_golden_vector_of_the_last_stable_offset(log: PartitionLog) -> None:
    """semantics.md, LSO (TXN-13): offsets 0-4 plain, 5 A, 6 plain, 7 B committed by 8, A aborted by 9."""
    a, b = ProducerStamp(1, 0, is_transactional=True), ProducerStamp(2, 0, is_transactional=True)
    for _ in range(5):
        log.append_value(b"plain", T0)
    assert not log.has_transactions
    assert log.last_stable_offset == 5
    assert log.open_transactions() == {}
    assert log.append(batch_of(a, b"A")) == 5
    assert log.append_value(b"plain", T0) == 6
    assert log.append(batch_of(b, b"B")) == 7
    assert log.open_transactions() == {1: (0, 5), 2: (0, 7)}
    assert end(log, ControlType.COMMIT, producer_id=2) == 8
    assert (log.log_end_offset, log.last_stable_offset) == (9, 5)
    assert end(log, ControlType.ABORT, producer_id=1) == 9
    assert (log.log_end_offset, log.last_stable_offset) == (10, 10)
    assert log.has_transactions
    assert log.aborted_transactions(0, 10) == [AbortedTransaction(1, 5, 9, 10)]
    log._note_aborted(AbortedTransaction(1, 5, 9, 10))  # told again, after Ctrl-C
    assert len(log.aborted_transactions(0, 10)) == 1
    assert log.aborted_transactions(0, 5) == []
    assert log.aborted_transactions(10, 11) == []
    check_log(log)


def txn_covers(store: Store, base_offset: int) -> int:
    """How much of its log the index of aborted transactions tells about; 0 without one."""
    path = store.segment_path(base_offset, ".txn")
    return index_file.read_entries(store.disk.filesystem, path, 1 << 20).covers


def abort_one(log: PartitionLog, producer_id: int = 7) -> AbortedTransaction:
    """Append a transaction of one batch and its abort marker."""
    epoch = sum(entry.producer_id == producer_id for entry in log.describe_producers())
    stamp = ProducerStamp(producer_id, epoch, is_transactional=True)
    first = log.append(batch_of(stamp, b"x"))
    last = end(log, ControlType.ABORT, producer_id=producer_id, epoch=epoch + 1)
    return AbortedTransaction(producer_id, first, last, last + 1)


def test_the_index_of_aborted_transactions_is_written_when_the_others_are(store: Store) -> None:
    """TXN-15: at a checkpoint, at a roll and at the close; never in a log without transactions."""
    log = store.log
    store.fill(5)
    log.sync()
    store.directory.checkpoint()
    log.roll()
    assert not any(name.endswith(".txn") for name in store.names())
    assert log.aborted_transactions(0, 5) == []
    expected = [abort_one(log)]
    log.sync()
    store.directory.checkpoint()
    assert txn_covers(store, 5) == log.segments[1].position
    expected.append(abort_one(log, 8))
    log.roll()
    assert txn_covers(store, 5) == log.segments[1].position
    expected.append(abort_one(log, 9))
    assert log.aborted_transactions(0, log.log_end_offset) == expected
    check_log(log)
    store.close()
    assert txn_covers(store, 9) > 0


def test_the_first_transaction_of_a_log_makes_nobody_walk_what_was_there(store: Store) -> None:
    store.fill(20)
    store.reopen()
    log = store.log
    aborted = abort_one(log)
    assert len(log.segments) > 1
    assert all(segment.transactions.is_known for segment in log.segments)
    assert log.aborted_transactions(0, log.log_end_offset) == [aborted]
    log.sync()
    store.directory.checkpoint()
    assert txn_covers(store, log.segments[-1].base_offset) == log.segments[-1].position


def test_a_transaction_over_several_segments_is_found_from_each_of_them(store: Store) -> None:
    log = store.log
    stamp = ProducerStamp(7, 0, is_transactional=True)
    log.append(batch_of(stamp, b"x"))
    log.roll()
    log.append(batch_of(stamp, b"x"))
    log.roll()
    end(log, ControlType.ABORT)
    expected = [AbortedTransaction(7, 0, 2, 3)]
    for start in range(3):
        assert log.aborted_transactions(start, start + 1) == expected


def test_a_log_whose_disk_is_full_goes_on_without_the_index_of_aborted_transactions(
    memory_disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(call: str, path: str) -> None:
        if path.endswith(".txn") and call in ("make", "write_at"):
            raise OSError(5, "refused", path)

    hooked = HookedFileSystem(memory_disk.filesystem)
    store = Store(Disk(hooked, memory_disk.root), segment_bytes=1024)
    hooked.hook = refuse
    expected = [abort_one(store.log)]
    store.log.roll()
    expected.append(abort_one(store.log, 8))
    assert "it is made again at the next open" in caplog.text
    assert store.log.aborted_transactions(0, 4) == expected
    store.close()


def test_a_truncation_forgets_the_transactions_that_it_cuts_off(store: Store) -> None:
    log = store.log
    kept = abort_one(log)
    abort_one(log, 8)
    log.sync()
    store.directory.checkpoint()
    log.truncate_to(kept.last_offset + 1)
    assert not store.disk.filesystem.exists(store.segment_path(0, ".txn"))
    assert log.aborted_transactions(0, 9) == [kept]


def test_a_closed_log_does_not_say_what_was_aborted(store: Store) -> None:
    abort_one(store.log)
    store.close()
    with pytest.raises(ClosedError):
        store.log.aborted_transactions(0, 2)


def test_values_of_an_open_transaction_go_the_fast_way(log: PartitionLog) -> None:
    stamp = ProducerStamp(7, 0, is_transactional=True)
    with pytest.raises(InvalidTxnStateError, match="expected an open transaction, found none"):
        log.append_value(b"a", T0, stamp)
    log.append(batch_of(stamp, b"a"))
    assert log.has_open_transaction(7, 0)
    log.append_value(b"b", T0, stamp)
    log.append_value(b"c", T0, stamp)
    assert headers(log) == [(7, 0, sequence, True, False) for sequence in range(3)]
    end(log, ControlType.COMMIT)
    with pytest.raises(InvalidTxnStateError):
        log.append_value(b"d", T0, stamp)
    with pytest.raises(InvalidProducerEpochError):
        log.append(batch_of(stamp, b"d"))
    assert not log.has_open_transaction(7, 0)
    check_log(log)


def test_linked_stamp_may_be_checked_again_while_its_transaction_is_open(
    log: PartitionLog,
) -> None:
    stamp = ProducerStamp(7, 0, is_transactional=True)
    log.append(batch_of(stamp, b"a"))
    log._known_producers().unlink_all()
    assert log.append_value(b"b", T0, stamp) == 1
    assert headers(log)[1] == (7, 0, 1, True, False)


def test_deleted_records_of_an_open_transaction_do_not_hold_back_the_log_start(
    log: PartitionLog,
) -> None:
    log.append(batch_of(ProducerStamp(7, 0, is_transactional=True), b"a", b"b"))
    log.append_value(b"c", T0)
    log.advance_log_start(2)
    assert log.last_stable_offset == 2
    check_log(log)


# ---- producers that keep their epoch from one transaction to the next


def kept(*values: bytes, sequence: int, verified: int) -> PendingBatch:
    batch = build_batch(list(values), T0)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 1, sequence
    batch.attributes |= TRANSACTIONAL_BIT
    batch.verified_marker_offset = verified
    return batch


def test_a_log_knows_the_last_marker_and_the_next_sequence_of_a_producer_that_keeps_its_epoch(
    log: PartitionLog,
) -> None:
    assert (log.last_marker_offset(7), log.next_sequence(7, 1)) == (-1, 0)
    log.append(kept(b"a", b"b", sequence=0, verified=-1))
    assert (log.last_marker_offset(7), log.next_sequence(7, 1)) == (-1, 2)
    marker = end(log, ControlType.COMMIT)
    assert (log.last_marker_offset(7), log.next_sequence(7, 1)) == (marker, 2)
    assert (log.last_marker_offset(8), log.next_sequence(7, 2)) == (-1, 0)


def test_a_batch_that_was_verified_before_a_marker_came_begins_no_other_transaction(
    log: PartitionLog,
) -> None:
    log.append(kept(b"a", sequence=0, verified=-1))
    marker = end(log, ControlType.ABORT)
    with pytest.raises(InvalidTxnStateError, match=f"the marker at offset {marker} has ended"):
        log.append(kept(b"late", sequence=1, verified=-1))
    assert log.append(kept(b"next", sequence=1, verified=marker)) == marker + 1

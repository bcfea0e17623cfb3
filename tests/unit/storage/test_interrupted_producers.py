"""Ctrl-C while a batch of a producer is appended: stored and noted, or neither."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from streamlog.record import ControlType, PendingBatch, ProducerStamp, build_batch, build_marker
from streamlog.record.producer_stamp import RecentBatch
from streamlog.storage import PartitionLog
from streamlog.storage.segment import Segment
from tests.support.interrupts import interrupted_at, moments
from tests.support.storage import Store, check_log, read_batches
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

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


def interrupt_after(
    monkeypatch: pytest.MonkeyPatch, method: Callable[..., object]
) -> Callable[[], None]:
    """Let Ctrl-C come out when this method of Segment has done its work; returns what ends that."""

    def interrupted(*arguments: object) -> None:
        method(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Segment, method.__name__, interrupted)
    return monkeypatch.undo


def test_batch_that_was_stored_when_ctrl_c_came_has_its_sequence(
    log: PartitionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = ProducerStamp(7, 0)
    for number in range(2):  # a new producer, and a known one
        batch = batch_of(stamp, b"a", b"b")
        undo = interrupt_after(monkeypatch, Segment.append)
        with pytest.raises(KeyboardInterrupt):
            log.append(batch)
        undo()
        assert (batch.base_sequence, stamp.next_sequence) == (2 * number, 2 * number + 2)
        assert log.append(batch) == 2 * number
        check_log(log)
    assert log.append(batch_of(stamp, b"c")) == 4


def test_value_that_was_stored_when_ctrl_c_came_used_its_sequence(
    log: PartitionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = ProducerStamp(7, 0)
    log.append_value(b"a", T0, stamp)
    undo = interrupt_after(monkeypatch, Segment.append_stamped_value)
    with pytest.raises(KeyboardInterrupt):
        log.append_value(b"b", T0, stamp)
    undo()
    assert stamp.next_sequence == log.log_end_offset == 2
    remember = stamp.remember
    assert remember is not None

    def interrupted(batch: RecentBatch) -> None:
        remember(batch)
        raise KeyboardInterrupt

    stamp.remember = interrupted
    with pytest.raises(KeyboardInterrupt):
        log.append_value(b"c", T0, stamp)
    stamp.remember = remember
    assert stamp.next_sequence == log.log_end_offset == 3
    check_log(log)
    assert log.append_value(b"d", T0, stamp) == 3


def value_of_known(store: Store, stamp: ProducerStamp) -> Callable[[], object]:
    store.log.append(batch_of(stamp, b"known"))
    return lambda: store.log.append_value(b"x", T0, stamp)


def first_value(store: Store, stamp: ProducerStamp) -> Callable[[], object]:
    stamp.is_transactional = False
    return lambda: store.log.append_value(b"x", T0, stamp)


def batch_of_known(store: Store, stamp: ProducerStamp) -> Callable[[], object]:
    store.log.append(batch_of(stamp, b"known"))
    batch = batch_of(stamp, b"x", b"y")
    return lambda: store.log.append(batch)


def first_batch(store: Store, stamp: ProducerStamp) -> Callable[[], object]:
    batch = batch_of(stamp, b"x", b"y")
    return lambda: store.log.append(batch)


def new_epoch(store: Store, stamp: ProducerStamp) -> Callable[[], object]:
    store.log.append_value(b"known", T0, ProducerStamp(7, 0))
    stamp.producer_epoch = 1
    batch = batch_of(stamp, b"x", b"y")
    return lambda: store.log.append(batch)


def abort(store: Store, stamp: ProducerStamp) -> Callable[[], object]:
    store.log.append(batch_of(ProducerStamp(7, 0, is_transactional=True), b"known"))
    return lambda: end(store.log, ControlType.ABORT)


@pytest.mark.stress
@pytest.mark.parametrize(
    "prepare", [value_of_known, first_value, batch_of_known, first_batch, new_epoch, abort]
)
def test_states_follow_what_was_stored_wherever_an_append_is_interrupted(
    prepare: Callable[[Store, ProducerStamp], Callable[[], object]],
) -> None:
    """IDM-2: what Ctrl-C left is stored and noted, or neither; the next append of the stamp goes on from there."""

    def new() -> tuple[Store, ProducerStamp, Callable[[], object]]:
        store = Store(memory_disk_of(), segment_bytes=1024)
        stamp = ProducerStamp(7, 0, is_transactional=True)
        return store, stamp, prepare(store, stamp)

    chosen = moments(new()[2], of_each=2)
    # From Python 3.12 on the tracer may miss the instructions of what runs for the first time.
    assert len(chosen) > 5 or sys.version_info >= (3, 12)
    for moment in chosen:
        store, stamp, work = new()
        log = store.log
        before = stamp.next_sequence
        interrupted_at(moment, work)
        check_log(log)
        stored = {b.base_sequence: b.record_count for b in read_batches(log) if not b.is_control}
        expected = sum(stored.values()) if prepare not in (new_epoch, abort) else None
        if expected is not None:
            assert stamp.next_sequence == expected, moment
        elif prepare is new_epoch:
            assert stamp.next_sequence - before == log.log_end_offset - 1, moment
        entry = log._known_producers().entries.get(7)
        if entry is not None and prepare is not abort:
            assert log.log_end_offset == entry.recent[-1][2] + (
                entry.recent[-1][1] - entry.recent[-1][0] + 1
            )
        if prepare is abort:
            ended = log.log_end_offset == 2
            assert log.last_stable_offset == (2 if ended else 0), moment
            assert len(log.aborted_transactions(0, 9)) == ended
        else:
            log.append(batch_of(stamp, b"next"))
            check_log(log)
        store.directory.close()

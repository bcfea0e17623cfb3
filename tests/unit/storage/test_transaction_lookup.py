"""Aborted transactions across the segments of a log: whatever happened to the index files, the answer is the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import ClosedError
from streamlog.record import ProducerStamp, build_batch
from streamlog.record.control import ControlType, build_marker
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.transaction_lookup import aborted_between
from tests.support.segments import (
    T0,
    append,
    append_marker,
    append_transactional,
    new_segment,
    reopened,
)
from tests.support.storage import Store, check_log
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.storage import PartitionLog
    from streamlog.storage.segment import Segment
    from tests.support.storage import Disk

ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT


class Log:
    """Segments with transactions in them, and the list that the index stands for."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.open: dict[int, tuple[int, int]] = {}
        self.aborted: list[AbortedTransaction] = []
        self.active = new_segment(disk, 3)
        self.active.ensure_indexes()
        self.active.transactions.begin(0, self.active.next_offset)
        self.segments = LogSegments([self.active])

    @property
    def end_offset(self) -> int:
        return self.active.next_offset

    @property
    def last_stable_offset(self) -> int:
        return min((first for _, first in self.open.values()), default=self.end_offset)

    def produce(self, producer_id: int) -> None:
        offset = append_transactional(self.active, producer_id)
        self.open.setdefault(producer_id, (0, offset))

    def end(self, producer_id: int, control_type: ControlType) -> None:
        offset = append_marker(self.active, producer_id, control_type)
        _, first = self.open.pop(producer_id, (0, None))
        if first is not None and control_type is ABORT:
            stable = min((began for _, began in self.open.values()), default=offset + 1)
            self.aborted.append(AbortedTransaction(producer_id, first, offset, stable))
            self.active.transactions.add(self.aborted[-1])

    def roll(self) -> None:
        if self.active.position:
            self.active.seal()
            self.active.flush_transactions(self.open)
            self.active.transactions.end(dict(self.open))
            self.active = new_segment(self.disk, self.end_offset)
            self.active.ensure_indexes()
            self.active.transactions.begin(0, self.active.next_offset)
            self.segments.add(self.active)

    def flush(self) -> None:
        self.active.flush_transactions(self.open)

    def reopen(self) -> None:
        """Go on as another process; nothing is flushed."""
        *sealed, active = self.segments.in_order()
        self.active = reopened(active, self.disk, sealed=False)
        self.active.ensure_indexes()
        self.active.transactions.begin(self.active.position, self.active.next_offset)
        self.segments = LogSegments(
            [*(reopened(segment, self.disk, sealed=True) for segment in sealed), self.active]
        )

    def expected(self, start_offset: int, end_offset: int) -> list[AbortedTransaction]:
        return [
            one
            for one in self.aborted
            if one.last_offset >= start_offset and one.first_offset < end_offset
        ]


def damage(data: st.DataObject, log: Log) -> None:
    """Do something to one of the index files, as a crash may."""
    segments = log.segments.in_order()
    path = segments[data.draw(st.integers(0, len(segments) - 1))].transactions.path
    if not log.disk.filesystem.exists(path):
        return
    content = bytearray(log.disk.read(path))
    if not content:
        return  # it was cut before
    kind = data.draw(st.sampled_from(["delete", "cut", "flip", "junk"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if kind == "delete":
        log.disk.filesystem.unlink(path)
        return
    if kind == "cut":
        del content[at:]
    elif kind == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        content += data.draw(st.binary(min_size=1, max_size=40))
    log.disk.write(path, bytes(content))


@given(st.data())
def test_the_answer_is_always_that_of_a_list(data: st.DataObject) -> None:
    """TXN-15."""
    log = Log(memory_disk_of())
    producer_ids = st.integers(1, 3)
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(
            st.sampled_from(
                ["produce", "produce", "abort", "commit", "plain", "roll", "flush", "reopen", "ask"]
            )
        )
        if action == "produce":
            log.produce(data.draw(producer_ids))
        elif action in ("abort", "commit"):
            log.end(data.draw(producer_ids), ABORT if action == "abort" else COMMIT)
        elif action == "plain":
            append(log.active, b"plain")
        elif action == "roll":
            log.roll()
        elif action == "flush":
            log.flush()
        elif action == "reopen":
            log.reopen()
            for _ in range(data.draw(st.integers(0, 2))):
                damage(data, log)
        if action == "ask" or data.draw(st.booleans()):
            start = data.draw(st.integers(3, log.end_offset))
            end = data.draw(st.integers(3, log.last_stable_offset))
            assert aborted_between(log.segments, start, end) == log.expected(start, end)
    everything = aborted_between(log.segments, 3, log.last_stable_offset)
    assert everything == log.expected(3, log.last_stable_offset)


def test_only_as_many_segments_are_walked_as_it_takes(memory_disk: Disk) -> None:
    log = Log(memory_disk)
    for _ in range(4):
        log.produce(7)
        log.end(7, ABORT)
        log.roll()
    log.reopen()
    segments = log.segments.in_order()
    memory_disk.filesystem.unlink(segments[2].transactions.path)
    assert aborted_between(log.segments, 7, 8) == [log.aborted[2]]
    # The one in front was asked what was open; where nothing is aborted later, nobody looks.
    assert [segment.transactions.is_known for segment in segments[:4]] == [False, True, True, False]


def test_nothing_is_aborted_before_the_first_segment(memory_disk: Disk) -> None:
    log = Log(memory_disk)
    log.produce(7)
    log.end(7, ABORT)
    assert aborted_between(log.segments, 0, 9) == []


class Shrinking(LogSegments):
    """Loses its first segment to retention as soon as somebody has found it."""

    __slots__ = ()

    def floor(self, offset: int) -> Segment | None:
        found = super().floor(offset)
        if found is not None:
            self.remove(found)
        return found


def test_a_segment_that_retention_took_has_nothing_to_say(memory_disk: Disk) -> None:
    log = Log(memory_disk)
    log.produce(7)
    log.end(7, ABORT)
    log.roll()
    log.produce(8)
    log.end(8, ABORT)
    log.reopen()
    first = log.segments.first()
    memory_disk.filesystem.unlink(first.transactions.path)
    first.ensure_indexes()
    first.release_files()
    with pytest.raises(ClosedError):
        aborted_between(log.segments, 3, 7)
    shrinking = Shrinking(log.segments.in_order())
    assert aborted_between(shrinking, 3, 7) == log.aborted[1:]


def test_a_file_that_became_shorter_has_nothing_to_say_beyond_its_index(memory_disk: Disk) -> None:
    log = Log(memory_disk)
    log.produce(7)
    log.end(7, ABORT)
    log.roll()
    log.reopen()
    first = log.segments.first()
    memory_disk.filesystem.unlink(first.transactions.path)
    memory_disk.cut(first.path, 8)
    assert aborted_between(log.segments, 3, 5) == []


# ---- in a log that is opened again


def abort_one(log: PartitionLog, producer_id: int) -> AbortedTransaction:
    """Append a transaction of one batch and its abort marker."""
    batch = build_batch([b"x"], T0)
    batch.stamp = ProducerStamp(producer_id, 0, is_transactional=True)
    first = log.append(batch)
    last = log.append(build_marker(ABORT, producer_id, 1, 0, T0))
    return AbortedTransaction(producer_id, first, last, last + 1)


def everything(log: PartitionLog) -> list[AbortedTransaction]:
    return log.aborted_transactions(log.log_start_offset, log.log_end_offset)


@pytest.mark.parametrize("clean", [True, False])
def test_the_next_process_knows_what_was_aborted(store: Store, clean: bool) -> None:
    """TXN-15."""
    expected = []
    for producer_id in range(1, 12):
        expected.append(abort_one(store.log, producer_id))
        if producer_id == 7:
            store.log.sync()
            store.directory.checkpoint()
    log = store.reopen() if clean else store.kill_and_open()
    assert len(log.segments) > 2
    assert everything(log) == expected
    expected.append(abort_one(log, 99))
    log = store.kill_and_open() if clean else store.reopen()
    assert everything(log) == expected
    check_log(log)


def test_an_index_ahead_of_the_log_is_not_believed_once_the_log_has_caught_up(
    store: Store, reboot: Callable[[], None]
) -> None:
    """Index files are not synced: after a power loss one may tell of records that are gone, and others take their offsets."""
    kept = abort_one(store.log, 1)
    store.log.sync()
    store.directory.checkpoint()
    size = store.log.segments[0].position
    abort_one(store.log, 2)
    store.log.checkpoint()  # flushes, and what it tells of is not on the disk yet
    store.kill()
    store.disk.cut(store.segment_path(0), size)
    reboot()
    log = store.open()
    assert log.log_end_offset == kept.last_offset + 1
    log.append_value(b"plain", T0)
    expected = [kept, abort_one(log, 3)]
    log = store.kill_and_open()
    assert everything(log) == expected


@pytest.mark.parametrize("is_lost", [True, False])
def test_what_was_aborted_is_found_where_a_batch_before_it_is_gone_or_comes_twice(
    store: Store, is_lost: bool
) -> None:
    """Nobody closed the log, and its index ends at a byte where by now another batch begins, or none."""
    positions = []
    for _ in range(3):
        store.log.append(build_batch([b"x"], T0))
        positions.append(store.log.segments[0].position)
    expected = [abort_one(store.log, 1)]
    store.log.sync()
    store.directory.checkpoint()
    expected += [abort_one(store.log, producer_id) for producer_id in (2, 3)]
    store.kill()
    assert store.disk.filesystem.exists(store.segment_path(0, ".txn"))
    path, begins, ends = store.segment_path(0), positions[0], positions[1]
    content = store.disk.read(path)
    changed = content[:begins] + content[ends:] if is_lost else content[:ends] + content[begins:]
    store.disk.write(path, changed)
    assert everything(store.open()) == expected


def test_an_index_that_fits_by_its_bytes_alone_is_not_believed(store: Store) -> None:
    """Nobody closed the log, and it lost just as many bytes before the place where the index ends as came since."""
    store.log.append(build_batch([b"x"], T0))
    store.log.sync()
    store.directory.checkpoint()
    begins = store.log.segments[0].position
    abort_one(store.log, 1)
    ends = store.log.segments[0].position
    abort_one(store.log, 2)
    store.log.checkpoint()  # flushes the index, and no STATE is written
    place = store.log.segments[0].position
    expected = abort_one(store.log, 3)
    assert store.log.segments[0].position - place == ends - begins
    store.kill()
    content = store.disk.read(store.segment_path(0))
    store.disk.write(store.segment_path(0), content[:begins] + content[ends:])
    log = store.open()
    assert log.segments[0].position == place
    assert log.log_end_offset == expected.last_offset + 1
    assert expected in everything(log)


def test_an_index_of_what_was_cut_off_is_not_believed_once_the_log_has_come_as_far_again(
    store: Store,
) -> None:
    """The marker at the end was lost as if it had never been written, and another one is in its place now."""
    batch = build_batch([b"x"], T0)
    batch.stamp = ProducerStamp(1, 0, is_transactional=True)
    store.log.append(batch)
    store.log.sync()
    store.directory.checkpoint()
    place = store.log.segments[0].position
    store.log.append(build_marker(ABORT, 1, 1, 0, T0))
    end = store.log.segments[0].position
    store.log.checkpoint()
    store.kill()
    store.disk.patch(store.segment_path(0), place, bytes(4))
    log = store.open()
    assert log.segments[0].position == place
    log.append(build_marker(COMMIT, 1, 1, 0, T0))
    log = store.kill_and_open()
    assert log.segments[0].position == end
    assert everything(log) == []


@pytest.mark.parametrize("is_closed", [True, False])
def test_what_was_aborted_stays_so_where_its_marker_at_the_end_is_gone(
    store: Store, is_closed: bool
) -> None:
    """Its producer has nothing open, so that no last stable offset hides it either."""
    expected = abort_one(store.log, 1)
    store.log.sync()
    store.directory.checkpoint()
    marker = store.log.segments[0].position - 1
    if is_closed:
        store.close()
    else:
        store.kill()
    store.disk.filesystem.unlink(store.segment_path(0, ".txn"))
    store.disk.cut(store.segment_path(0), marker - 50)
    store.disk.cut(store.segment_path(0), marker + 1)
    [found] = everything(store.open())
    assert found[:3] == expected[:3]


def test_index_files_go_with_their_segments(store: Store) -> None:
    """TXN-15."""
    log = store.log
    for producer_id in (1, 2, 3):
        last = abort_one(log, producer_id)
        log.roll()
    assert len([name for name in store.names() if name.endswith(".txn")]) == 3
    log.advance_log_start(last.first_offset)
    assert log.delete_expired(0, log.log_end_offset) == 2
    assert [name for name in store.names() if name.endswith(".txn")] == [
        f"{last.first_offset:020d}.txn"
    ]
    assert everything(log) == [last]


def test_index_files_of_segments_that_recovery_deletes_go_as_well(
    store: Store, reboot: Callable[[], None]
) -> None:
    kept = abort_one(store.log, 1)
    store.log.sync()
    store.directory.checkpoint()
    store.log.roll()
    abort_one(store.log, 2)
    store.log.roll()
    store.kill()
    store.disk.flip(store.segment_path(2), 10)
    reboot()
    log = store.open()
    assert everything(log) == [kept]
    assert all(name[:20] == f"{0:020d}" for name in store.names() if name.endswith(".txn"))

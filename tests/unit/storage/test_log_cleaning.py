"""How a log takes what a pass made, and what readers see of it."""

from __future__ import annotations

import errno
import logging

import pytest

from streamlog.errors import ClosedError, DurabilityError
from streamlog.storage import PartitionLog
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.segment import Segment
from streamlog.storage.segment_index import IndexedSegmentFile
from streamlog.storage.transaction_lookup import all_aborted
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.compaction import (
    GIB,
    as_map,
    begin,
    clean,
    contents,
    end,
    finish,
    put,
    put_for,
    rows,
)
from tests.support.patching import patched
from tests.support.storage import Disk, Store, check_log
from tests.unit.storage.conftest import memory_disk_of

NOW_MS = 2000


def fill(store: Store, count: int = 60) -> None:
    for number in range(count):
        put(store.log, (f"key-{number % 7}", f"{number}"), timestamp_ms=1000 + number)
    store.log.roll()


def faulty_store() -> tuple[Store, FaultPlan]:
    plan = FaultPlan()
    disk = memory_disk_of()
    filesystem = FaultyFileSystem(disk.filesystem, plan)
    return Store(Disk(filesystem, disk.root), segment_bytes=1024, index_interval_bytes=0), plan


# ---- the range


def test_a_log_that_was_closed_has_no_range(store: Store) -> None:
    fill(store)
    store.close()
    with pytest.raises(ClosedError):
        store.log.cleanable(NOW_MS)
    with pytest.raises(ClosedError):
        next(store.log.clean(NOW_MS, GIB))


def test_a_segment_that_goes_while_the_range_is_found_does_not_count(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    store.reopen()
    found: list[Segment] = []
    original = Segment.mapping_for_read

    def mapping(segment: Segment) -> object:
        if not found:
            found.append(segment)
            store.log._segments.remove(segment)
            segment.release_files()
        return original(segment)

    monkeypatch.setattr(Segment, "mapping_for_read", mapping)
    store.log._log_start_offset = store.base_offsets()[1]
    assert store.log.cleanable(NOW_MS).end_offset == 60
    assert found


def test_a_segment_whose_file_is_missing_is_an_error(store: Store) -> None:
    fill(store)
    store.reopen()
    store.disk.filesystem.unlink(store.segment_path(0))
    with pytest.raises(FileNotFoundError):
        store.log.cleanable(NOW_MS)


# ---- the swap


def test_old_segments_are_closed_and_the_new_one_is_read_where_it_is(store: Store) -> None:
    fill(store)
    old = store.log.segments[:-1]
    clean(store)
    for segment in old:
        with pytest.raises(ClosedError):
            segment.mapping_for_read()
    assert all(segment.stored_at == segment.path for segment in store.log.segments)
    assert store.log.segments[0].transactions.is_known is False
    check_log(store.log)


def test_a_new_segment_that_gives_its_files_back_is_opened_by_its_name(store: Store) -> None:
    fill(store)
    clean(store)
    expected = contents(store.log)
    for segment in store.log.segments[:-1]:
        while not segment.try_release_files():
            pass
    assert contents(store.log) == expected


def test_with_few_descriptors_passes_and_reads_go_on(memory_disk: Disk) -> None:
    store = Store(memory_disk, segment_bytes=1024, index_interval_bytes=0)
    store.max_open_segments = 2
    store.reopen()
    fill(store)
    expected = as_map(rows(store.log))
    clean(store)
    clean(store)
    assert as_map(rows(store.log)) == expected
    check_log(store.log)
    store.directory._check()


def test_the_indexes_of_a_new_segment_are_its_own(store: Store) -> None:
    fill(store)
    clean(store)
    clean(store)
    (segment, _) = store.log.segments
    found = store.log.offset_of_max_timestamp()
    assert found is not None
    assert (found.offset, found.timestamp_ms) == (59, 1059)
    assert segment.largest_timestamp_ms() == 1059
    store.kill_and_open()
    assert store.log.segments[0].largest_timestamp_ms() == 1059
    assert store.log.segments[0].offset_index.size_bytes <= 8 * 2
    found = store.log.offset_for_timestamp(1054)
    assert found is not None
    assert (found.offset, found.timestamp_ms) == (54, 1054)
    check_log(store.log)


def test_indexes_that_cannot_be_written_are_made_again(caplog: pytest.LogCaptureFixture) -> None:
    store, plan = faulty_store()
    fill(store)
    store.log.sync_below(60)
    plan.fail("write_at", errno.EIO, path="*.idx")
    with caplog.at_level(logging.WARNING):
        clean(store)
    assert "index not written" in caplog.text
    store.kill_and_open()
    assert store.log.segments[0].largest_timestamp_ms() > 0
    check_log(store.log)


def test_a_swap_of_segments_that_are_not_there_any_more_is_refused(store: Store) -> None:
    fill(store)
    old = store.log.segments[0]
    file = store.log.new_cleaned_file(0)
    file.put(store.log.read(0, GIB))
    file.finish(old.next_offset)
    new = store.log.load_cleaned(file, 0, old.next_offset)
    before = store.log.segments
    assert not store.log.swap_segments(new, [old], store.log.cuts + 1)
    with pytest.raises(ClosedError):
        new.mapping_for_read()
    new = store.log.load_cleaned(file, 0, old.next_offset)
    store.log._segments.remove(old)
    assert not store.log.swap_segments(new, [old], store.log.cuts)
    assert store.log.segments == before[1:]
    store.log._segments.add(old)
    file.close(unlink=True)
    check_log(store.log)


@pytest.mark.parametrize("end", ["close", "discard", "abandon"])
def test_a_swap_that_could_not_be_finished_keeps_no_file_open_behind_the_end_of_its_log(
    end: str,
) -> None:
    """The new segment was in no list: nobody closed it."""
    store, plan = faulty_store()
    fill(store)
    plan.fail("unlink", errno.EIO, path="*.?ix")
    with pytest.raises(OSError, match="Input/output error"):
        clean(store)
    assert store.log._swap is not None
    new = store.log._swap[0]
    assert new.mapping_for_read()
    if end == "close":
        store.close()
    else:
        getattr(store.log, end)(ClosedError("gone"))
    assert new._file is None
    assert new._mapping is None
    with pytest.raises(ClosedError):
        new.mapping_for_read()
    if end != "close":
        store.directory.abandon(ClosedError("gone"))


@pytest.mark.parametrize("is_idle", [False, True])
def test_old_file_behind_a_swap_that_could_not_be_finished_stays_whole_at_the_end_of_its_log(
    is_idle: bool,
) -> None:
    """It has the name that the new segment is to get, which took it for its own, and cut it off where itself ends."""
    store, plan = faulty_store()
    fill(store)
    plan.fail("rename", errno.EIO, path="*/t-0/*")
    size = store.disk.filesystem.file_size(store.segment_path(0))
    with pytest.raises(OSError, match="Input/output error"):
        clean(store)
    expected = contents(store.log)
    new = store.log.segments[0]
    assert new.stored_at != new.path
    assert new.position < size
    while is_idle and new._file is not None:
        new.try_release_files()
    store.close()
    assert store.disk.filesystem.file_size(store.segment_path(0)) == size
    store.reopen()
    assert contents(store.log) == expected
    check_log(store.log)


def test_a_cleaned_file_that_cannot_be_read_back_is_not_kept_open() -> None:
    store, _ = faulty_store()
    fill(store)
    made: list[Segment] = []

    def fail(segment: Segment, *_: object) -> None:
        made.append(segment)
        raise OSError(errno.EIO, "no")

    with patched(IndexedSegmentFile, "_index_tail", fail), pytest.raises(OSError, match="no"):
        clean(store)
    assert made[0]._file is None
    assert id(made[0]) not in store.directory._open_segments._segments
    store.close()


def test_indexes_are_not_written_for_a_segment_that_went_again(store: Store) -> None:
    fill(store)
    stranger = store.log._make_segment(0)
    store.log.write_indexes(stranger, [])
    assert not stranger._covered


def test_a_truncation_during_a_pass_leaves_nothing_noted(store: Store) -> None:
    fill(store)
    cuts = store.log.cuts
    store.log.truncate_to(50)
    assert store.log.cuts == cuts + 1
    assert not store.log.end_pass(60, cuts)
    assert store.log.first_dirty_offset == 0


def test_a_sync_that_fails_while_it_is_asked_for_the_empty_segment_is_final() -> None:
    store, plan = faulty_store()
    put(store.log, ("a", "1"))
    store.log.sync()
    store.log.roll()
    assert store.log.durable_end_offset == store.log.log_end_offset == 1
    plan.fail("sync", errno.EIO, path="*/00000000000000000001.log")
    for _ in range(2):
        with pytest.raises(DurabilityError, match="sync failed"):
            store.log.sync_below(1)


def test_recovery_starts_behind_what_is_about_to_be_replaced(store: Store) -> None:
    put(store.log, ("a", "1"))
    store.log.sync()
    store.log.roll()
    assert store.log.checkpoint().segment_base_offset == 0
    store.log.sync_below(1)
    found = store.log.checkpoint()
    assert (found.segment_base_offset, found.segment_position) == (1, 0)
    assert store.log.durable_end_offset == 1
    check_log(store.log)
    store.kill_and_open()
    assert contents(store.log) == [(0, "a", "1")]


def test_a_fork_leaves_the_lock_for_files_behind(store: Store) -> None:
    fill(store)
    store.log._files_lock.acquire()
    store.log.abandon(ClosedError("forked"))
    assert not store.log._files_lock.locked()
    store.directory.abandon(ClosedError("forked"))


# ---- readers in between


def test_what_was_aborted_is_still_told_to_whoever_has_read_it(store: Store) -> None:
    # A reader has the bytes of an aborted batch, and asks what does not count of them when compaction has removed it.
    stamp = begin(7)
    first = put_for(store.log, stamp, ("a", "aborted"))
    store.log.roll()
    put(store.log, ("b", "1"))
    store.log.roll()
    marker = end(store.log, stamp, commit=False)
    put(store.log, ("c", "1"))
    bytes_of_it = store.log.read_batches(first, GIB)
    before = store.log.aborted_transactions(0, 4)
    for _ in range(3):
        clean(store)
        assert store.log.aborted_transactions(0, 4) == before
    assert (before[0].first_offset, before[0].last_offset) == (first, marker)
    assert [batch.producer_id for batch in bytes_of_it] == [7]
    store.reopen()
    assert store.log.aborted_transactions(0, 4) == [], "nobody has read it since"
    assert contents(store.log) == [(1, "b", "1"), (3, "c", "1")]
    check_log(store.log)


def test_the_first_transaction_of_a_log_may_begin_during_a_pass(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    stamp = begin(7)
    original = PartitionLog._put_in_place

    def put_in_place(log: PartitionLog, new: Segment) -> None:
        if not log.has_transactions:
            put_for(log, stamp, ("a", "aborted"))
        original(log, new)

    monkeypatch.setattr(PartitionLog, "_put_in_place", put_in_place)
    finish(store.log.clean(NOW_MS, GIB))
    end(store.log, stamp, commit=False)
    assert len(store.log.aborted_transactions(0, store.log.last_stable_offset)) == 1
    assert len(contents(store.log)) == 7
    check_log(store.log)
    store.reopen()
    assert len(contents(store.log)) == 7
    check_log(store.log)


class Swapping(LogSegments):
    """Has one segment in the place of two as soon as somebody has found the first of them."""

    __slots__ = ("new",)

    new: Segment | None

    def floor(self, offset: int) -> Segment | None:
        found = super().floor(offset)
        new = self.new
        if new is not None:
            self.new = None
            for old in self.swap(new):
                old.release_files()
        return found


def merged(store: Store) -> Segment:
    """Return a segment with all that the sealed ones have."""
    old = store.log.segments[:-1]
    file = store.log.new_cleaned_file(0)
    for segment in old:
        file.put(store.log.read(segment.base_offset, GIB))
    file.finish(old[-1].next_offset)
    return store.log.load_cleaned(file, 0, old[-1].next_offset)


def test_a_lookup_by_time_goes_on_in_the_segment_that_came_instead(store: Store) -> None:
    fill(store, 30)
    expected = store.log.offset_for_timestamp(1005), store.log.offset_of_max_timestamp()
    for number in (0, 1):
        segments = Swapping(store.log.segments)
        segments.new = merged(store)
        with patched(store.log, "_segments", segments):
            found = [store.log.offset_for_timestamp, store.log.offset_of_max_timestamp][number]
            assert (found(1005) if number == 0 else found()) == expected[number]
            assert len(store.log.segments) == 2
        store.kill_and_open()


def test_a_lookup_of_aborted_transactions_goes_on_in_the_segment_that_came_instead(
    store: Store,
) -> None:
    for turn in range(3):
        stamp = begin(7, 2 * turn)
        put_for(store.log, stamp, ("a", "aborted"))
        end(store.log, stamp, commit=False)
        store.log.roll()
    expected = store.log.aborted_transactions(0, 6)
    assert len(expected) == 3
    store.reopen()
    segments = Swapping(store.log.segments)
    segments.new = merged(store)
    with patched(store.log, "_segments", segments):
        assert store.log.aborted_transactions(0, 6) == expected
    store.kill_and_open()
    segments = Swapping(store.log.segments)
    segments.new = None
    first = store.log.segments[0]
    store.disk.filesystem.unlink(first.transactions.path)
    first.ensure_indexes()
    first.release_files()
    with pytest.raises(ClosedError):
        all_aborted(segments)
    segments.remove(first)

    class Stale(LogSegments):
        """Says what there was, once."""

        __slots__ = ()

        def in_order(self) -> list[Segment]:
            return [first, *super().in_order()]

    assert all_aborted(Stale(segments.in_order())) == expected[1:]


def test_an_index_of_transactions_that_was_replaced_is_not_written_again(store: Store) -> None:
    stamp = begin(7)
    put_for(store.log, stamp, ("a", "aborted"))
    end(store.log, stamp, commit=False)
    store.log.roll()
    store.reopen()
    segment = store.log.segments[0]
    segment.transactions.let_go()
    assert not store.disk.filesystem.exists(segment.transactions.path)
    assert len(store.log.aborted_transactions(0, 2)) == 1
    assert not store.disk.filesystem.exists(segment.transactions.path)


def test_a_lookup_by_time_in_a_log_that_was_closed_says_so(store: Store) -> None:
    fill(store, 30)
    store.reopen()
    segment = store.log.segments[0]
    segment.release_files()
    with pytest.raises(ClosedError):
        store.log.offset_for_timestamp(1005)


def test_segments_by_offset_come_one_after_the_other(store: Store) -> None:
    fill(store, 30)
    segments = store.log._segments
    first, second, *_, last = segments.in_order()
    assert segments.at_or_behind(first.next_offset, first) is second
    assert segments.at_or_behind(first.base_offset, first) is second
    assert segments.at_or_behind(last.next_offset, last) is None
    segments.remove(first)
    assert segments.at_or_behind(0, first) is second
    segments.add(first)
    assert isinstance(store.log._open_segments, OpenSegments)


def test_a_pass_after_another_finds_the_steps_of_none(store: Store) -> None:
    fill(store)
    clean(store)
    result = finish(store.log.clean(NOW_MS, GIB))
    assert result.is_complete
    assert result.records_before == result.records_after == 7


# ---- the file of a new segment


def test_a_new_segment_is_read_where_its_file_is_until_it_has_its_name(store: Store) -> None:
    fill(store, 30)
    data = store.log.read(0, GIB)
    new = merged(store)
    path = new.stored_at
    assert path.endswith(".cleaned")
    new._drop_files()
    assert new.read(0, len(data), None) == data
    new.move_into_place()
    assert (new.stored_at, store.disk.filesystem.exists(path)) == (new.path, False)
    new.move_into_place()
    assert new.read(0, len(data), None) == data
    new.release_files()
    store.kill()


@pytest.mark.parametrize("first", ["move", "read"])
def test_a_file_that_got_its_name_just_before_ctrl_c_is_not_renamed_again(
    store: Store, first: str
) -> None:
    fill(store, 30)
    data = store.log.read(0, GIB)
    new = merged(store)
    new._drop_files()
    store.disk.filesystem.rename(new.stored_at, new.path)
    if first == "read":
        assert new.read(0, len(data), None) == data
    new.move_into_place()
    assert new.stored_at == new.path
    assert new.read(0, len(data), None) == data
    new.release_files()
    store.kill()


def test_whoever_asked_is_told_of_each_new_segment(store: Store) -> None:
    rolls: list[int] = []
    store.log.on_rolled = lambda: rolls.append(store.log.log_end_offset)
    fill(store, 20)
    assert rolls == store.base_offsets()[1:]

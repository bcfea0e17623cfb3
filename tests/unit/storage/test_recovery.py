"""Opening a log after every kind of death and damage. Source of several cases: Kafka ``LogLoaderTest``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import CorruptLogError, DataLossError, DiskFullError, OffsetOutOfRangeError
from streamlog.record import build_batch
from streamlog.record.layout import HEADER_SIZE, aligned
from streamlog.storage import DamagedRange, RecoveryOutcome
from streamlog.storage.segment import Segment
from tests.support.hooked_files import DieAt, HookedFileSystem, Killed, hook_of
from tests.support.storage import Disk, Store, check_log, read_values
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Reboot = Callable[[], None]

BATCH = 104  # bytes of a batch of one value of 8 bytes
IN_SEGMENT = 9  # batches of that size in a segment of 1 KiB

CLEAN, SCANNED = RecoveryOutcome.CLEAN, RecoveryOutcome.SCANNED
TORN_TAIL, LOST_PAGES = RecoveryOutcome.TORN_TAIL, RecoveryOutcome.LOST_PAGES
DAMAGED, DATA_LOSS = RecoveryOutcome.DAMAGED, RecoveryOutcome.DATA_LOSS


def uncommit(store: Store, number: int, base_offset: int = 0) -> None:
    """Make batch *number* of a segment what a killed process leaves: everything stored but the length."""
    store.disk.patch(store.segment_path(base_offset), number * BATCH, bytes(8))


# ---- CLEAN and SCANNED


def test_after_closing_nothing_is_read(store: Store) -> None:
    """I18."""
    values = store.fill(50)
    for _ in range(2):
        store.reopen()
        assert store.recovery.outcome is CLEAN
        assert store.recovery.scanned_bytes == 0
        assert store.values() == values
        check_log(store.log)


def test_log_5_after_a_kill_what_was_not_synced_is_read(store: Store) -> None:
    values = store.fill(50)
    store.kill_and_open()
    assert store.recovery.outcome is SCANNED
    assert (store.recovery.scanned_batches, store.recovery.scanned_records) == (50, 50)
    assert store.recovery.scanned_bytes == 50 * BATCH
    assert store.values() == values
    assert store.log.is_dirty
    store.log.sync()
    store.directory.checkpoint()
    values += store.fill(3)
    store.kill_and_open()
    assert store.recovery.scanned_records == 3, "from the recovery point on"
    assert store.values() == values
    check_log(store.log)


@pytest.mark.parametrize("way", ["kill", "close"])
def test_log_5_indexes_that_went_bad_are_rebuilt_whatever_the_stop_was(
    store: Store, way: str
) -> None:
    values = store.fill(30)
    store.directory.checkpoint()
    getattr(store, way)()
    for name in store.names():
        if not name.endswith(".log"):
            store.disk.write(f"{store.log_path}/{name}", b"not an index")
    store.open()
    for offset in (0, 8, 9, 20, 29):
        assert read_values(store.log, offset)[0] == (offset, values[offset])
    found = store.log.offset_for_timestamp(store.clock.time_ms())
    assert found is not None
    assert found.offset == 0


def test_an_empty_log_needs_nothing(store: Store) -> None:
    for how in (store.reopen, store.kill_and_open):
        assert how().log_end_offset == 0
        assert store.recovery.outcome is CLEAN


def test_a_log_that_was_only_opened_after_a_kill_is_clean_once_closed(store: Store) -> None:
    # The preallocated rest was given back only by a log that had been appended to.
    store.fill(3)
    store.kill_and_open()
    store.reopen()
    assert store.recovery.outcome is CLEAN


def test_an_evicted_log_is_clean_once_closed(store: Store) -> None:
    store.fill(3)
    segment = store.log._active
    segment.try_release_files()
    assert segment.try_release_files()
    store.reopen()
    assert store.recovery.outcome is CLEAN


def test_timestamps_of_the_active_segment_survive(store: Store) -> None:
    store.append(b"a", timestamp_ms=500)
    store.append(b"b", timestamp_ms=900)
    store.log.sync()
    store.directory.checkpoint()
    store.append(b"c", timestamp_ms=100)
    for how in ("kill_and_open", "reopen"):
        getattr(store, how)()
        active = store.log._active
        assert (active.first_timestamp_ms, active.max_timestamp_ms) == (500, 900)
        assert active.max_timestamp_offset == 1


# ---- TORN_TAIL


@pytest.mark.parametrize("rebooted", [False, True])
@pytest.mark.parametrize("number", [0, 5, 8])
def test_log_5_the_batch_that_was_being_written_is_cut(
    store: Store, reboot: Reboot, number: int, rebooted: bool
) -> None:
    values = store.fill(IN_SEGMENT + number + 1)
    store.kill()
    uncommit(store, number, IN_SEGMENT)
    if rebooted:
        reboot()
    store.open()
    assert store.recovery.outcome is TORN_TAIL
    assert store.recovery.ambiguous == rebooted
    assert store.recovery.cut_records == 0
    assert store.recovery.quarantine_path is None
    assert store.segment_path(IN_SEGMENT) in store.recovery.message
    assert store.values() == values[:-1]
    assert store.disk.filesystem.file_size(store.segment_path(IN_SEGMENT)) == number * BATCH
    store.append(b"short")
    store.kill_and_open()
    assert store.recovery.outcome is SCANNED
    assert store.values() == [*values[:-1], b"short"]
    check_log(store.log)


@pytest.mark.parametrize("kept", [4, 8, 40, HEADER_SIZE, HEADER_SIZE + 3, BATCH - 8])
def test_however_little_of_it_was_written(store: Store, kept: int) -> None:
    values = store.fill(3)
    store.kill()
    store.disk.patch(store.segment_path(), 2 * BATCH + kept, bytes(BATCH - kept))
    store.disk.patch(store.segment_path(), 2 * BATCH, bytes(4))
    store.open()
    assert store.recovery.outcome is (TORN_TAIL if kept > 4 else SCANNED)
    assert store.values() == values[:2]


def test_a_batch_inside_the_value_of_a_torn_one_is_not_taken_for_one_of_the_log(
    store: Store,
) -> None:
    # It was: the partition came back with records that nobody had sent to it.
    inner_disk = memory_disk_of()
    inner = Segment(*_segment_arguments(store, inner_disk))
    inner.next_offset = 700
    inner.reserve(200, 1 << 20)
    inner.append(build_batch([b"inner"], 0), 700, 0)
    copied = inner.mapping_for_read()[: inner.position]
    values = store.fill(2)
    body_start = 2 * BATCH + len(build_batch([b""], 0).body) + HEADER_SIZE
    store.append(bytes(-body_start % 8) + copied + b"rest")
    store.kill()
    assert store.disk.read(store.segment_path()).index(copied) % 8 == 0
    uncommit(store, 2)
    store.open()
    assert store.recovery.outcome is TORN_TAIL
    assert store.values() == values
    assert store.log.log_end_offset == 2


def _segment_arguments(store: Store, disk: Disk) -> tuple[object, ...]:
    like = store.log._active
    return (disk.filesystem, disk.root, 700, like._open_segments, like._owner_lock, 0, 1 << 20)


# ---- LOST_PAGES


def test_good_batches_behind_lost_ones_go_to_quarantine(store: Store, reboot: Reboot) -> None:
    values = store.fill(4)
    store.log.sync()
    store.directory.checkpoint()
    values += store.fill(20)
    store.kill()
    lost = bytes(100)
    store.disk.patch(store.segment_path(), 6 * BATCH, lost)
    contents = {n: store.disk.read(f"{store.log_path}/{n}") for n in store.names() if "log" in n}
    reboot()
    store.open()
    recovery = store.recovery
    assert recovery.outcome is LOST_PAGES
    assert recovery.ambiguous
    assert recovery.cut_records == 24 - 7
    assert store.values() == values[:6], "a prefix, never with a hole"
    assert store.base_offsets() == [0]
    assert recovery.quarantine_path is not None
    names = store.disk.filesystem.list_dir(recovery.quarantine_path)
    assert len(names) == 4
    reason = json.loads(store.disk.read(f"{recovery.quarantine_path}/reason.json"))
    assert reason["log"] == "t-0"
    kept = b""
    for piece in reason["pieces"]:
        name = piece["file"].rsplit("/", 1)[-1]
        copy = store.disk.read(f"{recovery.quarantine_path}/{name}.{piece['from_byte']}")
        assert copy == contents[name][piece["from_byte"] : piece["to_byte"]]
        kept += copy
    assert recovery.cut_bytes == len(kept)
    store.fill(5)
    store.kill_and_open()
    check_log(store.log)


def test_a_lost_end_of_a_file_is_a_gap_before_the_next_one(store: Store, reboot: Reboot) -> None:
    values = store.fill(25)
    store.kill()
    store.disk.cut(store.segment_path(IN_SEGMENT), 4 * BATCH)
    reboot()
    store.open()
    assert store.recovery.outcome is LOST_PAGES
    assert store.recovery.cut_records == 25 - 2 * IN_SEGMENT
    assert store.values() == values[: IN_SEGMENT + 4]


def test_a_lost_file_in_the_middle_is_a_gap_as_well(store: Store, reboot: Reboot) -> None:
    values = store.fill(25)
    store.kill()
    store.disk.filesystem.unlink(store.segment_path(IN_SEGMENT))
    reboot()
    store.open()
    assert store.recovery.outcome is LOST_PAGES
    assert store.values() == values[:IN_SEGMENT]


def test_a_first_file_that_lost_its_name_before_any_sync_takes_the_others_along(
    store: Store, reboot: Reboot
) -> None:
    # The log was said to begin with the second file; with a checkpoint of nothing, durable data was said to be lost.
    store.fill(25)
    store.kill()
    store.disk.filesystem.unlink(store.segment_path(0))
    reboot()
    store.open()
    assert store.recovery.outcome is LOST_PAGES
    assert store.recovery.cut_records == 25 - IN_SEGMENT
    assert (store.log.log_start_offset, store.log.log_end_offset) == (0, 0)
    assert store.append(b"again") == 0
    store.kill_and_open()
    assert store.values() == [b"again"]


def test_a_power_failure_that_leaves_no_trace_is_still_one(store: Store, reboot: Reboot) -> None:
    """I6: offset 2 may have been read as something else; only the epoch tells."""
    store.fill(2)
    store.log.sync()
    store.directory.checkpoint()
    store.fill(3)
    store.kill()
    store.disk.patch(store.segment_path(), 2 * BATCH, bytes(3 * BATCH))
    reboot()
    store.open()
    assert store.recovery.outcome is SCANNED
    assert store.log.log_end_offset == 2
    assert store.log.leader_epoch == 1


def test_epochs_of_lost_records_are_never_given_again(store: Store, reboot: Reboot) -> None:
    # The new epoch was in memory only: killed before the next checkpoint, the same epoch came again.
    epochs = []
    for _ in range(4):
        store.append(b"lost")
        store.kill()
        store.disk.patch(store.segment_path(), 0, bytes(BATCH))
        reboot()
        store.open()
        epochs.append(store.log.leader_epoch)
        store.kill_and_open()
        assert store.log.leader_epoch == epochs[-1]
    assert epochs == [1, 2, 3, 4]


def test_rep_4_the_log_knows_where_each_epoch_began(store: Store, reboot: Reboot) -> None:
    for kept in (2, 5, 5, 11):
        store.fill(kept - store.log.log_end_offset)
        store.log.sync()
        store.directory.checkpoint()
        store.fill(4)
        store.kill()
        store.disk.cut(
            store.segment_path(9 if kept > 9 else 0), (kept - (9 if kept > 9 else 0)) * BATCH
        )
        reboot()
        store.open()
        assert store.log.log_end_offset == kept
    store.fill(1)
    expected = [(0, 2), (1, 5), (1, 5), (3, 11), (4, 12), None]
    assert [store.log.end_offset_for_epoch(epoch) for epoch in range(6)] == expected
    assert [store.log.epoch_at(offset) for offset in (0, 1, 2, 4, 5, 10, 11)] == [
        0,
        0,
        1,
        1,
        3,
        3,
        4,
    ]
    store.reopen()
    assert [store.log.end_offset_for_epoch(epoch) for epoch in range(6)] == expected
    store.log.advance_log_start(7)
    store.reopen()
    assert store.log.end_offset_for_epoch(1) == (1, 7)
    assert store.log.end_offset_for_epoch(3) == (3, 11)


def test_rep_4_without_state_the_epochs_are_read_from_the_batches(store: Store) -> None:
    for epoch in (0, 2, 3):
        store.log.leader_epoch = epoch
        store.fill(7)
    before = [store.log.end_offset_for_epoch(epoch) for epoch in range(4)]
    assert before == [(0, 7), (0, 7), (2, 14), (3, 21)]
    store.close()
    store.disk.filesystem.unlink(f"{store.path}/STATE")
    store.open()
    assert store.log.leader_epoch == 4, "the power may have failed, for all that is known"
    assert [store.log.end_offset_for_epoch(epoch) for epoch in range(4)] == before


def test_rep_4_an_epoch_that_was_not_in_state_yet_is_read_from_the_tail(store: Store) -> None:
    store.fill(7)
    store.log.sync()
    store.directory.checkpoint()
    store.log.leader_epoch = 5
    store.fill(7)
    store.kill_and_open()
    assert store.log.leader_epoch == 5
    assert store.log.end_offset_for_epoch(0) == (0, 7)


def test_a_kill_alone_changes_no_epoch(store: Store) -> None:
    store.fill(3)
    store.kill()
    uncommit(store, 2)
    store.open()
    assert store.log.leader_epoch == 0, "nobody can have seen what was never committed"


def test_an_index_that_is_ahead_of_lost_pages_is_not_believed(store: Store, reboot: Reboot) -> None:
    # Index files are never synced and may survive what they describe. Caught up with, they gave wrong answers.
    store.append(b"a", timestamp_ms=1000)
    store.log.sync()
    for number in range(7):
        store.append(b"lost %d" % number, timestamp_ms=9000 + number)
    store.directory.checkpoint()
    store.kill()
    size = aligned(build_batch([b"a"], 0).size_bytes)
    store.disk.cut(store.segment_path(), size)
    reboot()
    store.open()
    for number in range(7):
        store.append(b"x" * number, timestamp_ms=2000 + number)
    assert store.log.offset_of_max_timestamp().offset == 7  # type: ignore[union-attr]
    store.log.sync()
    store.kill_and_open()
    found = store.log.offset_of_max_timestamp()
    assert found is not None
    assert (found.offset, found.timestamp_ms) == (7, 2006)
    assert store.log.offset_for_timestamp(2003).offset == 4  # type: ignore[union-attr]
    assert [len(value) for _, value in read_values(store.log, 1, max_bytes=200)] == list(range(7))


def test_what_cannot_be_copied_to_quarantine_is_not_cut(reboot: Reboot) -> None:
    disk = memory_disk_of(400_000)
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
    values = store.fill(30)
    store.kill()
    store.disk.patch(store.segment_path(), 2 * BATCH, bytes(100))
    names = store.names()
    ballast = disk.filesystem.open("/root/ballast", create=True)
    ballast.allocate(0, disk.filesystem.free_bytes("/root") - 1500)
    reboot()
    with pytest.raises(DiskFullError):
        store.open()
    assert store.names() == names
    disk.filesystem.unlink("/root/ballast")
    store.open()
    assert store.recovery.outcome is LOST_PAGES, "the power failure still explains it"
    assert store.values() == values[:2]
    store.close()


# ---- DAMAGED


@pytest.mark.parametrize("rebooted", [False, True])
@pytest.mark.parametrize("at", [0, 4, 8, 12, 16, 24, 40, HEADER_SIZE, HEADER_SIZE + 14])
def test_damage_of_what_was_synced_is_found_by_reading_and_hides_nothing_else(
    store: Store, reboot: Reboot, at: int, rebooted: bool
) -> None:
    """Where LOG-5 would cut, see docs/kafka-differences.md."""
    values = store.fill(30)
    store.close()
    store.disk.flip(store.segment_path(IN_SEGMENT), 3 * BATCH + at)
    if rebooted:
        reboot()
    store.open()
    assert store.recovery.outcome is CLEAN
    _assert_only_unreadable(store, values, 12)


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16, 24, 40, HEADER_SIZE, HEADER_SIZE + 14])
@pytest.mark.parametrize("base_offset", [0, IN_SEGMENT])
def test_damage_of_what_was_not_synced_is_reported_and_not_cut(
    store: Store, base_offset: int, at: int
) -> None:
    values = store.fill(30)
    store.kill()
    path = store.segment_path(base_offset)
    store.disk.flip(path, 3 * BATCH + at)
    before = store.disk.read(path)
    store.open()
    bad = base_offset + 3
    assert store.recovery.outcome is DAMAGED
    assert store.recovery.damaged_ranges == [DamagedRange(bad, bad + 1, path, 3 * BATCH)]
    assert path in store.recovery.message
    assert store.disk.read(path) == before[: IN_SEGMENT * BATCH]
    _assert_only_unreadable(store, values, bad)
    assert store.append(b"12345678") == 30, "the end is known, so appending goes on"
    store.kill_and_open()
    assert store.recovery.outcome is DAMAGED
    _assert_only_unreadable(store, [*values, b"12345678"], bad)


def _assert_only_unreadable(store: Store, values: list[bytes], bad: int) -> None:
    """Every record but one is read, the one raises and says where to go on."""
    assert [v for _, v in _read_until_error(store, 0)] == values[:bad]
    with pytest.raises(CorruptLogError) as caught:
        for batch in store.log.read_batches(bad, 1):
            try:
                batch.check()
            except ValueError as error:  # pragma: no cover - a body is the reader's to check
                raise AssertionError from error
            except Exception as error:
                raise CorruptLogError(
                    str(error), first_bad_offset=bad, next_good_offset=batch.next_offset
                ) from error
    assert caught.value.next_good_offset == bad + 1
    assert [v for _, v in read_values(store.log, bad + 1)] == values[bad + 1 :]


def _read_until_error(store: Store, start: int) -> list[tuple[int, bytes | None]]:
    found: list[tuple[int, bytes | None]] = []
    offset = start
    try:
        while batches := store.log.read_batches(offset, 1 << 20):
            for batch in batches:
                batch.check()
                found += zip(batch.offsets(), batch.values(), strict=True)
                offset = batch.next_offset
    except Exception:
        return found
    return found


def test_two_damaged_places_are_both_reported(store: Store) -> None:
    store.fill(30)
    store.kill()
    store.disk.flip(store.segment_path(0), 2 * BATCH)
    store.disk.patch(store.segment_path(0), 5 * BATCH - 8, bytes(2 * BATCH))
    store.open()
    ranges = [(r.first_bad_offset, r.next_good_offset) for r in store.recovery.damaged_ranges]
    assert ranges == [(2, 3), (4, 7)]
    assert store.log.log_end_offset == 30


def test_damage_up_to_the_end_of_a_file_is_readable_again_from_the_next(store: Store) -> None:
    store.fill(30)
    store.kill()
    store.disk.patch(store.segment_path(0), 7 * BATCH, b"\xff" * (2 * BATCH))
    store.open()
    path = store.segment_path(0)
    assert store.recovery.damaged_ranges == [DamagedRange(7, 9, path, 7 * BATCH)]
    with pytest.raises(CorruptLogError) as caught:
        store.log.read(7, 100)
    assert caught.value.next_good_offset == 9
    assert len(read_values(store.log, 9)) == 21


def test_a_few_odd_bytes_at_the_end_are_nothing(store: Store) -> None:
    values = store.fill(3)
    store.close()
    store.disk.patch(store.segment_path(), 3 * BATCH, b"\xff" * 7)
    for _ in range(2):
        store.open()
        assert store.values() == values
        values += store.fill(2)
        store.kill()
    store.open()


def test_damage_of_a_body_and_all_that_follows_in_its_file_is_kept(store: Store) -> None:
    store.fill(30)
    store.kill()
    path = store.segment_path(0)
    store.disk.patch(path, 5 * BATCH + 90, b"\xff" * (4 * BATCH - 90))
    before = store.disk.read(path)
    store.open()
    assert store.recovery.damaged_ranges == [DamagedRange(5, 9, path, 5 * BATCH)]
    store.close()
    assert store.disk.read(path) == before[: 9 * BATCH]
    store.open()
    assert len(read_values(store.log, 9)) == 21


def test_a_whole_file_of_rubbish_is_readable_again_from_the_next(store: Store) -> None:
    store.fill(40)
    store.kill()
    path = store.segment_path(IN_SEGMENT)
    store.disk.write(path, b"\xee" * 501)
    store.open()
    assert [(r.first_bad_offset, r.next_good_offset) for r in store.recovery.damaged_ranges] == [
        (9, 18)
    ]
    with pytest.raises(CorruptLogError) as caught:
        store.log.read(9, 100)
    assert (caught.value.first_bad_offset, caught.value.next_good_offset) == (9, 18)
    assert len(read_values(store.log, 18)) == 22


@pytest.mark.parametrize("what", ["cut", "gone"])
def test_batches_missing_without_a_power_failure_are_damage(store: Store, what: str) -> None:
    values = store.fill(30)
    store.kill()
    if what == "cut":
        store.disk.cut(store.segment_path(IN_SEGMENT), 4 * BATCH)
        bad = IN_SEGMENT + 4
    else:
        store.disk.filesystem.unlink(store.segment_path(IN_SEGMENT))
        bad = IN_SEGMENT
    store.open()
    assert store.recovery.outcome is DAMAGED
    ranges = [(r.first_bad_offset, r.next_good_offset) for r in store.recovery.damaged_ranges]
    assert ranges == [(bad, 18)]
    assert [v for _, v in _read_until_error(store, 0)] == values[:bad]
    with pytest.raises(CorruptLogError) as caught:
        store.log.read(bad, 100)
    assert caught.value.next_good_offset == 18
    assert [v for _, v in read_values(store.log, 18)] == values[18:]


@pytest.mark.parametrize("with_read", [False, True])
@pytest.mark.parametrize("way", ["close", "kill"])
def test_a_damaged_end_is_kept_and_nothing_can_be_appended(
    store: Store, way: str, with_read: bool
) -> None:
    # Closing such a log trimmed the damaged bytes away: at the next open nothing was wrong, and a record was missing.
    values = store.fill(5)
    store.kill()
    store.disk.flip(store.segment_path(), 4 * BATCH + 20)
    before = store.disk.read(store.segment_path())
    for _ in range(3):
        store.open()
        assert store.recovery.outcome is DAMAGED
        path = store.segment_path()
        assert store.recovery.damaged_ranges == [DamagedRange(4, None, path, 4 * BATCH)]
        if with_read:
            assert store.values() == values[:4]
        for append in (lambda: store.append(b"x"), lambda: store.log.append_value(b"x", 0)):
            with pytest.raises(CorruptLogError, match="nothing can be appended") as caught:
                append()
            assert caught.value.topic_partition == store.log.topic_partition
            assert caught.value.first_bad_offset == 4
        store.log.sync()
        getattr(store, way)()
        assert store.disk.read(store.segment_path()) == before
    store.open()


def test_a_damaged_end_of_a_closed_log_is_not_explained_by_a_later_reboot(
    store: Store, reboot: Reboot
) -> None:
    # It was closed: everything had reached the disk, so no power failure can have taken it.
    store.fill(5)
    store.kill()
    store.disk.flip(store.segment_path(), 4 * BATCH + 20)
    store.open()
    store.close()
    reboot()
    store.open()
    assert store.directory.recovery_report.clean
    assert store.recovery.outcome is DAMAGED


def test_records_of_another_place_are_not_taken_for_the_next_ones(store: Store) -> None:
    # A batch with good checksums and the wrong offset: a page that was written to the wrong place.
    store.fill(8)
    store.kill()
    data = store.disk.read(store.segment_path())
    store.disk.patch(store.segment_path(), 5 * BATCH, data[2 * BATCH : 3 * BATCH])
    store.open()
    ranges = [(r.first_bad_offset, r.next_good_offset) for r in store.recovery.damaged_ranges]
    assert ranges == [(5, 6)]
    assert store.log.log_end_offset == 8


def test_a_batch_that_is_gone_between_two_good_ones_is_noticed(store: Store) -> None:
    store.fill(8)
    store.kill()
    data = store.disk.read(store.segment_path())
    store.disk.write(store.segment_path(), data[: 3 * BATCH] + data[4 * BATCH :])
    store.open()
    assert store.recovery.damaged_ranges == [DamagedRange(3, 4, store.segment_path(), 3 * BATCH)]
    assert read_values(store.log, 4)[0] == (4, b"00000004")


def test_a_batch_inside_a_damaged_one_is_not_taken_for_one_of_the_log(store: Store) -> None:
    inner = Segment(*_segment_arguments(store, memory_disk_of()))
    inner.reserve(200, 1 << 20)
    inner.append(build_batch([b"inner"], 0), 700, 0)
    copied = inner.mapping_for_read()[: inner.position]
    store.fill(2)
    body_start = 2 * BATCH + len(build_batch([b""], 0).body) + HEADER_SIZE
    store.append(bytes(-body_start % 8) + copied + b"rest")
    store.append(b"after")
    store.kill()
    store.disk.flip(store.segment_path(), 2 * BATCH + 20)
    store.open()
    ranges = [(r.first_bad_offset, r.next_good_offset) for r in store.recovery.damaged_ranges]
    assert ranges == [(2, 3)]
    assert read_values(store.log, 3) == [(3, b"after")]
    with pytest.raises(CorruptLogError):
        store.log.read(2, 100)


# ---- DATA_LOSS


def synced(store: Store, count: int) -> None:
    store.fill(count)
    store.log.sync()
    store.directory.checkpoint()


@pytest.mark.parametrize("rebooted", [False, True])
@pytest.mark.parametrize("way", ["close", "kill"])
@pytest.mark.parametrize(
    "what",
    [
        "active cut",
        "active gone",
        "first gone",
        "middle gone",
        "two gone",
        "all gone",
        "directory gone",
    ],
)
def test_missing_durable_records_keep_the_partition_closed(
    store: Store, reboot: Reboot, what: str, way: str, rebooted: bool
) -> None:
    synced(store, 30)
    getattr(store, way)()
    filesystem = store.disk.filesystem
    gone = {
        "active cut": [],
        "active gone": [27],
        "first gone": [0],
        "middle gone": [9],
        "two gone": [9, 18],
        "all gone": [0, 9, 18, 27],
        "directory gone": [0, 9, 18, 27],
    }[what]
    for base_offset in gone:
        filesystem.unlink(store.segment_path(base_offset))
    if what == "active cut":
        store.disk.cut(store.segment_path(27), 2 * BATCH)
    if what == "directory gone":
        for name in store.names():
            filesystem.unlink(f"{store.log_path}/{name}")
        filesystem.remove_dir(store.log_path)
    if rebooted:
        reboot()
    for _ in range(2):
        with pytest.raises(DataLossError, match="t-0") as caught:
            store.open()
        assert isinstance(caught.value, CorruptLogError)
        (recovery,) = store.directory.recovery_report.partitions
        assert recovery.outcome is DATA_LOSS
        assert recovery.message
        assert store.directory.recovery_report.damaged_partitions == [recovery]
    store.open_directory()


def test_a_closed_segment_under_another_name_keeps_the_partition_closed(store: Store) -> None:
    # As many files as there should be, and one of them was never made by this log.
    synced(store, 30)
    store.close()
    store.disk.filesystem.rename(store.segment_path(9), store.segment_path(10))
    with pytest.raises(DataLossError, match=r"expected 3 segment files before 0{18}27\.log"):
        store.open()
    store.open_directory()


def test_segments_below_the_log_start_may_be_missing_or_there(store: Store) -> None:
    # Retention moves the log start durably, then takes the files, one by one: killed in between, any of them may be left.
    values = store.fill(40)
    store.log.sync()
    store.log.advance_log_start(20)
    store.kill()
    store.disk.filesystem.unlink(store.segment_path(0))
    store.open()
    assert store.base_offsets() == [18, 27, 36]
    assert store.values() == values[20:]
    store.reopen()
    assert store.recovery.outcome is CLEAN


def test_a_first_file_that_is_missing_from_a_young_log_is_data_loss_without_a_power_failure(
    store: Store,
) -> None:
    # Nothing was synced yet, and STATE knew nothing of the log: it was said to begin with the second file.
    store.fill(30)
    store.kill()
    store.disk.filesystem.unlink(store.segment_path(0))
    with pytest.raises(DataLossError, match="first segment starts at offset 9"):
        store.open()
    store.open_directory()


def test_one_lost_partition_does_not_stop_the_others(store: Store) -> None:
    """I15."""
    synced(store, 5)
    store.directory.create_log_directory("t", 1)
    store.open_log(1)
    store.append(b"other")
    store.close()
    store.disk.filesystem.unlink(store.segment_path())
    store.open_directory()
    with pytest.raises(DataLossError):
        store.open_log(0)
    store.open_log(1)
    assert store.values() == [b"other"]
    store.directory.finish_opening(set())
    store.close()
    store.open_directory()
    assert store.directory.recovery_report.clean
    with pytest.raises(DataLossError):
        store.open_log(0)
    assert store.open_log(1).log_end_offset == 1


# ---- the log start


def test_deleted_files_that_come_back_with_the_power_failure_go_again(
    store: Store, reboot: Reboot
) -> None:
    store.fill(30)
    store.with_config(retention_bytes=1000)
    kept = {n: store.disk.read(f"{store.log_path}/{n}") for n in store.names()}
    assert store.log.delete_expired(0, 30) == 2
    values = store.values()
    store.kill()
    for name, data in kept.items():
        if not store.disk.filesystem.exists(f"{store.log_path}/{name}"):
            store.disk.write(f"{store.log_path}/{name}", data)
    reboot()
    store.open()
    assert store.log.log_start_offset == 18
    assert store.values() == values
    assert store.base_offsets() == [18, 27]
    check_log(store.log)


def test_offsets_below_the_log_start_are_never_given_again(store: Store, reboot: Reboot) -> None:
    # delete_records is durable at once, the records it deletes need not be.
    store.fill(5)
    store.log.sync()
    store.directory.checkpoint()
    store.fill(10)
    store.log.advance_log_start(15)
    store.kill()
    for base_offset in (0, 9):
        size = store.disk.filesystem.file_size(store.segment_path(base_offset))
        start = 5 * BATCH if base_offset == 0 else 0
        store.disk.patch(store.segment_path(base_offset), start, bytes(size - start))
    reboot()
    store.open()
    assert (store.log.log_start_offset, store.log.log_end_offset) == (15, 15)
    with pytest.raises(OffsetOutOfRangeError):
        store.log.read(14, 100)
    assert store.append(b"next") == 15
    store.kill_and_open()
    assert store.values() == [b"next"]
    check_log(store.log)


# ---- files


def test_leftovers_go_and_strangers_stay(store: Store) -> None:
    store.fill(12)
    store.close()
    ours = [
        f"{0:020d}.log.deleted",
        f"{5:020d}.idx",
        f"{5:020d}.tix",
        f"{0:020d}.idx.123-4.tmp",
    ]
    strangers = ["notes.txt", "5.log", f"{10**19:020d}.log", "x.log"]
    for name in [*ours, *strangers]:
        store.disk.write(f"{store.log_path}/{name}", b"?")
    store.disk.filesystem.make_dir(f"{store.log_path}/directory.tmp")
    store.open()
    assert len(store.values()) == 12
    names = store.names()
    assert not set(names) & set(ours)
    assert set(names) >= {*strangers, "directory.tmp"}


@pytest.mark.parametrize("end", ["close", "kill"])
def test_empty_file_of_a_roll_that_failed_goes_where_more_was_appended_before_it(
    store: Store, end: str
) -> None:
    """The disk failed when the file was there, and still when it should have been used or deleted."""
    store.fill(4)
    store.disk.write(store.segment_path(4), b"")
    store.fill(3)
    (store.close if end == "close" else store.kill)()
    store.open()
    assert store.recovery.damaged_ranges == []
    assert len(store.values()) == 7
    assert store.base_offsets() == [0]
    assert not store.disk.filesystem.exists(store.segment_path(4))
    store.fill(1)
    store.reopen()
    assert len(store.values()) == 8


def test_last_file_that_begins_too_early_is_damage_unless_it_is_empty(store: Store) -> None:
    store.fill(7)
    store.kill()
    store.disk.write(store.segment_path(4), b"something")
    store.open()
    assert [(one.first_bad_offset, one.next_good_offset) for one in store.recovery.damaged_ranges]
    assert store.disk.filesystem.exists(store.segment_path(4))


def test_a_directory_in_the_place_of_a_segment_is_an_error_of_this_partition(
    store: Store,
) -> None:
    store.close()
    store.disk.filesystem.make_dir(store.segment_path(0))
    with pytest.raises(OSError, match="not a regular file"):
        store.open()
    store.disk.filesystem.remove_dir(store.segment_path(0))
    store.open()


def test_without_state_every_log_is_read_from_its_start(store: Store) -> None:
    synced(store, 30)
    store.log.advance_log_start(12)
    store.close()
    store.disk.filesystem.unlink(f"{store.path}/STATE")
    store.open()
    report = store.directory.recovery_report
    assert not report.clean
    assert report.power_may_have_failed
    assert "STATE" in report.notes[0]
    assert store.recovery.outcome is SCANNED
    assert store.recovery.scanned_records == 30
    assert store.log.log_start_offset == 0, "nobody knows better"
    assert len(store.values()) == 30


# ---- recovery is repeatable (I17), wherever it is killed


def _torn(store: Store) -> None:
    uncommit(store, 2, 27)


def _lost(store: Store) -> None:
    store.disk.patch(store.segment_path(9), 4 * BATCH, bytes(50))


def _lost_first_name(store: Store) -> None:
    store.disk.filesystem.unlink(store.segment_path(0))


def _damaged(store: Store) -> None:
    store.disk.flip(store.segment_path(9), 4 * BATCH + 90)


def _nothing(store: Store) -> None:
    pass


@pytest.mark.parametrize(
    ("harm", "rebooted", "outcome", "end"),
    [
        (_nothing, False, SCANNED, 30),
        (_torn, False, TORN_TAIL, 29),
        (_torn, True, TORN_TAIL, 29),
        (_lost, True, LOST_PAGES, 13),
        (_lost_first_name, True, LOST_PAGES, 0),
        (_damaged, False, DAMAGED, 30),
    ],
)
def test_killed_anywhere_it_ends_with_the_same_log(
    reboot: Reboot,
    harm: Callable[[Store], None],
    rebooted: bool,
    outcome: RecoveryOutcome,
    end: int,
) -> None:
    # After a power failure the first attempt wrote the new boot id: the second took lost pages for damage.
    for number in range(1000):
        inner = memory_disk_of()
        disk = Disk(HookedFileSystem(inner.filesystem), inner.root)
        store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
        values = store.fill(30)
        store.kill()
        harm(store)
        if rebooted:
            reboot()
        hook = hook_of(disk.filesystem).hook = DieAt(number)
        died = False
        try:
            store.open()
        except Killed:
            died = True
        hook_of(disk.filesystem).hook = lambda call, path: None
        if died:
            store.open()
        assert store.recovery.outcome in (outcome, SCANNED, CLEAN), hook.died_at
        assert store.recovery.outcome is not DAMAGED or outcome is DAMAGED
        assert store.log.log_end_offset == end, hook.died_at
        if outcome is not DAMAGED:
            assert store.values() == values[:end], hook.died_at
            check_log(store.log)
        assert store.log.leader_epoch >= rebooted
        store.append(b"goes on")
        files = {name: disk.read(f"{store.log_path}/{name}") for name in store.names()}
        store.kill_and_open()
        assert store.log.log_end_offset == end + 1
        again = {name: disk.read(f"{store.log_path}/{name}") for name in store.names()}
        assert again.keys() == files.keys(), "recovering again changes nothing"
        store.close()
        if not died:
            assert number > 1
            return
    pytest.fail("never got to the end")


# ---- damage that once did more than it should


@pytest.mark.parametrize("reboots", [True, False])
def test_a_file_cut_in_the_zeros_behind_its_last_batch_opens_and_is_whole(
    store: Store, reboot: Reboot, reboots: bool
) -> None:
    # Mapping the last batch with its padding was a ValueError, which kept the broker from opening.
    values = [b"%05d" % number for number in range(3)]
    for value in values:
        store.append(value)
    store.kill()
    size = 3 * aligned(HEADER_SIZE + 12 + 1 + 2 + 5)
    for cut in (size - 1, size - 4):
        assert store.disk.filesystem.file_size(store.segment_path()) >= cut
        store.disk.cut(store.segment_path(), cut)
        if reboots:
            reboot()
        store.open()
        assert store.values() == values
        store.kill()
    store.open()
    store.append(b"after")
    assert store.values() == [*values, b"after"]


def test_a_log_that_is_cut_in_the_zeros_behind_a_batch_opens_and_goes_on(
    store: Store, reboot: Reboot
) -> None:
    # The same where the rest of the file is lost, and with it all later files.
    values = [b"%05d" % number for number in range(4)]
    for value in values:
        store.append(value)
    store.log.roll()
    store.append(b"in the next file")
    store.kill()
    store.disk.cut(store.segment_path(), 3 * aligned(HEADER_SIZE + 12 + 1 + 2 + 5) - 1)
    reboot()
    store.open()
    assert store.recovery.outcome is LOST_PAGES
    assert store.values() == values[:3]
    store.append(b"after")
    store.kill()
    store.open()
    assert store.values() == [*values[:3], b"after"]


def test_a_directory_in_place_of_an_index_keeps_no_old_segment_from_going(store: Store) -> None:
    values = store.fill(30)
    store.log.advance_log_start(20)
    store.directory.checkpoint()
    store.close()
    path = store.segment_path(0, ".tix")
    store.disk.filesystem.unlink(path)
    store.disk.filesystem.make_dir(path)
    store.open()
    assert store.values(20) == values[20:]
    assert store.segment_path(0) not in [segment.path for segment in store.log.segments]


def test_an_empty_file_behind_lost_pages_goes_without_a_copy(store: Store, reboot: Reboot) -> None:
    values = store.fill(12)
    store.log.roll()
    store.kill()
    store.disk.patch(store.segment_path(), 6 * BATCH, bytes(100))
    reboot()
    store.open()
    assert store.recovery.outcome is LOST_PAGES
    assert store.recovery.cut_records == 12 - 7
    assert store.values() == values[:6]
    assert store.base_offsets() == [0]


def test_good_batches_are_looked_for_in_every_later_file(store: Store, reboot: Reboot) -> None:
    values = store.fill(25)
    store.kill()
    store.disk.patch(store.segment_path(), 6 * BATCH, b"\xff" * (3 * BATCH))
    store.disk.patch(store.segment_path(IN_SEGMENT), 0, bytes(IN_SEGMENT * BATCH))
    reboot()
    store.open()
    assert store.recovery.outcome is LOST_PAGES
    assert store.recovery.cut_records == 25 - 2 * IN_SEGMENT
    assert store.values() == values[:6]


def test_a_truncation_to_the_beginning_of_the_log_is_finished(disk: Disk) -> None:
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
    store.fill(12)
    write, store.log._persist = store.log._persist, lambda: None

    def die() -> None:
        write()
        raise KeyboardInterrupt  # the cut is recorded, and nothing of it was done

    store.log._persist = die
    with pytest.raises(KeyboardInterrupt):
        store.log.truncate_to(0)
    store.kill_and_open()
    assert store.recovery.outcome is SCANNED
    assert store.log.log_end_offset == 0
    store.append(b"first")
    check_log(store.log)

"""The log of one partition: appending, rolling, reading, syncing. Whoever writes also reopens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamlog.errors import (
    ClosedError,
    DiskFullError,
    DurabilityError,
    OffsetOutOfRangeError,
    RecordBatchTooLargeError,
)
from streamlog.record import build_batch
from streamlog.record.layout import HEADER_SIZE, MAX_BATCH_BYTES
from streamlog.storage import PartitionLog, RecoveryOutcome
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.room import Room
from streamlog.storage.segment import Segment
from tests.support.hooked_files import CallLog, HookedFileSystem, hook_of
from tests.support.storage import Disk, Store, check_log, read_values
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 104  # bytes of a batch of one value of 8 bytes


@pytest.fixture
def open_store() -> Iterator[Callable[..., Store]]:
    """Make stores in memory with a configuration of one's own; they are closed, and healthy, in the end."""
    stores: list[Store] = []

    def make(disk: Disk | None = None, **config: Any) -> Store:
        config = {"segment_bytes": 1024, "index_interval_bytes": 0, **config}
        stores.append(Store(disk or memory_disk_of(), **config))
        return stores[-1]

    yield make
    for store in stores:
        if store.directory._open:
            check_log(store.log)
            store.close()


# ---- appending and reading


def test_offsets_are_given_without_a_gap(store: Store) -> None:
    """REC-8."""
    assert store.append(b"a", b"b", b"c") == 0
    assert store.log.append_value(b"d", store.clock.time_ms()) == 3
    assert store.append(b"e") == 4
    assert (store.log.log_start_offset, store.log.log_end_offset) == (0, 5)
    assert read_values(store.log) == list(enumerate([b"a", b"b", b"c", b"d", b"e"]))
    check_log(store.log)


@pytest.mark.parametrize("how", ["reopen", "kill_and_open"])
def test_everything_is_there_after_closing_and_after_a_kill(store: Store, how: str) -> None:
    values = store.fill(50)
    store.append(None, b"", b"x" * 500)
    getattr(store, how)()
    check_log(store.log)
    assert store.values() == [*values, None, b"", b"x" * 500]
    values = store.values() + store.fill(50)  # type: ignore[operator]
    getattr(store, how)()
    assert store.values() == values
    check_log(store.log)


def test_trap_13_no_record_is_dropped_for_its_producer_being_known(store: Store) -> None:
    batches = [store.batch(b"same") for _ in range(3)]
    for sequence, batch in enumerate(batches):
        batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 0, sequence
    offsets = [store.log.append(batch) for batch in batches]
    assert offsets == [0, 1, 2]
    store.reopen()
    assert store.values() == [b"same"] * 3
    found = [(b.producer_id, b.base_sequence) for b in store.log.read_batches(0, 1 << 20)]
    assert found == [(7, 0), (7, 1), (7, 2)]


def test_log_7_reading_outside_the_log_is_out_of_range(store: Store) -> None:
    store.fill(20)
    store.log.advance_log_start(5)
    for offset in (-1, 0, 4, 21, 10**12):
        with pytest.raises(OffsetOutOfRangeError, match="expected 5 to 20") as caught:
            store.log.read(offset, 100)
        assert caught.value.offsets == {store.log.topic_partition: offset}
    assert store.log.read(20, 100) == b""
    assert store.log.read_batches(20, 100) == []


def test_log_7_the_bound_ends_what_is_visible(store: Store) -> None:
    store.fill(20)
    assert store.log.read(10, 1 << 20, 10) == b""
    assert store.log.read(15, 1 << 20, 10) == b""
    found = store.log.read_batches(7, 1 << 20, 10)
    assert [batch.base_offset for batch in found] == [7, 8]  # to the end of that segment
    assert [b.base_offset for b in store.log.read_batches(9, 1 << 20, 10)] == [9]
    assert store.log.read(9, 1 << 20, 1000) == store.log.read(9, 1 << 20)


def test_log_7_one_batch_is_returned_however_large(store: Store) -> None:
    store.append(b"x" * 600)
    assert len(store.log.read(0, 1)) > 600
    (batch,) = store.log.read_batches(0, 0)
    assert batch.values() == [b"x" * 600]


def test_a_read_stays_within_one_segment_and_the_next_goes_on(store: Store) -> None:
    store.fill(30)
    offset, bases = 0, []
    while data := store.log.read_batches(offset, 1 << 20):
        bases.append(data[0].base_offset)
        offset = data[-1].next_offset
    assert bases == store.base_offsets()


def test_reading_batches_gives_what_reading_bytes_gives(store: Store) -> None:
    store.fill(12)
    store.append(*[b"%d" % n for n in range(30)])
    for offset in range(store.log.log_end_offset):
        for max_bytes in (0, 150, 300, 1 << 20):
            for bound in (None, offset + 1, offset + 3):
                pieces = store.log.read_batches(offset, max_bytes, bound)
                assert pieces[0].base_offset <= offset < pieces[0].next_offset
                whole = store.log.read(offset, 1 << 20, bound)
                assert whole.startswith(
                    b"".join(store.log.read(piece.base_offset, 0) for piece in pieces)
                )


def test_what_is_read_during_an_append_is_not_out_of_range(store: Store) -> None:
    # A reader can see the batch in the segment a moment before the log publishes its end, and ask for what follows.
    store.fill(3)
    store.log._next_offset = 2  # the moment before
    assert store.log.read(3, 100) == b""
    assert store.log.read_batches(3, 100) == []
    with pytest.raises(OffsetOutOfRangeError):
        store.log.read(4, 100)
    store.log._next_offset = 3


# ---- rolling


def test_log_2_rolls_before_the_append_that_would_exceed_segment_bytes(
    open_store: Callable[..., Store],
) -> None:
    store = open_store(segment_bytes=3 * BATCH)
    store.fill(7)
    assert store.base_offsets() == [0, 3, 6]
    assert all(segment.position <= 3 * BATCH for segment in store.log.segments)


@pytest.mark.parametrize("segment_bytes", [256, 257, 263, 300, 311, 312, 313])
def test_log_2_no_segment_exceeds_segment_bytes_whichever_way_it_is_appended_to(
    open_store: Callable[..., Store], segment_bytes: int
) -> None:
    by_batch = open_store(segment_bytes=segment_bytes)
    by_value = open_store(segment_bytes=segment_bytes)
    for size in [*range(60), *range(60, 0, -3)]:
        by_batch.append(b"v" * size, timestamp_ms=0)
        by_value.log.append_value(b"v" * size, 0)
    for store in (by_batch, by_value):
        assert all(segment.position <= segment_bytes + 7 for segment in store.log.segments)
    assert by_value.base_offsets() == by_batch.base_offsets()


def test_a_value_that_just_fits_a_segment_is_taken(open_store: Callable[..., Store]) -> None:
    # The generous estimate of the fast path refused the last bytes.
    store = open_store(segment_bytes=256)
    size = 256 - len(build_batch([b""], 0).body) - HEADER_SIZE
    assert store.log.append_value(b"v" * size, 0) == 0
    with pytest.raises(RecordBatchTooLargeError, match="expected at most 256"):
        store.log.append_value(b"v" * (size + 1), 0)
    with pytest.raises(RecordBatchTooLargeError):
        store.append(b"v" * (size + 1))
    assert store.log.log_end_offset == 1


def test_rec_6_a_batch_larger_than_a_segment_is_refused_and_uses_no_offset(store: Store) -> None:
    store.append(b"a")
    with pytest.raises(RecordBatchTooLargeError, match="segment_bytes=1024"):
        store.append(b"x" * 1000)
    assert store.append(b"b") == 1


def test_a_batch_larger_than_any_reader_accepts_is_refused(
    open_store: Callable[..., Store],
) -> None:
    # It was stored, acknowledged, and then taken for damage.
    store = open_store(segment_bytes=2**31 - 1)
    batch = build_batch([b"x"], 0)

    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_BATCH_BYTES

    batch.body = Huge()
    with pytest.raises(RecordBatchTooLargeError, match=str(MAX_BATCH_BYTES)):
        store.log.append(batch)
    assert store.log.log_end_offset == 0


@pytest.mark.parametrize("rising", [True, False])
def test_log_2_rolls_when_an_index_is_full(open_store: Callable[..., Store], rising: bool) -> None:
    # The index was allowed to grow until the room of the segment was used up.
    store = open_store(segment_bytes=1 << 20, segment_index_bytes=64)
    for number in range(40):
        store.append(b"12345678", timestamp_ms=1000 + (number if rising else -number))
    # 8 entries of 8 bytes, or 3 of 16 and one to close with; the first batch of a segment needs no entry.
    assert store.base_offsets() == list(range(0, 40, 4 if rising else 9))
    for segment in store.log.segments:
        assert segment.offset_index.size_bytes <= 64
        assert segment.time_index.size_bytes <= 64


def test_log_2_rolls_by_record_time_and_only_at_an_append(
    open_store: Callable[..., Store],
) -> None:
    store = open_store(segment_bytes=1 << 20, segment_ms=1000)
    start = store.clock.time_ms()
    store.append(b"a", timestamp_ms=start)
    store.append(b"b", timestamp_ms=start + 1000)
    store.append(b"c", timestamp_ms=start - 5000)
    assert store.base_offsets() == [0]
    store.clock.advance(10**9)
    assert store.base_offsets() == [0], "an idle segment never rolls by itself"
    store.append(b"d", timestamp_ms=start + 1001)
    assert store.base_offsets() == [0, 3]
    store.log.append_value(b"e", start + 2001)
    assert store.base_offsets() == [0, 3]
    store.log.append_value(b"f", start + 2002)
    assert store.base_offsets() == [0, 3, 5]


def test_log_2_the_time_counts_from_the_first_batch_also_after_opening(
    open_store: Callable[..., Store],
) -> None:
    # The first append after opening went into the old segment, however old that was.
    for how in ("reopen", "kill_and_open"):
        store = open_store(segment_bytes=1 << 20, segment_ms=1000)
        store.append(b"a", timestamp_ms=5000)
        store.append(b"b", timestamp_ms=5500)
        store.log.sync()
        getattr(store, how)()
        store.append(b"c", timestamp_ms=6001)
        assert store.base_offsets() == [0, 2], how


def test_a_changed_segment_ms_holds_for_the_segment_in_use(
    open_store: Callable[..., Store],
) -> None:
    store = open_store(segment_bytes=1 << 20)
    store.append(b"a", timestamp_ms=5000)
    store.with_config(segment_ms=10)
    store.append(b"b", timestamp_ms=5011)
    assert store.base_offsets() == [0, 1]


def test_other_changed_limits_hold_from_the_next_append_on(
    open_store: Callable[..., Store],
) -> None:
    store = open_store(segment_bytes=1 << 20)
    store.fill(10)
    store.with_config(segment_bytes=1024, segment_index_bytes=64)
    store.fill(1)
    assert store.base_offsets() == [0, 10]


def test_log_2_jitter_takes_a_different_time_off_each_segment(
    open_store: Callable[..., Store],
) -> None:
    store = open_store(segment_bytes=1 << 20, segment_ms=100_000, segment_jitter_ms=50_000)
    lives = []
    for _ in range(30):
        store.log.roll()
        store.append(b"a", timestamp_ms=0)
        lives.append(store.log._roll_after_ms)
    assert all(50_000 <= life <= 100_000 for life in lives)
    assert len(set(lives)) > 20
    store.with_config(segment_jitter_ms=10**9)
    store.append(b"a", timestamp_ms=0)
    assert 0 <= store.log._roll_after_ms <= 100_000, "never more than segment_ms itself"


def test_log_2_rolls_before_relative_offsets_outgrow_four_bytes(
    open_store: Callable[..., Store],
) -> None:
    store = open_store(segment_bytes=1 << 20)
    store.append(b"a")
    huge = store.batch(b"b")
    huge.record_count = 2**31 - 2
    store.log.append(huge)
    assert store.base_offsets() == [0]
    store.append(b"c")
    assert store.base_offsets() == [0, 2**31 - 1]
    store.kill()


def test_rolling_by_hand_needs_a_record(store: Store) -> None:
    store.log.roll()
    assert store.base_offsets() == [0]
    store.append(b"a")
    store.log.roll()
    store.log.roll()
    assert store.base_offsets() == [0, 1]
    store.append(b"b")
    assert store.reopen().log_end_offset == 2
    assert store.values() == [b"a", b"b"]


def test_log_1_files_are_named_by_their_first_offset_in_20_digits(store: Store) -> None:
    store.fill(12)
    store.log.sync()
    store.directory.checkpoint()
    assert store.names() == [
        f"{base:020d}{suffix}" for base in (0, 9) for suffix in (".idx", ".log", ".tix")
    ]


# ---- syncing


def test_what_is_durable_grows_with_each_sync(store: Store) -> None:
    assert store.log.durable_end_offset == 0
    store.fill(15)
    assert store.log.durable_end_offset == 0
    assert store.log.is_dirty
    store.log.sync()
    assert store.log.durable_end_offset == 15
    assert not store.log.is_dirty
    store.fill(1)
    store.log.sync(15)
    assert store.log.durable_end_offset == 15, "that much was durable already"
    store.log.sync(16)
    assert store.log.durable_end_offset == 16


def hooked_store(**config: Any) -> tuple[Store, CallLog]:
    inner = memory_disk_of()
    calls = CallLog("sync", "sync_data", "sync_dir")
    disk = Disk(HookedFileSystem(inner.filesystem, calls), inner.root)
    store = Store(disk, **{"segment_bytes": 1024, "index_interval_bytes": 0, **config})
    calls.taken()
    return store, calls


def test_every_unsynced_segment_is_synced_and_none_twice() -> None:
    store, calls = hooked_store()
    store.fill(20)
    store.log.sync()
    assert calls.taken() == ["sync", "sync_dir"] * 3
    store.log.sync()
    assert calls.taken() == []
    store.fill(1)
    store.log.sync()
    assert calls.taken() == ["sync_data"]


def test_the_name_of_an_empty_segment_is_synced_too() -> None:
    # A checkpoint said that recovery starts in that file; the power went, its name with it: DataLossError.
    store, calls = hooked_store()
    store.fill(2)
    store.log.roll()
    store.log.sync()
    assert calls.taken() == ["sync", "sync_dir"] * 2


def test_a_log_tells_once_that_it_has_unsynced_bytes(store: Store) -> None:
    told: list[PartitionLog] = []
    store.log.on_dirty = told.append
    store.fill(20)
    assert told == [store.log]
    store.log.sync()
    store.fill(20)
    assert told == [store.log] * 2
    store.kill_and_open()
    store.log.on_dirty = told.append
    assert told == [told[0], told[0], store.log], "at once, when there are some already"
    store.log.on_dirty = None


def test_a_log_that_was_appended_to_during_a_sync_tells_again() -> None:
    store, calls = hooked_store()
    told: list[PartitionLog] = []
    store.fill(1)
    store.log.on_dirty = told.append

    def append_once(call: str, path: str) -> None:
        if call == "sync":
            hook_of(store.disk.filesystem).hook = calls
            store.fill(1)

    hook_of(store.disk.filesystem).hook = append_once
    store.log.sync()
    assert told == [store.log] * 2
    assert store.log.durable_end_offset == 1
    assert store.log.is_dirty


def test_after_a_failed_sync_nothing_is_appended_and_reads_go_on() -> None:
    store, calls = hooked_store()
    values = store.fill(5)
    store.log.sync()
    values += store.fill(5)
    calls.failures["sync_data"] = OSError(5, "Input/output error")
    for _ in range(2):
        with pytest.raises(DurabilityError, match="Input/output error"):
            store.log.sync()
    calls.failures.clear()
    for append in (lambda: store.append(b"x"), lambda: store.log.append_value(b"x", 0)):
        with pytest.raises(DurabilityError, match="t-0"):
            append()
    with pytest.raises(DurabilityError):
        store.log.sync()
    assert store.values() == values
    assert store.log.durable_end_offset == 5
    with pytest.raises(DurabilityError):
        store.close()
    assert not store.open().recovery.damaged_ranges
    assert store.values() == values
    store.close()


def test_an_append_between_the_failure_and_its_announcement_is_refused() -> None:
    # The limit was lowered before the failure was known: an append in between raised it again, and many more followed.
    store, calls = hooked_store()
    store.fill(1)
    group_commit = store.log._group_commit
    announce, locked = group_commit.fail, []

    def fail(error: OSError) -> None:
        locked.append(store.log.lock.locked())
        announce(error)

    group_commit.fail = fail  # type: ignore[method-assign]
    calls.failures["sync"] = OSError(5, "Input/output error")
    with pytest.raises(DurabilityError):
        store.log.sync()
    assert locked[0], "no append comes in between"
    assert store.log._active.limit == 0
    store.kill()


# ---- disk full


def test_a_full_disk_costs_no_offset_and_freed_space_resumes() -> None:
    disk = memory_disk_of(300_000)
    store = Store(disk, segment_bytes=1 << 20, index_interval_bytes=0)
    values: list[bytes] = []
    with pytest.raises(DiskFullError):
        while True:
            values += store.fill(1, size=1000)
    end = store.log.log_end_offset
    assert end == len(values)
    for _ in range(3):
        with pytest.raises(DiskFullError):
            store.append(b"x" * 1000)
    assert store.log.log_end_offset == end
    assert store.values() == values
    store.with_config(retention_bytes=0)
    store.clock.advance(1)
    assert store.log.delete_expired(store.clock.time_ms(), end) == 1
    assert store.append(b"y" * 1000) == end
    check_log(store.log)
    store.reopen()
    assert store.values() == [b"y" * 1000]
    store.close()


def full_store(disk: Disk) -> tuple[Store, list[bytes]]:
    """A store on a disk without a byte left, and the values that it acknowledged."""
    store = Store(disk, segment_bytes=50_000, index_interval_bytes=0)
    values: list[bytes] = []
    with pytest.raises(DiskFullError):
        while True:
            values += store.fill(1, size=1000)
    ballast = disk.filesystem.open("/root/ballast", create=True)
    ballast.allocate(0, disk.filesystem.free_bytes("/root"))
    return store, values


def test_closing_on_a_disk_without_a_byte_left_says_so_and_loses_nothing() -> None:
    disk = memory_disk_of(200_000)
    store, values = full_store(disk)
    with pytest.raises(DiskFullError):
        store.close()
    disk.filesystem.unlink("/root/ballast")
    store.open()
    assert store.values() == values
    assert not store.directory.recovery_report.clean
    store.close()


def test_the_reserve_leaves_room_to_close_cleanly() -> None:
    disk = memory_disk_of(200_000)
    store = Store(disk, segment_bytes=1 << 20, index_interval_bytes=0)
    store.log._room = Room(disk.filesystem, store.path, 5_000)
    values = store.fill(60, size=1000)
    with pytest.raises(DiskFullError, match="in reserve"):
        while True:
            values += store.fill(1, size=1000)
    store.reopen()
    assert store.directory.recovery_report.clean
    assert store.values() == values
    store.close()


# ---- interruptions


class Interrupted(BaseException):
    """Ctrl-C."""


@pytest.mark.parametrize("at", ["before the commit", "after it", "after it was published"])
def test_an_interrupted_append_is_there_or_not_and_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    # What it left of a long batch looked like damage behind a shorter one: nothing could be appended after a kill.
    store.fill(3)
    segment = store.log._active
    words = segment._words
    assert words is not None

    class Words:
        def __setitem__(self, index: int, value: int) -> None:
            if at == "after it":
                words[index] = value
            if index == segment.position >> 2 or at == "before the commit":
                raise Interrupted

    if at == "after it was published":
        original = segment.append

        def append(*arguments: Any) -> None:
            original(*arguments)
            raise Interrupted

        monkeypatch.setattr(type(segment), "append", lambda self, *a: append(*a))
    else:
        segment._words = Words()  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        store.append(b"x" * 400)
    segment._words = words
    monkeypatch.undo()
    expected = [b"00000000", b"00000001", b"00000002"]
    if at == "after it was published":
        expected.append(b"x" * 400)
    assert store.values() == expected
    end = segment.position
    assert not any(store.disk.read(segment.path)[end:])
    check_log(store.log)
    store.append(b"short")
    store.kill_and_open()
    assert not store.recovery.damaged_ranges
    assert store.values() == [*expected, b"short"]


@pytest.mark.parametrize("at", ["add_index_entry", "_index_greatest_timestamp"])
def test_an_append_interrupted_behind_its_index_entry_is_not_indexed(
    store: Store, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    # The entry stayed, and with the next batch there were two for one place: the index was refused when it was read again.
    # The timestamp stayed as well, and kept retention from deleting the segment.
    store.append(b"first", timestamp_ms=1000)
    store.append(b"second", timestamp_ms=1001)
    segment = store.log._active
    original = getattr(Segment, at)

    def interrupted(*arguments: Any) -> None:
        original(*arguments)
        raise Interrupted

    monkeypatch.setattr(Segment, at, interrupted)
    with pytest.raises(Interrupted):
        store.append(b"third", timestamp_ms=9000)
    monkeypatch.undo()
    check_log(store.log)
    assert segment.largest_timestamp_ms() == 1001
    store.append(b"third", timestamp_ms=1002)
    check_log(store.log)
    store.log.roll()
    store.kill_and_open()
    assert store.values() == [b"first", b"second", b"third"]
    assert store.log.segments[0].largest_timestamp_ms() == 1002
    check_log(store.log)


@pytest.mark.parametrize("at", ["create", "add", "seal"])
def test_an_interrupted_roll_is_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    # The old segment went on while the file of the new one was there: records behind it could not be read any more, and
    # recovery took them for damage.
    values = store.fill(8)
    owner = LogSegments if at == "add" else Segment
    original = getattr(owner, at)

    def interrupted(*arguments: Any) -> None:
        monkeypatch.undo()
        if at != "add":
            original(*arguments)
        raise Interrupted

    monkeypatch.setattr(owner, at, interrupted)
    with pytest.raises(Interrupted):
        store.append(b"x" * 200)
    values += store.fill(4)  # one of them would still have fitted
    assert store.base_offsets() == [0, 8]
    check_log(store.log)
    assert store.values() == values
    store.kill_and_open()
    assert store.recovery.outcome is RecoveryOutcome.SCANNED
    assert store.values() == values
    check_log(store.log)


def test_a_roll_that_finds_no_room_for_its_file_leaves_the_old_segment_in_use() -> None:
    store, calls = hooked_store()
    values = store.fill(8)
    calls.failures["make"] = DiskFullError("no inode left")
    with pytest.raises(DiskFullError):
        store.append(b"x" * 200)
    values += store.fill(1)
    assert store.base_offsets() == [0]
    calls.failures.clear()
    values += store.fill(1)
    assert store.base_offsets() == [0, 9]
    assert store.values() == values
    store.close()


# ---- the end


def test_a_closed_log_refuses_everything(store: Store) -> None:
    store.fill(3)
    log = store.log
    store.close()
    log.close()  # again: nothing happens
    for call in (
        lambda: log.append(store.batch(b"x")),
        lambda: log.append_value(b"x", 0),
        lambda: log.read(0, 100),
        lambda: log.read_batches(0, 100),
        lambda: log.read(99, 100),
        log.roll,
        lambda: log.advance_log_start(1),
        lambda: log.truncate_to(1),
        lambda: log.delete_expired(0, 0),
        lambda: log.offset_for_timestamp(0),
    ):
        with pytest.raises(ClosedError, match="t-0"):
            call()
    store.open()


def test_closing_goes_on_when_one_segment_cannot_be_closed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(20)
    segments = store.log.segments
    close = Segment.close

    def close_badly(segment: Segment) -> None:
        close(segment)
        if segment is not segments[-1]:
            raise OSError(5, f"Input/output error of {segment.base_offset}")

    monkeypatch.setattr(Segment, "close", close_badly)
    with pytest.raises(OSError, match="error of 0"):
        store.log.close()
    monkeypatch.undo()
    assert [segment._file for segment in segments] == [None] * 3
    store.kill()
    store.open()
    assert len(store.values()) == 20


def test_its_repr_names_partition_and_offsets(store: Store) -> None:
    store.fill(3)
    assert repr(store.log) == "<PartitionLog t-0 offsets 0..3>"
    assert store.log.size_bytes == 3 * BATCH


def test_the_leader_epoch_is_stamped_and_kept(store: Store) -> None:
    store.append(b"a")
    store.log.leader_epoch = 7
    store.append(b"b")
    store.log.append_value(b"c", 0)
    store.reopen()
    assert store.log.leader_epoch == 7
    epochs = [b.leader_epoch for b in store.log.read_batches(0, 1000)]
    assert epochs == [0, 7, 7]


# ---- contention


def wait_until_somebody_waits(log: PartitionLog) -> None:
    while not log.lock.waiting:
        pass


@pytest.mark.parametrize("single", [True, False])
def test_an_append_waits_for_its_turn_and_hands_it_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, single: bool
) -> None:
    log = store.log

    def append(value: bytes) -> int:
        return log.append_value(value, 0) if single else store.append(value, timestamp_ms=0)

    first = threading.Thread(target=append, args=(b"first",))
    assert log.lock.acquire(False)
    first.start()
    wait_until_somebody_waits(log)
    log.lock.release()
    first.join(20)
    name = "append_value" if single else "append"
    original = getattr(Segment, name)
    second = threading.Thread(target=store.log.roll)

    def append_and_be_waited_for(*arguments: Any) -> None:
        original(*arguments)
        second.start()
        wait_until_somebody_waits(log)

    monkeypatch.setattr(Segment, name, append_and_be_waited_for)
    append(b"second")
    second.join(20)
    assert store.values() == [b"first", b"second"]
    assert store.base_offsets() == [0, 2]
    check_log(log)


def test_who_may_not_wait_is_told_which_append_may(store: Store) -> None:
    """A file is made for the first, room for the one that does not fit, a segment for the one that is too late, and a lock is held."""
    log = store.log
    now_ms = store.clock.time_ms()
    assert log.append_may_wait(8, now_ms, -1)
    store.append(b"12345678")
    assert not log.append_may_wait(8, now_ms, -1)
    assert not log.append_may_wait(8, now_ms, 7)  # there is no producer to read of
    assert log.append_may_wait(store.config.segment_bytes, now_ms, -1)
    assert log.append_may_wait(8, now_ms + store.config.segment_ms + 1, -1)
    log.lock.acquire()
    try:
        assert log.append_may_wait(8, now_ms, -1)
    finally:
        log.lock.release()
    log.sync()
    assert not log.append_may_wait(8, now_ms, -1)


def test_nothing_is_appended_behind_the_last_sync_of_a_log_that_closes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(b"a")
    original = type(store.log).sync
    refused = []

    def sync(log: PartitionLog, end_offset: int | None = None) -> None:
        with pytest.raises(ClosedError, match="is closing") as caught:
            store.append(b"late")
        refused.append(caught.value)
        original(log, end_offset)

    monkeypatch.setattr(PartitionLog, "sync", sync)
    store.reopen()
    assert len(refused) == 1
    assert store.values() == [b"a"]


def test_what_was_set_can_be_read(store: Store) -> None:
    def callback(log: PartitionLog) -> None:
        """Nothing."""

    store.log.on_dirty = callback
    assert store.log.on_dirty is callback
    assert store.log.config is store.config


def test_a_log_that_nobody_watches_may_be_appended_to_during_a_sync(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(b"a")
    original = Segment.sync

    def sync(segment: Segment) -> None:
        original(segment)
        if store.log.log_end_offset == 1:
            store.append(b"b")

    monkeypatch.setattr(Segment, "sync", sync)
    store.log.sync()
    assert store.log.is_dirty
    assert store.log.durable_end_offset == 1


def test_a_checkpoint_is_made_without_an_index_that_cannot_be_written() -> None:
    def no_index(call: str, path: str) -> None:
        if path.endswith((".idx", ".tix")) and call in ("make", "open", "write_at"):
            raise OSError(5, "no index today", path)

    disk = memory_disk_of()
    hooked = HookedFileSystem(disk.filesystem)
    store = Store(Disk(hooked, disk.root), index_interval_bytes=0)
    store.fill(5)
    store.log.sync()
    hooked.hook = no_index
    assert store.log.checkpoint().recovery_offset == 5
    store.close()  # nor at the end
    hooked.hook = lambda call, path: None
    store.open()
    assert store.recovery.outcome is RecoveryOutcome.CLEAN
    assert len(store.values()) == 5
    check_log(store.log)

"""A pass through a log, and what others do to the log meanwhile."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    DiskFullError,
    DurabilityError,
    IllegalStateError,
    RecordDecodeError,
)
from streamlog.record import build_batch
from streamlog.storage.compaction import cleaning
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
from tests.support.hooked_files import HookedFileSystem
from tests.support.storage import Disk, Store, check_log
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = 2000


def fill(store: Store, count: int = 60, keys: int = 7) -> None:
    """Overwrite *keys* keys time and again, a record in a batch, and begin a new segment."""
    first = store.log.log_end_offset
    for number in range(first, first + count):
        put(store.log, (f"key-{number % keys}", f"{number}"))
    store.log.roll()


# ---- what comes out


def test_a_pass_tells_what_it_did(store: Store) -> None:
    fill(store)
    before, segments = store.log.size_bytes, len(store.base_offsets()) - 1
    result = finish(store.log.clean(NOW_MS, GIB))
    assert result.topic_partition == store.log.topic_partition
    assert (result.start_offset, result.end_offset, result.is_complete) == (0, 60, True)
    assert (result.records_before, result.records_after) == (60, 7)
    assert (result.bytes_before, result.bytes_after) == (before, store.log.size_bytes)
    assert (result.segments_before, result.segments_after) == (segments, segments)
    assert store.log.first_dirty_offset == 60
    check_log(store.log)


def test_cmp_8_the_log_start_stays_and_small_segments_are_merged(store: Store) -> None:
    fill(store)
    clean(store)
    assert store.log.log_start_offset == 0
    result = clean(store)
    assert (result.segments_before, result.segments_after) == (7, 1)
    assert store.base_offsets() == [0, 60]
    assert [name for name in store.names() if name.endswith(".log")] == [
        f"{0:020d}.log",
        f"{60:020d}.log",
    ]
    assert len(contents(store.log)) == 7
    check_log(store.log)
    store.reopen()
    assert len(contents(store.log)) == 7
    check_log(store.log)


def test_an_empty_log_has_nothing_to_clean(store: Store) -> None:
    result = finish(store.log.clean(NOW_MS, GIB))
    assert (result.end_offset, result.segments_before, result.records_before) == (0, 0, 0)
    assert result.is_complete


def test_a_segment_that_loses_nothing_is_left_alone(store: Store) -> None:
    store.with_config(segment_bytes=1 << 20)
    put(store.log, ("a", "x" * 10_000))
    clean(store)
    segment = store.log.segments[0]
    clean(store)
    assert store.log.segments[0] is segment
    assert not any(name.endswith(".cleaned") for name in store.names())


@pytest.mark.parametrize(
    ("again", "times"),
    [
        pytest.param(None, 2, id="read twice"),
        pytest.param("0", 3, id="and written"),
        pytest.param("62", 4, id="and what comes before copied"),
    ],
)
def test_it_works_in_steps_of_about_a_mib(memory_disk: Disk, again: str | None, times: int) -> None:
    store = Store(memory_disk, segment_bytes=1 << 23)
    for number in range(64):
        put(store.log, (f"{number}", "x" * 100_000))
    if again is not None:
        put(store.log, (again, "new"))
    store.log.roll()
    steps = list(store.log.clean(NOW_MS, GIB))
    size = store.log.size_bytes
    assert sum(steps) == pytest.approx(times * size, rel=0.03)
    assert all(cleaning._STEP_BYTES <= step < 2 * cleaning._STEP_BYTES for step in steps[:-1])
    store.close()


def test_cmp_1_a_pass_whose_memory_is_full_ends_early_and_the_next_goes_on(store: Store) -> None:
    fill(store, keys=40)
    expected = as_map(rows(store.log))
    result, passes = clean(store, memory=2000), 1
    assert 0 < result.end_offset < 60
    while not result.is_complete:
        assert as_map(rows(store.log)) == expected
        check_log(store.log)
        last = result.end_offset
        result, passes = clean(store, memory=2000), passes + 1
        assert result.end_offset > last
    assert passes > 3
    assert as_map(rows(store.log)) == expected
    assert len(contents(store.log)) == 40


def test_what_was_reached_survives(store: Store) -> None:
    fill(store)
    clean(store)
    store.kill_and_open()
    assert store.log.first_dirty_offset == 60
    assert store.log.cleanable(NOW_MS).cleanable_bytes == 0
    store.reopen()
    assert store.log.first_dirty_offset == 60


def test_a_truncation_takes_back_how_far_compaction_came(store: Store) -> None:
    fill(store)
    clean(store)
    store.log.truncate_to(57)
    assert store.log.first_dirty_offset == store.log.log_end_offset <= 57
    check_log(store.log)
    fill(store)
    clean(store)
    assert len(contents(store.log)) == 7
    check_log(store.log)


def test_everything_that_a_pass_compares_is_on_the_disk_first(store: Store) -> None:
    # Or a power loss could take the new value, after the old one was removed.
    fill(store, 5)
    assert store.log.durable_end_offset == 0
    next(store.log.clean(NOW_MS, GIB))
    assert store.log.durable_end_offset == 5
    assert store.log.checkpoint().segment_base_offset == 5


# ---- meanwhile


def meanwhile(store: Store, what: Callable[[], object], when: int = 1) -> object:
    """Do *what* after so many steps of a pass; return its result, or what it raises."""
    steps = store.log.clean(NOW_MS, GIB)
    try:
        for _ in range(when):
            next(steps)
        what()
        return finish(steps)
    except StopIteration as stop:
        pytest.fail(f"over already: {stop.value}")
    finally:
        steps.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step for each batch."""
    monkeypatch.setattr(cleaning, "_STEP_BYTES", 1)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("when", [1, 40, 70, 100])
def test_appends_go_on(store: Store, when: int) -> None:
    fill(store)

    def append() -> None:
        for number in range(12):
            put(store.log, (f"key-{number}", "new"))

    meanwhile(store, append, when)
    assert store.log.first_dirty_offset == 60
    assert {key: value for _, key, value in contents(store.log)} == {
        f"key-{number}": "new" for number in range(12)
    }
    check_log(store.log)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("when", [1, 40, 70, 100])
def test_a_pass_that_is_left_changes_nothing_more(store: Store, when: int) -> None:
    fill(store)
    expected = as_map(rows(store.log))
    steps = store.log.clean(NOW_MS, GIB)
    for _ in range(when):
        next(steps)
    steps.close()
    assert not any(name.endswith(".cleaned") for name in store.names())
    assert as_map(rows(store.log)) == expected
    check_log(store.log)
    assert clean(store).is_complete
    assert as_map(rows(store.log)) == expected


@pytest.mark.usefixtures("slow")
def test_there_is_one_pass_at_a_time(store: Store) -> None:
    fill(store)
    steps = store.log.clean(NOW_MS, GIB)
    next(steps)
    with pytest.raises(IllegalStateError, match="t-0: is being cleaned already"):
        next(store.log.clean(NOW_MS, GIB))
    finish(steps)
    finish(store.log.clean(NOW_MS, GIB))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("when", [1, 61, 66, 100])
def test_retention_in_the_middle_of_a_pass(store: Store, when: int) -> None:
    store.with_config(cleanup_policy="compact,delete")
    fill(store, keys=20)
    store.with_config(retention_bytes=1500)
    meanwhile(store, lambda: store.log.delete_expired(NOW_MS, 60), when)
    assert store.log.log_start_offset > 0
    newest = {key: value for _, key, value in contents(store.log)}
    assert set(newest.values()) <= {str(number) for number in range(40, 60)}
    check_log(store.log)
    clean(store)
    check_log(store.log)
    assert {key: value for _, key, value in contents(store.log)} == newest
    store.reopen()
    check_log(store.log)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("when", [1, 61, 66, 100])
def test_delete_records_in_the_middle_of_a_pass(store: Store, when: int) -> None:
    fill(store)
    meanwhile(store, lambda: store.log.advance_log_start(31), when)
    assert as_map(rows(store.log)) == {
        b"key-%d" % (number % 7): b"%d" % number for number in range(53, 60)
    }
    check_log(store.log)
    store.kill_and_open()
    assert store.log.log_start_offset == 31
    check_log(store.log)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("offset", [3, 30, 55])
@pytest.mark.parametrize("when", [1, 61, 66, 100])
def test_what_a_truncation_took_does_not_take_older_values_with_it(
    store: Store, when: int, offset: int
) -> None:
    # What the pass has not got to stays: the new values that were to replace it are gone. What it has got to is gone with them,
    # which is why only what no reader has seen may be truncated.
    fill(store)
    meanwhile(store, lambda: store.log.truncate_to(offset), when)
    assert store.log.first_dirty_offset <= store.log.log_end_offset <= offset
    if when < 66:
        assert rows(store.log)[-1].offset == offset - 1
        assert len(rows(store.log)) == offset
    check_log(store.log)
    fill(store)
    assert clean(store).is_complete
    check_log(store.log)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("when", [1, 61, 66, 100])
@pytest.mark.parametrize("how", ["close", "discard"])
def test_a_log_that_is_closed_or_deleted_ends_the_pass(store: Store, when: int, how: str) -> None:
    fill(store)
    expected = as_map(rows(store.log))
    stop = (
        store.directory.close
        if how == "close"
        else lambda: store.log.discard(ClosedError("t-0: the topic was deleted"))
    )
    with pytest.raises(ClosedError):
        meanwhile(store, stop, when)
    if how == "close":
        store.open()
        assert as_map(rows(store.log)) == expected
        assert not any(name.endswith(".cleaned") for name in store.names())
        check_log(store.log)
        clean(store)
        assert as_map(rows(store.log)) == expected


@pytest.mark.usefixtures("slow")
def test_readers_in_the_middle_of_a_segment_go_on(store: Store) -> None:
    fill(store)
    found: dict[bytes | None, bytes | None] = {}
    offset = 0
    steps = store.log.clean(NOW_MS, GIB)
    while offset < 60:
        for _ in range(3):
            next(steps, None)
        for batch in store.log.read_batches(offset, 1):
            columns = zip(batch.offsets(), batch.keys() or (), batch.values(), strict=True)
            found.update({key: value for at, key, value in columns if at >= offset})
            offset = max(offset + 1, batch.next_offset)
    assert found == {b"key-%d" % (number % 7): b"%d" % number for number in range(53, 60)}


def test_cmp_9_a_reader_that_keeps_up_ends_with_what_a_full_replay_has(store: Store) -> None:
    store.with_config(delete_retention_ms=100)
    seen: dict[bytes, bytes] = {}
    position, now_ms = 0, NOW_MS
    for turn in range(30):
        for number in range(5):
            value = None if (turn + number) % 3 == 0 else f"{turn}"
            put(store.log, (f"key-{(turn * number) % 11}", value))
        now_ms += 40
        clean(store, now_ms=now_ms)
        # Half of what there is: a reader that is behind, but not for as long as a tombstone stays.
        for row in rows(store.log):
            if position <= row.offset < store.log.log_end_offset - 5 and row.key is not None:
                position = row.offset + 1
                if row.value is None:
                    seen.pop(row.key, None)
                else:
                    seen[row.key] = row.value
    for row in rows(store.log):
        if row.offset >= position and row.key is not None:
            seen.update({row.key: row.value} if row.value is not None else {})
            if row.value is None:
                seen.pop(row.key, None)
    assert seen == as_map(rows(store.log))
    assert len(contents(store.log)) < 30


# ---- what stays as it is

LARGE = "x" * 9000


def late_change() -> tuple[Store, bytes]:
    """Return a log of two segments that are not merged, of which the second has a new value for the last key but one of the first;
    and what comes before that one.
    """
    store = Store(memory_disk_of(), segment_bytes=100_000, index_interval_bytes=0)
    for number in range(10):
        put(store.log, (f"key-{number}", LARGE))
    before = store.log.read(0, 1 << 20)[: store.log.segments[0].position_of(8)[0]]
    store.log.roll()
    put(store.log, ("key-8", "new"))
    for number in range(10, 13):
        put(store.log, (f"key-{number}", LARGE))
    store.log.roll()
    return store, before


LATE_CHANGE = {f"key-{n}".encode(): (LARGE if n != 8 else "new").encode() for n in range(13)}


def test_what_comes_before_the_first_change_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    store, before = late_change()
    monkeypatch.setattr(cleaning, "_COPIED_BYTES", 7000)
    result = finish(store.log.clean(NOW_MS, GIB))
    assert (result.segments_before, result.segments_after) == (2, 2)
    assert (result.records_before, result.records_after) == (14, 13)
    assert store.disk.read(store.segment_path(0)).startswith(before)
    assert as_map(rows(store.log)) == LATE_CHANGE
    check_log(store.log)
    store.reopen()
    assert as_map(rows(store.log)) == LATE_CHANGE


def test_a_segment_that_stays_as_it_is_is_not_written_again(store: Store) -> None:
    written: list[str] = []

    def note(call: str, path: str) -> None:
        if call == "write_at" and path.endswith(".cleaned"):
            written.append(path)

    disk = store.disk
    store = Store(
        Disk(HookedFileSystem(disk.filesystem, note), disk.root + "/other"), segment_bytes=100_000
    )
    for number in range(20):
        put(store.log, (f"key-{number}", LARGE))
    clean(store)
    assert written == []
    assert len(contents(store.log)) == 20


@pytest.mark.parametrize("what", ["truncate", "retain", "close", "append"])
@pytest.mark.usefixtures("slow")
def test_others_may_do_anything_while_it_is_copied(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(cleaning, "_COPIED_BYTES", 7000)
    steps = sum(1 for _ in late_change()[0].log.clean(NOW_MS, GIB))
    for when in range(1, steps):
        store, _ = late_change()
        if what == "truncate":
            meanwhile(store, lambda: store.log.truncate_to(3), when)  # noqa: B023
            assert set(as_map(rows(store.log))) <= {b"key-0", b"key-1", b"key-2"}
        elif what == "retain":
            meanwhile(store, lambda: store.log.advance_log_start(10), when)  # noqa: B023
            store.log.delete_expired(NOW_MS, store.log.log_end_offset)
            assert as_map(rows(store.log)).keys() >= {b"key-8", b"key-10"}
        elif what == "close":
            with pytest.raises(ClosedError):
                meanwhile(store, store.directory.close, when)
            store.open()
            assert as_map(rows(store.log)) == LATE_CHANGE
        else:
            meanwhile(store, lambda: put(store.log, ("key-0", "newest")), when)  # noqa: B023
            assert as_map(rows(store.log)) == {**LATE_CHANGE, b"key-0": b"newest"}
        check_log(store.log)
        assert not any(name.endswith(".cleaned") for name in store.names())


# ---- what goes wrong


def faulty_store() -> tuple[Store, FaultPlan]:
    plan = FaultPlan()
    disk = memory_disk_of()
    filesystem = FaultyFileSystem(disk.filesystem, plan)
    return Store(Disk(filesystem, disk.root), segment_bytes=1024, index_interval_bytes=0), plan


@pytest.mark.parametrize("call", ["write_at", "sync", "map"])
def test_a_full_disk_leaves_the_log_as_it_was(call: str) -> None:
    store, plan = faulty_store()
    fill(store)
    before = rows(store.log)
    plan.fail(call, errno.ENOSPC, path="*.cleaned")
    with pytest.raises((DiskFullError, OSError)):
        clean(store)
    assert not any(name.endswith(".cleaned") for name in store.names())
    assert rows(store.log) == before
    check_log(store.log)
    assert clean(store).is_complete
    assert len(contents(store.log)) == 7


def test_the_reserve_of_the_disk_is_not_touched() -> None:
    disk = memory_disk_of(2_000_000)
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
    fill(store)
    store.log._room._min_free_bytes = disk.filesystem.free_bytes(disk.root)
    before = rows(store.log)
    with pytest.raises(DiskFullError):
        finish(store.log.clean(NOW_MS, GIB))
    assert rows(store.log) == before
    check_log(store.log)


@pytest.mark.parametrize(
    ("offset", "clean_before"), [(0, False), (20, False), (45, False), (0, True)]
)
def test_damage_ends_the_pass_and_stays_where_it_is(
    store: Store, offset: int, clean_before: bool
) -> None:
    fill(store)
    if clean_before:
        clean(store)
        fill(store)
    segment = next(s for s in reversed(store.log.segments) if s.base_offset <= offset)
    place = segment.position_of(offset)[0] + (40 if clean_before else 90)
    store.reopen()
    store.disk.flip(segment.path, place)
    before = [s.path for s in store.log.segments]
    for _ in range(2):
        with pytest.raises(CorruptLogError) as caught:
            clean(store)
        assert caught.value.topic_partition == store.log.topic_partition
        assert caught.value.first_bad_offset == offset
    assert [s.path for s in store.log.segments][: len(before)] == before
    assert not any(name.endswith(".cleaned") for name in store.names())


def test_a_batch_of_a_newer_version_ends_the_pass(store: Store) -> None:
    batch = build_batch([b"1"], 1000, [b"a"])
    batch.body_encoding = 99
    store.log.append(batch)
    with pytest.raises(RecordDecodeError, match="newer version"):
        clean(store)
    check_end = store.log.segments[0]
    assert check_end.position > 0


def test_a_log_whose_sync_failed_is_not_cleaned() -> None:
    store, plan = faulty_store()
    fill(store)
    before = [s.path for s in store.log.segments]
    plan.fail("sync", errno.EIO, path="*.log")
    for _ in range(2):
        with pytest.raises(DurabilityError):
            finish(store.log.clean(NOW_MS, GIB))
    assert [s.path for s in store.log.segments] == before


def test_a_sync_that_fails_for_an_empty_segment_counts_as_well() -> None:
    store, plan = faulty_store()
    put(store.log, ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1"))
    store.log.sync()
    store.log.roll()
    plan.fail("sync", errno.EIO, path="*/00000000000000000005.log")
    with pytest.raises(DurabilityError):
        finish(store.log.clean(NOW_MS, GIB))


# ---- transactions whose end is not known


@pytest.mark.parametrize("what", ["header", "body", "no marker", "newer"])
def test_an_abort_that_cannot_be_read_keeps_the_records(
    store: Store, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = begin(7)
    put(store.log, ("a", "1"))
    put_for(store.log, stamp, ("a", "2"))
    store.log.roll()
    put(store.log, ("b", "1"))
    marker = end(store.log, stamp, commit=False)
    put(store.log, ("c", "1"))
    store.log.roll()
    segment = store.log.segments[1]
    place = segment.position_of(marker)[0]
    store.reopen()
    if what == "newer":

        def refuse(batch: object) -> object:
            raise RecordDecodeError("control batch: of a newer version")

        monkeypatch.setattr(cleaning, "read_marker", refuse)
    else:
        store.disk.flip(segment.path, place + (90 if what == "body" else 40))
    if what == "no marker":
        store.disk.filesystem.unlink(segment.transactions.path)
    before = store.disk.read(store.segment_path())
    with pytest.raises(CorruptLogError) as caught:
        finish(store.log.clean(NOW_MS, GIB, high_watermark=2))
    assert caught.value.first_bad_offset == (4 if what == "no marker" else marker)
    assert store.disk.read(store.segment_path()) == before


def test_transactions_of_which_the_log_has_no_beginning_any_more_do_not_count(
    store: Store,
) -> None:
    stamp = begin(7)
    put_for(store.log, stamp, ("a", "1"))
    store.log.roll()
    end(store.log, stamp, commit=False)
    put(store.log, ("b", "1"))
    store.log.advance_log_start(2)
    clean(store)
    assert contents(store.log) == [(2, "b", "1")]
    check_log(store.log)

"""A reader of a log that is compacted: what it sees is the log before a pass or after it, wherever the pass is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlog.storage.read_only_log import ReadOnlyLog
from tests.support.compaction import clean, put
from tests.support.following import Follower
from tests.support.hooked_files import CHANGING_CALLS, HookedFileSystem, Killed
from tests.support.storage import Disk, Store, read_batches

KEYS = 7


def fill(store: Store, count: int = 60) -> None:
    first = store.log.log_end_offset
    for number in range(first, first + count):
        put(store.log, (f"key-{number % KEYS}", f"{number}"))
    store.log.roll()


def records(log: ReadOnlyLog) -> dict[int, tuple[bytes | None, bytes | None]]:
    """Key and value by offset."""
    found = {}
    for batch in read_batches(log):
        for offset, key, value in zip(
            batch.offsets(), batch.keys() or [], batch.values(), strict=True
        ):
            found[offset] = key, value
    return found


@pytest.fixture
def follower(store: Store) -> Iterator[Follower]:
    fill(store)
    follower = Follower(store)
    yield follower
    follower.directory.close()


def test_what_was_cleaned_and_merged_is_seen_at_the_next_look(
    store: Store, follower: Follower
) -> None:
    assert len(records(follower.log)) == 60
    clean(store)
    store.directory.checkpoint()
    follower.refresh()
    assert records(follower.log) == records(Follower(store).log)
    assert len(records(follower.log)) == KEYS
    clean(store)
    store.directory.checkpoint()
    assert follower.refresh()
    assert [segment.base_offset for segment in follower.log.segments] == store.base_offsets()
    follower.check()


def test_files_that_were_replaced_before_they_were_opened_are_found_again(
    store: Store, follower: Follower
) -> None:
    late = Follower(store)
    clean(store)
    clean(store)
    for one in (follower, late):
        for segment in one.log.segments:
            segment._drop_files()
        found = records(one.log)
        assert len(found) == KEYS
        assert one.log.offset_of_max_timestamp() == store.log.offset_of_max_timestamp()
        one.refresh()
        one.check()


def test_at_every_step_of_a_pass_the_map_is_the_same(disk: Disk) -> None:
    """Readers of all ages look before each change of the disk; the last value of each key is always there, and its offset."""
    hooked = HookedFileSystem(disk.filesystem)
    store = Store(Disk(hooked, disk.root), segment_bytes=1024, index_interval_bytes=0)
    fill(store)
    expected = _last(store)
    old, looks = Follower(store, disk.filesystem), 0

    def look(call: str, path: str) -> None:
        nonlocal looks
        if call not in CHANGING_CALLS:
            return
        looks += 1
        for one in (old, Follower(store, disk.filesystem)):
            one.directory.refresh()
            one.log.refresh()
            found = records(one.log)
            assert {offset: found[offset] for offset in expected} == expected, (call, path)
            assert one.log.log_end_offset == 60

    for _ in range(2):
        hooked.hook = look
        clean(store)
        hooked.hook = lambda call, path: None
    assert looks > 20
    store.close()
    assert len(records(Follower(store, disk.filesystem).log)) == KEYS


def _last(store: Store) -> dict[int, tuple[bytes | None, bytes | None]]:
    found = records(Follower(store).log)
    newest = {key: offset for offset, (key, _) in found.items()}
    return {offset: found[offset] for offset in newest.values()}


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_a_pass_that_was_killed_is_read_as_it_is(disk: Disk, number: int) -> None:
    """And as the writer sees it that comes next."""
    calls = 0

    def kill(call: str, path: str) -> None:
        nonlocal calls
        if call in CHANGING_CALLS:
            calls += 1
            if calls > number:
                raise Killed

    hooked = HookedFileSystem(disk.filesystem)
    store = Store(Disk(hooked, disk.root), segment_bytes=1024, index_interval_bytes=0)
    fill(store)
    clean(store)
    expected = _last(store)
    hooked.hook = kill
    try:
        clean(store)
    except Killed:
        pass
    store.kill()
    hooked.hook = lambda call, path: None
    follower = Follower(store, disk.filesystem)
    found = records(follower.log)
    assert {offset: found[offset] for offset in expected} == expected
    store.open()
    follower.refresh()
    follower.check()

"""What may be compacted, and how dirty a log is."""

from __future__ import annotations

import pytest

from streamlog.storage.compaction.cleanable_range import CleanableRange
from tests.support.compaction import begin, clean, end, finish, put, put_for
from tests.support.storage import Store

GIB = 1 << 30


def fill(store: Store, count: int, *, first_ms: int = 1000) -> None:
    for number in range(count):
        put(store.log, (f"key-{number:03}", "v"), timestamp_ms=first_ms + number)


def test_cmp_2_the_active_segment_is_not_compacted(store: Store) -> None:
    fill(store, 3)
    found = store.log.cleanable(5000)
    assert found == CleanableRange(0, 0, 0, 0, 0, -1)
    assert found.dirty_ratio == 0.0
    store.log.roll()
    found = store.log.cleanable(5000)
    assert (found.end_offset, found.cleanable_bytes) == (3, store.log.size_bytes)
    assert found.dirty_ratio == 1.0


def test_cmp_2_the_range_ends_where_a_transaction_is_open(store: Store) -> None:
    fill(store, 9)
    store.log.roll()
    stamp = begin(7)
    put_for(store.log, stamp, ("a", "1"))
    store.log.roll()
    put(store.log, ("b", "1"))
    store.log.roll()
    assert store.log.last_stable_offset == 9
    assert store.log.cleanable(5000).end_offset == store.base_offsets()[-3] == 9
    end(store.log, stamp, commit=True)
    assert store.log.cleanable(5000).end_offset == store.base_offsets()[-1] == 11


@pytest.mark.parametrize(
    ("high_watermark", "expected"), [(0, 0), (8, 0), (9, 9), (17, 9), (27, 18)]
)
def test_cmp_2_the_range_ends_at_the_high_watermark(
    store: Store, high_watermark: int, expected: int
) -> None:
    store.fill(20)
    assert store.base_offsets() == [0, 9, 18]
    assert store.log.cleanable(5000, high_watermark).end_offset == expected


def test_cmp_2_the_range_ends_at_the_first_segment_with_a_young_record(store: Store) -> None:
    fill(store, 30)
    bases = store.base_offsets()
    assert len(bases) > 3
    store.with_config(min_compaction_lag_ms=500)
    newest_ms = [segment.largest_timestamp_ms() for segment in store.log.segments]
    for now_ms, count in ((newest_ms[0], 0), (newest_ms[0] + 499, 0), (newest_ms[0] + 500, 1)):
        assert store.log.cleanable(now_ms).end_offset == bases[count]
    assert store.log.cleanable(newest_ms[-1] + 500).end_offset == bases[-1]


def test_what_a_pass_has_seen_is_clean(store: Store) -> None:
    fill(store, 12)
    clean(store)
    clean_bytes = store.log.size_bytes
    assert store.log.cleanable(5000) == CleanableRange(0, 12, 12, clean_bytes, 0, -1)
    fill(store, 12, first_ms=3000)
    store.log.roll()
    found = store.log.cleanable(5000)
    assert found.clean_bytes == clean_bytes
    assert found.cleanable_bytes == store.log.size_bytes - clean_bytes
    assert 0 < found.dirty_ratio < 1
    assert found.oldest_dirty_timestamp_ms == 3000


def test_the_oldest_dirty_timestamp_is_that_of_the_oldest_segment_in_time(store: Store) -> None:
    for timestamp_ms in (3000, 1000, 2000):
        put(store.log, ("a", "1"), timestamp_ms=timestamp_ms)
        store.log.roll()
    assert store.log.cleanable(5000).oldest_dirty_timestamp_ms == 1000


def test_a_segment_that_a_pass_left_in_the_middle_is_partly_clean(store: Store) -> None:
    fill(store, 9)
    store.log.roll()
    result = finish(store.log.clean(2000, 700))
    assert 0 < result.end_offset < 9
    found = store.log.cleanable(5000)
    assert found.first_dirty_offset == result.end_offset
    assert found.clean_bytes > 0
    assert found.clean_bytes + found.cleanable_bytes == store.log.size_bytes


def test_the_log_start_bounds_what_is_dirty(store: Store) -> None:
    store.fill(30)
    assert store.base_offsets() == [0, 9, 18, 27]
    store.log.advance_log_start(12)
    found = store.log.cleanable(5000)
    assert (found.start_offset, found.first_dirty_offset, found.end_offset) == (12, 12, 27)
    segments = store.log.segments
    assert found.clean_bytes + found.cleanable_bytes == sum(s.position for s in segments[1:3])
    assert found.clean_bytes == 3 * 104
    assert store.log.first_dirty_offset == 12


def test_a_log_whose_start_is_in_the_active_segment_has_nothing_to_clean(store: Store) -> None:
    store.fill(20)
    store.log.advance_log_start(19)
    assert store.log.cleanable(5000) == CleanableRange(19, 18, 18, 0, 0, -1)


def test_damage_where_a_segment_begins_leaves_its_time_unknown(store: Store) -> None:
    store.fill(20)
    store.reopen()
    store.disk.flip(store.segment_path(0), 30)
    found = store.log.cleanable(5000)
    assert (found.end_offset, found.oldest_dirty_timestamp_ms) == (18, store.clock.time_ms())

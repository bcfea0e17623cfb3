"""Segments by base offset, compared with a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.runtime import MemoryFileSystem, TokenLock
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.segment import Segment


def segment(base_offset: int) -> Segment:
    return Segment(
        MemoryFileSystem(), "/", base_offset, OpenSegments(10), TokenLock(), 4096, 1 << 20
    )


@given(
    st.sets(st.integers(0, 2**40), min_size=1, max_size=40),
    st.lists(st.integers(0, 2**40), min_size=1, max_size=10),
    st.data(),
)
def test_lookups_agree_with_a_sorted_list(
    bases: set[int], wanted: list[int], data: st.DataObject
) -> None:
    segments = LogSegments()
    by_base = {base: segment(base) for base in bases}
    for base in data.draw(st.permutations(sorted(bases))):
        segments.add(by_base[base])
    removed = data.draw(st.sets(st.sampled_from(sorted(bases)), max_size=len(bases) - 1))
    for base in removed:
        segments.remove(by_base[base])
        segments.remove(by_base[base])  # nothing happens
    kept = sorted(bases - removed)
    assert [s.base_offset for s in segments.in_order()] == kept
    assert len(segments) == len(kept)
    assert segments.first().base_offset == kept[0]
    for target in [*wanted, *bases]:
        floor, higher = segments.floor(target), segments.higher(target)
        assert (floor and floor.base_offset) == max((b for b in kept if b <= target), default=None)
        assert (higher and higher.base_offset) == min((b for b in kept if b > target), default=None)


def test_the_list_is_a_copy() -> None:
    segments = LogSegments()
    segments.add(segment(0))
    before = segments.in_order()
    segments.add(segment(5))
    assert len(before) == 1


def test_unsynced_are_the_last_ones_up_to_the_first_that_needs_no_sync() -> None:
    segments = LogSegments()
    for base_offset in (0, 5, 9):
        new = segment(base_offset)
        new.position = new.synced_position = 96
        new.created_durably = True
        segments.add(new)
    assert segments.unsynced() == []
    second, third = segments.in_order()[1:]
    third.position = 192
    assert segments.unsynced() == [third]
    third.position = third.synced_position = 0
    third.created_durably = False  # empty, but its name is not durable
    second.position = 192
    assert segments.unsynced() == [second, third]


def test_abandoning_takes_no_lock() -> None:
    segments = LogSegments()
    segments.add(segment(0))
    with segments._lock:
        segments.abandon()

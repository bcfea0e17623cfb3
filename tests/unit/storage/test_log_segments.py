"""Segments by base offset, compared with a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.runtime import MemoryFileSystem, TokenLock
from streamlog.storage import log_segments
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


@pytest.mark.parametrize("change", ["add", "remove"])
def test_an_interrupted_change_leaves_what_was_there_and_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    class Interrupted(BaseException):
        pass

    segments, new = LogSegments([segment(0), segment(9)]), segment(5)
    if change == "remove":
        segments.add(new)
    before = [s.base_offset for s in segments.in_order()]

    def interrupted(*arguments: object) -> int:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(log_segments, "bisect_right", interrupted)
        with pytest.raises(Interrupted):
            getattr(segments, change)(new)
    assert [s.base_offset for s in segments.in_order()] == before
    getattr(segments, change)(new)
    assert [s.base_offset for s in segments.in_order()] == (
        [0, 5, 9] if change == "add" else [0, 9]
    )


def test_adding_again_replaces() -> None:
    segments, other = LogSegments([segment(0), segment(5)]), segment(5)
    segments.add(other)
    assert segments.in_order()[1] is other
    assert len(segments) == 2


def test_lookups_wait_for_no_change() -> None:
    segments = LogSegments([segment(0), segment(5)])
    with segments._lock:
        for found in (segments.floor(7), segments.higher(0), segments.unsynced()[-1]):
            assert found is segments.in_order()[1]

"""The sparse offset index, compared with a sorted map. Source: Kafka ``OffsetIndexTest``."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from streamlog.storage.offset_index import ENTRY_BYTES, OffsetIndex

U32 = 2**32 - 1
# Strictly increasing pairs, dense or far apart.
entries = st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), max_size=60).map(
    lambda steps: [
        (sum(o for o, _ in steps[: n + 1]), sum(p for _, p in steps[: n + 1]))
        for n in range(len(steps))
    ]
)


def index_of(pairs: list[tuple[int, int]]) -> OffsetIndex:
    index = OffsetIndex()
    for offset, position in pairs:
        index.append(offset, position)
    return index


def test_an_empty_index_points_at_the_start() -> None:
    index = OffsetIndex()
    assert index.floor(0) == index.floor(10**6) == index.floor_position(10**6) == 0
    assert index.last() is None
    assert len(index) == index.size_bytes == 0


@given(entries, st.lists(st.integers(0, 300_000), min_size=1))
def test_lookups_agree_with_a_sorted_map(pairs: list[tuple[int, int]], wanted: list[int]) -> None:
    index, by_offset = index_of(pairs), SortedDict(pairs)
    by_position = SortedDict((position, offset) for offset, position in pairs)
    for target in [*wanted, *by_offset, *by_position]:
        at = by_offset.bisect_right(target) - 1
        assert index.floor(target) == (by_offset.peekitem(at)[1] if at >= 0 else 0)
        at = by_position.bisect_right(target) - 1
        assert index.floor_position(target) == (by_position.peekitem(at)[0] if at >= 0 else 0)
    assert index.last() == (pairs[-1] if pairs else None)
    assert index.size_bytes == len(pairs) * ENTRY_BYTES == len(index.pack())


@given(entries, st.integers(0, 300_000))
def test_truncating_drops_the_entries_at_and_behind_the_position(
    pairs: list[tuple[int, int]], position: int
) -> None:
    index = index_of(pairs)
    index.mark_flushed()
    index.truncate(position)
    assert index.pack() == index_of([pair for pair in pairs if pair[1] < position]).pack()
    assert not index.has_unflushed
    index.append(U32, U32)
    assert index.has_unflushed
    assert index.unflushed() == struct.pack("<II", U32, U32)


@given(entries, st.integers(0, 300_000))
def test_what_was_packed_is_loaded_up_to_the_end_of_the_log(
    pairs: list[tuple[int, int]], end: int
) -> None:
    index = OffsetIndex()
    took_all = index.load(index_of(pairs).pack(), end)
    kept = [pair for pair in pairs if pair[1] < end]
    assert index.pack() == index_of(kept).pack()
    assert took_all == (len(kept) == len(pairs))
    assert not index.has_unflushed


@pytest.mark.parametrize(
    "pairs",
    [
        [(1, 10), (1, 20)],
        [(1, 10), (2, 10)],
        [(2, 10), (1, 20)],
        [(1, 20), (2, 10)],
    ],
)
def test_entries_out_of_order_are_refused_with_all_that_follow(
    pairs: list[tuple[int, int]],
) -> None:
    index = OffsetIndex()
    assert not index.load(index_of([*pairs, (50, 500)]).pack(), 1000)
    assert index.last() == pairs[0]


@given(st.binary(max_size=200))
def test_any_bytes_load_without_an_error(data: bytes) -> None:
    index = OffsetIndex()
    whole = index.load(data, U32)
    assert index.pack() == data[: len(index) * ENTRY_BYTES]
    assert whole == (len(index) * ENTRY_BYTES == len(data))


def test_a_reader_that_sees_an_offset_without_its_position_is_safe() -> None:
    # Both arrays are appended to one after the other, while readers look.
    index = index_of([(5, 50)])
    index._relative_offsets.append(9)
    assert index.floor(10) == 50


def test_only_what_was_added_since_is_unflushed() -> None:
    index = index_of([(1, 10)])
    assert index.unflushed() == struct.pack("<II", 1, 10)
    index.mark_flushed()
    assert index.unflushed() == b""
    index.append(2, 20)
    assert index.unflushed() == struct.pack("<II", 2, 20)


def test_half_an_entry_that_an_interrupt_left_is_not_told_as_the_last_one() -> None:
    index = index_of([(1, 10), (3, 30)])
    index._relative_offsets.append(5)  # Ctrl-C before its position, and then the segment was full
    assert index.last() == (3, 30)
    assert list(index.entries()) == [(1, 10), (3, 30)]
    index._check()


def test_half_an_entry_that_an_interrupt_left_gives_way_to_the_next_one() -> None:
    index = OffsetIndex()
    index.append(0, 0)
    index._relative_offsets.append(5)  # Ctrl-C before its position
    index.append(5, 300)
    assert list(index.entries()) == [(0, 0), (5, 300)]
    index._check()

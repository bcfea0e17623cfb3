"""The sparse time index, compared with a plain search. Source: Kafka ``TimeIndexTest``."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.storage.time_index import ENTRY_BYTES, TimeIndex

# Timestamps of records one after the other: rising, falling, equal, and as large as they come.
stamps = st.lists(st.one_of(st.integers(0, 50), st.integers(0, 2**63 - 1)), max_size=60)


def index_of(timestamps_ms: list[int]) -> TimeIndex:
    """Offer each new maximum, as a segment does."""
    index = TimeIndex()
    greatest = -1
    for offset, timestamp_ms in enumerate(timestamps_ms):
        if timestamp_ms > greatest:
            greatest, at = timestamp_ms, offset
        index.maybe_append(greatest, at)
    return index


def test_an_empty_index_starts_at_the_beginning() -> None:
    index = TimeIndex()
    assert index.floor(0) == index.floor(2**63 - 1) == 0
    assert index.last() is None
    assert len(index) == index.size_bytes == 0


@given(stamps, st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_no_record_before_the_floor_is_late_enough(
    timestamps_ms: list[int], wanted: list[int]
) -> None:
    index = index_of(timestamps_ms)
    for target in [*wanted, *timestamps_ms]:
        floor = index.floor(target)
        assert all(stamp < target for stamp in timestamps_ms[:floor])
    if timestamps_ms:
        greatest = max(timestamps_ms)
        assert index.last() == (greatest, timestamps_ms.index(greatest))


def test_an_equal_or_lower_maximum_adds_nothing() -> None:
    index = TimeIndex()
    index.maybe_append(10, 1)
    index.maybe_append(10, 2)
    index.maybe_append(9, 3)
    assert len(index) == 1
    assert index.last() == (10, 1)


@given(stamps, st.integers(0, 60))
def test_truncating_drops_the_entries_at_and_behind_the_offset(
    timestamps_ms: list[int], offset: int
) -> None:
    index = index_of(timestamps_ms)
    index.mark_flushed()
    index.truncate(offset)
    assert index.pack() == index_of(timestamps_ms[:offset]).pack()
    assert not index.has_unflushed


@given(stamps, st.integers(0, 60))
def test_what_was_packed_is_loaded_up_to_the_end_of_the_log(
    timestamps_ms: list[int], end: int
) -> None:
    index, whole = TimeIndex(), index_of(timestamps_ms)
    took_all = index.load(whole.pack(), end)
    expected = index_of(timestamps_ms)
    expected.truncate(end)
    assert index.pack() == expected.pack()
    assert took_all == (len(index) == len(whole))


@pytest.mark.parametrize(
    "pairs", [[(5, 1), (5, 2)], [(5, 1), (4, 2)], [(5, 1), (6, 1)], [(5, 2), (6, 1)]]
)
def test_entries_out_of_order_are_refused_with_all_that_follow(
    pairs: list[tuple[int, int]],
) -> None:
    index = TimeIndex()
    data = b"".join(struct.pack("<qq", *pair) for pair in [*pairs, (99, 50)])
    assert not index.load(data, 1000)
    assert index.last() == pairs[0]


@given(st.binary(max_size=200))
def test_any_bytes_load_without_an_error(data: bytes) -> None:
    index = TimeIndex()
    whole = index.load(data, 2**62)
    assert index.pack() == data[: len(index) * ENTRY_BYTES]
    assert whole == (len(index) * ENTRY_BYTES == len(data))


def test_a_reader_that_sees_a_timestamp_without_its_offset_is_safe() -> None:
    index = index_of([7])
    index._timestamps_ms.append(9)
    assert index.floor(10) == 0


def test_only_what_was_added_since_is_unflushed() -> None:
    index = index_of([1])
    assert index.has_unflushed
    assert index.size_bytes == ENTRY_BYTES
    index.mark_flushed()
    assert not index.has_unflushed
    index.maybe_append(2, 5)
    assert index.unflushed() == struct.pack("<qq", 2, 5)


def test_half_an_entry_that_an_interrupt_left_gives_way_to_the_next_one() -> None:
    index = TimeIndex()
    index.maybe_append(100, 0)
    index._timestamps_ms.append(200)  # Ctrl-C before its offset
    index.maybe_append(200, 3)
    assert list(index.entries()) == [(100, 0), (200, 3)]
    index._check()

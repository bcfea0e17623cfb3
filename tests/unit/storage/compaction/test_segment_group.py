"""Which segments are merged."""

from __future__ import annotations

import pytest

from streamlog.storage.compaction import segment_group
from streamlog.storage.compaction.segment_group import group_segments
from tests.support.storage import Store

GIB = 1 << 30


def grouped(store: Store, segment_bytes: int, index_bytes: int = GIB) -> list[list[int]]:
    groups = group_segments(store.log.segments[:-1], segment_bytes, index_bytes)
    return [[segment.base_offset for segment in group] for group in groups]


@pytest.fixture
def filled(store: Store) -> Store:
    """Four sealed segments of 9 batches, 936 bytes."""
    store.fill(40)
    assert store.base_offsets() == [0, 9, 18, 27, 36]
    return store


def test_cmp_8_neighbours_are_merged_up_to_the_size_of_a_segment(filled: Store) -> None:
    assert grouped(filled, 2 * 936) == [[0, 9], [18, 27]]
    assert grouped(filled, 3 * 936) == [[0, 9, 18], [27]]
    assert grouped(filled, 4 * 936) == [[0, 9, 18, 27]]


def test_a_segment_above_the_limit_stays_alone(filled: Store) -> None:
    assert grouped(filled, 2 * 936 - 1) == [[0], [9], [18], [27]]
    assert grouped(filled, 1) == [[0], [9], [18], [27]]


def test_the_indexes_of_a_group_keep_to_their_limit(filled: Store) -> None:
    offsets = filled.log.segments[0].offset_index.size_bytes
    times = filled.log.segments[0].time_index.size_bytes
    assert offsets > times > 0
    assert grouped(filled, GIB, 2 * offsets) == [[0, 9], [18, 27]]
    assert grouped(filled, GIB, 2 * offsets - 1) == [[0], [9], [18], [27]]


def test_the_time_indexes_of_a_group_keep_to_their_limit(store: Store) -> None:
    for number in range(40):
        store.append(b"12345678", timestamp_ms=number)
    times = store.log.segments[0].time_index.size_bytes
    assert times > store.log.segments[0].offset_index.size_bytes
    assert grouped(store, GIB, 2 * times - 1) == [[0], [9], [18], [27]]


def test_the_offsets_of_a_group_fit_its_index(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_group, "MAX_RELATIVE_OFFSET", 18)
    assert grouped(filled, GIB) == [[0, 9], [18, 27]]
    assert group_segments([], GIB, GIB) == []

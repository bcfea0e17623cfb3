"""Walking a segment and finding the next good batch behind a bad place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record.layout import MAGIC
from streamlog.storage.batch_scan import (
    body_is_good,
    find_next_batch,
    header_at,
    headers_from,
    is_zero,
    resync,
)
from tests.support.segments import append, new_segment
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from streamlog.runtime import Mapping

BATCH = 104


def image(count: int = 6) -> bytearray:
    """A file of *count* batches of one record each, offsets from 0, and room behind them."""
    segment = new_segment(memory_disk_of())
    for number in range(count):
        append(segment, b"%08d" % number)
    return bytearray(segment.mapping_for_read()[: segment.position + 500])


def as_mapping(data: bytearray) -> Mapping:
    return bytes(data)  # type: ignore[return-value]


def test_a_header_counts_only_if_its_whole_batch_is_there() -> None:
    data = as_mapping(image(1))
    header = header_at(data, 0, BATCH)
    assert header is not None
    assert header_at(data, 0, header.length - 1) is None
    assert header_at(data, 0, 40) is None
    assert header_at(data, 8, BATCH) is None
    assert body_is_good(data, 0, header)


def test_the_walk_ends_at_the_first_bad_header_or_the_end() -> None:
    data = image()
    assert [h.base_offset for _, h in headers_from(as_mapping(data), BATCH, len(data))] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert [p for p, _ in headers_from(as_mapping(data), 0, 3 * BATCH)] == [0, BATCH, 2 * BATCH]
    data[3 * BATCH + 20] ^= 1
    assert [p for p, _ in headers_from(as_mapping(data), 0, len(data))] == [0, BATCH, 2 * BATCH]


def test_the_search_believes_whole_batches_only() -> None:
    data = image()
    data[2 * BATCH + 90] ^= 1  # a body
    data[3 * BATCH + 20] ^= 1  # a header
    found = find_next_batch(as_mapping(data), 2 * BATCH, len(data), 0)
    assert found is not None
    assert (found[0], found[1].base_offset) == (4 * BATCH, 4)


def test_the_search_leaves_out_earlier_offsets() -> None:
    data = as_mapping(image())
    found = find_next_batch(data, 0, len(data), 3)
    assert found is not None
    assert found[0] == 3 * BATCH
    assert find_next_batch(data, 0, len(data), 6) is None
    assert find_next_batch(data, 0, 3 * BATCH, 3) is None


def test_the_search_is_not_taken_in_by_bytes_that_look_like_a_header() -> None:
    data = image(1)
    for position in (BATCH + 8, BATCH + 31, BATCH + 60):
        data[position : position + 4] = MAGIC
    assert find_next_batch(as_mapping(data), BATCH, len(data), 0) is None


@given(st.binary(max_size=400), st.integers(0, 60))
def test_any_bytes_are_searched_without_an_error(data: bytes, start: int) -> None:
    mapping = as_mapping(bytearray(data.replace(b"\x01\x01", MAGIC)))
    assert find_next_batch(mapping, start, len(mapping), 0) is None
    assert resync(mapping, start & -8, len(mapping), 0) is None
    assert list(headers_from(mapping, 0, len(mapping))) == []


@pytest.mark.parametrize("position", range(16))
@pytest.mark.parametrize("mask", [0x01, 0x18, 0xFF])
def test_the_next_batch_is_found_whichever_byte_of_the_frame_is_damaged(
    position: int, mask: int
) -> None:
    data = image()
    data[BATCH + position] ^= mask
    found = resync(as_mapping(data), BATCH, len(data), 1)
    assert found is not None
    assert (found[0], found[1].base_offset) == (2 * BATCH, 2)


def test_a_place_that_is_good_after_all_is_its_own_next() -> None:
    data = as_mapping(image())
    found = resync(data, BATCH, len(data), 1)
    assert found is not None
    assert found[0] == BATCH
    found = resync(data, BATCH, len(data), 2)  # not for those who look further on
    assert found is not None
    assert found[0] == 2 * BATCH


def test_behind_a_torn_batch_there_is_nothing() -> None:
    data = image(3)
    data[2 * BATCH : 2 * BATCH + 8] = bytes(8)
    data[2 * BATCH + 96 : 2 * BATCH + 96 + BATCH] = data[:BATCH]  # inside its value, say
    data[2 * BATCH + 12 : 2 * BATCH + 16] = (400).to_bytes(4, "little")
    assert resync(as_mapping(data), 2 * BATCH, len(data), 2) is None


def test_a_length_of_zero_and_another_offset_is_damage_like_any_other() -> None:
    data = image(4)
    data[2 * BATCH : 2 * BATCH + 8] = bytes(8)
    data[2 * BATCH + 12 : 2 * BATCH + 24] = bytes([0x55] * 12)
    found = resync(as_mapping(data), 2 * BATCH, len(data), 2)
    assert found is not None
    assert found[0] == 3 * BATCH


@given(st.integers(0, 200_000), st.integers(0, 200_000), st.integers(0, 200_000))
def test_zero_means_every_byte(start: int, end: int, at: int) -> None:
    data = bytearray(200_000)
    assert is_zero(as_mapping(data), start, end)
    if at < 200_000:
        data[at] = 1
        assert is_zero(as_mapping(data), start, end) == (not start <= at < end)

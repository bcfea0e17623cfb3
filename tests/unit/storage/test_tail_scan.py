"""Counting the batches of a tail: the quick way has to agree with the rules it spells out, whatever the bytes are."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record import build_batch
from streamlog.record.layout import (
    HEADER,
    HEADER_SIZE,
    TRANSACTIONAL_BIT,
    BatchHeader,
    aligned,
    header_checksum,
)
from streamlog.storage.batch_scan import body_is_good, headers_from
from streamlog.storage.tail_scan import TailScan, scan_tail
from streamlog.structs import NO_TIMESTAMP
from tests.support.segments import T0, append, new_segment
from tests.support.sparse import Kept, append_cleaned
from tests.unit.storage.conftest import memory_disk_of


@dataclass
class Timestamps:
    """What a segment does with the batches that a scan tells it of, and no more."""

    max_timestamp_ms: int = NO_TIMESTAMP
    first_timestamp_ms: int = NO_TIMESTAMP
    offsets: list[int] = field(default_factory=list)

    def note_timestamp(self, position: int, header: BatchHeader) -> None:
        if position == 0:
            self.first_timestamp_ms = header.max_timestamp_ms
        if header.max_timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = header.max_timestamp_ms
            self.offsets.append(header.base_offset)


def by_the_rules(
    noted: Timestamps, data: bytes, position: int, end: int, expected_offset: int
) -> TailScan:
    batches = records = 0
    epochs: list[tuple[int, int]] = []
    greatest_producer_id, has_transactions = -1, False
    for at, header in headers_from(data, position, end):  # type: ignore[arg-type]
        if header.base_offset != expected_offset or not body_is_good(data, at, header):  # type: ignore[arg-type]
            break
        noted.note_timestamp(at, header)
        batches, records = batches + 1, records + header.record_count
        if header.leader_epoch > max((epoch for epoch, _ in epochs), default=-1):
            epochs.append((header.leader_epoch, header.base_offset))
        greatest_producer_id = max(greatest_producer_id, header.producer_id)
        has_transactions |= bool(header.attributes & TRANSACTIONAL_BIT)
        expected_offset, position = header.next_offset, at + header.aligned_size
    return TailScan(
        position,
        expected_offset,
        batches,
        records,
        epochs,
        greatest_producer_id,
        has_transactions,
    )


def assert_same(data: bytes, position: int = 0, expected_offset: int = 0) -> TailScan:
    quick, slow = Timestamps(), Timestamps()
    found = scan_tail(quick, data, position, len(data), expected_offset)  # type: ignore[arg-type]
    assert found == by_the_rules(slow, data, position, len(data), expected_offset)
    assert quick == slow
    return found


def three_batches() -> bytes:
    """Three batches of 1, 3 and 2 records, the second one the newest, and room behind them."""
    segment = new_segment(memory_disk_of(), 0)
    append(segment, b"one", timestamp_ms=T0)
    append(segment, b"two", None, b"", timestamp_ms=T0 + 9)
    append(segment, b"three", b"x" * 40, timestamp_ms=T0 + 4)
    return segment.mapping_for_read()[: segment.position] + bytes(96)


DATA = three_batches()
LENGTHS = (80 + 12 + 1 + 5, 80 + 12 + 1 + 5 + 1 + 2, 80 + 12 + 1 + 7 + 42)
STARTS = (0, aligned(LENGTHS[0]), aligned(LENGTHS[0]) + aligned(LENGTHS[1]))


def test_all_batches_are_counted_up_to_the_empty_room() -> None:
    found = assert_same(DATA)
    assert (found.position, found.next_offset) == (len(DATA) - 96, 6)
    assert (found.batches, found.records) == (3, 6)


def test_epochs_are_found_where_they_begin() -> None:
    segment = new_segment(memory_disk_of(), 0)
    for epoch in (3, 3, 5, 5, 7):
        append(segment, b"a", b"b", leader_epoch=epoch)
    found = assert_same(segment.mapping_for_read()[: segment.position])
    assert found.epochs == [(3, 0), (5, 4), (7, 8)]


def test_producers_and_transactions_are_noticed() -> None:
    segment = new_segment(memory_disk_of(), 0)
    for number, producer_id in enumerate((7, 9, -1)):
        batch = build_batch([b"v"], T0)
        batch.producer_id, batch.attributes = producer_id, number & 1 and TRANSACTIONAL_BIT
        segment.reserve(segment.position + 200, 4096)
        segment.append(batch, number, 0)
    data = segment.mapping_for_read()[: segment.position]
    found = assert_same(data)
    assert (found.greatest_producer_id, found.has_transactions) == (9, True)
    assert assert_same(data[: segment.position // 3]).has_transactions is False


def test_a_scan_may_start_in_the_middle() -> None:
    found = assert_same(DATA, STARTS[1], 1)
    assert (found.batches, found.records, found.next_offset) == (2, 5, 6)


def test_a_batch_with_another_offset_ends_the_scan() -> None:
    assert assert_same(DATA, 0, 7) == TailScan(0, 7, 0, 0, [], -1, False)


def test_nothing_is_counted_in_nothing() -> None:
    assert assert_same(b"") == TailScan(0, 0, 0, 0, [], -1, False)


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_every_flipped_byte_is_seen_as_the_rules_see_it(flip: int) -> None:
    for start, length in zip(STARTS, LENGTHS, strict=True):
        for place in range(start, start + length):
            damaged = bytearray(DATA)
            damaged[place] ^= flip
            assert assert_same(bytes(damaged)).position == start


@pytest.mark.parametrize("size", range(len(DATA) + 1))
def test_every_cut_is_seen_as_the_rules_see_it(size: int) -> None:
    whole = [start for start, length in zip(STARTS, LENGTHS, strict=True) if start + length <= size]
    assert assert_same(DATA[:size]).batches == len(whole)


@pytest.mark.parametrize(
    ("number", "value"),
    [(0, 2**32 - 1), (3, 0), (4, -1), (10, 2), (11, 2**32 - 1), (18, -5)],
    ids=["length", "body_size", "base_offset", "record_count", "last_offset_delta", "timestamp"],
)
def test_a_lie_with_a_right_checksum_is_judged_as_the_rules_do(number: int, value: int) -> None:
    fields = list(HEADER.unpack(DATA[:HEADER_SIZE]))
    fields[number] = value
    fields[1] = header_checksum(HEADER.pack(*fields))
    lie = HEADER.pack(*fields) + DATA[HEADER_SIZE:]
    assert_same(lie)


@given(
    sizes=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=3), max_size=6),
    damage=st.lists(st.tuples(st.integers(0, 800), st.binary(min_size=1, max_size=9)), max_size=3),
    times=st.lists(st.integers(0, 50), min_size=6, max_size=6),
)
def test_any_damage_is_seen_as_the_rules_see_it(
    sizes: list[list[int]], damage: list[tuple[int, bytes]], times: list[int]
) -> None:
    segment = new_segment(memory_disk_of(), 0)
    for lengths, time in zip(sizes, times, strict=False):
        append(segment, *(b"v" * length for length in lengths), timestamp_ms=T0 + time)
    data = bytearray(segment.mapping_for_read()[: segment.position] if sizes else b"")
    for place, content in damage:
        if place + len(content) <= len(data):
            data[place : place + len(content)] = content
    assert_same(bytes(data))


def test_a_whole_batch_of_the_past_is_not_taken_for_the_next_one() -> None:
    again = DATA[: STARTS[1]] * 2
    assert assert_same(again).batches == 1


def test_batches_with_gaps_and_without_records_are_counted_by_their_ranges() -> None:
    segment = new_segment(memory_disk_of())
    append_cleaned(segment, [Kept(1), Kept(4)], 6)
    append_cleaned(segment, [], 3)
    append(segment, b"dense")
    found = assert_same(segment.mapping_for_read()[: segment.position])
    assert (found.batches, found.records, found.next_offset) == (3, 3, 10)
    assert found.position == segment.position

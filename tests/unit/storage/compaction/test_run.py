"""Which records may be in one batch."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.record import BatchView, build_batch
from streamlog.record.layout import (
    COLUMNS_ENCODING,
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    BatchHeader,
)
from streamlog.storage.compaction.run import Columns, Run

TIME_MS = 1000


def batch(base_offset: int, count: int = 2, **fields: Any) -> BatchView:
    """Return a batch of records of 100 bytes with keys of one byte, as it would be read."""
    keys: list[bytes | None] = [b"%d" % (number % 10) for number in range(count)]
    built = build_batch([b"x" * 100] * count, TIME_MS, keys)
    header = BatchHeader(
        *(HEADER_SIZE + len(built.body), 0, MAGIC, len(built.body), base_offset, 0, 3, 0),
        *(COLUMNS_ENCODING, 0, count, count - 1, -1, -1, -1, 0, 0, TIME_MS, TIME_MS),
    )
    return BatchView(header._replace(**fields), built.body)


def run_of(first: BatchView, horizon_ms: int | None = None) -> Run:
    run = Run(first.base_offset, first.leader_epoch)
    columns = Columns.of(first, range(first.record_count))
    run.take(first, columns, columns.size_bytes(first), horizon_ms)
    return run


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({}, True),
        ({"max_timestamp_ms": TIME_MS + 1}, True),
        ({"producer_id": 7, "base_sequence": 0}, True),
        ({"leader_epoch": 4}, False),
        ({"attributes": LOG_APPEND_TIME_BIT}, False),
        ({"attributes": 2}, False),
    ],
)
def test_neighbours_that_say_the_same_in_their_headers_are_joined(
    fields: dict[str, Any], may: bool
) -> None:
    assert run_of(batch(0)).can_take(batch(2, **fields), 300, None, 10_000) is may


def test_log_append_times_have_to_be_equal() -> None:
    first = batch(0, attributes=LOG_APPEND_TIME_BIT)
    run = run_of(first)
    assert run.can_take(batch(2, attributes=LOG_APPEND_TIME_BIT), 300, None, 10_000)
    later = batch(2, attributes=LOG_APPEND_TIME_BIT, max_timestamp_ms=TIME_MS + 1)
    assert not run.can_take(later, 300, None, 10_000)


def test_offsets_without_records_say_nothing_of_those_behind_them() -> None:
    run = Run(0, 3)
    run.cover(batch(0, attributes=2, max_timestamp_ms=TIME_MS + 5))
    assert run.can_take(batch(2), 300, None, 100)
    assert not run.can_take(batch(2, leader_epoch=4), 300, None, 100)
    assert (run.base_offset, run.next_offset, run.max_timestamp_ms) == (0, 2, TIME_MS + 5)


@pytest.mark.parametrize(
    ("horizons", "may"), [((None, 5), True), ((5, None), True), ((5, 5), True), ((5, 6), False)]
)
def test_cmp_5_horizons_have_to_be_equal_where_there_are_two(
    horizons: tuple[int | None, int | None], may: bool
) -> None:
    run = run_of(batch(0), horizons[0])
    assert run.can_take(batch(2), 300, horizons[1], 10_000) is may


@pytest.mark.parametrize("kept", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_the_size_is_never_below_what_the_records_take(kept: tuple[int, ...]) -> None:
    whole = batch(0, 3)
    columns = Columns.of(whole, kept)
    rest = build_batch(columns.values, columns.timestamps_ms, columns.keys)
    assert len(rest.body) <= columns.size_bytes(whole) <= len(rest.body) + 30 * len(kept)
    run = Run(0, 3)
    run.take(whole, columns, columns.size_bytes(whole), None)
    assert run.offsets == list(kept)
    assert not run.can_take(batch(3), 10_000 - run.size_bytes + 1, None, 10_000)
    assert run.can_take(batch(3), 10_000 - run.size_bytes, None, 10_000)

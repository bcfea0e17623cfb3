"""Building batches, from columns and one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record import BatchBuilder, PendingBatch, build_batch, build_single_value_batch
from streamlog.record.columns import ColumnReader
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE, TRANSACTIONAL_BIT

T0 = 1_700_000_000_000
blobs = st.none() | st.binary(max_size=10)
rows = st.lists(
    st.tuples(
        blobs,
        blobs,
        st.integers(0, 2**63 - 1),
        st.lists(st.tuples(st.text(max_size=3), blobs), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=10,
)


def columns(batch: PendingBatch) -> ColumnReader:
    return ColumnReader(memoryview(batch.body), batch.record_count)


@given(rows)
def test_record_by_record_and_by_column_give_the_same_batch(rows: list[Any]) -> None:
    builder = BatchBuilder()
    for value, key, timestamp_ms, headers in rows:
        builder.append(value, key, timestamp_ms=timestamp_ms, headers=headers)
    assert len(builder) == len(rows)
    values, keys, stamps, headers = map(list, zip(*rows, strict=True))
    one, other = builder.build(), build_batch(values, stamps, keys, headers)
    for name in PendingBatch.__slots__:
        assert getattr(one, name, None) == getattr(other, name, None)
    assert one.record_count == len(rows)
    assert (one.first_timestamp_ms, one.max_timestamp_ms) == (stamps[0], max(stamps))
    assert one.min_timestamp_ms == min(stamps)
    assert one.has_null_keys == (None in keys)
    assert one.size_bytes == HEADER_SIZE + len(one.body)
    deltas = columns(one).timestamp_deltas() or [0] * len(rows)
    assert [stamps[0] + delta for delta in deltas] == stamps


def test_a_batch_has_at_least_one_record() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        BatchBuilder().build()


def test_every_record_keeps_its_own_timestamp() -> None:
    # A classic slip: a variable of the loop gave every record the first one's.
    batch = build_batch([b""] * 4, [T0 + 5, T0, T0 + 9, T0 + 5])
    assert columns(batch).timestamp_deltas() == [0, -5, 4, 0]
    assert (batch.first_timestamp_ms, batch.min_timestamp_ms, batch.max_timestamp_ms) == (
        T0 + 5,
        T0,
        T0 + 9,
    )


@pytest.mark.parametrize("stamps", [T0, [T0, T0, T0]])
def test_equal_timestamps_take_no_room(stamps: int | list[int]) -> None:
    assert columns(build_batch([b"", None, b"x"], stamps)).timestamp_deltas() is None


def test_columns_of_nothing_take_no_room() -> None:
    plain = build_batch([b"v", b"w"], T0)
    assert build_batch([b"v", b"w"], T0, [None, None], [(), ()]).body == plain.body
    assert plain.has_null_keys


def test_rec_7_null_keys_are_noted() -> None:
    assert not build_batch([b"v", b"w"], T0, [b"", b"k"]).has_null_keys
    assert build_batch([b"v", b"w"], T0, [b"k", None]).has_null_keys


def test_one_value_is_a_batch_like_any_other() -> None:
    one, other = build_single_value_batch(b"v", T0), build_batch([b"v"], T0)
    for name in PendingBatch.__slots__:
        assert getattr(one, name, None) == getattr(other, name, None)


def test_what_kind_of_batch_it_is() -> None:
    batch = build_single_value_batch(b"v", T0)
    assert not batch.is_control
    assert not batch.is_transactional
    batch.attributes |= CONTROL_BIT
    assert batch.is_control
    assert not batch.is_transactional
    batch.attributes |= TRANSACTIONAL_BIT
    assert batch.is_transactional

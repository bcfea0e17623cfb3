"""Bodies of batches that lost records: what is left, at its old offset; and any bytes at all, which give a named error."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import RecordDecodeError
from streamlog.record.columns import Headers, encode_columns
from streamlog.record.sparse_columns import SparseColumnReader, encode_sparse_columns
from tests.unit.record.test_columns import blobs, header_lists

survivors = st.dictionaries(
    st.integers(0, 2**32 - 1),
    st.tuples(blobs, blobs, st.integers(-(2**62), 2**62), header_lists),
    min_size=1,
    max_size=20,
).map(lambda rows: sorted(rows.items()))

BASE = 1000


def reader(body: bytes, count: int, last_offset_delta: int = 9) -> SparseColumnReader:
    return SparseColumnReader(memoryview(body), count, BASE, last_offset_delta)


def body_of(offsets: object, columns: bytes | None = None, size: int | None = None) -> bytes:
    """Pack whatever is given as offsets, in front of the column of one value."""
    packed = offsets if isinstance(offsets, bytes) else msgpack.packb(offsets)
    rest = encode_columns([b"v"], None, None, None) if columns is None else columns
    return struct.pack("<I", len(packed) if size is None else size) + packed + rest


# ---- round trip


@given(survivors, st.integers(0, 2**62), st.integers(0, 100))
def test_records_come_back_at_their_offsets(
    rows: list[tuple[int, tuple[Any, Any, int, Headers]]], base_offset: int, removed_tail: int
) -> None:
    """CMP-3: offsets and order of what is left never change."""
    deltas = [delta for delta, _ in rows]
    values, keys, stamps, headers = map(list, zip(*(row for _, row in rows), strict=True))
    body = encode_sparse_columns(deltas, values, keys, stamps, headers)
    found = SparseColumnReader(
        memoryview(body), len(rows), base_offset, min(deltas[-1] + removed_tail, 2**32 - 1)
    )
    found.check()
    assert found.offsets == [base_offset + delta for delta in deltas]
    assert found.values() == values
    assert found.keys() == keys
    assert found.timestamp_deltas() == stamps
    assert found.headers() == headers


def test_columns_that_are_absent_stay_so() -> None:
    found = reader(encode_sparse_columns([2, 5], [b"a", None], None, None, None), 2)
    assert found.offsets == [1002, 1005]
    assert found.values() == [b"a", None]
    assert found.has_values_only
    assert (found.keys(), found.timestamp_deltas(), found.headers()) == (None, None, None)


def test_the_offsets_are_where_the_table_says() -> None:
    columns = encode_columns([b"a", b"b"], [b"k", None], [0, 1], None)
    body = encode_sparse_columns([1, 300], [b"a", b"b"], [b"k", None], [0, 1], None)
    assert body == b"\x05\0\0\0" + b"\x92\x01\xcd\x01\x2c" + columns


# ---- any bytes


@pytest.mark.parametrize(
    ("body", "count", "what"),
    [
        (b"", 1, "expected at least 4 bytes, found 0"),
        (bytes(3), 1, "expected at least 4 bytes, found 3"),
        (body_of([3], size=99), 1, "offsets of 103 bytes in a body of 22"),
        (body_of([3], b""), 1, "expected at least 12 bytes, found 0"),
        (body_of([3]), 9, "9 records in a values column of 4 bytes"),
        (body_of([3, 4]), 1, "offsets column is not valid msgpack"),
        (body_of([3]), 2, "offsets column: expected 2 elements, found 1"),
        (body_of(3), 1, "offsets column: expected 1 elements, found int"),
        (body_of(b""), 1, "offsets column is not valid msgpack"),
        (body_of([], b""), 0, "expected at least 12 bytes|expected rising numbers"),
        (body_of([]), 0, r"expected rising numbers from 0 to 9, found \[\]"),
        (body_of([10]), 1, r"expected rising numbers from 0 to 9, found \[10\]"),
        (body_of([-1]), 1, r"expected rising numbers from 0 to 9, found \[-1\]"),
        (body_of([True]), 1, r"expected rising numbers from 0 to 9, found \[True\]"),
        (body_of([1.5]), 1, r"expected rising numbers from 0 to 9, found \[1.5\]"),
        (body_of([None]), 1, r"expected rising numbers from 0 to 9, found \[None\]"),
        (body_of([3, 3]), 2, r"expected rising numbers from 0 to 9, found \[3, 3\]"),
        (body_of([4, 3]), 2, r"expected rising numbers from 0 to 9, found \[4, 3\]"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_body_is_said(body: bytes, count: int, what: str) -> None:
    with pytest.raises(RecordDecodeError, match=what):
        reader(body, count)


@given(st.binary(max_size=200), st.integers(0, 50), st.integers(0, 50))
def test_any_body_gives_rising_offsets_or_says_what_is_wrong(
    body: bytes, count: int, last_offset_delta: int
) -> None:
    try:
        found = reader(body, count, last_offset_delta)
    except RecordDecodeError:
        return
    check_offsets(found, count, last_offset_delta)


@given(st.data())
def test_any_damage_of_a_good_body_decodes_or_says_what_is_wrong(data: st.DataObject) -> None:
    rows = data.draw(survivors)
    deltas = [delta for delta, _ in rows]
    values, keys, stamps, headers = map(list, zip(*(row for _, row in rows), strict=True))
    body = bytearray(encode_sparse_columns(deltas, values, keys, stamps, headers))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, min(len(body) - 1, 40)))] = data.draw(st.integers(0, 255))
    try:
        found = reader(bytes(body), len(rows), deltas[-1])
        check_offsets(found, len(rows), deltas[-1])
        found.check()
    except RecordDecodeError:
        return


def check_offsets(found: SparseColumnReader, count: int, last_offset_delta: int) -> None:
    assert len(found.offsets) == count > 0
    assert found.offsets == sorted(set(found.offsets))
    assert BASE <= found.offsets[0] <= found.offsets[-1] <= BASE + last_offset_delta


@pytest.mark.parametrize("depth", [1, 500, 100_000])
def test_offsets_that_claim_to_be_many_are_refused(depth: int) -> None:
    """F29."""
    claim = b"\xdd" + struct.pack(">I", 200_000)
    bomb = claim * (depth + 1)
    values = struct.pack("<III", 200_000, 0, 0) + bytes(200_000)
    with pytest.raises(RecordDecodeError):
        reader(body_of(bomb, values), 200_000, 2**32 - 1)

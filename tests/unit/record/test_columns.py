"""Bodies: columns in, columns out; and any bytes at all, which give a named error within bounded memory."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import RecordDecodeError
from streamlog.record.columns import (
    DIRECTORY_SIZE,
    ColumnReader,
    Headers,
    body_has_values_only,
    decode_values,
    encode_columns,
    encode_single_value,
    plain_value,
    single_value_size,
)

blobs = st.none() | st.just(b"") | st.binary(max_size=300)
header_lists: st.SearchStrategy[Headers] = st.lists(
    st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=4
).map(tuple)
records = st.lists(
    st.tuples(blobs, blobs, st.integers(-(2**62), 2**62), header_lists), min_size=1, max_size=20
)


def reader(body: bytes, count: int) -> ColumnReader:
    return ColumnReader(memoryview(body), count)


def body_of(
    *columns: object, directory: tuple[int, int, int] | None = None, headers: bytes = b""
) -> bytes:
    """Pack whatever is given as columns."""
    packed = [c if isinstance(c, bytes) else msgpack.packb(c) for c in columns]
    packed += [b""] * (3 - len(packed))
    sizes = directory or tuple(map(len, packed))
    return struct.pack("<III", *sizes) + b"".join(packed) + headers


# ---- round trip


@given(records)
def test_columns_come_back_as_they_went_in(rows: list[tuple[Any, Any, int, Headers]]) -> None:
    """REC-1: None is not b"", headers keep their order, duplicates and null values."""
    values, keys, deltas, headers = map(list, zip(*rows, strict=True))
    found = reader(encode_columns(values, keys, deltas, headers), len(rows))
    found.check()
    assert found.values() == values
    assert found.keys() == keys
    assert found.timestamp_deltas() == deltas
    assert found.headers() == headers


@given(records)
def test_absent_columns_say_so(rows: list[tuple[Any, Any, int, Headers]]) -> None:
    values = [row[0] for row in rows]
    body = encode_columns(values, None, None, None)
    found = reader(body, len(rows))
    found.check()
    assert found.values() == decode_values(body, len(rows)) == values
    assert found.keys() is None
    assert found.timestamp_deltas() is None
    assert found.headers() is None
    assert body_has_values_only(body)
    for columns in (
        (values, values, None, None),
        (values, None, [0] * len(rows), None),
        (values, None, None, [()] * len(rows)),
    ):
        assert not body_has_values_only(encode_columns(*columns))


def test_duplicate_header_names_with_null_and_empty_values_keep_their_order() -> None:
    headers: list[Headers] = [
        (("a", b"1"), ("a", None), ("b", b""), ("a", b"1")),
        (),
        (("", None),),
    ]
    assert reader(encode_columns([b""] * 3, None, None, headers), 3).headers() == headers


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 100_000])
def test_one_value_is_encoded_like_any_column(size: int) -> None:
    body = encode_single_value(b"v" * size)
    assert body == encode_columns([b"v" * size], None, None, None)
    assert len(body) == single_value_size(size)
    assert decode_values(body, 1) == [b"v" * size]


def test_the_directory_is_where_the_table_says() -> None:
    body = encode_columns([b"vv"], [b"k"], [5], [(("h", None),)])
    assert struct.unpack_from("<III", body) == (5, 4, 2)
    assert (
        body[DIRECTORY_SIZE:]
        == b"\x91\xc4\x02vv" + b"\x91\xc4\x01k" + b"\x91\x05" + b"\x91\x92\xa1h\xc0"
    )


def test_no_records_have_no_values() -> None:
    assert reader(bytes(12), 0).values() == decode_values(bytes(12), 0) == []


# ---- any bytes


@given(st.binary(max_size=200), st.integers(0, 50))
def test_any_body_decodes_or_says_what_is_wrong(body: bytes, count: int) -> None:
    for decode in (
        lambda: reader(body, count).values(),
        lambda: reader(body, count).keys(),
        lambda: reader(body, count).timestamp_deltas(),
        lambda: reader(body, count).headers(),
        lambda: reader(body, count).check(),
        lambda: decode_values(body, count),
    ):
        try:
            decode()
        except RecordDecodeError:
            pass  # and nothing else
    assert body_has_values_only(body) in (True, False)


@given(st.data())
def test_any_damage_of_a_good_body_decodes_or_says_what_is_wrong(data: st.DataObject) -> None:
    rows = data.draw(records)
    values, keys, deltas, headers = map(list, zip(*rows, strict=True))
    body = bytearray(encode_columns(values, keys, deltas, headers))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        reader(bytes(body), len(rows)).check()
    except RecordDecodeError:
        return


@pytest.mark.parametrize(
    ("body", "count", "what"),
    [
        (b"", 1, "expected at least 12 bytes, found 0"),
        (bytes(11), 1, "expected at least 12 bytes, found 11"),
        (body_of([b"v"], directory=(99, 0, 0)), 1, "columns of 111 bytes in a body of 16"),
        (body_of([b"v"], directory=(2**32 - 1,) * 3), 1, "columns of"),
        (body_of([b"v"]), 5, "5 records in a values column of 4 bytes"),
        (body_of([b"v", b"w"]), 1, "not valid msgpack"),
        (body_of([b"v"] * 2), 3, "expected 3 elements, found 2"),
        (body_of(5), 1, "expected 1 elements, found int"),
        (body_of(b"\x91\xc4\x01v\x00"), 1, "not valid msgpack"),
        (body_of(b"\xc1"), 1, "not valid msgpack"),
        (body_of(["text"]), 1, "not valid msgpack"),
        (body_of([{}]), 1, "wrong type"),
        (body_of([{1: 2}]), 1, "not valid msgpack"),
        (body_of([msgpack.ExtType(5, b"")]), 1, "wrong type"),
        (body_of([msgpack.ExtType(5, b"x")]), 1, "not valid msgpack"),
        (body_of([1.5]), 1, "an element of the values column has the wrong type"),
        (body_of([b"v"], [True]), 1, "an element of the keys column has the wrong type"),
        (body_of([b"v"], b"", [b"x"]), 1, "an element of the timestamps column has the wrong type"),
        (body_of([b"v"], b"", [True]), 1, "an element of the timestamps column has the wrong type"),
        (body_of([b"v"], headers=msgpack.packb([5])), 1, "headers column is malformed"),
        (body_of([b"v"], headers=msgpack.packb([["odd"]])), 1, "headers column is malformed"),
        (body_of([b"v"], headers=msgpack.packb([[b"name", b""]])), 1, "a header is not a name"),
        (body_of([b"v"], headers=msgpack.packb([["name", 5]])), 1, "a header is not a name"),
        (body_of([b"v"], headers=b"\x91\x92\xa1\xff\xc0"), 1, "not valid msgpack"),
        (body_of([b"v"], headers=msgpack.packb([None, None])), 1, "expected 1 elements, found 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_body_is_said(body: bytes, count: int, what: str) -> None:
    with pytest.raises(RecordDecodeError, match=what):
        reader(body, count).check()


def nested(depth: int, claim: int) -> bytes:
    """Arrays inside arrays, each of which claims to be long."""
    return b"\xdd" + struct.pack(">I", claim) + (b"\xdd" + struct.pack(">I", claim)) * depth


@pytest.mark.parametrize("depth", [1, 500, 100_000])
def test_arrays_that_claim_to_be_long_are_refused(depth: int) -> None:
    """F29: a list is made as long as an array claims to be, at each level."""
    bomb = nested(depth, 200_000)
    bomb += b"\xc0" * max(0, 200_000 - len(bomb))
    as_values = struct.pack("<III", len(bomb), 0, 0) + bomb
    as_headers = struct.pack("<III", 2, 0, 0) + b"\x91\xc0" + bomb
    with pytest.raises(RecordDecodeError):
        decode_values(as_values, 200_000)
    with pytest.raises(RecordDecodeError):
        reader(as_values, 200_000).values()
    with pytest.raises(RecordDecodeError):
        reader(as_headers, 1).headers()


@pytest.mark.parametrize("size", [0, 1, 255])
def test_a_lone_short_value_is_taken_out_of_its_body_by_itself(size: int) -> None:
    assert plain_value(encode_single_value(b"v" * size)) == b"v" * size


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"short",
        encode_single_value(b"v" * 256),
        encode_columns([b"v"], [b"k"], None, None),
        encode_columns([b"v"], None, [1], None),
        encode_columns([b"a", b"b"], None, None, None),
    ],
)
def test_any_other_body_is_left_to_the_columns(body: bytes) -> None:
    assert plain_value(body) is None

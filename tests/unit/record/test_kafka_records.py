"""Kafka's records, byte by byte: from clients, from here, and from nobody in his right mind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import RecordDecodeError
from streamlog.record.columns import Headers
from streamlog.record.kafka_records import decode_kafka_records, encode_kafka_records
from tests.support.kafka_batches import (
    GOLDEN,
    GOLDEN_HEADERS,
    GOLDEN_KEYS,
    GOLDEN_VALUES,
)

blobs = st.one_of(
    st.none(),
    st.binary(max_size=5),
    st.integers(60, 70).map(bytes),
    st.integers(8190, 8194).map(bytes),
)
headers = st.lists(st.tuples(st.text(max_size=5) | st.just("n" * 64), blobs), max_size=3).map(tuple)
rows = st.tuples(
    st.integers(-(2**63), 2**63 - 1) | st.integers(-70, 9000) | st.just(0), blobs, blobs, headers
)


def test_what_a_client_wrote_is_read_and_written_again() -> None:
    records = GOLDEN[0][61:]
    columns = decode_kafka_records(records, 3)
    assert columns == ([0, 100, -10], GOLDEN_KEYS, GOLDEN_VALUES, GOLDEN_HEADERS)
    assert (
        encode_kafka_records(range(3), [0, 100, -10], GOLDEN_KEYS, GOLDEN_VALUES, GOLDEN_HEADERS)
        == records
    )


@given(st.lists(rows, min_size=1, max_size=70))
def test_columns_come_back(found: list[tuple[int, bytes | None, bytes | None, Headers]]) -> None:
    deltas, keys, values, all_headers = (list(column) for column in zip(*found, strict=True))
    data = encode_kafka_records(range(len(found)), deltas, keys, values, all_headers)
    columns = decode_kafka_records(data, len(found))
    assert columns.timestamp_deltas == (deltas if any(deltas) else None)
    assert columns.keys == (None if keys.count(None) == len(keys) else keys)
    assert columns.values == values
    assert columns.headers == (all_headers if any(all_headers) else None)


def test_absent_columns_are_nulls_and_zeros() -> None:
    data = encode_kafka_records(range(2), None, None, [b"a", b"b"], None)
    assert data == bytes.fromhex("0e000000010261000e00000201026200")
    assert decode_kafka_records(data, 2) == (None, None, [b"a", b"b"], None)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 8191, 8192, 8193])
def test_offsets_of_any_length_are_read(count: int) -> None:
    data = encode_kafka_records(range(count), None, None, [None] * count, None)
    assert decode_kafka_records(data, count).values == [None] * count


def test_records_with_gaps_are_written_and_not_taken() -> None:
    data = encode_kafka_records([0, 2], None, None, [b"a", b"b"], None)
    with pytest.raises(RecordDecodeError, match="record 1: expected that number .*, found 2"):
        decode_kafka_records(data, 2)


@pytest.mark.parametrize(
    "record",
    [
        "0d 00 00 00 01 02 61 00",  # its length is negative
        "0c 00 00 00 01 02 61 00",  # shorter than it says
        "10 00 00 00 01 02 61 00 00",  # longer
        "0e 00 00 00 01 7e 61 00",  # a value that reaches behind the end
        "0e 00 00 00 7e 61 01 00",  # a key that does
        "0e 00 00 00 03 02 61 00",  # a key of -2 bytes
        "0e 00 00 00 01 03 61 00",  # a value of -2 bytes
        "0e 00 00 01 01 02 61 00",  # offset delta -1
        "0e 00 00 00 01 02 61 01",  # -1 headers
        "0e 00 00 00 01 02 61 02",  # one header and no bytes
        "12 00 00 00 01 02 61 02 01 01",  # a header name of -1 bytes
        "12 00 00 00 01 02 61 02 7e 01",  # one that reaches behind the end
        "12 00 00 00 01 02 61 02 00 03",  # a header value of -2 bytes
        "12 00 00 00 01 02 61 02 00 7e",  # one that reaches behind the end
        "14 00 00 00 01 02 61 02 02 ff 01",  # a name that is no UTF-8
        "12 00 00 00 01 02 61 02 02 61",  # cut short behind a name
        "80 80 80 80 80 80 80 80 80 80 01",  # a number of more than 64 bits
        "ff ff ff ff ff ff ff ff ff 7f 00",  # one of 70 bits
        "80",
        "0e 00 80",
    ],
)
def test_a_record_that_nobody_writes_is_refused(record: str) -> None:
    data = bytes.fromhex(record)
    for size in (len(data), max(len(data), 7)):
        with pytest.raises(RecordDecodeError, match="record batch: "):
            decode_kafka_records(data.ljust(size, b"\0"), 1)


def test_numbers_longer_than_they_need_to_be_are_read() -> None:
    record = "8e8000 00 808000 808000 818000 828000 61 808000"
    data = bytes.fromhex(record.replace(" ", ""))
    body = bytes((2 * (len(data) - 3),)) + data[3:]
    with pytest.raises(RecordDecodeError):  # a null is one byte: this is a key of a negative length
        decode_kafka_records(body, 1)
    plain = body.replace(bytes.fromhex("818000"), b"\x01")
    plain = bytes((plain[0] - 4,)) + plain[1:]
    assert decode_kafka_records(plain, 1) == (None, None, [b"a"], [()])


def test_a_count_that_the_bytes_cannot_hold_is_refused_at_once() -> None:
    with pytest.raises(RecordDecodeError, match="2147483647 records in 14 bytes"):
        decode_kafka_records(bytes(14), 2**31 - 1)


@pytest.mark.parametrize("count", [1, 2])
def test_bytes_behind_the_last_record_are_refused(count: int) -> None:
    data = encode_kafka_records(range(count), None, None, [b"v"] * count, None)
    with pytest.raises(RecordDecodeError, match=f"{count} records end at byte"):
        decode_kafka_records(data + b"\0", count)


@given(st.binary(max_size=60), st.integers(0, 9), st.data())
def test_any_bytes_are_records_or_an_error(data: bytes, count: int, draw: st.DataObject) -> None:
    golden = bytearray(GOLDEN[0][61:])
    place = draw.draw(st.integers(0, len(golden) - 1))
    golden[place : place + draw.draw(st.integers(0, 3))] = data[:2]
    for body, records in ((data, count), (bytes(golden), 3)):
        try:
            columns = decode_kafka_records(body, records)
        except RecordDecodeError:
            continue
        assert len(columns.values) == records

"""Reading the batch of a client by column."""

from __future__ import annotations

import pytest

from streamlog.errors import RecordDecodeError
from streamlog.record.kafka_batch import pending_from_kafka
from streamlog.record.kafka_columns import KafkaColumnReader, decode_kafka_body
from streamlog.record.layout import KAFKA_V2_ENCODING, BatchHeader
from tests.support.kafka_batches import (
    GOLDEN,
    GOLDEN_HEADERS,
    GOLDEN_KEYS,
    GOLDEN_VALUES,
    kafka_batch,
)


def header_around(body: bytes) -> BatchHeader:
    batch = pending_from_kafka(body)
    return BatchHeader(
        *(0, 0, b"", len(body), 50, 0, 3, batch.attributes, KAFKA_V2_ENCODING, 0),
        *(batch.record_count, batch.record_count - 1, batch.base_sequence, batch.producer_id),
        *(batch.producer_epoch, 0, 0, batch.first_timestamp_ms, batch.max_timestamp_ms),
    )


@pytest.mark.parametrize("codec", range(5))
def test_columns_of_a_client_batch_are_read_whatever_its_codec(codec: int) -> None:
    body = GOLDEN[codec]
    reader = KafkaColumnReader(body, header_around(body))
    assert (reader.record_count, reader.has_values_only) == (3, False)
    assert reader.values() == GOLDEN_VALUES
    assert reader.keys() == GOLDEN_KEYS
    assert reader.timestamp_deltas() == [0, 100, -10]
    assert reader.headers() == GOLDEN_HEADERS
    reader.check()


def test_each_call_gives_a_list_of_the_callers_own() -> None:
    reader = KafkaColumnReader(GOLDEN[0], header_around(GOLDEN[0]))
    for read in (reader.values, reader.keys, reader.timestamp_deltas, reader.headers):
        column = read()
        assert column is not None
        column.clear()
        assert len(read() or ()) == 3


def test_absent_columns_are_none() -> None:
    body = kafka_batch([b"a", None])
    reader = KafkaColumnReader(body, header_around(body))
    assert (reader.keys(), reader.timestamp_deltas(), reader.headers()) == (None, None, None)
    assert reader.values() == [b"a", None]


@pytest.mark.parametrize(
    ("body", "is_plain"),
    [
        (kafka_batch([b"a", b"b"]), True),
        (kafka_batch([b"a", b"b"], [None, b"k"]), False),
        (kafka_batch([b"a", b"b"], None, [0, 1]), False),
        (kafka_batch([b"a", b"b"], None, None, [(), (("h", None),)]), False),
    ],
)
def test_values_only_means_no_other_column(body: bytes, is_plain: bool) -> None:
    assert KafkaColumnReader(body, header_around(body)).has_values_only is is_plain


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "at least 61 bytes, found 0"),
        (GOLDEN[0][:60], "at least 61 bytes, found 60"),
        (GOLDEN[0][:16] + b"\x01" + GOLDEN[0][17:], "found magic 1"),
        (kafka_batch([b"a"], records_count=0), "and 0 records"),
        (kafka_batch([b"a"], records_count=-5), "and -5 records"),
        (kafka_batch([b"a"], records_count=2), "2 records in 8 bytes"),
        (kafka_batch([b"a"], attributes=7), "codec from 1 to 4, found 7"),
        (kafka_batch([b"a"], attributes=1), "gzip: "),
    ],
)
def test_a_body_that_is_no_batch_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(RecordDecodeError, match=message):
        decode_kafka_body(body)


def test_another_count_than_our_header_has_is_refused() -> None:
    header = header_around(GOLDEN[0])._replace(record_count=2)
    with pytest.raises(RecordDecodeError, match="expected 2 records, found 3"):
        KafkaColumnReader(GOLDEN[0], header)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("attributes", "attributes"),
        ("last_offset_delta", "last_offset_delta"),
        ("first_timestamp_ms", "base_timestamp"),
        ("producer_id", "producer_id"),
        ("producer_epoch", "producer_epoch"),
        ("base_sequence", "base_sequence"),
    ],
)
def test_a_check_holds_the_two_headers_against_each_other(field: str, name: str) -> None:
    header = header_around(GOLDEN[0])
    reader = KafkaColumnReader(GOLDEN[0], header._replace(**{field: 999}))
    with pytest.raises(RecordDecodeError, match=f"{name}: expected 999 "):
        reader.check()


def test_a_check_holds_the_clients_checksum_against_its_bytes() -> None:
    body = GOLDEN[0][:-30] + b"?" + GOLDEN[0][-29:]
    reader = KafkaColumnReader(body, header_around(GOLDEN[0]))
    with pytest.raises(RecordDecodeError, match="checksum: expected"):
        reader.check()

"""Kafka's batches into a log and out of it, and ours made into Kafka's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import (
    CorruptRecordError,
    InvalidRecordError,
    InvalidTimestampError,
    RecordDecodeError,
    UnsupportedCompressionTypeError,
)
from streamlog.record import (
    BatchView,
    Codec,
    Compressor,
    ControlType,
    PendingBatch,
    build_batch,
    build_marker,
)
from streamlog.record.kafka_batch import (
    look_into,
    pending_from_kafka,
    recompress,
    set_append_time,
    to_kafka,
)
from streamlog.record.kafka_columns import decode_kafka_body
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.record.layout import (
    DELETE_HORIZON_BIT,
    HEADER_SIZE,
    KAFKA_V2_ENCODING,
    LOG_APPEND_TIME_BIT,
    SPARSE_COLUMNS_ENCODING,
    BatchHeader,
    pack_batch,
    read_header,
)
from streamlog.record.sparse_columns import encode_sparse_columns
from streamlog.structs import TimestampType
from tests.support.kafka_batches import (
    FIRST_MS,
    GOLDEN,
    GOLDEN_HEADERS,
    GOLDEN_KEYS,
    GOLDEN_TIMESTAMPS_MS,
    GOLDEN_VALUES,
    kafka_batch,
)

each_codec = pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.label)


def stored(batch: PendingBatch, base_offset: int = 100, **fields: int) -> BatchView:
    """Return *batch* as it is read after the leader of epoch 4 stored it."""
    header = BatchHeader(
        *(0, 0, b"SLB\x01", 0, base_offset, 0, 4, batch.attributes, batch.body_encoding, 0),
        *(batch.record_count, batch.record_count - 1, batch.base_sequence, batch.producer_id),
        *(batch.producer_epoch, 0, batch.uncompressed_size),
        *(batch.first_timestamp_ms, batch.max_timestamp_ms),
    )
    data = pack_batch(header._replace(**fields), batch.body)
    found = read_header(data[:HEADER_SIZE])
    assert found is not None
    return BatchView(found, data[HEADER_SIZE:])


# ---- in


@each_codec
def test_a_clients_batch_is_stored_as_it_came(codec: Codec) -> None:
    batch = pending_from_kafka(GOLDEN[codec])
    assert batch.body is GOLDEN[codec]
    assert (batch.body_encoding, batch.attributes) == (KAFKA_V2_ENCODING, 0x10 | codec)
    assert batch.is_transactional
    assert not batch.is_control
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 3, 41)
    assert (batch.first_timestamp_ms, batch.max_timestamp_ms) == (FIRST_MS, FIRST_MS + 100)
    assert (batch.record_count, batch.uncompressed_size, batch.stamp) == (3, 0, None)
    assert batch.message_bytes == len(GOLDEN[codec]) == batch.size_bytes - HEADER_SIZE


def test_a_batch_that_is_not_kafkas_counts_with_its_header() -> None:
    batch = build_batch([b"a"], 0)
    assert batch.message_bytes == batch.size_bytes == HEADER_SIZE + len(batch.body)


def test_damage_is_refused() -> None:
    with pytest.raises(CorruptRecordError, match="checksum"):
        pending_from_kafka(GOLDEN[0][:-1] + b"?")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"records_count": 0, "last_offset_delta": -1}, "at least one, found -1"),
        ({"last_offset_delta": 2}, "expected a last_offset_delta of 1 with 2"),
        ({"attributes": 0x40}, "attributes 0x0040"),
        ({"attributes": 0x80}, "attributes 0x0080"),
        ({"attributes": -1}, "attributes -0x001"),
        ({"records_count": 10, "last_offset_delta": 9}, "10 records in 16 bytes"),
        (
            {"attributes": 4, "records_count": 1 << 30, "last_offset_delta": (1 << 30) - 1},
            "1073741824 records in 16 bytes",
        ),
        (
            {"attributes": 1, "records_count": 74_899, "last_offset_delta": 74_898},
            "74899 records in 16 bytes",
        ),
    ],
)
def test_a_header_that_no_producer_writes_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidRecordError, match=message):
        pending_from_kafka(kafka_batch([b"a", b"b"], **fields))


def test_as_many_records_as_compressed_bytes_may_hold_are_taken() -> None:
    data = kafka_batch([b"a", b"b"], attributes=1, records_count=74_898, last_offset_delta=74_897)
    assert pending_from_kafka(data).record_count == 74_898 == 16 * 32_768 // 7


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_is_none_is_refused(codec: int) -> None:
    with pytest.raises(UnsupportedCompressionTypeError, match=f"from 0 to 4, found {codec}"):
        pending_from_kafka(kafka_batch([b"a"], attributes=codec))


def test_the_brokers_timestamp_type_is_not_for_clients() -> None:
    with pytest.raises(InvalidTimestampError, match="LogAppendTime"):
        pending_from_kafka(kafka_batch([b"a"], attributes=LOG_APPEND_TIME_BIT))


def test_a_control_batch_is_known_as_one() -> None:
    assert pending_from_kafka(kafka_batch([b"a"], [b"k"], attributes=0x30)).is_control


def test_a_greatest_timestamp_below_the_first_one_is_the_first_one() -> None:
    batch = pending_from_kafka(kafka_batch([b"a"], max_timestamp_ms=-1))
    assert batch.max_timestamp_ms == FIRST_MS


# ---- a look into it


@each_codec
def test_a_look_finds_null_keys_and_the_least_timestamp(codec: Codec) -> None:
    batch = pending_from_kafka(GOLDEN[codec])
    look_into(batch)
    assert (batch.has_null_keys, batch.min_timestamp_ms) == (True, FIRST_MS - 10)


@pytest.mark.parametrize(
    ("keys", "has_null_keys"), [(None, True), ([b"", b"k"], False), ([b"k", None], True)]
)
def test_a_look_finds_every_null_key(keys: list[bytes | None] | None, has_null_keys: bool) -> None:
    batch = pending_from_kafka(kafka_batch([b"a", b"b"], keys))
    look_into(batch)
    assert (batch.has_null_keys, batch.min_timestamp_ms) == (has_null_keys, FIRST_MS)


@pytest.mark.parametrize(
    "look", [look_into, lambda batch: recompress(batch, Compressor(Codec.NONE))]
)
def test_a_look_at_records_that_cannot_be_read_is_an_error(
    look: Callable[[PendingBatch], None],
) -> None:
    batch = pending_from_kafka(kafka_batch([b"a"], records=b"no gzip", attributes=1))
    with pytest.raises(RecordDecodeError, match="gzip: "):
        look(batch)


# ---- changed by the leader


@each_codec
def test_rec_4_append_time_is_in_both_headers(codec: Codec) -> None:
    batch = pending_from_kafka(GOLDEN[codec])
    set_append_time(batch, FIRST_MS + 5000)
    view = stored(batch)
    assert view.timestamps_ms() == [FIRST_MS + 5000] * 3
    assert view.timestamp_type is TimestampType.LOG_APPEND_TIME
    assert view.values() == GOLDEN_VALUES
    header = read_kafka_header(bytes(to_kafka(view)))
    assert (header.attributes, header.max_timestamp_ms) == (0x18 | codec, FIRST_MS + 5000)
    view.columns.check()


@each_codec
@pytest.mark.parametrize("target", list(Codec), ids=lambda codec: codec.label)
def test_the_topics_codec_changes_the_bytes_and_nothing_else(codec: Codec, target: Codec) -> None:
    batch = pending_from_kafka(GOLDEN[codec])
    recompress(batch, Compressor(target, 3))
    assert (batch.body == GOLDEN[codec]) is (codec is target)
    view = stored(batch)
    assert view.codec == target
    view.columns.check()
    assert (view.values(), view.keys()) == (GOLDEN_VALUES, GOLDEN_KEYS)
    if target is Codec.NONE:
        assert batch.body == GOLDEN[0]


# ---- out


@each_codec
def test_pitfall_7_stored_bytes_go_out_with_offset_and_epoch(codec: Codec) -> None:
    data = bytes(to_kafka(stored(pending_from_kafka(GOLDEN[codec]))))
    header = read_kafka_header(data)
    assert (header.base_offset, header.partition_leader_epoch) == (100, 4)
    assert data[16:] == GOLDEN[codec][16:]


@each_codec
def test_a_native_batch_goes_out_in_its_codec(codec: Codec) -> None:
    batch = build_batch(GOLDEN_VALUES, GOLDEN_TIMESTAMPS_MS, GOLDEN_KEYS, GOLDEN_HEADERS)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 3, 41
    batch.attributes = 0x10
    Compressor(codec, 3).apply(batch)
    data = bytes(to_kafka(stored(batch)))
    again = pending_from_kafka(data)
    assert (again.attributes, again.record_count) == (0x10 | codec, 3)
    view = stored(again)
    view.columns.check()
    assert view.values() == GOLDEN_VALUES
    assert view.keys() == GOLDEN_KEYS
    assert view.headers() == GOLDEN_HEADERS
    assert view.timestamps_ms() == GOLDEN_TIMESTAMPS_MS
    if codec is Codec.NONE:
        assert data[16:] == GOLDEN[0][16:], "the bytes of another library"


def test_a_marker_goes_out_as_kafkas() -> None:
    view = stored(build_marker(ControlType.COMMIT, 7, 3, 5, FIRST_MS))
    data = bytes(to_kafka(view))
    header = read_kafka_header(data)
    assert (header.attributes, header.producer_id, header.producer_epoch) == (0x30, 7, 3)
    columns = decode_kafka_body(data)
    assert columns.keys == [bytes.fromhex("00000001")]
    assert columns.values == [bytes.fromhex("000000000005")]


def test_a_batch_with_gaps_goes_out_with_its_offsets() -> None:
    body = encode_sparse_columns([1, 4], [b"a", b"b"], [b"k", b"l"], None, None)
    view = stored(
        PendingBatch(body, 2, FIRST_MS, FIRST_MS),
        last_offset_delta=6,
        body_encoding=SPARSE_COLUMNS_ENCODING,
        attributes=DELETE_HORIZON_BIT,
    )
    data = bytes(to_kafka(view))
    header = read_kafka_header(data)
    assert (header.records_count, header.last_offset_delta) == (2, 6)
    assert (header.attributes, header.base_timestamp_ms) == (DELETE_HORIZON_BIT, FIRST_MS)
    assert data[61:] == bytes.fromhex("10000002026b02610010000008026c026200")


@pytest.mark.parametrize("encoding", [0, KAFKA_V2_ENCODING])
def test_a_batch_without_records_stays_one(encoding: int) -> None:
    batch = PendingBatch(b"", 0, FIRST_MS, FIRST_MS)
    view = stored(batch, last_offset_delta=6, attributes=Codec.ZSTD, body_encoding=encoding)
    header = read_kafka_header(bytes(to_kafka(view)))
    assert (header.records_count, header.last_offset_delta, header.attributes) == (0, 6, 0)
    assert header.size_bytes == 61


def test_damaged_columns_do_not_get_a_new_checksum() -> None:
    view = stored(build_batch([b"value"], 0))
    damaged = BatchView(view.header, view.body[:-1] + b"?")
    with pytest.raises(CorruptRecordError, match="offset 100: body checksum"):
        to_kafka(damaged)


def test_columns_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(RecordDecodeError, match="offset 100"):
        to_kafka(stored(build_batch([b"a"], 0), attributes=Codec.GZIP))


# ---- both ways

blobs = st.none() | st.binary(max_size=80)
rows = st.tuples(
    blobs,
    st.integers(-1, 2**62),
    blobs,
    st.lists(st.tuples(st.text(max_size=4), blobs), max_size=2).map(tuple),
)


@given(st.lists(rows, min_size=1, max_size=20), st.sampled_from(Codec), st.booleans())
def test_what_goes_out_comes_back(
    found: list[tuple[bytes | None, int, bytes | None, tuple[tuple[str, bytes | None], ...]]],
    codec: Codec,
    is_log_append_time: bool,
) -> None:
    batch = build_batch(*(list(column) for column in zip(*found, strict=True)))
    if is_log_append_time:
        batch.attributes |= LOG_APPEND_TIME_BIT
    Compressor(codec, 1).apply(batch)
    native = stored(batch)
    data = bytes(to_kafka(native))
    header = read_kafka_header(data)
    again = pending_from_kafka(data if not is_log_append_time else kafka_batch([b"unused"]))
    again.body, again.record_count, again.attributes = data, header.records_count, header.attributes
    again.first_timestamp_ms, again.max_timestamp_ms = (
        header.base_timestamp_ms,
        header.max_timestamp_ms,
    )
    view = stored(again)
    view.columns.check()
    assert view.values() == native.values()
    assert view.keys() == native.keys()
    assert view.headers() == native.headers()
    assert view.timestamps_ms() == native.timestamps_ms()
    assert list(view.offsets()) == list(native.offsets())
    assert view.has_values_only == native.has_values_only
    assert bytes(to_kafka(view)) == data

"""Batches as compaction leaves them: with gaps, without records, with a delete horizon; stored and read."""

from __future__ import annotations

import pytest

from streamlog.errors import CorruptRecordError, RecordDecodeError
from streamlog.record import BatchView, Codec, Compressor, PendingBatch, split_batches
from streamlog.record.columns import encode_columns
from streamlog.record.layout import (
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    SPARSE_COLUMNS_ENCODING,
    BatchHeader,
    pack_batch,
)
from streamlog.record.sparse_columns import encode_sparse_columns

T0 = 1_700_000_000_000

#: What the tests change one thing of: ten offsets from 100 on, nothing in them.
EMPTY = BatchHeader(
    length=0,
    header_crc=0,
    magic=MAGIC,
    body_size=0,
    base_offset=100,
    body_crc=0,
    leader_epoch=3,
    attributes=0,
    body_encoding=0,
    reserved_1=0,
    record_count=0,
    last_offset_delta=9,
    base_sequence=-1,
    producer_id=-1,
    producer_epoch=-1,
    reserved_2=0,
    uncompressed_size=0,
    first_timestamp_ms=T0,
    max_timestamp_ms=T0 + 7,
)
SPARSE = EMPTY._replace(body_encoding=SPARSE_COLUMNS_ENCODING, record_count=2)
BODY = encode_sparse_columns(
    [1, 6], [b"a", None], [b"k", b"l"], [0, 7], [(("h", b"x"),), ()]
)  # fmt: skip


def one(header: BatchHeader, body: bytes) -> BatchView:
    (view,) = split_batches(pack_batch(header, body))
    view.check()
    return view


def compressed(codec: Codec, header: BatchHeader, body: bytes) -> BatchView:
    batch = PendingBatch(body, header.record_count, T0, T0)
    Compressor(codec, 1).apply(batch)
    attributes = header.attributes | batch.attributes
    return one(
        header._replace(attributes=attributes, uncompressed_size=batch.uncompressed_size),
        batch.body,
    )


# ---- golden vectors: what other versions have to go on reading


def test_golden_vector_of_a_sparse_batch() -> None:
    header = bytes.fromhex(
        "7a000000 9a848728 534c4201 2a000000 6400000000000000 537de176 03000000 0000 02 00 02000000 09000000 "
        "ffffffff ffffffffffffffff ffff 0000 00000000 0068e5cf8b010000 0768e5cf8b010000"
    )
    offsets = bytes.fromhex("03000000 92 01 06")
    directory = bytes.fromhex("05000000 07000000 03000000")
    columns = bytes.fromhex("92 c40161 c0   92 c4016b c4016c   92 00 07   92 92 a168 c40178 c0")
    assert pack_batch(SPARSE, BODY) == header + offsets + directory + columns


def test_golden_vector_of_a_batch_without_records() -> None:
    assert pack_batch(EMPTY, b"") == bytes.fromhex(
        "50000000 6db6ff8b 534c4201 00000000 6400000000000000 00000000 03000000 0000 00 00 00000000 09000000 "
        "ffffffff ffffffffffffffff ffff 0000 00000000 0068e5cf8b010000 0768e5cf8b010000"
    )


def test_golden_vector_of_a_delete_horizon() -> None:
    header = SPARSE._replace(attributes=DELETE_HORIZON_BIT, first_timestamp_ms=T0 + 1000)
    body = encode_sparse_columns([3], [None], [b"k"], [-1000], None)
    stored = pack_batch(header._replace(record_count=1), body)
    assert stored[32:34] == b"\x40\x00"
    assert stored[64:72] == bytes.fromhex("e86be5cf8b010000")
    assert stored[80:] == bytes.fromhex(
        "02000000 91 03   02000000 04000000 04000000   91 c0   91 c4016b   91 d1fc18"
    )


# ---- with gaps


def test_records_are_found_at_the_offsets_that_are_left() -> None:
    view = one(SPARSE, BODY)
    assert view.is_sparse
    assert not view.is_plain
    assert list(view.offsets()) == [101, 106]
    assert view.values() == [b"a", None]
    assert view.keys() == [b"k", b"l"]
    assert view.headers() == [(("h", b"x"),), ()]
    assert view.timestamps_ms() == [T0, T0 + 7]
    assert (view.base_offset, view.last_offset, view.next_offset) == (100, 109, 110)
    assert (view.plain_value, view.has_values_only, view.codec) == (None, False, 0)
    assert view.offsets() is view.offsets(), "decoded once"


def test_one_record_that_is_left_is_not_taken_for_the_first() -> None:
    body = encode_sparse_columns([4], [b"v"], None, None, None)
    view = one(SPARSE._replace(record_count=1), body)
    assert (view.plain_value, view.has_values_only) == (None, True)
    assert list(view.offsets()) == [104]
    assert view.common_timestamp_ms == T0


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec])
def test_a_compressed_sparse_batch_reads_like_any_other(codec: Codec) -> None:
    view = compressed(codec, SPARSE, BODY)
    assert view.codec == codec
    assert view.values() == [b"a", None]
    assert list(view.offsets()) == [101, 106]
    assert view.timestamps_ms() == [T0, T0 + 7]


def test_a_dense_batch_is_not_sparse() -> None:
    header = EMPTY._replace(record_count=2, last_offset_delta=1)
    view = one(header, encode_columns([b"a", b"b"], None, None, None))
    assert not view.is_sparse
    assert view.is_plain
    assert view.offsets() == range(100, 102)


def test_dense_columns_may_end_before_the_range_does() -> None:
    header = EMPTY._replace(record_count=2)
    view = one(header, encode_columns([b"a", b"b"], None, None, None))
    assert view.is_sparse
    assert view.offsets() == range(100, 102)
    assert view.next_offset == 110


def test_a_sparse_body_that_cannot_be_read_names_its_offset() -> None:
    view = one(SPARSE, b"\xff" + BODY[1:])
    for read in (view.values, view.keys, view.headers, view.timestamps_ms, view.offsets):
        with pytest.raises(RecordDecodeError, match="^batch at offset 100: .*offsets of"):
            read()
    with pytest.raises(RecordDecodeError, match="^batch at offset 100: "):
        _ = view.has_values_only


# ---- without records


@pytest.mark.parametrize("attributes", [0, Codec.ZSTD, LOG_APPEND_TIME_BIT])
@pytest.mark.parametrize("encoding", [0, SPARSE_COLUMNS_ENCODING])
def test_a_batch_without_records_has_columns_without_elements(
    attributes: int, encoding: int
) -> None:
    """CMP-7: nothing in it but the header, which covers the offsets all the same."""
    view = one(EMPTY._replace(attributes=attributes, body_encoding=encoding), b"")
    assert view.is_sparse
    assert view.values() == []
    assert list(view.offsets()) == []
    assert view.keys() is None
    assert view.headers() is None
    assert view.timestamps_ms() == []
    assert view.plain_value is None
    assert (view.base_offset, view.last_offset, view.next_offset) == (100, 109, 110)


def test_a_batch_without_a_body_that_claims_records_is_refused() -> None:
    view = one(SPARSE, b"")
    for read in (view.values, view.offsets):
        with pytest.raises(RecordDecodeError, match="expected at least 4 bytes, found 0"):
            read()


# ---- with a delete horizon


def test_cmp_5_a_delete_horizon_leaves_the_timestamps_as_they_are() -> None:
    horizon_ms = T0 + 86_400_000
    header = SPARSE._replace(attributes=DELETE_HORIZON_BIT, first_timestamp_ms=horizon_ms)
    deltas = [T0 - horizon_ms, T0 + 7 - horizon_ms]
    view = one(header, encode_sparse_columns([1, 6], [b"a", None], [b"k", b"l"], deltas, None))
    assert view.delete_horizon_ms == view.first_timestamp_ms == horizon_ms
    assert view.timestamps_ms() == [T0, T0 + 7]
    assert view.max_timestamp_ms == T0 + 7


def test_cmp_5_under_log_append_time_the_horizon_is_no_timestamp_either() -> None:
    attributes = DELETE_HORIZON_BIT | LOG_APPEND_TIME_BIT
    view = one(SPARSE._replace(attributes=attributes, first_timestamp_ms=T0 + 99), BODY)
    assert view.delete_horizon_ms == T0 + 99
    assert view.timestamps_ms() == [T0 + 7] * 2


def test_a_batch_that_no_pass_has_stamped_has_no_horizon() -> None:
    assert one(SPARSE, BODY).delete_horizon_ms is None


# ---- damage


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.LZ4], ids=lambda codec: codec.label)
def test_every_flipped_byte_is_noticed(codec: Codec) -> None:
    """I14."""
    view = compressed(codec, SPARSE, BODY)
    data = pack_batch(view.header, view.body)
    for position in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            with pytest.raises(CorruptRecordError):
                split_batches(bytes(damaged))[0].check()


def test_damage_that_nobody_checks_for_gives_rising_offsets_or_a_named_error() -> None:
    for position in range(len(BODY)):
        for mask in (0x01, 0x10, 0x80, 0xFF):
            damaged = bytearray(BODY)
            damaged[position] ^= mask
            view = one(SPARSE, bytes(damaged))
            for read in (view.values, view.keys, view.headers, view.timestamps_ms):
                try:
                    read()
                except RecordDecodeError:
                    pass
            try:
                first, second = view.offsets()
            except RecordDecodeError:
                continue
            assert 100 <= first < second <= 109

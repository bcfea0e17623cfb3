"""The header of a batch: one table of bytes. What read_header accepts, and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record.checksum import crc32c
from streamlog.record.columns import encode_single_value
from streamlog.record.layout import (
    COMPRESSION_MASK,
    CONTROL_BIT,
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    MAX_BATCH_BYTES,
    SINGLE_HEADER,
    SINGLE_PREFIX,
    TRANSACTIONAL_BIT,
    BatchHeader,
    aligned,
    header_checksum,
    read_header,
    single_middle,
)

GOOD = BatchHeader(
    length=180,
    header_crc=0,
    magic=MAGIC,
    body_size=100,
    base_offset=1000,
    body_crc=0xDEADBEEF,
    leader_epoch=3,
    attributes=0x10,
    body_encoding=0,
    reserved_1=0,
    record_count=7,
    last_offset_delta=9,
    base_sequence=-1,
    producer_id=-1,
    producer_epoch=-1,
    reserved_2=0,
    uncompressed_size=0,
    first_timestamp_ms=1_700_000_000_000,
    max_timestamp_ms=1_700_000_000_500,
)


def sealed(header: BatchHeader) -> bytes:
    """Return the bytes of *header* with the right checksum, whatever else is wrong with it."""
    crc = header_checksum(HEADER.pack(*header))
    return HEADER.pack(*header._replace(header_crc=crc))


def test_a_good_header_is_read_as_it_was_written() -> None:
    found = read_header(sealed(GOOD))
    assert found is not None
    assert found == GOOD._replace(header_crc=found.header_crc)
    assert found.next_offset == 1010
    assert found.aligned_size == 184


def test_every_field_is_where_the_table_says() -> None:
    data = sealed(GOOD)
    assert len(data) == HEADER_SIZE == 80
    assert struct.unpack_from("<I", data, 0) == (180,)
    assert data[8:12] == b"SLB\x01"
    assert struct.unpack_from("<I", data, 12) == (100,)
    assert struct.unpack_from("<q", data, 16) == (1000,)
    assert struct.unpack_from("<I", data, 24) == (0xDEADBEEF,)
    assert struct.unpack_from("<i", data, 28) == (3,)
    assert struct.unpack_from("<H", data, 32) == (0x10,)
    assert struct.unpack_from("<BB", data, 34) == (0, 0)
    assert struct.unpack_from("<II", data, 36) == (7, 9)
    assert struct.unpack_from("<iqhHI", data, 44) == (-1, -1, -1, 0, 0)
    assert struct.unpack_from("<qq", data, 64) == (1_700_000_000_000, 1_700_000_000_500)


def test_rec_9_every_field_of_kafkas_batch_has_its_place() -> None:
    kafkas = {
        "base_offset": "base_offset",
        "length": "length",
        "leader_epoch": "leader_epoch",
        "magic": "magic",
        "crc": "body_crc",
        "attributes": "attributes",
        "last_offset_delta": "last_offset_delta",
        "base_timestamp": "first_timestamp_ms",
        "max_timestamp": "max_timestamp_ms",
        "producer_id": "producer_id",
        "producer_epoch": "producer_epoch",
        "base_sequence": "base_sequence",
        "record_count": "record_count",
    }
    assert set(kafkas.values()) <= set(BatchHeader._fields)
    bits = (LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT, CONTROL_BIT, DELETE_HORIZON_BIT)
    assert (COMPRESSION_MASK, *bits) == (0b111, 1 << 3, 1 << 4, 1 << 5, 1 << 6)


@pytest.mark.parametrize("position", range(HEADER_SIZE))
def test_any_flipped_byte_makes_it_invalid(position: int) -> None:
    data = bytearray(sealed(GOOD))
    for mask in (0x01, 0x80, 0xFF):
        data[position] ^= mask
        assert read_header(bytes(data)) is None
        data[position] ^= mask


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE - 1, HEADER_SIZE + 1])
def test_another_size_makes_it_invalid(size: int) -> None:
    assert read_header((sealed(GOOD) + b"x")[:size]) is None


@pytest.mark.parametrize(
    "lie",
    [
        {"length": 0},
        {"length": 181},
        {"body_size": 99},
        {"magic": b"SLB\x02"},
        {"base_offset": -1},
        {"record_count": 11},
        {"length": MAX_BATCH_BYTES + 1, "body_size": MAX_BATCH_BYTES + 1 - HEADER_SIZE},
        {"length": 79, "body_size": 2**32 - 1},
    ],
)
def test_an_inconsistent_header_is_invalid_although_its_checksum_is_right(
    lie: dict[str, int],
) -> None:
    assert read_header(sealed(GOOD._replace(**lie))) is None


def test_the_largest_batch_is_still_valid() -> None:
    largest = {"length": MAX_BATCH_BYTES, "body_size": MAX_BATCH_BYTES - HEADER_SIZE}
    assert read_header(sealed(GOOD._replace(**largest))) is not None


def test_the_checksum_does_not_cover_what_is_stored_last() -> None:
    data = sealed(GOOD)
    assert (
        header_checksum(data) == header_checksum(bytes(8) + data[8:]) == crc32c(bytes(8) + data[8:])
    )


@given(st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert read_header(data) is None
    assert read_header(data[:8] + MAGIC + data[12:]) is None


@given(st.integers(0, 2**31))
def test_batches_start_at_multiples_of_eight(size: int) -> None:
    assert aligned(size) % 8 == 0
    assert size <= aligned(size) < size + 8


@given(
    st.binary(max_size=300),
    st.integers(0, 2**62),
    st.integers(-1, 2**31 - 1),
    st.integers(0, 2**62),
)
def test_the_short_header_of_one_value_is_a_header_like_any_other(
    value: bytes, offset: int, epoch: int, stamp: int
) -> None:
    body = encode_single_value(value)
    packed = SINGLE_HEADER.pack(
        SINGLE_PREFIX, len(body), offset, crc32c(body), single_middle(epoch), stamp, stamp
    )
    crc = header_checksum(packed)
    found = read_header(struct.pack("<II", len(body) + HEADER_SIZE, crc) + packed[8:])
    assert found == BatchHeader(
        len(body) + HEADER_SIZE, crc, MAGIC, len(body), offset, crc32c(body), epoch, 0, 0, 0, 1, 0,
        -1, -1, -1, 0, 0, stamp, stamp,
    )  # fmt: skip

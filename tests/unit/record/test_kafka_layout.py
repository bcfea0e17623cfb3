"""The header of Kafka's batches: what is taken for one, and what is written over."""

from __future__ import annotations

import pytest

from streamlog.errors import CorruptRecordError
from streamlog.record.kafka_layout import (
    CHECKED_AT,
    KafkaBatchHeader,
    at_offset,
    magic_of,
    pack_kafka_batch,
    read_kafka_header,
    size_of,
    without_kafka_producer,
)
from tests.support.kafka_batches import FIRST_MS, GOLDEN, kafka_batch


@pytest.mark.parametrize("codec", range(5))
def test_the_header_that_a_client_wrote_is_read_and_written_again(codec: int) -> None:
    data = GOLDEN[codec]
    header = read_kafka_header(data)
    assert header._replace(crc=0, batch_length=0) == KafkaBatchHeader(
        0, 0, 0, 2, 0, 0x10 | codec, 2, FIRST_MS, FIRST_MS + 100, 7, 3, 41, 3
    )
    assert header.size_bytes == len(data)
    blank = header._replace(batch_length=0, magic=0, crc=0)
    assert pack_kafka_batch(blank, data[61:]) == data


def test_magic_of_too_little_is_none() -> None:
    assert magic_of(GOLDEN[0]) == 2
    assert magic_of(GOLDEN[0][:17]) == 2
    assert magic_of(GOLDEN[0][:16]) is None


def test_pitfall_7_offset_and_epoch_are_written_over_and_the_checksum_stays_right() -> None:
    moved = bytes(at_offset(GOLDEN[3], 1 << 40, 9))
    header = read_kafka_header(moved)
    assert (header.base_offset, header.partition_leader_epoch) == (1 << 40, 9)
    assert moved[16:] == GOLDEN[3][16:]
    assert bytes(at_offset(moved, 0, 0)) == GOLDEN[3]


def test_a_batch_without_its_producer_is_whole() -> None:
    header = read_kafka_header(without_kafka_producer(GOLDEN[3]))
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (-1, -1, -1)
    before = read_kafka_header(GOLDEN[3])
    assert (
        header._replace(crc=before.crc, producer_id=7, producer_epoch=3, base_sequence=41) == before
    )


def test_a_damaged_length_does_not_reach_readers() -> None:
    damaged = bytearray(GOLDEN[0])
    damaged[8:12] = b"\x7f\xff\xff\xff"
    assert bytes(at_offset(bytes(damaged), 0, 0)) == GOLDEN[0]


@pytest.mark.parametrize("size", [0, 1, 16, 17, 60])
def test_too_few_bytes_are_refused(size: int) -> None:
    with pytest.raises(CorruptRecordError, match=f"at least 61 bytes, found {size}"):
        read_kafka_header(GOLDEN[0][:size])


def test_another_version_is_refused() -> None:
    data = bytearray(GOLDEN[0])
    data[16] = 1
    with pytest.raises(CorruptRecordError, match="magic 2, found 1"):
        read_kafka_header(bytes(data))


@pytest.mark.parametrize("data", [GOLDEN[0][:-1], GOLDEN[0] + b"\0", GOLDEN[0] * 2])
def test_more_or_less_than_one_batch_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptRecordError, match="batch_length"):
        read_kafka_header(data)


@pytest.mark.parametrize("place", [17, CHECKED_AT, 60, 61, len(GOLDEN[0]) - 1])
def test_a_flipped_bit_is_refused(place: int) -> None:
    data = bytearray(GOLDEN[0])
    data[place] ^= 1
    with pytest.raises(CorruptRecordError, match="checksum: expected 0x"):
        read_kafka_header(bytes(data))


@pytest.mark.parametrize(
    "fields",
    [
        {"records_count": -1},
        {"records_count": 2, "last_offset_delta": 0},
        {"records_count": 0, "last_offset_delta": -2},
    ],
)
def test_impossible_counts_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(CorruptRecordError, match=r"found -?\d records"):
        read_kafka_header(kafka_batch([b"v"], **fields))


def test_size_of_takes_the_word_of_a_batch_and_all_of_what_gives_none() -> None:
    batch = kafka_batch([b"a"])
    assert size_of(batch) == size_of(batch + b"more") == len(batch)
    assert size_of(batch[:11]) == 11
    assert size_of(bytes(8) + b"\xff" * 4) == 12

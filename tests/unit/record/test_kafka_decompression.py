"""Compressed records from anyone: all of them, or an error, and no more memory than they can fill."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import RecordDecodeError, UnsupportedCompressionTypeError
from streamlog.record import Codec, Compressor, kafka_decompression
from streamlog.record.kafka_compression import compress_kafka
from streamlog.record.kafka_decompression import decompress_kafka
from tests.support.kafka_batches import GOLDEN

TEXT = b"one record after the other, " * 100
MIB = 1 << 20
LEVELS = {
    Codec.GZIP: (-1, 1, 9),
    Codec.SNAPPY: (0,),
    Codec.LZ4: (9, 1, 12),
    Codec.ZSTD: (3, -5, 22),
}
each_codec = pytest.mark.parametrize("codec", list(LEVELS), ids=lambda codec: codec.label)


def packed(codec: Codec, data: bytes, level: int | None = None) -> bytes:
    return compress_kafka(data, Compressor(codec, LEVELS[codec][0] if level is None else level))


def streamed_zstd(data: bytes) -> bytes:
    compressor = cramjam.zstd.Compressor()
    for start in range(0, len(data), 1000):
        compressor.compress(data[start : start + 1000])
    return bytes(compressor.finish())


@each_codec
def test_what_a_client_compressed_is_what_it_had(codec: Codec) -> None:
    assert decompress_kafka(GOLDEN[codec][61:], codec) == GOLDEN[0][61:]


@each_codec
@pytest.mark.parametrize("size", [0, 1, 100, 65_536, 200_000])
@pytest.mark.parametrize("seed", [b"x", TEXT, bytes(range(256))], ids=len)
def test_what_was_compressed_comes_back_at_each_level(codec: Codec, size: int, seed: bytes) -> None:
    data = (seed * (size // len(seed) + 1))[:size]
    for level in LEVELS[codec]:
        assert decompress_kafka(packed(codec, data, level), codec) == data


@pytest.mark.parametrize(
    ("codec", "compress"),
    [
        (Codec.SNAPPY, cramjam.snappy.compress_raw),
        (Codec.LZ4, cramjam.lz4.compress),
        (Codec.ZSTD, streamed_zstd),
        (Codec.GZIP, gzip.compress),
    ],
    ids=["bare snappy", "linked lz4", "zstd without a size", "gzip"],
)
@pytest.mark.parametrize("size", [100, 70_000, 300_000])
def test_other_framings_of_clients_are_read(
    codec: Codec, compress: Callable[[bytes], bytes], size: int
) -> None:
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    assert decompress_kafka(bytes(compress(data)), codec) == data


@each_codec
def test_every_cut_is_an_error_and_so_is_what_follows(codec: Codec) -> None:
    body = packed(codec, TEXT)
    for size in range(len(body)):
        if codec is not Codec.SNAPPY or size != 16:  # the frame alone is a batch without blocks
            with pytest.raises(RecordDecodeError, match=codec.label):
                decompress_kafka(body[:size], codec)
    for more in (b"\0", body):
        with pytest.raises(RecordDecodeError, match=codec.label):
            decompress_kafka(body + more, codec)


@each_codec
@given(st.data())
def test_any_damage_is_an_error_or_other_bytes(codec: Codec, draw: st.DataObject) -> None:
    body = bytearray(packed(codec, TEXT))
    body[draw.draw(st.integers(0, len(body) - 1))] ^= draw.draw(st.integers(1, 255))
    for damaged in (bytes(body), draw.draw(st.binary(max_size=40))):
        try:
            output = decompress_kafka(damaged, codec)
        except RecordDecodeError:
            continue
        assert len(output) <= 32 * MIB


@pytest.mark.parametrize("codec", [0, 5, 7])
def test_a_codec_that_is_none_is_refused(codec: int) -> None:
    with pytest.raises(RecordDecodeError, match=f"codec from 1 to 4, found {codec}"):
        decompress_kafka(b"", codec)


# ---- bombs


def snappy_bomb() -> bytes:
    return b"\xff\xff\xff\xff\x0f" + bytes(1000)


def xerial_bomb() -> bytes:
    block = b"\xff\xff\xff\xff\x0f\0"
    return b"\x82SNAPPY\x00" + bytes(8) + (len(block).to_bytes(4, "big") + block) * 100


def lz4_bomb() -> bytes:
    return b"\x04\x22\x4d\x18\x60\x70\0" + (b"\x01\0\0\0\0" * 100_000) + bytes(4)


def zstd_bomb() -> bytes:
    run = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"x"
    return b"\x28\xb5\x2f\xfd\x00\x58" + run * 20_000 + b"\x01\0\0"


def gzip_bomb() -> bytes:
    stream = zlib.compressobj(9, wbits=31)
    zeros = bytes(MIB)
    return b"".join(stream.compress(zeros) for _ in range(300)) + stream.flush()


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (Codec.SNAPPY, snappy_bomb),
        (Codec.SNAPPY, xerial_bomb),
        (Codec.LZ4, lz4_bomb),
        (Codec.ZSTD, zstd_bomb),
        (Codec.GZIP, gzip_bomb),
    ],
)
def test_a_bomb_is_refused_with_bounded_memory(
    monkeypatch: pytest.MonkeyPatch, codec: Codec, bomb: Callable[[], bytes]
) -> None:
    monkeypatch.setattr(kafka_decompression, "MAX_BATCH_BYTES", 4 * MIB)
    body = bomb()
    tracemalloc.start()
    try:
        with pytest.raises(RecordDecodeError, match=codec.label):
            decompress_kafka(body, codec)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


@each_codec
def test_exactly_as_much_as_there_may_be_is_read(
    monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> None:
    monkeypatch.setattr(kafka_decompression, "MAX_BATCH_BYTES", len(TEXT))
    assert decompress_kafka(packed(codec, TEXT), codec) == TEXT
    with pytest.raises(RecordDecodeError, match=codec.label):
        decompress_kafka(packed(codec, TEXT + b"x"), codec)


def test_a_snappy_block_that_holds_less_than_it_says_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cramjam.snappy, "decompress_raw_into", lambda block, output: 0)
    with pytest.raises(RecordDecodeError, match="fewer than 2800 bytes"):
        decompress_kafka(packed(Codec.SNAPPY, TEXT), Codec.SNAPPY)


@each_codec
def test_without_the_library_gzip_is_read_and_the_others_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> None:
    body = packed(codec, TEXT)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    if codec is Codec.GZIP:
        assert decompress_kafka(body, codec) == TEXT
    else:
        with pytest.raises(RecordDecodeError, match=rf"{codec.label} .* pip install"):
            decompress_kafka(body, codec)
    with pytest.raises(UnsupportedCompressionTypeError, match="pip install"):
        packed(codec, TEXT)

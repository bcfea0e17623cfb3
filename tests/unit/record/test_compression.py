"""Bodies into a codec, out of it, and from one into another."""

from __future__ import annotations

import gzip
import sys
import zlib

import cramjam
import pytest

from streamlog.config import ProducerConfig, TopicConfig
from streamlog.errors import RecordDecodeError, UnsupportedCompressionTypeError
from streamlog.record import (
    Codec,
    Compressor,
    PendingBatch,
    build_batch,
    compression,
    compressor_for,
)
from streamlog.record.decompression import decompress
from streamlog.record.layout import COMPRESSION_MASK, TRANSACTIONAL_BIT
from tests.support.interrupts import interrupted_at, moments

CODECS = [codec for codec in Codec if codec]
VALUES = [
    b'{"id": %d, "name": "someone %d"}' % (n, zlib.crc32(b"%d" % n) % 1000) for n in range(600)
]


def batch_of(values: list[bytes]) -> PendingBatch:
    return build_batch(values, 1_700_000_000_000)


def plain_body(batch: PendingBatch) -> bytes:
    codec = batch.attributes & COMPRESSION_MASK
    if not codec:
        assert batch.uncompressed_size == 0
        return batch.body
    return bytes(decompress(batch.body, codec, batch.uncompressed_size))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.label)
def test_rec_9_a_compressed_batch_says_its_codec_and_the_size_it_had(codec: Codec) -> None:
    batch = batch_of(VALUES)
    batch.attributes |= TRANSACTIONAL_BIT
    body = batch.body
    Compressor(codec, 1).apply(batch)
    assert batch.attributes == TRANSACTIONAL_BIT | codec
    assert batch.uncompressed_size == len(body)
    assert len(batch.body) < len(body) / 2
    assert plain_body(batch) == body


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.label)
def test_one_small_record_is_compressed_even_if_that_makes_it_larger(codec: Codec) -> None:
    batch = batch_of([b"v"])
    body = batch.body
    Compressor(codec, 1).apply(batch)
    assert batch.attributes == codec
    assert plain_body(batch) == body


@pytest.mark.parametrize("before", list(Codec), ids=lambda codec: codec.label)
@pytest.mark.parametrize("after", list(Codec), ids=lambda codec: codec.label)
def test_every_codec_becomes_every_other(before: Codec, after: Codec) -> None:
    batch = batch_of(VALUES)
    body = batch.body
    Compressor(before, 1).apply(batch)
    stored = batch.body
    Compressor(after, 1).apply(batch)
    assert batch.attributes == after
    assert plain_body(batch) == body
    if before is after:
        assert batch.body is stored, "it was compressed again"


def test_a_batch_that_has_the_codec_keeps_its_level() -> None:
    batch = batch_of(VALUES)
    Compressor(Codec.ZSTD, 1).apply(batch)
    stored = batch.body
    Compressor(Codec.ZSTD, 19).apply(batch)
    assert batch.body is stored


def test_a_body_larger_than_any_batch_is_left_to_be_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REC-6: for its size, and split."""
    batch = batch_of([b"a" * 100, b"b" * 100])
    body = batch.body
    monkeypatch.setattr(compression, "MAX_BATCH_BYTES", len(body) - 1)
    Compressor(Codec.ZSTD, 3).apply(batch)
    assert (batch.body, batch.attributes, batch.uncompressed_size) == (body, 0, 0)
    monkeypatch.setattr(compression, "MAX_BATCH_BYTES", len(body))
    Compressor(Codec.ZSTD, 3).apply(batch)
    assert batch.attributes == Codec.ZSTD


def test_recompressing_what_cannot_be_read_raises_and_changes_nothing() -> None:
    batch = batch_of(VALUES)
    batch.body, batch.attributes, batch.uncompressed_size = b"junk", Codec.LZ4, 50
    with pytest.raises(RecordDecodeError, match="lz4"):
        Compressor(Codec.GZIP, 6).apply(batch)
    assert (batch.body, batch.attributes, batch.uncompressed_size) == (b"junk", Codec.LZ4, 50)


@pytest.mark.stress
@pytest.mark.parametrize("before", [Codec.NONE, Codec.LZ4], ids=lambda codec: codec.label)
@pytest.mark.parametrize("after", [Codec.NONE, Codec.ZSTD], ids=lambda codec: codec.label)
def test_ctrl_c_leaves_a_batch_that_can_be_appended_again(before: Codec, after: Codec) -> None:
    body = batch_of(VALUES).body

    def fresh() -> PendingBatch:
        batch = batch_of(VALUES)
        Compressor(before, 1).apply(batch)
        return batch

    compressor, batch = Compressor(after, 1), fresh()
    tried = moments(lambda: compressor.apply(batch), of_each=2)
    assert len(tried) > 5 or before is after
    for moment in tried:
        batch = fresh()
        interrupted_at(moment, lambda batch=batch: compressor.apply(batch))  # type: ignore[misc]
        assert batch.attributes in (before, after)
        assert plain_body(batch) == body, f"interrupted at {moment}"


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.label)
def test_without_the_library_nothing_is_compressed_and_the_extra_named(
    monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> None:
    batch = batch_of(VALUES)
    body = batch.body
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(
        UnsupportedCompressionTypeError, match=rf"{codec.label}.*streamlog-broker\[compression\]"
    ):
        Compressor(codec, 1).apply(batch)
    assert (batch.body, batch.attributes) == (body, 0)


# ---- levels (KIP-390)


def compressed(**config: object) -> bytes:
    batch = batch_of(VALUES)
    compressor = compressor_for(ProducerConfig.from_options(config))
    assert compressor is not None
    compressor.apply(batch)
    return batch.body


def test_the_default_levels_are_kafkas() -> None:
    body = batch_of(VALUES).body
    assert compressed(compression_type="zstd") == bytes(cramjam.zstd.compress(body, level=3))
    assert compressed(compression_type="gzip") == bytes(cramjam.gzip.compress(body, level=6))
    # Kafka's 9 is the fast compressor as well.
    assert compressed(compression_type="lz4") == bytes(cramjam.lz4.compress(body, level=0))
    assert compressed(compression_type="snappy") == bytes(cramjam.snappy.compress_raw(body))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_low_levels_of_lz4_are_the_weakest_of_the_high_compressor(level: int) -> None:
    body = batch_of(VALUES).body
    expected = bytes(cramjam.lz4.compress(body, level=3))
    assert compressed(compression_type="lz4", compression_lz4_level=level) == expected


@pytest.mark.parametrize(
    ("name", "levels"),
    [("gzip", (1, 9)), ("lz4", (9, 12, 17)), ("zstd", (-131_072, -5, 1, 19))],
)
def test_a_higher_level_gives_fewer_bytes_or_as_many(name: str, levels: tuple[int, ...]) -> None:
    sizes = [
        len(compressed(compression_type=name, **{f"compression_{name}_level": level}))
        for level in levels
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_level_counts_for_its_own_codec_alone() -> None:
    assert compressed(compression_type="gzip", compression_zstd_level=22) == compressed(
        compression_type="gzip"
    )


def test_gzip_is_what_everybody_reads() -> None:
    body = batch_of(VALUES).body
    assert gzip.decompress(compressed(compression_type="gzip")) == body
    assert zlib.decompress(compressed(compression_type="gzip"), wbits=31) == body


def test_what_stays_as_it_is_has_no_compressor() -> None:
    assert compressor_for(ProducerConfig()) is None
    assert compressor_for(TopicConfig()) is None
    uncompressed = compressor_for(TopicConfig(compression_type="uncompressed"))
    assert uncompressed is not None
    assert uncompressed.codec is Codec.NONE

"""Bodies from anyone: exactly the bytes that the header promises, or an error; never more memory."""

from __future__ import annotations

import sys
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import RecordDecodeError
from streamlog.record.codec import Codec
from streamlog.record.decompression import decompress
from streamlog.record.layout import MAX_BATCH_BYTES

CODECS = [codec for codec in Codec if codec]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.label)

TEXT = b"one record after the other, " * 100
MIB = 1 << 20


def packed(codec: Codec, data: bytes) -> bytes:
    if codec is Codec.SNAPPY:
        return bytes(cramjam.snappy.compress_raw(data))
    return bytes(getattr(cramjam, codec.label).compress(data))


@each_codec
@pytest.mark.parametrize("data", [b"x", TEXT, bytes(range(256)) * 10], ids=len)
def test_what_was_compressed_comes_back_and_cannot_be_changed(codec: Codec, data: bytes) -> None:
    output = decompress(packed(codec, data), codec, len(data))
    assert output == data
    assert output.readonly


@each_codec
@pytest.mark.parametrize("difference", [-1, 1, -len(TEXT), -len(TEXT) + 1, 1000])
def test_a_size_other_than_promised_is_an_error(codec: Codec, difference: int) -> None:
    with pytest.raises(RecordDecodeError, match=codec.label):
        decompress(packed(codec, TEXT), codec, len(TEXT) + difference)


@each_codec
@pytest.mark.parametrize("body", [b"", b"\x00", b"junk", b"\xff" * 100])
def test_bytes_that_are_no_such_body_are_an_error(codec: Codec, body: bytes) -> None:
    for size in (1, len(body), 100):
        with pytest.raises(RecordDecodeError, match=codec.label):
            decompress(body, codec, size)


@each_codec
def test_every_cut_is_an_error(codec: Codec) -> None:
    body = packed(codec, TEXT)
    for size in range(len(body)):
        with pytest.raises(RecordDecodeError):
            decompress(body[:size], codec, len(TEXT))


@each_codec
@given(data=st.data())
def test_a_damaged_body_gives_that_many_bytes_or_a_named_error(
    codec: Codec, data: st.DataObject
) -> None:
    body = bytearray(packed(codec, TEXT))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position] ^= data.draw(st.integers(1, 255))
    try:
        output = decompress(bytes(body), codec, len(TEXT))
    except RecordDecodeError:
        return
    assert len(output) == len(TEXT)


@pytest.mark.parametrize("number", [0, 5, 6, 7])
def test_an_unknown_codec_is_an_error(number: int) -> None:
    with pytest.raises(RecordDecodeError, match=f"found {number}: written by a newer version"):
        decompress(TEXT, number, 10)


@each_codec
def test_without_the_library_the_error_names_codec_and_extra(
    monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> None:
    body = packed(codec, TEXT)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(
        RecordDecodeError, match=rf"{codec.label}.*streamlog-broker\[compression\]"
    ) as caught:
        decompress(body, codec, len(TEXT))
    assert isinstance(caught.value.__cause__, ImportError)


# ---- bombs: F30, F31


def peak_bytes_of(body: bytes, codec: Codec, size: int) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(RecordDecodeError):
            decompress(body, codec, size)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@each_codec
@pytest.mark.parametrize("promised", [1000, 100_000])
def test_f30_a_bomb_costs_what_it_promised_and_no_more(codec: Codec, promised: int) -> None:
    bomb = packed(codec, bytes(32 * MIB))
    assert peak_bytes_of(bomb, codec, promised) < promised + 50_000


@each_codec
@pytest.mark.parametrize("promised", [MAX_BATCH_BYTES, MAX_BATCH_BYTES + 1, 2**32 - 1])
def test_f30_a_promise_that_cannot_be_kept_costs_nothing(codec: Codec, promised: int) -> None:
    assert peak_bytes_of(packed(codec, TEXT), codec, promised) < 50_000


@each_codec
def test_no_ratio_that_occurs_is_refused(codec: Codec) -> None:
    data = bytes(8 * MIB)
    assert decompress(packed(codec, data), codec, len(data)) == data


def test_the_densest_gzip_and_zstd_are_still_read() -> None:
    """A run of zeros at the best level comes nearest to the greatest ratio."""
    data = bytes(8 * MIB)
    gzipped = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = gzipped.compress(data) + gzipped.flush()
    assert len(data) / len(body) > 1000
    assert decompress(body, Codec.GZIP, len(data)) == data
    body = bytes(cramjam.zstd.compress(data, level=22))
    assert len(data) / len(body) > 20_000
    assert decompress(body, Codec.ZSTD, len(data)) == data


def test_f31_a_zstd_frame_that_declares_another_size_is_refused_before_it_is_read() -> None:
    bomb = bytes(cramjam.zstd.compress(bytes(32 * MIB)))
    with pytest.raises(RecordDecodeError, match="a body of 1000 bytes, .* declares 33554432"):
        decompress(bomb, Codec.ZSTD, 1000)


def test_f31_a_frame_that_lies_about_its_size_gets_no_more_than_that() -> None:
    frame = bytearray(cramjam.zstd.compress(bytes(32 * MIB)))
    assert frame[4] >> 6 == 2, "four bytes of content size"
    start = 5 if frame[4] & 0x20 else 6
    frame[start : start + 4] = (1000).to_bytes(4, "little")
    assert peak_bytes_of(bytes(frame), Codec.ZSTD, 1000) < 50_000


def test_f31_a_zstd_window_beyond_use_is_refused() -> None:
    frame = bytearray(cramjam.zstd.compress(bytes(range(256)) * (3 * MIB // 256), level=3))
    assert not frame[4] & 0x20, "a frame with a window"
    size = 3 * MIB
    assert len(decompress(bytes(frame), Codec.ZSTD, size)) == size
    frame[5] = 21 << 3  # 2 GiB
    with pytest.raises(
        RecordDecodeError, match="window of at most 8388608 bytes, found 2147483648"
    ):
        decompress(bytes(frame), Codec.ZSTD, size)


def test_a_zstd_stream_that_does_not_say_its_size_is_refused() -> None:
    stream = cramjam.zstd.Compressor(3)
    stream.compress(TEXT)
    with pytest.raises(RecordDecodeError, match="declares its size"):
        decompress(bytes(stream.finish()), Codec.ZSTD, len(TEXT))


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY], ids=lambda codec: codec.label)
def test_a_body_that_declares_another_size_is_refused_before_anything_is_allocated(
    codec: Codec,
) -> None:
    body = packed(codec, bytes(MIB))
    for promised in (MIB - 1, MIB + 1):
        with pytest.raises(RecordDecodeError, match=f"{promised} bytes, .* declares {MIB}"):
            decompress(body, codec, promised)
        assert peak_bytes_of(body, codec, promised) < 50_000


@pytest.mark.parametrize("body", [b"\xff" * 5, b"\xff" * 6, b"\x80", b"\x80\x80\x80\x80\x80\x00"])
def test_a_snappy_size_without_an_end_is_refused(body: bytes) -> None:
    with pytest.raises(RecordDecodeError, match="declares -1"):
        decompress(body, Codec.SNAPPY, 5)


@each_codec
def test_two_bodies_in_a_row_are_not_one(codec: Codec) -> None:
    with pytest.raises(RecordDecodeError):
        decompress(packed(codec, TEXT) + packed(codec, TEXT), codec, 2 * len(TEXT) + 1)

"""Decompressing the records of a Kafka batch: in the framings that Kafka's clients use, none of which has to say how much there is."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from streamlog.errors import RecordDecodeError
from streamlog.record.codec import INSTALL_HINT, Codec, load_library
from streamlog.record.layout import MAX_BATCH_BYTES
from streamlog.record.lz4_frame import lz4_frame_bound
from streamlog.record.xerial import snappy_block_size, snappy_blocks
from streamlog.record.zstd_frame import zstd_frame_bound

if TYPE_CHECKING:
    from types import ModuleType

#: With a header and a trailer, as in a file.
_GZIP_WINDOW_BITS = 31
#: As in ``decompression.py``.
_SNAPPY_RATIO = 22


def decompress_kafka(records: bytes, codec_number: int) -> bytes:
    """Return what *records*, the bytes behind the header of a batch that says *codec_number* (not 0), stand for.

    Never more than `MAX_BATCH_BYTES`, and never more memory than the blocks in there can fill: a bomb is refused. One gzip member, LZ4
    frame or zstd frame, or snappy with or without xerial's framing; nothing behind it. Whatever is wrong is a `RecordDecodeError`, the
    missing library included (gzip needs none). Threads: any. Source: Kafka ``CompressionType``, ``SnappyCompression``, ``Lz4BlockInputStream``.
    """
    try:
        if codec_number == Codec.GZIP:
            return _gunzip(records)
        if codec_number == Codec.SNAPPY:
            return _unsnap(records)
        if codec_number == Codec.LZ4:
            return _unframe(records, Codec.LZ4.label, lz4_frame_bound(records))
        if codec_number == Codec.ZSTD:
            return _unframe(records, Codec.ZSTD.label, zstd_frame_bound(records))
    except RecordDecodeError:
        raise
    except Exception as error:  # the library's own, zlib.error, OSError, ValueError
        raise RecordDecodeError(
            f"{Codec(codec_number).label}: expected records that decompress to at most {MAX_BATCH_BYTES} bytes: {error}"
        ) from error
    raise RecordDecodeError(f"expected a codec from 1 to {max(Codec)}, found {codec_number}")


def _gunzip(records: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW_BITS)
    output = stream.decompress(records, MAX_BATCH_BYTES + 1)
    if len(output) > MAX_BATCH_BYTES or not stream.eof or stream.unused_data:
        raise ValueError("found a member that is not whole, too large, or followed by something")
    return output


def _unsnap(records: bytes) -> bytes:
    blocks = list(snappy_blocks(records))
    sizes = list(map(snappy_block_size, blocks))
    size = sum(sizes)
    if size > min(len(records) * _SNAPPY_RATIO, MAX_BATCH_BYTES) or -1 in sizes:
        raise ValueError(f"found {len(records)} bytes that declare {size}")
    snappy = _library(Codec.SNAPPY.label).snappy
    output = bytearray(size)
    view, position = memoryview(output), 0
    for block, expected in zip(blocks, sizes, strict=True):
        stop = position + expected
        if snappy.decompress_raw_into(block, view[position:stop]) != expected:
            raise ValueError(f"found a block of fewer than {expected} bytes")
        position = stop
    return bytes(output)


def _unframe(records: bytes, label: str, bound: int | None) -> bytes:
    if bound is None:
        raise ValueError("found something that is not one whole frame")
    output = bytearray(min(bound, MAX_BATCH_BYTES))
    produced = getattr(_library(label), label).decompress_into(records, output)
    return bytes(memoryview(output)[:produced])


def _library(label: str) -> ModuleType:
    try:
        return load_library()
    except ImportError as error:
        raise RecordDecodeError(
            f"the batch is compressed with {label} and the library is not installed: {INSTALL_HINT} to read it"
        ) from error

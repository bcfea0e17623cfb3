"""Compressing the records of a Kafka batch, in the framings that every client of Kafka reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record.codec import Codec
from streamlog.record.lz4_frame import write_lz4_frame
from streamlog.record.xerial import write_xerial

if TYPE_CHECKING:
    from streamlog.record.compression import Compressor


def compress_kafka(records: bytes, compressor: Compressor) -> bytes:
    """Return *records* in the codec of *compressor*, which is not NONE, at its level.

    Raises `UnsupportedCompressionTypeError` where the library is not installed. Source: Kafka ``CompressionType.wrapForOutput``.
    """
    if compressor.codec is Codec.SNAPPY:
        return write_xerial(records, compressor.compress_block)
    if compressor.codec is Codec.LZ4:
        return write_lz4_frame(records, compressor.compress_block)
    return compressor.compress(records)

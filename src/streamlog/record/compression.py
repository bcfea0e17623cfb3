"""Compressing the body of a batch, once, before it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from streamlog.config.codecs import GZIP_DEFAULT_LEVEL, LZ4_DEFAULT_LEVEL
from streamlog.errors import UnsupportedCompressionTypeError
from streamlog.record.codec import INSTALL_HINT, Codec, load_library
from streamlog.record.decompression import decompress
from streamlog.record.layout import COMPRESSION_MASK, MAX_BATCH_BYTES

if TYPE_CHECKING:
    from types import ModuleType

    from streamlog.record.pending_batch import PendingBatch

_ZLIB_DEFAULT_LEVEL = 6
# Below 3 and above 12 the library takes the fast compressor, and 12, without saying so.
_LZ4_FAST, _LZ4_LOWEST = 0, 3


class CompressionConfig(Protocol):
    """What `compressor_for` reads: a `ProducerConfig` or a `TopicConfig`."""

    @property
    def compression_type(self) -> str:
        """The codec's name, ``none``, ``uncompressed`` or ``producer``."""

    @property
    def compression_gzip_level(self) -> int:
        """Level of gzip."""

    @property
    def compression_lz4_level(self) -> int:
        """Level of lz4."""

    @property
    def compression_zstd_level(self) -> int:
        """Level of zstd."""


class Compressor:
    """Brings batches into one codec, which may be none. Immutable; threads: any.

    Source: Kafka ``Compression``, KIP-390 (levels).
    """

    __slots__ = ("_level", "codec")

    def __init__(self, codec: Codec, level: int = 0) -> None:
        self.codec = codec
        self._level = level

    def apply(self, batch: PendingBatch) -> None:
        """Put the body of *batch* into this codec, and say so in ``attributes`` and ``uncompressed_size``.

        A batch that has the codec already is left as it is, whatever its level. So is a body that is
        too large for any batch (`MAX_BATCH_BYTES`) before it is compressed: no reader would take it
        back, and uncompressed it is refused, or split, for its size. Raises
        `UnsupportedCompressionTypeError` where the library is not installed, `RecordDecodeError` for
        a compressed body that cannot be read.
        """
        present = batch.attributes & COMPRESSION_MASK
        if present == self.codec:
            return
        body: bytes | memoryview = batch.body
        if present:
            body = decompress(batch.body, present, batch.uncompressed_size)
        if self.codec is Codec.NONE:
            changed, size = bytes(body), 0
        elif len(body) > MAX_BATCH_BYTES:
            return
        else:
            changed, size = self.compress(body), len(body)
        attributes = batch.attributes & ~COMPRESSION_MASK | self.codec
        # Together, and with no call in between: after Ctrl-C the batch may be appended again.
        batch.body, batch.uncompressed_size, batch.attributes = changed, size, attributes

    def compress(self, data: bytes | memoryview) -> bytes:
        """Return *data* in the codec, which is not NONE. Raises as `apply` does without the library."""
        codec, level, library = self.codec, self._level, _library(self.codec)
        if codec is Codec.ZSTD:
            return bytes(library.zstd.compress(data, level=level))
        if codec is Codec.LZ4:
            return bytes(library.lz4.compress(data, level=_lz4_level(level)))
        if codec is Codec.SNAPPY:
            return bytes(library.snappy.compress_raw(data))
        level = _ZLIB_DEFAULT_LEVEL if level == GZIP_DEFAULT_LEVEL else level
        return bytes(library.gzip.compress(data, level=level))

    def compress_block(self, data: memoryview) -> bytes:
        """Return *data* as one block of LZ4 or snappy, for a frame that somebody else makes. Raises as `apply` does."""
        library = _library(self.codec)
        if self.codec is Codec.SNAPPY:
            return bytes(library.snappy.compress_raw(data))
        level = _lz4_level(self._level)
        if level == _LZ4_FAST:
            return bytes(library.lz4.compress_block(data, store_size=False))
        return bytes(
            library.lz4.compress_block(
                data, mode="high_compression", compression=level, store_size=False
            )
        )


def compressor_for(config: CompressionConfig) -> Compressor | None:
    """Return what brings batches into the configured codec; None where they stay as they are.

    That is ``none`` for a producer and ``producer`` for a topic. Needs no library yet.
    """
    name = config.compression_type
    if name in ("none", "producer"):
        return None
    if name == "uncompressed":
        return Compressor(Codec.NONE)
    level: int = getattr(config, f"compression_{name}_level", 0)  # snappy has none
    return Compressor(Codec[name.upper()], level)


def _lz4_level(level: int) -> int:
    # As in Kafka, the default level stands for the fast compressor, and any other for the high compressor at that level.
    return _LZ4_FAST if level == LZ4_DEFAULT_LEVEL else max(level, _LZ4_LOWEST)


def _library(codec: Codec) -> ModuleType:
    try:
        return load_library()
    except ImportError as error:
        raise UnsupportedCompressionTypeError(
            f"cannot compress a batch with {codec.label}: the library is not installed: {INSTALL_HINT}"
        ) from error

"""Decompressing the body of a batch that may come from anyone: never more than it says, exactly what it says."""

from __future__ import annotations

from streamlog.errors import RecordDecodeError
from streamlog.record.codec import INSTALL_HINT, Codec, load_library
from streamlog.record.layout import MAX_BATCH_BYTES
from streamlog.record.xerial import snappy_block_size
from streamlog.record.zstd_frame import read_frame_header

#: The most bytes that one compressed byte can stand for: 258 in two bits of deflate; a copy of 64 in three bytes of snappy; a length
#: that grows by 255 with each byte of lz4; a block of 128 KiB in four bytes of zstd.
_GREATEST_RATIOS = {
    Codec.GZIP: 1032,
    Codec.SNAPPY: 22,
    Codec.LZ4: 255,
    Codec.ZSTD: 32_768,
}

#: Every decoder of zstd has to support this window (RFC 8878); no encoder that knows the size needs more than twice of that.
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024


def decompress(body: bytes, codec_number: int, uncompressed_size: int) -> memoryview:
    """Return the *uncompressed_size* bytes that *body* stands for, read-only.

    *codec_number* and *uncompressed_size* are what the header says, and are not trusted: a size that is not possible is refused before
    anything is allocated, and the output goes into a buffer of that size which the library cannot grow. So a bomb costs no memory, and
    whatever is wrong is a `RecordDecodeError`: bytes that do not decompress, more of them or fewer, a codec that is not known or whose
    library is not installed; then the batch stays readable for who has it. Threads: any; the GIL is free meanwhile.
    """
    try:
        codec = Codec(codec_number)
        greatest_ratio = _GREATEST_RATIOS[codec]
    except (ValueError, KeyError):
        raise RecordDecodeError(
            f"expected a codec from 1 to {max(Codec)}, found {codec_number}: written by a newer version"
        ) from None
    greatest_size = min(len(body) * greatest_ratio, MAX_BATCH_BYTES)
    if uncompressed_size > greatest_size:
        raise RecordDecodeError(
            f"{codec.label}: expected at most {greatest_size} bytes from a body of {len(body)}, found an uncompressed_size of {uncompressed_size}"
        )
    _check_declared(codec, body, uncompressed_size)
    try:
        library = load_library()
    except ImportError as error:
        raise RecordDecodeError(
            f"the batch is compressed with {codec.label} and the library is not installed: {INSTALL_HINT} to read it"
        ) from error
    output = bytearray(uncompressed_size)
    try:
        if codec is Codec.SNAPPY:
            produced = library.snappy.decompress_raw_into(body, output)
        else:
            produced = getattr(library, codec.label).decompress_into(body, output)
    except Exception as error:  # its own, and OSError, ValueError
        raise RecordDecodeError(
            f"{codec.label}: expected a body that decompresses to {uncompressed_size} bytes: {error}"
        ) from error
    if produced != uncompressed_size:
        raise RecordDecodeError(
            f"{codec.label}: expected a body that decompresses to {uncompressed_size} bytes, found {produced}"
        )
    return memoryview(output).toreadonly()


def _check_declared(codec: Codec, body: bytes, uncompressed_size: int) -> None:
    """Raise unless the body declares this very size, where it declares one, and a window that the size can make use of."""
    if codec is Codec.LZ4:
        return  # the one whose bodies say nothing
    if codec is Codec.GZIP:
        declared = int.from_bytes(body[-4:], "little")  # of the last member: ours have one
    elif codec is Codec.SNAPPY:
        declared = snappy_block_size(body)
    else:
        declared = _zstd_size(body, uncompressed_size)
    if declared != uncompressed_size:
        raise RecordDecodeError(
            f"{codec.label}: expected a body of {uncompressed_size} bytes, found one that declares {declared}"
        )


def _zstd_size(body: bytes, uncompressed_size: int) -> int:
    frame = read_frame_header(body)
    if frame is None:
        raise RecordDecodeError("zstd: expected a frame that declares its size, found another body")
    window_bytes, content_bytes = frame
    greatest_window = max(2 * uncompressed_size, _ZSTD_WINDOW_BYTES)
    if window_bytes > greatest_window and content_bytes == uncompressed_size:
        raise RecordDecodeError(
            f"zstd: expected a window of at most {greatest_window} bytes, found {window_bytes}"
        )
    return content_bytes

"""Snappy as Kafka's Java client frames it: blocks with their sizes, behind a name and two versions, big-endian.

====== ==== ====== ================== ====================================================================
offset size type   field              meaning
====== ==== ====== ================== ====================================================================
0      8    bytes  name               ``82 S N A P P Y 00``
8      4    i32    version            1
12     4    i32    compatible         1: the lowest version that reads this
16     ..          blocks             i32 size and a snappy block each
====== ==== ====== ================== ====================================================================

Who does not frame (librdkafka) sends one bare snappy block, which never begins like this. Source: snappy-java ``SnappyCodec``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_NAME = b"\x82SNAPPY\x00"
_HEAD = _NAME + b"\0\0\0\x01" * 2
#: As much as Kafka puts into a block.
_BLOCK_BYTES = 32 * 1024


def write_xerial(data: bytes | memoryview, compress_block: Callable[[memoryview], bytes]) -> bytes:
    """Return *data* framed; *compress_block* makes one snappy block."""
    view = memoryview(data)
    parts = [_HEAD]
    for start in range(0, len(view), _BLOCK_BYTES):
        packed = compress_block(view[start : start + _BLOCK_BYTES])
        parts += (len(packed).to_bytes(4, "big"), packed)
    return b"".join(parts)


def snappy_blocks(data: bytes) -> Iterator[memoryview]:
    """Yield each snappy block of *data*, which may be framed or not. Raises ValueError for a frame that is cut short."""
    view = memoryview(data)
    if data[: len(_NAME)] != _NAME:
        yield view
        return
    position, end = len(_HEAD), len(view)
    if end < position:
        raise ValueError(f"a frame ends at byte {end}")
    while position < end:
        stop = position + 4 + int.from_bytes(view[position : position + 4], "big")
        if position + 4 > end or stop > end:
            raise ValueError(f"a block ends at byte {stop} of {end}")
        yield view[position + 4 : stop]
        position = stop


def snappy_block_size(block: bytes | memoryview) -> int:
    """Return what a snappy block begins with: its size decompressed, seven bits a byte, the lowest first; -1 for no such number."""
    size = 0
    for number, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return size
    return -1

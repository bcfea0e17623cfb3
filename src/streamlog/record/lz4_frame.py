"""LZ4 frames as Kafka's clients write and read them: blocks that stand alone, and no sizes in front.

====== ==== ================== ==================================================================================
offset size field              meaning
====== ==== ================== ==================================================================================
0      4    magic              ``04 22 4D 18``
4      1    flags              bits 6-7 version (1), 5 independent blocks, 4 block checksums, 3 content size,
                               2 content checksum, 0 dictionary id
5      1    block descriptor   bits 4-6 greatest size of a block before compression: 4 = 64 KiB, four times as much
                               with each step, up to 7 = 4 MiB
..     0, 8 content size
..     1    header checksum
..     ..   blocks             u32 size (top bit: not compressed), bytes, perhaps a checksum; size 0 ends them
..     0, 4 content checksum
====== ==== ================== ==================================================================================

Little-endian. Kafka's Java reader refuses blocks that refer to the ones before, which is what most libraries write unless told
otherwise: hence a frame of our own. Source: the LZ4 frame format 1.6, Kafka ``Lz4BlockOutputStream``.
"""

from __future__ import annotations

from collections.abc import Callable

_MAGIC = b"\x04\x22\x4d\x18"
#: Version 1, independent blocks of up to 64 KiB, nothing else; the last byte is the checksum of the two before.
_HEAD = _MAGIC + b"\x60\x40\x82"
_END = bytes(4)
_BLOCK_BYTES = 64 * 1024
_UNCOMPRESSED_BIT = 1 << 31
#: A length grows by at most 255 with each byte.
_GREATEST_RATIO = 255


def write_lz4_frame(
    data: bytes | memoryview, compress_block: Callable[[memoryview], bytes]
) -> bytes:
    """Return *data* in one frame; *compress_block* makes a block, without any size in front, of up to 64 KiB."""
    parts = [_HEAD]
    view = memoryview(data)
    for start in range(0, len(view), _BLOCK_BYTES):
        block = view[start : start + _BLOCK_BYTES]
        packed = compress_block(block)
        if len(packed) < len(block):
            parts += (len(packed).to_bytes(4, "little"), packed)
        else:
            parts += ((len(block) | _UNCOMPRESSED_BIT).to_bytes(4, "little"), bytes(block))
    parts.append(_END)
    return b"".join(parts)


def lz4_frame_bound(data: bytes) -> int | None:
    """Return how many bytes the one frame that *data* is decompresses to at most, by the sizes of its blocks.

    None when it is no such frame, is cut short, has something behind it, or needs a dictionary. Never raises; takes time only for
    what is there.
    """
    if len(data) < 7 or data[:4] != _MAGIC:
        return None
    flags, descriptor = data[4], data[5]
    if flags >> 6 != 1 or flags & 0x03 or descriptor >> 4 not in (4, 5, 6, 7):
        return None
    block_limit = 1 << 8 + 2 * (descriptor >> 4)
    checksum_bytes = 4 if flags & 0x10 else 0
    position = 15 if flags & 0x08 else 7
    bound = 0
    while True:
        field = data[position : position + 4]
        if len(field) < 4:
            return None
        size = int.from_bytes(field, "little")
        position += 4
        if size == 0:
            break
        if size & _UNCOMPRESSED_BIT:
            size ^= _UNCOMPRESSED_BIT
            bound += size
        else:
            bound += min(block_limit, size * _GREATEST_RATIO)
        position += size + checksum_bytes
    position += 4 if flags & 0x04 else 0
    return bound if position == len(data) else None

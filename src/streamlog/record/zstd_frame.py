"""Zstd frames: what they say of their size, before anything is decompressed.

====== ==== ================== ==================================================================================
offset size field              meaning
====== ==== ================== ==================================================================================
0      4    magic              ``28 B5 2F FD``
4      1    descriptor         bits 0-1 size of the dictionary id, 2 checksum, 3 reserved, 5 single segment,
                               6-7 size of the content size
5      0, 1 window descriptor  not with a single segment: mantissa in bits 0-2, exponent in bits 3-7
..     0-4  dictionary id
..     0-8  content size       little-endian; with two bytes 256 less than it is
====== ==== ================== ==================================================================================

Source: RFC 8878, sections 3.1.1.1 and 3.1.1.2.
"""

from __future__ import annotations

_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_ID_SIZES = (0, 1, 2, 4)
_CONTENT_SIZE_SIZES = (0, 2, 4, 8)
_SINGLE_SEGMENT_BIT = 0x20
_RESERVED_BIT = 0x08
_CHECKSUM_BIT = 0x04

#: No block is larger before compression.
_BLOCK_BYTES = 128 * 1024
_RUN, _COMPRESSED = 1, 2


def read_frame_header(data: bytes) -> tuple[int, int] | None:
    """Return the window and the content size in bytes that the frame at the start of *data* declares.

    None when it declares no content size, needs a dictionary, or is no frame at all. Never raises.
    """
    if data[:4] != _MAGIC or len(data) < 6:
        return None
    descriptor = data[4]
    is_single = bool(descriptor & _SINGLE_SEGMENT_BIT)
    size_bytes = _CONTENT_SIZE_SIZES[descriptor >> 6] or is_single
    dictionary_bytes = _DICTIONARY_ID_SIZES[descriptor & 3]
    if not size_bytes or dictionary_bytes or descriptor & _RESERVED_BIT:
        return None
    position = 5 if is_single else 6
    field = data[position : position + size_bytes]
    if len(field) < size_bytes:
        return None
    content_bytes = int.from_bytes(field, "little") + (256 if size_bytes == 2 else 0)
    if is_single:
        return content_bytes, content_bytes
    return _window_bytes(data[5]), content_bytes


def zstd_frame_bound(data: bytes) -> int | None:
    """Return how many bytes the one frame that *data* is decompresses to at most.

    For frames that may declare no content size, as those written in a stream: by the sizes of their blocks. Each begins with three
    bytes, little-endian: bit 0 the last one, 1-2 raw, one byte repeated, or compressed, the rest the size. None when it needs a
    dictionary, is cut short or has something behind it, or is no frame. Never raises; takes time only for what is there.
    """
    if data[:4] != _MAGIC or len(data) < 6:
        return None
    descriptor = data[4]
    if descriptor & (3 | _RESERVED_BIT):
        return None
    is_single = bool(descriptor & _SINGLE_SEGMENT_BIT)
    size_bytes = _CONTENT_SIZE_SIZES[descriptor >> 6] or int(is_single)
    declared = read_frame_header(data) if size_bytes else None
    position = (5 if is_single else 6) + size_bytes
    bound = 0
    is_last = False
    while not is_last:
        field = data[position : position + 3]
        if len(field) < 3:
            return None
        block = int.from_bytes(field, "little")
        is_last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind > _COMPRESSED or size > _BLOCK_BYTES:
            return None
        bound += _BLOCK_BYTES if kind == _COMPRESSED else size
        position += 3 + (1 if kind == _RUN else size)
    if descriptor & _CHECKSUM_BIT:
        position += 4
    if position != len(data):
        return None
    return bound if declared is None else min(bound, declared[1])


def _window_bytes(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)

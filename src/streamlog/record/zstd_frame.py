"""The header of a zstd frame: what the frame says of its size, before any of it is decompressed.

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

Source: RFC 8878, section 3.1.1.1.
"""

from __future__ import annotations

_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_ID_SIZES = (0, 1, 2, 4)
_CONTENT_SIZE_SIZES = (0, 2, 4, 8)
_SINGLE_SEGMENT_BIT = 0x20
_RESERVED_BIT = 0x08


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
    base = 1 << (10 + (data[5] >> 3))
    return base + base // 8 * (data[5] & 7), content_bytes

"""An append-only file of index entries in checksummed blocks: what both sparse indexes are kept in.

====== ==== ===== =====================================================
offset size type  field of a block
====== ==== ===== =====================================================
0      4    bytes magic ``SLX`` and the format version, 1
4      4    u32   size of the payload in bytes
8      4    u32   CRC-32C of bytes 12 to 15 and the payload
12     4    u32   covers: bytes of the log file that the entries up to here tell everything about
16     n          payload: the entries, little-endian
====== ==== ===== =====================================================

Only the log is truth, so nothing here is ever synced: after a power loss a block may be torn or absent. Reading returns the good
prefix and how much of the log it covers; the rest is rebuilt from the log. Without ``covers`` a file cut between two blocks would
look whole, and a time index that lost its end would let retention delete records too early.
"""

from __future__ import annotations

import struct

from streamlog.record.checksum import crc32c
from streamlog.runtime import FileSystem

_BLOCK = struct.Struct("<4sIII")
_MAGIC = b"SLX\x01"

#: An index never holds more than this: a segment is below 2 GiB and an entry stands for one batch of 88 bytes at least.
_MAX_FILE_BYTES = 512 * 1024 * 1024


def read_entries(filesystem: FileSystem, path: str) -> tuple[bytes, int]:
    """Return the payloads of the good prefix, joined, and how many bytes of the log they cover.

    A missing file covers nothing. Never raises for what the bytes are.
    """
    if not filesystem.exists(path) or filesystem.file_size(path) > _MAX_FILE_BYTES:
        return b"", 0
    data = filesystem.read_file(path, _MAX_FILE_BYTES)
    payloads: list[bytes] = []
    position = covered = 0
    while position + _BLOCK.size <= len(data):
        magic, size, crc, covers = _BLOCK.unpack_from(data, position)
        start = position + _BLOCK.size
        payload = data[start : start + size]
        if (
            magic != _MAGIC
            or len(payload) != size
            or crc32c(data[start - 4 : start] + payload) != crc
        ):
            break
        payloads.append(payload)
        covered = covers
        position = start + size
    return b"".join(payloads), covered


def append_entries(filesystem: FileSystem, path: str, payload: bytes, covers: int) -> None:
    """Append one block. DiskFullError leaves at most a torn block, which reading drops with all that follows."""
    file = filesystem.open(path, create=True)
    try:
        end = file.size()
        try:
            file.write_at(end, _block(payload, covers))
        except OSError:
            file.truncate(end)
            raise
    finally:
        file.close()


def replace_entries(filesystem: FileSystem, path: str, payload: bytes, covers: int) -> None:
    """Replace the whole file with one block, atomically."""
    filesystem.write_atomically(path, _block(payload, covers))


def _block(payload: bytes, covers: int) -> bytes:
    covered = struct.pack("<I", covers)
    return _BLOCK.pack(_MAGIC, len(payload), crc32c(covered + payload), covers) + payload

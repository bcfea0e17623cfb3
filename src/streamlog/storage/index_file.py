"""An append-only file of index entries in checksummed blocks: what the indexes of a segment are kept in.

====== ==== ===== =====================================================
offset size type  field of a block
====== ==== ===== =====================================================
0      4    bytes magic ``SLX`` and the format version, 1
4      4    u32   size of the payload in bytes
8      4    u32   CRC-32C of the file's place, bytes 12 to 15 and the payload
12     4    u32   covers: bytes of the log file that the entries up to here tell everything about
16     n          payload: the entries, little-endian
====== ==== ===== =====================================================

The place is what tells this index from that of another log, ``orders-0/00000000000000000000.idx``: the checksum
vouches for it without storing it.

Only the log is truth, so nothing here is ever synced: after a power loss a block may be torn or absent. Reading returns the good
prefix and how much of the log it covers; the rest is rebuilt from the log. Without ``covers`` a file cut between two blocks would
look whole, and a time index that lost its end would let retention delete records too early.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from streamlog.record.checksum import crc32c, extend_crc32c
from streamlog.runtime import FileSystem

_BLOCK = struct.Struct("<4sIII")
_MAGIC = b"SLX\x01"

#: Beyond the size of the log file, which is three times what its index can need: for the blocks of tiny logs.
SLACK_BYTES = 1024

#: What a block takes besides its entries.
BLOCK_HEADER_BYTES = _BLOCK.size


class IndexContent(NamedTuple):
    """What is good of an index file."""

    entries: bytes
    #: How many bytes of the log file the entries tell everything about.
    covers: int
    #: Whether the file is just that: nothing torn or foreign behind it, where a further block would never be found.
    is_whole: bool
    #: Where in the file the good ends.
    end: int = 0


def read_entries(filesystem: FileSystem, path: str, log_bytes: int) -> IndexContent:
    """Return the payloads of the good prefix, joined; a missing file is whole and covers nothing.

    *log_bytes* is the size of the log file, which bounds how much is read. Never raises for what the bytes are.
    """
    if not filesystem.exists(path):
        return IndexContent(b"", 0, True)
    try:
        # A batch takes 96 bytes at least; its entry, in a block of its own, takes 32.
        if filesystem.file_size(path) > log_bytes + SLACK_BYTES:
            return IndexContent(b"", 0, False)
        data = filesystem.read_file(path, log_bytes + SLACK_BYTES)
    except FileNotFoundError:
        return IndexContent(b"", 0, True)  # another process has deleted it since
    return parse_entries(data, path)


def parse_entries(data: bytes, path: str) -> IndexContent:
    """Return what is good of *data*, the content of the index file at *path*. Never raises."""
    payloads: list[bytes] = []
    place = _place_crc(path)
    position = covers = 0
    while position + _BLOCK.size <= len(data):
        magic, size, crc, block_covers = _BLOCK.unpack_from(data, position)
        start = position + _BLOCK.size
        payload = data[start : start + size]
        if (
            magic != _MAGIC
            or len(payload) != size
            or extend_crc32c(place, data[start - 4 : start] + payload) != crc
        ):
            break
        payloads.append(payload)
        covers = block_covers
        position = start + size
    return IndexContent(b"".join(payloads), covers, position == len(data), position)


def append_entries(filesystem: FileSystem, path: str, payload: bytes, covers: int) -> None:
    """Append one block. DiskFullError leaves at most a torn block, which reading drops with all that follows."""
    file = filesystem.open(path, create=True)
    try:
        end = file.size()
        try:
            file.write_at(end, _block(path, payload, covers))
        except OSError:
            file.truncate(end)
            raise
    finally:
        file.close()


def replace_entries(filesystem: FileSystem, path: str, payload: bytes, covers: int) -> None:
    """Replace the whole file with one block, atomically."""
    filesystem.write_atomically(path, _block(path, payload, covers))


def _block(path: str, payload: bytes, covers: int) -> bytes:
    crc = extend_crc32c(_place_crc(path), struct.pack("<I", covers) + payload)
    return _BLOCK.pack(_MAGIC, len(payload), crc, covers) + payload


def _place_crc(path: str) -> int:
    """Return the checksum of the file's own name and that of the directory it is in."""
    return crc32c("/".join(path.split("/")[-2:]).encode())

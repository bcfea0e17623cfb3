"""Small files that are replaced as a whole: FORMAT, STATE and META.

====== ==== ===== ======================================================
offset size type  field
====== ==== ===== ======================================================
0      4    bytes magic ``SLF`` and the format version of this envelope, 1
4      8    bytes kind: the file's name, padded with zero bytes
12     4    u32   size of the payload in bytes
16     4    u32   CRC-32C of bytes 4 to 15 and the payload
20     n          payload: one msgpack map
====== ==== ===== ======================================================

Written to a temporary file, synced, renamed over the old one, and the directory synced (about 0.4 ms): after a crash there is the
old content or the new one, never a mixture.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack

from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.record.checksum import crc32c
from streamlog.runtime import FileSystem

_ENVELOPE = struct.Struct("<4s8sII")

#: What stands before the payload: another payload has another checksum there.
ENVELOPE_BYTES = _ENVELOPE.size
_MAGIC = b"SLF"
_VERSION = 1

#: 100,000 partitions of 100 bytes of state and then some: anything larger is not ours.
_MAX_BYTES = 64 * 1024 * 1024


def write_checkpoint(filesystem: FileSystem, path: str, kind: str, payload: dict[str, Any]) -> None:
    """Replace the file at *path*; when this returns the new content survives power loss."""
    filesystem.write_atomically(path, encode_checkpoint(kind, payload))


def read_checkpoint(filesystem: FileSystem, path: str, kind: str) -> dict[str, Any]:
    """Return the payload of the file at *path*.

    Raises CorruptLogError when the file is missing or damaged, UnsupportedFormatError when a newer version wrote it.
    """
    if not filesystem.exists(path):
        raise CorruptLogError(f"{path}: expected a {kind} file, found none", file=path)
    size = filesystem.file_size(path)
    if size > _MAX_BYTES:
        raise CorruptLogError(
            f"{path}: expected a {kind} file of at most {_MAX_BYTES} bytes, found {size}", file=path
        )
    return decode_checkpoint(filesystem.read_file(path, _MAX_BYTES), kind, path)


def encode_checkpoint(kind: str, payload: dict[str, Any]) -> bytes:
    """Return the bytes of a checkpoint file of this *kind* (at most 8 ASCII characters)."""
    body: bytes = msgpack.packb(payload)
    name = kind.encode("ascii").ljust(8, b"\0")
    crc = crc32c(struct.pack("<8sI", name, len(body)) + body)
    return _ENVELOPE.pack(_MAGIC + bytes((_VERSION,)), name, len(body), crc) + body


def decode_checkpoint(data: bytes, kind: str, path: str) -> dict[str, Any]:
    """Return the payload in *data*; raises as :func:`read_checkpoint` does, for any bytes whatever. *path* is for messages."""
    if len(data) < _ENVELOPE.size or data[:3] != _MAGIC or not data[3]:
        raise CorruptLogError(
            f"{path}: not a {kind} file (found {data[:8]!r} at its start)", file=path, position=0
        )
    if data[3] > _VERSION:
        raise UnsupportedFormatError(
            f"{path}: format version {data[3]}, this streamlog reads up to {_VERSION}"
        )
    _, name, size, crc = _ENVELOPE.unpack_from(data)
    body = data[_ENVELOPE.size :]
    if (
        name.rstrip(b"\0") != kind.encode("ascii")
        or len(body) != size
        or crc32c(data[4:16] + body) != crc
    ):
        raise CorruptLogError(
            f"{path}: {kind} file is damaged (kind {name!r}, {len(body)} bytes where {size} are expected, or checksum)",
            file=path,
            position=_ENVELOPE.size,
        )
    try:
        payload = msgpack.unpackb(body, max_ext_len=0, strict_map_key=True)
    except Exception as error:  # any failure of the decoder means the same thing
        raise CorruptLogError(
            f"{path}: {kind} file does not hold msgpack: {error!r}", file=path
        ) from error
    if type(payload) is not dict:
        raise CorruptLogError(
            f"{path}: {kind} file: expected a map, found {type(payload).__name__}", file=path
        )
    return payload

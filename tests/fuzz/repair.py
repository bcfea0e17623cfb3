"""Checksums made right, so that fuzzed bytes get past the first gate and reach the code behind it."""

from __future__ import annotations

import struct

from streamlog.record.checksum import crc32c, extend_crc32c
from streamlog.record.kafka_layout import (
    KAFKA_HEADER,
    KAFKA_HEADER_SIZE,
    KafkaBatchHeader,
    pack_kafka_batch,
)
from streamlog.record.layout import HEADER, HEADER_SIZE, MAGIC, BatchHeader, header_checksum
from streamlog.storage.checkpoint_file import _ENVELOPE, _MAGIC, _VERSION
from streamlog.storage.index_file import _BLOCK, _place_crc

MAX_BODY_BYTES = 1 << 16


def as_batches(data: bytes) -> bytes:
    """Return *data* as batches: each takes 80 bytes for its header, whose length and checksums are made right, and a body."""
    found: list[bytes] = []
    position = 0
    while position + HEADER_SIZE <= len(data):
        header = BatchHeader._make(HEADER.unpack_from(data, position))
        size = min(header.body_size % MAX_BODY_BYTES, len(data) - position - HEADER_SIZE)
        body = data[position + HEADER_SIZE : position + HEADER_SIZE + size]
        header = header._replace(
            length=HEADER_SIZE + size, magic=MAGIC, body_size=size, body_crc=crc32c(body)
        )
        packed = HEADER.pack(*header._replace(header_crc=header_checksum(HEADER.pack(*header))))
        found.append(packed + body + bytes(-size % 8))
        position += HEADER_SIZE + size + -size % 8
    return b"".join(found) + data[position:]


def as_kafka_batch(data: bytes) -> bytes:
    """Return *data* as a batch of a client of Kafka: length, version and checksum are made right."""
    if len(data) < KAFKA_HEADER_SIZE:
        return data
    header = KafkaBatchHeader._make(KAFKA_HEADER.unpack_from(data))
    return pack_kafka_batch(header, data[KAFKA_HEADER_SIZE:])


def as_checkpoint(payload: bytes, kind: str) -> bytes:
    """Return a checkpoint file that holds *payload*, msgpack or not."""
    name = kind.encode().ljust(8, b"\0")
    crc = crc32c(struct.pack("<8sI", name, len(payload)) + payload)
    return _ENVELOPE.pack(_MAGIC + bytes((_VERSION,)), name, len(payload), crc) + payload


def as_index(data: bytes, path: str) -> bytes:
    """Return an index file of blocks: each takes two bytes for its size, four for what it covers, and entries."""
    found: list[bytes] = []
    while len(data) >= 6:
        size, covers = struct.unpack_from("<HI", data)
        entries, data = data[6 : 6 + size], data[6 + size :]
        crc = extend_crc32c(_place_crc(path), struct.pack("<I", covers) + entries)
        found.append(_BLOCK.pack(b"SLX\x01", len(entries), crc, covers) + entries)
    return b"".join(found) + data

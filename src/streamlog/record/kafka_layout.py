"""Kafka's record batch, version 2: the bytes that Kafka's clients write and read.

All integers are big-endian.

====== ==== ====== ===================== ======================================================================
offset size type   field                 meaning
====== ==== ====== ===================== ======================================================================
0      8    i64    base_offset           offset of the first record; set by the broker
8      4    i32    batch_length          bytes behind this field
12     4    i32    partition_leader_epoch  set by the broker
16     1    i8     magic                 2
17     4    u32    crc                   CRC-32C of everything behind it
21     2    i16    attributes            bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
23     4    i32    last_offset_delta     last offset of the batch - base_offset
27     8    i64    base_timestamp        of the first record, or the delete horizon
35     8    i64    max_timestamp         greatest of the batch
43     8    i64    producer_id           -1 without idempotence
51     2    i16    producer_epoch        -1 without idempotence
53     4    i32    base_sequence         -1 without idempotence
57     4    i32    records_count
61     n    bytes  records               one behind the other, compressed as a whole
====== ==== ====== ===================== ======================================================================

The checksum begins behind what the broker sets, so a batch can be stored as it came and given to readers with its offset and
epoch written over. Source: Kafka ``DefaultRecordBatch``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from streamlog.errors import CorruptRecordError
from streamlog.record.checksum import crc32c, crc32c_from, extend_crc32c

KAFKA_MAGIC = 2
KAFKA_HEADER_SIZE = 61
KAFKA_HEADER = struct.Struct(">qiibIhiqqqhii")
assert KAFKA_HEADER.size == KAFKA_HEADER_SIZE

#: Bytes before and including batch_length, which does not count them.
LENGTH_END = 12
#: Where the part begins that the checksum covers.
CHECKED_AT = 21

_PLACE = struct.Struct(">qii")
_MAGIC_AT = 16
_CRC_AT = 17


class KafkaBatchHeader(NamedTuple):
    """The header fields in the order of the bytes."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records_count: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole batch."""
        return LENGTH_END + self.batch_length


_unpack_header = KAFKA_HEADER.unpack_from
# tuple.__new__ alone: _make() would call it from Python.
_as_header: Callable[[tuple[Any, ...]], KafkaBatchHeader] = partial(tuple.__new__, KafkaBatchHeader)


def magic_of(data: bytes) -> int | None:
    """Return the version of the batch or message that *data* begins with, None when it is too short to have one."""
    return data[_MAGIC_AT] if len(data) > _MAGIC_AT else None


def size_of(data: bytes) -> int:
    """Return how many bytes the batch takes that *data* begins with, by its own word, which may be wrong; all of *data* if it gives none."""
    if len(data) < LENGTH_END:
        return len(data)
    return LENGTH_END + max(int.from_bytes(data[8:LENGTH_END], "big", signed=True), 0)


def read_kafka_header(data: bytes) -> KafkaBatchHeader:
    """Return the header of the one batch that *data* is, whole and unharmed.

    Raises CorruptRecordError when it is another version, longer or shorter than it says, of impossible counts, or has another checksum.
    The records are not looked at.
    """
    size = len(data)
    if size < KAFKA_HEADER_SIZE:
        raise CorruptRecordError(
            f"record batch: expected at least {KAFKA_HEADER_SIZE} bytes, found {size}"
        )
    header = _as_header(_unpack_header(data))
    if header.magic != KAFKA_MAGIC:
        raise CorruptRecordError(
            f"record batch: expected magic {KAFKA_MAGIC}, found {header.magic}"
        )
    if header.batch_length != size - LENGTH_END:
        raise CorruptRecordError(
            f"record batch: expected a batch_length of {size - LENGTH_END}, found {header.batch_length}"
        )
    found = crc32c_from(data, CHECKED_AT)
    if found != header.crc:
        raise CorruptRecordError(
            f"record batch: checksum: expected {header.crc:#010x}, found {found:#010x}"
        )
    if not 0 <= header.records_count <= header.last_offset_delta + 1:
        raise CorruptRecordError(
            f"record batch: found {header.records_count} records, and a last_offset_delta of {header.last_offset_delta}"
        )
    return header


def at_offset(batch: bytes, base_offset: int, leader_epoch: int) -> bytearray:
    """Return a copy of the whole *batch* that begins at *base_offset*, appended by the leader of *leader_epoch*.

    Its length is written as well: no checksum covers that, and a reader that steps by a damaged one loses what follows.
    """
    copy = bytearray(batch)
    _PLACE.pack_into(copy, 0, base_offset, len(batch) - LENGTH_END, leader_epoch)
    return copy


def pack_kafka_batch(header: KafkaBatchHeader, records: bytes) -> bytes:
    """Return the bytes of a batch: *header* with its length, version and checksum made right, then *records*."""
    length = KAFKA_HEADER_SIZE - LENGTH_END + len(records)
    packed = KAFKA_HEADER.pack(*header._replace(batch_length=length, magic=KAFKA_MAGIC, crc=0))
    crc = extend_crc32c(crc32c(packed[CHECKED_AT:]), records)
    return b"".join((packed[:_CRC_AT], crc.to_bytes(4, "big"), packed[CHECKED_AT:], records))


def without_kafka_producer(batch: bytes) -> bytes:
    """Return the whole *batch* as if a producer without an id had written it."""
    header = KafkaBatchHeader._make(KAFKA_HEADER.unpack_from(batch))
    return pack_kafka_batch(
        header._replace(producer_id=-1, producer_epoch=-1, base_sequence=-1),
        batch[KAFKA_HEADER_SIZE:],
    )

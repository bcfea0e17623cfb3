"""The record batch on disk: one byte table, and the structs that read and write it.

A batch is a fixed header of 80 bytes and a body. All integers are little-endian. Batches start at multiples of 8 bytes, the gap
between two batches is zero.

====== ==== ====== ================== ============================================================================
offset size type   field              meaning
====== ==== ====== ================== ============================================================================
0      4    u32    length             header and body together; 0 = no batch here. Stored after everything else
4      4    u32    header_crc         CRC-32C of the header, bytes 0 to 7 taken as zero
8      4    bytes  magic              ``SLB`` and the format version, 1
12     4    u32    body_size          length - 80, so that header_crc vouches for the length as well
16     8    i64    base_offset        offset of the first record; stamped by the leader
24     4    u32    body_crc           CRC-32C of the body (bytes 80 to length - 1)
28     4    i32    leader_epoch       stamped by the leader
32     2    u16    attributes         bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
34     1    u8     body_encoding      0 = columns of msgpack (``columns.py``), 1 = a Kafka record batch v2 as it came
                                       (``kafka_columns.py``), 2 = sparse columns (``sparse_columns.py``)
35     1    u8     reserved           0
36     4    u32    record_count       records in the body; 0 = all of them were removed, and the body is empty
40     4    u32    last_offset_delta  last offset of the batch - base_offset (more than the count says once compacted)
44     4    i32    base_sequence      -1 without idempotence
48     8    i64    producer_id        -1 without idempotence
56     2    i16    producer_epoch     -1 without idempotence
58     2    u16    reserved           0
60     4    u32    uncompressed_size  size of the body before compression; 0 = the body is not compressed, or encoding 1
64     8    i64    first_timestamp    of the first record, or the delete horizon (attributes); timestamp deltas count from here
72     8    i64    max_timestamp      greatest of the batch; under LogAppendTime the timestamp of every record
80     n    bytes  body               see body_encoding
====== ==== ====== ================== ============================================================================

With body encoding 1 the body has a header of its own. Compression means the records in there, in Kafka's framing, and every field
that both headers have says the same, but for base offset and leader epoch, which only ours knows.

Offsets: batches tile them, each begins where the one before ends. With body encoding 0 and 1 record n has base_offset + n; what is in the
range behind the last record was removed. With body encoding 2 the body says which offsets are left (docs/decisions/0013).

Why two checksums: ``header_crc`` lets recovery trust ``length`` before it jumps, so a flipped length cannot mis-frame the rest of
the file; ``body_crc`` is computed once by the producer and is never touched again. The leader stamps offset and epoch while it
packs the header, which happens exactly once.

Why zeros in the header checksum: a header is packed with both words zero, summed as it is, and stored as it is; the two
words follow.

Why ``length`` comes last: a process killed between two stores leaves a zero there, and a zero means "nothing here". On the same
boot a non-zero length with a bad checksum is therefore damage and never a torn write.

Source: Kafka ``DefaultRecordBatch`` (field meanings); the column body is streamlog's own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from streamlog.record.checksum import crc32c, extend_crc32c

MAGIC = b"SLB\x01"
HEADER_SIZE = 80

#: Everything from length to max_timestamp, in file order.
HEADER = struct.Struct("<II4sIqIiHBBIIiqhHIqq")
assert HEADER.size == HEADER_SIZE

#: The same header for the hot path of one plain record: what never differs is packed as two constant runs.
SINGLE_HEADER = struct.Struct("<12sIqI36sqq")
assert SINGLE_HEADER.size == HEADER_SIZE
_NO_COMMIT = bytes(8)
_NO_COMMIT_CRC = crc32c(_NO_COMMIT)
SINGLE_PREFIX = _NO_COMMIT + MAGIC
_SINGLE_MIDDLE = struct.Struct("<iHBBIIiqhHI")
assert _SINGLE_MIDDLE.size == 36

#: And for one plain record of an idempotent producer: leader epoch and sequence stand between the runs, all else is constant.
STAMPED_HEADER = struct.Struct("<12sIqIi12si16sqq")
assert STAMPED_HEADER.size == HEADER_SIZE
_SINGLE_FLAGS = struct.Struct("<HBBII")
_PRODUCER_FIELDS = struct.Struct("<qhHI")

COLUMNS_ENCODING = 0
KAFKA_V2_ENCODING = 1
SPARSE_COLUMNS_ENCODING = 2

COMPRESSION_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

#: No batch is larger, whatever a header claims: it bounds what a reader of untrusted bytes may allocate. The greatest
#: ``max_message_bytes`` that a topic accepts stays below it.
MAX_BATCH_BYTES = 256 * 1024 * 1024

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_SEQUENCE = -1


class BatchHeader(NamedTuple):
    """The header fields in file order, as read. ``length`` and the two checksums are those that were stored."""

    length: int
    header_crc: int
    magic: bytes
    body_size: int
    base_offset: int
    body_crc: int
    leader_epoch: int
    attributes: int
    body_encoding: int
    reserved_1: int
    record_count: int
    last_offset_delta: int
    base_sequence: int
    producer_id: int
    producer_epoch: int
    reserved_2: int
    uncompressed_size: int
    first_timestamp_ms: int
    max_timestamp_ms: int

    @property
    def next_offset(self) -> int:
        """The offset after the last one of this batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def aligned_size(self) -> int:
        """Bytes from the start of this batch to where the next one may start."""
        return aligned(self.length)


_UNPACK_HEADER = HEADER.unpack
# tuple.__new__ alone: BatchHeader._make() would call it from Python.
_as_header: Callable[[tuple[Any, ...]], BatchHeader] = partial(tuple.__new__, BatchHeader)


def pack_batch(header: BatchHeader, body: bytes) -> bytes:
    """Return the bytes of a batch as they are stored: *header* with its sizes and checksums made right, then *body*.

    Not for the append path, where the segment packs the header in place. Without the zeros up to the next multiple of 8.
    """
    size = len(body)
    header = header._replace(
        length=HEADER_SIZE + size, body_size=size, body_crc=crc32c(body), header_crc=0
    )
    return HEADER.pack(*header._replace(header_crc=header_checksum(HEADER.pack(*header)))) + body


def header_checksum(header: bytes) -> int:
    """Return the checksum of a whole header of 80 bytes, whatever its first eight hold."""
    return extend_crc32c(_NO_COMMIT_CRC, header[8:])


def aligned(size: int) -> int:
    """Round *size* up to a multiple of 8: where the next batch starts."""
    return (size + 7) & -8


def single_middle(leader_epoch: int) -> bytes:
    """Return bytes 28 to 63 of the header of a batch of one plain record (no producer id, no compression)."""
    return _SINGLE_MIDDLE.pack(
        leader_epoch,
        0,
        COLUMNS_ENCODING,
        0,
        1,
        0,
        NO_SEQUENCE,
        NO_PRODUCER_ID,
        NO_PRODUCER_EPOCH,
        0,
        0,
    )


def single_flags(attributes: int) -> bytes:
    """Return bytes 32 to 43 of the header of a batch of one plain record."""
    return _SINGLE_FLAGS.pack(attributes, COLUMNS_ENCODING, 0, 1, 0)


def producer_fields(producer_id: int, producer_epoch: int) -> bytes:
    """Return bytes 48 to 63 of the header of an uncompressed batch of this producer."""
    return _PRODUCER_FIELDS.pack(producer_id, producer_epoch, 0, 0)


def read_header(header: bytes) -> BatchHeader | None:
    """Return the header in *header* (exactly 80 bytes), or None when it is not a valid one.

    Valid means: length not zero, magic and version known, header checksum right, sizes and counts consistent. Never raises,
    whatever the bytes are; the body is not looked at.
    """
    if len(header) != HEADER_SIZE:
        return None
    fields = _as_header(_UNPACK_HEADER(header))
    # By number: this runs for every batch that is looked up, and names cost twice as much.
    length = fields[0]
    if (
        fields[2] != MAGIC
        or length != fields[3] + HEADER_SIZE
        or fields[1] != extend_crc32c(_NO_COMMIT_CRC, header[8:])  # header_checksum() uncalled
        or length > MAX_BATCH_BYTES
        or fields[4] < 0  # base_offset
        or fields[10] > fields[11] + 1  # record_count, last_offset_delta
    ):
        return None
    return fields

"""A batch as it was read: header fields, checks, and columns decoded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from streamlog.errors import CorruptRecordError, RecordDecodeError
from streamlog.record.checksum import crc32c
from streamlog.record.columns import (
    ColumnReader,
    Headers,
    body_has_values_only,
    decode_values,
    plain_value,
)
from streamlog.record.decompression import decompress
from streamlog.record.kafka_columns import KafkaColumnReader
from streamlog.record.layout import (
    COLUMNS_ENCODING,
    COMPRESSION_MASK,
    CONTROL_BIT,
    DELETE_HORIZON_BIT,
    HEADER_SIZE,
    KAFKA_V2_ENCODING,
    LOG_APPEND_TIME_BIT,
    SPARSE_COLUMNS_ENCODING,
    TRANSACTIONAL_BIT,
    BatchHeader,
    aligned,
    read_header,
)
from streamlog.record.sparse_columns import SparseColumnReader
from streamlog.structs import TimestampType

_READABLE_ENCODINGS = (COLUMNS_ENCODING, KAFKA_V2_ENCODING, SPARSE_COLUMNS_ENCODING)


class BatchView:
    """One batch that was read: its header, which was checked, and its body, which is the reader's own bytes.

    Call :meth:`check` before trusting the body. Decoding goes column by column and only where asked for. Immutable; threads: any.
    Source: Kafka ``DefaultRecordBatch``.
    """

    __slots__ = (
        "_columns",
        "attributes",
        "base_offset",
        "body",
        "header",
        "is_plain",
        "leader_epoch",
        "next_offset",
        "record_count",
    )

    def __init__(self, header: BatchHeader, body: bytes) -> None:
        """Put together what ``read_header`` accepted and the ``header.body_size`` bytes that follow it."""
        self.header = header
        self.body = body
        # What every reader asks for; the rest is a look into the header away. By number: names cost twice as much.
        base_offset: int = header[4]
        self.base_offset = base_offset
        self.next_offset: int = base_offset + header[11] + 1
        self.record_count: int = header[10]
        self.attributes: int = header[7]
        self.leader_epoch: int = header[6]
        # Columns as they are: nothing newer, nothing sparse, nothing to decompress.
        self.is_plain: bool = header[8] == COLUMNS_ENCODING and not header[7] & COMPRESSION_MASK
        self._columns: ColumnReader | KafkaColumnReader | None = None

    @property
    def last_offset(self) -> int:
        """The offset of the last record, whether or not compaction removed it."""
        return self.next_offset - 1

    @property
    def size_bytes(self) -> int:
        """Bytes of header and body as stored."""
        return self.header.length

    @property
    def body_encoding(self) -> int:
        """How the body is laid out: one of the ``_ENCODING`` numbers of ``layout.py``; any other is of a newer version."""
        return self.header.body_encoding

    @property
    def codec(self) -> int:
        """The number of the `Codec` that the body is compressed with, 0 = none."""
        return self.attributes & COMPRESSION_MASK

    @property
    def first_timestamp_ms(self) -> int:
        """What the timestamps of the records are counted from: that of the first record, as the producer set it, or the delete horizon."""
        return self.header.first_timestamp_ms

    @property
    def delete_horizon_ms(self) -> int | None:
        """From when on compaction may remove the tombstones, or the marker, of this batch (CMP-5, CMP-6); None when no pass stamped it."""
        return self.header.first_timestamp_ms if self.attributes & DELETE_HORIZON_BIT else None

    @property
    def max_timestamp_ms(self) -> int:
        """The greatest timestamp; under LogAppendTime that of every record."""
        return self.header.max_timestamp_ms

    @property
    def producer_id(self) -> int:
        """Id of an idempotent producer, -1 without."""
        return self.header.producer_id

    @property
    def producer_epoch(self) -> int:
        """Epoch of an idempotent producer, -1 without."""
        return self.header.producer_epoch

    @property
    def base_sequence(self) -> int:
        """Sequence number of the first record, -1 without idempotence."""
        return self.header.base_sequence

    def check(self) -> None:
        """Raise CorruptRecordError when the body is not the one that was written (CRC-32C)."""
        expected = self.header[5]
        found = crc32c(self.body)
        if found != expected:
            raise CorruptRecordError(
                f"batch at offset {self.base_offset}: body checksum: expected {expected:#010x}, found {found:#010x}"
            )

    @property
    def timestamp_type(self) -> TimestampType:
        """Who set the timestamps: the producer or the broker (REC-4)."""
        return (
            TimestampType.LOG_APPEND_TIME
            if self.attributes & LOG_APPEND_TIME_BIT
            else TimestampType.CREATE_TIME
        )

    @property
    def is_control(self) -> bool:
        """Whether the batch carries transaction markers, which are never delivered to a consumer."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_sparse(self) -> bool:
        """Whether some offset from the first to the last of the batch has no record any more, be it all of them."""
        return self.header.record_count != self.header.last_offset_delta + 1

    @property
    def columns(self) -> ColumnReader | KafkaColumnReader:
        """The decoder of the body; made on first use, when a compressed body is decompressed, and sparse offsets or the records of a
        Kafka batch are decoded. Raises RecordDecodeError for a body it cannot read.
        """
        if self._columns is None:
            if self.is_plain:
                self._columns = ColumnReader(memoryview(self.body), self.record_count)
            else:
                self._columns = self._read_columns()
        return self._columns

    def _read_columns(self) -> ColumnReader | KafkaColumnReader:
        encoding = self.body_encoding
        if encoding not in _READABLE_ENCODINGS:
            raise RecordDecodeError(
                f"batch at offset {self.base_offset}: expected body encoding {COLUMNS_ENCODING} to {SPARSE_COLUMNS_ENCODING}, "
                f"found encoding {encoding}: written by a newer version"
            )
        header, body = self.header, memoryview(self.body)
        try:
            if encoding == KAFKA_V2_ENCODING and self.record_count:
                return KafkaColumnReader(self.body, header)
            if self.codec and self.body:  # without records there is nothing to decompress
                body = decompress(self.body, self.codec, header.uncompressed_size)
            if encoding != SPARSE_COLUMNS_ENCODING or not self.record_count:
                return ColumnReader(body, self.record_count)
            return SparseColumnReader(
                body, self.record_count, self.base_offset, header.last_offset_delta
            )
        except RecordDecodeError as error:
            raise RecordDecodeError(f"batch at offset {self.base_offset}: {error}") from error

    def values(self) -> list[bytes | None]:
        """Return the values in offset order; None is a null value (tombstone). Decodes the values column alone."""
        if self.is_plain:
            return decode_values(self.body, self.record_count)
        return self.columns.values()

    @property
    def plain_value(self) -> bytes | None:
        """The value, if this is one record with a value of up to 255 bytes and nothing else; None for every other batch.

        Most batches are like that where each send is a batch of its own, and this is all it takes to read one.
        """
        if self.record_count == 1 and self.is_plain:
            return plain_value(self.body)
        return None

    @property
    def has_values_only(self) -> bool:
        """Whether no record has a key, headers, or a timestamp of its own: most batches of one record. Raises RecordDecodeError for a
        compressed, sparse or Kafka body it cannot read.
        """
        if self.is_plain:
            return body_has_values_only(self.body)
        return self.body_encoding in _READABLE_ENCODINGS and self.columns.has_values_only

    def keys(self) -> list[bytes | None] | None:
        """Return the keys in offset order, or None when every key of the batch is null."""
        return self.columns.keys()

    def headers(self) -> list[Headers] | None:
        """Return the headers of each record in offset order, or None when no record of the batch has any."""
        return self.columns.headers()

    @property
    def common_timestamp_ms(self) -> int:
        """The timestamp of every record where they have none of their own, see `has_values_only`."""
        return self.header[18] if self.attributes & LOG_APPEND_TIME_BIT else self.header[17]

    def timestamps_ms(self) -> list[int]:
        """Return the timestamp of each record in offset order."""
        columns = (
            self.columns
        )  # refuses a record count that the body cannot hold, before a list is made of it
        if self.attributes & LOG_APPEND_TIME_BIT:
            return [self.max_timestamp_ms] * self.record_count
        deltas = columns.timestamp_deltas()
        if deltas is None:
            return [self.first_timestamp_ms] * self.record_count
        first = self.first_timestamp_ms
        try:
            return [first + delta for delta in deltas]
        except TypeError as error:
            raise RecordDecodeError(
                f"batch at offset {self.base_offset}: timestamps column is malformed: {error}"
            ) from error

    def offsets(self) -> Sequence[int]:
        """Return the offset of each record, rising: a range, or a list where compaction left gaps, which the caller does not change.

        Raises RecordDecodeError for a sparse body it cannot read.
        """
        if self.header[8] == SPARSE_COLUMNS_ENCODING and self.record_count:
            return cast("SparseColumnReader", self.columns).offsets
        return range(self.base_offset, self.base_offset + self.record_count)


def split_batches(data: bytes) -> list[BatchView]:
    """Return the batches in *data* (what a log's ``read`` returned), in offset order.

    Total on any input: the good prefix, without a gap, is returned; CorruptRecordError is raised only when not even the first batch is good, so
    that a reader first delivers what is right and meets the error on its next read. ``b""`` gives an empty list.
    """
    batches: list[BatchView] = []
    position, end = 0, len(data)
    while position < end:
        header = read_header(data[position : position + HEADER_SIZE])
        if header is None or position + header.length > end:
            if batches:
                break
            expected = "a valid header" if header is None else f"a batch of {header.length} bytes"
            raise CorruptRecordError(f"batch at byte {position} of {end}: expected {expected}")
        if batches and header.base_offset != batches[-1].next_offset:
            break  # a batch is missing, or comes again (docs/decisions/0002)
        batches.append(BatchView(header, data[position + HEADER_SIZE : position + header.length]))
        position += aligned(header.length)
    return batches

"""A batch as it was read: header fields, checks, and columns decoded on demand."""

from __future__ import annotations

from streamlog.errors import CorruptRecordError, RecordDecodeError
from streamlog.record.checksum import crc32c
from streamlog.record.columns import ColumnReader, Headers
from streamlog.record.layout import (
    COLUMNS_ENCODING,
    COMPRESSION_MASK,
    CONTROL_BIT,
    HEADER,
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    MAX_BATCH_BYTES,
    TRANSACTIONAL_BIT,
    aligned,
    header_checksum,
)
from streamlog.structs import TimestampType


class BatchView:
    """One batch inside a buffer of bytes that belongs to the reader. Immutable; threads: any.

    The header was checked when the view was made; call :meth:`check` before trusting the body. Decoding goes column by column
    and only where asked for. Source: Kafka ``DefaultRecordBatch``.
    """

    __slots__ = (
        "_body",
        "_body_at",
        "_columns",
        "_data",
        "attributes",
        "base_offset",
        "base_sequence",
        "body_crc",
        "body_encoding",
        "first_timestamp_ms",
        "last_offset",
        "leader_epoch",
        "max_timestamp_ms",
        "next_offset",
        "producer_epoch",
        "producer_id",
        "record_count",
        "size_bytes",
    )

    def __init__(self, data: bytes, position: int) -> None:
        """Read the header at *position* of *data*; raises CorruptRecordError when there is no valid one."""
        end_of_header = position + HEADER_SIZE
        if end_of_header > len(data):
            raise CorruptRecordError(
                f"batch at byte {position}: expected {HEADER_SIZE} bytes, found {len(data) - position}"
            )
        (
            length,
            header_crc,
            magic,
            body_size,
            base_offset,
            self.body_crc,
            self.leader_epoch,
            self.attributes,
            self.body_encoding,
            _,
            self.record_count,
            last_offset_delta,
            self.base_sequence,
            self.producer_id,
            self.producer_epoch,
            _,
            _,
            self.first_timestamp_ms,
            self.max_timestamp_ms,
        ) = HEADER.unpack_from(data, position)
        if (
            magic != MAGIC
            or length != body_size + HEADER_SIZE
            or header_crc != header_checksum(data[position:end_of_header])
        ):
            raise CorruptRecordError(
                f"batch at byte {position}: header is damaged (magic, length or checksum)"
            )
        if length > MAX_BATCH_BYTES or position + length > len(data):
            raise CorruptRecordError(
                f"batch at byte {position}: expected {length} bytes, found {len(data) - position}"
            )
        self.base_offset: int = base_offset
        self.last_offset: int = base_offset + last_offset_delta
        self.next_offset: int = base_offset + last_offset_delta + 1
        self.size_bytes: int = length
        self._data = data
        self._body_at = end_of_header
        self._body: bytes | None = None
        self._columns: ColumnReader | None = None

    def check(self) -> None:
        """Raise CorruptRecordError when the body is not the one that was written (CRC-32C)."""
        found = crc32c(self.body)
        if found != self.body_crc:
            raise CorruptRecordError(
                f"batch at offset {self.base_offset}: body checksum: expected {self.body_crc:#010x}, found {found:#010x}"
            )

    @property
    def body(self) -> bytes:
        """The stored body, still compressed if the batch is."""
        # Copied out once: the checksum takes bytes alone, and the columns are then decoded from the same copy.
        if self._body is None:
            self._body = self._data[self._body_at : self._body_at + self.size_bytes - HEADER_SIZE]
        return self._body

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
    def columns(self) -> ColumnReader:
        """The decoder of the body; made on first use. Raises RecordDecodeError for a body it cannot read."""
        if self._columns is None:
            if self.body_encoding != COLUMNS_ENCODING or self.attributes & COMPRESSION_MASK:
                raise RecordDecodeError(
                    f"batch at offset {self.base_offset}: expected body encoding {COLUMNS_ENCODING} without compression, "
                    f"found encoding {self.body_encoding} with codec {self.attributes & COMPRESSION_MASK}: "
                    "written by a newer version"
                )
            self._columns = ColumnReader(memoryview(self.body), self.record_count)
        return self._columns

    def values(self) -> list[bytes | None]:
        """Return the values in offset order; None is a null value (tombstone). Decodes the values column alone."""
        return self.columns.values()

    def keys(self) -> list[bytes | None] | None:
        """Return the keys in offset order, or None when every key of the batch is null."""
        return self.columns.keys()

    def headers(self) -> list[Headers] | None:
        """Return the headers of each record in offset order, or None when no record of the batch has any."""
        return self.columns.headers()

    def timestamps_ms(self) -> list[int]:
        """Return the timestamp of each record in offset order."""
        if self.attributes & LOG_APPEND_TIME_BIT:
            return [self.max_timestamp_ms] * self.record_count
        deltas = self.columns.timestamp_deltas()
        if deltas is None:
            return [self.first_timestamp_ms] * self.record_count
        first = self.first_timestamp_ms
        return [first + delta for delta in deltas]

    def offsets(self) -> range:
        """Return the offset of each record. A batch of this version is dense: compaction is what makes gaps."""
        return range(self.base_offset, self.base_offset + self.record_count)


def split_batches(data: bytes) -> list[BatchView]:
    """Return the batches in *data* (what a log's ``read`` returned), in offset order.

    Total on any input: the good prefix is returned; CorruptRecordError is raised only when not even the first batch is good, so
    that a reader first delivers what is right and meets the error on its next read. ``b""`` gives an empty list.
    """
    batches: list[BatchView] = []
    position, end = 0, len(data)
    while position < end:
        try:
            batch = BatchView(data, position)
        except CorruptRecordError:
            if not batches:
                raise
            break
        batches.append(batch)
        position += aligned(batch.size_bytes)
    return batches

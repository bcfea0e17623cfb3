"""The body of a batch that came from a client of Kafka: that client's batch, header and all, as it came.

Stored so that it can be given to such clients again without a look at its records. A reader in this process decodes all of them at once, for
they stand one behind the other and not by column.
"""

from __future__ import annotations

from streamlog.errors import CorruptRecordError, RecordDecodeError
from streamlog.record.columns import Headers
from streamlog.record.kafka_decompression import decompress_kafka
from streamlog.record.kafka_layout import (
    KAFKA_HEADER,
    KAFKA_HEADER_SIZE,
    KAFKA_MAGIC,
    KafkaBatchHeader,
    read_kafka_header,
)
from streamlog.record.kafka_records import KafkaColumns, decode_kafka_records
from streamlog.record.layout import COMPRESSION_MASK, BatchHeader

#: The lower byte of the attributes.
_CODEC_AT = 22


def decode_kafka_body(body: bytes) -> KafkaColumns:
    """Return the records of a whole Kafka batch, decompressed if need be; its checksum is not looked at.

    Never trusts a size or a count; raises RecordDecodeError for a body it cannot read.
    """
    if len(body) < KAFKA_HEADER_SIZE:
        raise RecordDecodeError(
            f"record batch: expected at least {KAFKA_HEADER_SIZE} bytes, found {len(body)}"
        )
    header = KafkaBatchHeader._make(KAFKA_HEADER.unpack_from(body))
    if header.magic != KAFKA_MAGIC or header.records_count < 1:
        raise RecordDecodeError(
            f"record batch: expected magic {KAFKA_MAGIC} and records, found magic {header.magic} and {header.records_count} records"
        )
    return decode_kafka_records(kafka_records_of(body), header.records_count)


def kafka_records_of(body: bytes) -> bytes:
    """Return the bytes of the records in a whole Kafka batch, decompressed. Raises RecordDecodeError."""
    codec = body[_CODEC_AT] & COMPRESSION_MASK
    records = body[KAFKA_HEADER_SIZE:]
    return decompress_kafka(records, codec) if codec else records


class KafkaColumnReader:
    """Reads one such body, with the surface of a `ColumnReader`: decodes it at once, and gives out columns of the caller's own.

    *header* is ours, of the batch around the body. Every failure is a :class:`RecordDecodeError`. Threads: any.
    """

    __slots__ = ("_body", "_columns", "_header", "record_count")

    def __init__(self, body: bytes, header: BatchHeader) -> None:
        self._columns = columns = decode_kafka_body(body)
        self.record_count = len(columns.values)
        if self.record_count != header.record_count:
            raise RecordDecodeError(
                f"record batch: expected {header.record_count} records, found {self.record_count}"
            )
        self._body = body
        self._header = header

    @property
    def has_values_only(self) -> bool:
        """Whether no record has a key, headers, or a timestamp of its own."""
        timestamp_deltas, keys, _, headers = self._columns
        return keys is None and headers is None and timestamp_deltas is None

    def values(self) -> list[bytes | None]:
        """Return the values, null as None, in offset order."""
        return self._columns.values[:]

    def keys(self) -> list[bytes | None] | None:
        """Return the keys in offset order, or None when every key is null."""
        keys = self._columns.keys
        return None if keys is None else keys[:]

    def timestamp_deltas(self) -> list[int] | None:
        """Return the differences to the first timestamp (ms) in offset order, or None when all are 0."""
        deltas = self._columns.timestamp_deltas
        return None if deltas is None else deltas[:]

    def headers(self) -> list[Headers] | None:
        """Return the headers of each record in offset order, or None when no record has any."""
        headers = self._columns.headers
        return None if headers is None else headers[:]

    def check(self) -> None:
        """Hold the client's checksum and header against the bytes and our header: for fuzzing and for tools, not for the read path."""
        try:
            found = read_kafka_header(self._body)
        except CorruptRecordError as error:
            raise RecordDecodeError(str(error)) from error
        header = self._header
        for name, expected, value in (
            ("attributes", header.attributes, found.attributes),
            ("last_offset_delta", header.last_offset_delta, found.last_offset_delta),
            ("base_timestamp", header.first_timestamp_ms, found.base_timestamp_ms),
            ("producer_id", header.producer_id, found.producer_id),
            ("producer_epoch", header.producer_epoch, found.producer_epoch),
            ("base_sequence", header.base_sequence, found.base_sequence),
        ):
            if expected != value:
                raise RecordDecodeError(
                    f"record batch: {name}: expected {expected} as in the header around it, found {value}"
                )

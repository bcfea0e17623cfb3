"""Kafka's batches and ours: taken in as they come, given out as they were stored, or made from columns."""

from __future__ import annotations

from functools import cache

from streamlog.config.codecs import GZIP_DEFAULT_LEVEL, LZ4_DEFAULT_LEVEL, ZSTD_DEFAULT_LEVEL
from streamlog.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    UnsupportedCompressionTypeError,
)
from streamlog.record.batch_view import BatchView
from streamlog.record.codec import Codec
from streamlog.record.compression import Compressor
from streamlog.record.kafka_columns import decode_kafka_body, kafka_records_of
from streamlog.record.kafka_compression import compress_kafka
from streamlog.record.kafka_layout import (
    KAFKA_HEADER,
    KAFKA_HEADER_SIZE,
    KafkaBatchHeader,
    at_offset,
    pack_kafka_batch,
    read_kafka_header,
)
from streamlog.record.kafka_records import MIN_RECORD_BYTES, encode_kafka_records
from streamlog.record.layout import (
    COMPRESSION_MASK,
    CONTROL_BIT,
    KAFKA_V2_ENCODING,
    LOG_APPEND_TIME_BIT,
    MAX_BATCH_BYTES,
    TRANSACTIONAL_BIT,
)
from streamlog.record.pending_batch import PendingBatch

_LAST_CODEC = max(Codec)
_CLIENT_BITS = COMPRESSION_MASK | TRANSACTIONAL_BIT | CONTROL_BIT | LOG_APPEND_TIME_BIT

#: Of zstd, which packs tightest: a block of 128 KiB in four bytes.
_GREATEST_RATIO = 32_768


def pending_from_kafka(data: bytes) -> PendingBatch:
    """Return the batch of one Kafka batch, *data*, which becomes its body as it is. The records are not looked at.

    Its ``min_timestamp_ms`` and ``has_null_keys`` are not known: `look_into` finds them out. Raises CorruptRecordError for anything
    but one whole batch of version 2 with a right checksum, InvalidRecordError for a header that no producer writes (no records,
    offsets with gaps, more records than the bytes can hold, unknown attributes), InvalidTimestampError where a
    client sets the broker's timestamp type, UnsupportedCompressionTypeError for a codec that is none. Threads: any.
    Source: Kafka ``UnifiedLog.analyzeAndValidateRecords``, ``LogValidator``.
    """
    header = read_kafka_header(data)
    attributes, count = header.attributes, header.records_count
    codec = attributes & COMPRESSION_MASK
    if count < 1 or header.last_offset_delta != count - 1:
        raise InvalidRecordError(
            f"record batch: expected a last_offset_delta of {count - 1} with {count} record(s), at least one, found {header.last_offset_delta}"
        )
    if attributes & ~_CLIENT_BITS:
        raise InvalidRecordError(f"record batch: found attributes {attributes:#06x}")
    if attributes & LOG_APPEND_TIME_BIT:
        raise InvalidTimestampError(
            "record batch: expected timestamps that the producer set, found the type LogAppendTime"
        )
    if codec > _LAST_CODEC:
        raise UnsupportedCompressionTypeError(
            f"record batch: expected a codec from 0 to {_LAST_CODEC}, found {codec}"
        )
    records_bytes = len(data) - KAFKA_HEADER_SIZE
    most_bytes = min(records_bytes * _GREATEST_RATIO, MAX_BATCH_BYTES) if codec else records_bytes
    if count * MIN_RECORD_BYTES > most_bytes:
        raise InvalidRecordError(
            f"record batch: {count} records in {records_bytes} bytes: expected at least {MIN_RECORD_BYTES} for each"
        )
    first = header.base_timestamp_ms
    batch = PendingBatch(data, count, first, max(first, header.max_timestamp_ms))
    batch.body_encoding = KAFKA_V2_ENCODING
    batch.attributes = attributes
    batch.producer_id = header.producer_id
    batch.producer_epoch = header.producer_epoch
    batch.base_sequence = header.base_sequence
    return batch


def look_into(batch: PendingBatch) -> None:
    """Decode the records of *batch*, a Kafka batch, and note ``min_timestamp_ms`` and ``has_null_keys``.

    Raises RecordDecodeError for records that cannot be read.
    """
    columns = decode_kafka_body(batch.body)
    deltas, keys = columns.timestamp_deltas, columns.keys
    first = batch.first_timestamp_ms
    batch.min_timestamp_ms = first + min(deltas) if deltas else first
    batch.has_null_keys = keys is None or None in keys


def set_append_time(batch: PendingBatch, time_ms: int) -> None:
    """Make *time_ms* the timestamp of every record of *batch*, a Kafka batch, as LogAppendTime asks for."""
    header = _header_of(batch)
    header = header._replace(
        attributes=header.attributes | LOG_APPEND_TIME_BIT, max_timestamp_ms=time_ms
    )
    body = pack_kafka_batch(header, batch.body[KAFKA_HEADER_SIZE:])
    batch.body, batch.attributes, batch.max_timestamp_ms = body, header.attributes, time_ms


def recompress(batch: PendingBatch, compressor: Compressor) -> None:
    """Bring the records of *batch*, a Kafka batch, into the codec of *compressor*, in Kafka's framing. As they are in it already: nothing.

    Raises `UnsupportedCompressionTypeError` where the library is not installed, RecordDecodeError for what cannot be decompressed.
    """
    codec = compressor.codec
    if batch.attributes & COMPRESSION_MASK == codec:
        return
    header = _header_of(batch)
    records = kafka_records_of(batch.body)
    if codec is not Codec.NONE:
        records = compress_kafka(records, compressor)
    attributes = header.attributes & ~COMPRESSION_MASK | codec
    body = pack_kafka_batch(header._replace(attributes=attributes), records)
    # Together: see Compressor.apply().
    batch.body, batch.attributes = body, attributes


def to_kafka(view: BatchView) -> bytes | bytearray:
    """Return the batch as Kafka's clients read it, at its offset and with its leader's epoch: what was stored, or a new one made of columns.

    Stored bytes are not checked: the reader has the checksum of whoever made them. Columns are checked and stay in
    their codec, in Kafka's framing; a batch without records stays one. Raises CorruptRecordError for a damaged body,
    RecordDecodeError for one that cannot be read, UnsupportedCompressionTypeError where the library is missing. Threads: any.
    """
    if view.body_encoding == KAFKA_V2_ENCODING and view.record_count:
        return at_offset(view.body, view.base_offset, view.leader_epoch)
    view.check()
    attributes, records = view.attributes, b""
    if view.record_count:
        columns = view.columns
        base_offset = view.base_offset
        records = encode_kafka_records(
            [offset - base_offset for offset in view.offsets()]
            if view.is_sparse
            else range(view.record_count),
            columns.timestamp_deltas(),
            columns.keys(),
            columns.values(),
            columns.headers(),
        )
        if view.codec:
            records = compress_kafka(records, _compressor(view.codec))
    else:
        attributes &= ~COMPRESSION_MASK
    return pack_kafka_batch(
        KafkaBatchHeader(
            view.base_offset,
            0,
            view.leader_epoch,
            0,
            0,
            attributes,
            view.header.last_offset_delta,
            view.first_timestamp_ms,
            view.max_timestamp_ms,
            view.producer_id,
            view.producer_epoch,
            view.base_sequence,
            view.record_count,
        ),
        records,
    )


def _header_of(batch: PendingBatch) -> KafkaBatchHeader:
    return KafkaBatchHeader._make(KAFKA_HEADER.unpack_from(batch.body))


@cache
def _compressor(codec: int) -> Compressor:
    """Return what compresses at the level that Kafka takes unless told otherwise."""
    levels = {
        Codec.GZIP: GZIP_DEFAULT_LEVEL,
        Codec.LZ4: LZ4_DEFAULT_LEVEL,
        Codec.ZSTD: ZSTD_DEFAULT_LEVEL,
    }
    return Compressor(Codec(codec), levels.get(Codec(codec), 0))

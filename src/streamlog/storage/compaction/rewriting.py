"""Headers and bodies of the batches that compaction makes."""

from __future__ import annotations

from collections.abc import Sequence

from streamlog.config import TopicConfig
from streamlog.record.batch_view import BatchView
from streamlog.record.codec import Codec
from streamlog.record.columns import Headers, encode_columns
from streamlog.record.compression import Compressor
from streamlog.record.kafka_layout import without_kafka_producer
from streamlog.record.layout import (
    COLUMNS_ENCODING,
    COMPRESSION_MASK,
    DELETE_HORIZON_BIT,
    KAFKA_V2_ENCODING,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    SPARSE_COLUMNS_ENCODING,
    BatchHeader,
)
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.sparse_columns import encode_sparse_columns
from streamlog.storage.compaction.run import Run


class Rewriter:
    """Makes batches of records that are in the log already, in the codec that they had. Threads: one."""

    def __init__(self, config: TopicConfig) -> None:
        """*config* says at which level to compress."""
        self._config = config
        self._compressors: dict[int, Compressor] = {}

    def join(self, run: Run) -> tuple[BatchHeader, bytes]:
        """Return header and body of the batch that stands for *run*; without records it is an empty one."""
        header = BatchHeader(
            length=0,
            header_crc=0,
            magic=MAGIC,
            body_size=0,
            base_offset=run.base_offset,
            body_crc=0,
            leader_epoch=run.leader_epoch,
            attributes=0,
            body_encoding=COLUMNS_ENCODING,
            reserved_1=0,
            record_count=0,
            last_offset_delta=run.next_offset - run.base_offset - 1,
            base_sequence=NO_SEQUENCE,
            producer_id=NO_PRODUCER_ID,
            producer_epoch=NO_PRODUCER_EPOCH,
            reserved_2=0,
            uncompressed_size=0,
            first_timestamp_ms=run.max_timestamp_ms,
            max_timestamp_ms=run.max_timestamp_ms,
        )
        if not run.offsets:
            return header, b""
        return self._filled(
            header._replace(attributes=run.attributes, max_timestamp_ms=max(run.timestamps_ms)),
            run.offsets,
            run.values,
            run.keys,
            run.timestamps_ms,
            run.headers,
            run.horizon_ms,
        )

    def reduce(
        self, batch: BatchView, kept: Sequence[int], horizon_ms: int | None
    ) -> tuple[BatchHeader, bytes]:
        """Return *batch* with no other records than those with the numbers *kept*, at least one, and with this delete horizon.

        All else is as it was: offsets, producer, sequence, the greatest timestamp. Raises RecordDecodeError.
        """
        offsets, values, keys = batch.offsets(), batch.values(), batch.keys()
        timestamps_ms, headers = batch.timestamps_ms(), batch.headers()
        return self._filled(
            batch.header,
            [offsets[number] for number in kept],
            [values[number] for number in kept],
            None if keys is None else [keys[number] for number in kept],
            [timestamps_ms[number] for number in kept],
            None if headers is None else [headers[number] for number in kept],
            horizon_ms,
        )

    def _filled(
        self,
        header: BatchHeader,
        offsets: list[int],
        values: list[bytes | None],
        keys: list[bytes | None] | None,
        timestamps_ms: list[int],
        headers: list[Headers] | None,
        horizon_ms: int | None,
    ) -> tuple[BatchHeader, bytes]:
        first_ms = timestamps_ms[0] if horizon_ms is None else horizon_ms
        timestamp_deltas = None
        if not header.attributes & LOG_APPEND_TIME_BIT and timestamps_ms.count(first_ms) < len(
            timestamps_ms
        ):
            timestamp_deltas = [timestamp_ms - first_ms for timestamp_ms in timestamps_ms]
        if headers is not None and not any(headers):
            headers = None
        base_offset = header.base_offset
        if offsets[-1] - base_offset == len(offsets) - 1:
            body, encoding = (
                encode_columns(values, keys, timestamp_deltas, headers),
                COLUMNS_ENCODING,
            )
        else:
            offset_deltas = [offset - base_offset for offset in offsets]
            body, encoding = (
                encode_sparse_columns(offset_deltas, values, keys, timestamp_deltas, headers),
                SPARSE_COLUMNS_ENCODING,
            )
        attributes, uncompressed_size = header.attributes & ~DELETE_HORIZON_BIT, 0
        codec = attributes & COMPRESSION_MASK
        if codec:
            body, uncompressed_size = self._compress(codec, body), len(body)
        if horizon_ms is not None:
            attributes |= DELETE_HORIZON_BIT
        return header._replace(
            attributes=attributes,
            body_encoding=encoding,
            record_count=len(offsets),
            uncompressed_size=uncompressed_size,
            first_timestamp_ms=first_ms,
        ), body

    def _compress(self, codec: int, body: bytes) -> bytes:
        compressor = self._compressors.get(codec)
        if compressor is None:
            name = Codec(codec).label
            level: int = getattr(self._config, f"compression_{name}_level", 0)  # snappy has none
            compressor = self._compressors[codec] = Compressor(Codec(codec), level)
        batch = PendingBatch(body, 0, 0, 0)
        compressor.apply(batch)
        return batch.body


def empty_batch(header: BatchHeader) -> BatchHeader:
    """Return the header of the same batch without records: it has no body."""
    return header._replace(
        attributes=header.attributes & ~(COMPRESSION_MASK | DELETE_HORIZON_BIT),
        body_encoding=COLUMNS_ENCODING,
        record_count=0,
        uncompressed_size=0,
        first_timestamp_ms=header.max_timestamp_ms,
    )


def without_producer(header: BatchHeader, body: bytes) -> tuple[BatchHeader, bytes]:
    """Return header and body of the same batch as if a producer without an id had written it."""
    if header.body_encoding == KAFKA_V2_ENCODING:
        body = without_kafka_producer(body)
    header = header._replace(
        base_sequence=NO_SEQUENCE, producer_id=NO_PRODUCER_ID, producer_epoch=NO_PRODUCER_EPOCH
    )
    return header, body

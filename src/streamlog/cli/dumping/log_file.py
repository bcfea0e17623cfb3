"""A `.log` file: batches, records, room, and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from streamlog.cli.dumping.line import Line
from streamlog.cli.dumping.payloads import Decode, decoded
from streamlog.errors import RecordDecodeError
from streamlog.record.batch_view import BatchView
from streamlog.record.codec import Codec
from streamlog.record.control import read_marker
from streamlog.record.sequence import advance
from streamlog.storage.verification.batch_walk import BadBytes, Room, StoredBatch, walk_batches
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.structs import TimestampType

_TIMESTAMP_NAMES = {
    TimestampType.CREATE_TIME: "CreateTime",
    TimestampType.LOG_APPEND_TIME: "LogAppendTime",
}


@attrs.frozen
class LogFileDump:
    """How much to show. Source: Kafka ``DumpLogSegments``."""

    with_records: bool = False
    with_payloads: bool = False
    with_record_fields: bool = True
    """Whether offset, timestamp, sequence and sizes are shown with a payload."""
    decode: Decode | None = None
    max_bytes: int | None = None
    """Stop at the batch that begins there or behind."""

    def lines(self, content: FileBytes, base_offset: int) -> Iterator[Line]:
        """Yield what there is in the file, in order. Raises OSError."""
        yield Line("log", {"Log starting offset": base_offset})
        for item in walk_batches(content, base_offset, is_growing=True):
            if self.max_bytes is not None and item.position >= self.max_bytes:
                return
            if isinstance(item, Room):
                yield Line("room", {"position": item.position, "room": item.end - item.position})
            elif isinstance(item, BadBytes):
                yield _bad_bytes(item)
            else:
                yield _batch(item)
                if self.with_records and item.is_valid:
                    yield from self._records(item)

    def _records(self, item: StoredBatch) -> Iterator[Line]:
        batch = item.view
        try:
            yield from self._decoded_records(batch)
        except (RecordDecodeError, ValueError) as error:
            yield Line("damage", {"position": item.position, "reason": str(error)}, "| ")

    def _decoded_records(self, batch: BatchView) -> Iterator[Line]:
        count = batch.record_count
        if not count:
            return
        values, keys = batch.values(), batch.keys() or [None] * count
        headers, offsets = batch.headers() or [()] * count, batch.offsets()
        stamps, stamp_name = batch.timestamps_ms(), _TIMESTAMP_NAMES[batch.timestamp_type]
        rows = zip(offsets, stamps, keys, values, headers, strict=True)
        for offset, timestamp_ms, key, value, header in rows:
            fields: dict[str, object] = {"offset": offset}
            if self.with_record_fields or not self.with_payloads:
                fields[stamp_name] = timestamp_ms
                fields["keySize"] = -1 if key is None else len(key)
                fields["valueSize"] = -1 if value is None else len(value)
                if batch.base_sequence >= 0:
                    fields["sequence"] = advance(batch.base_sequence, offset - batch.base_offset)
                fields["headerKeys"] = [name for name, _ in header]
            if batch.is_control:
                kind, coordinator_epoch = read_marker(batch)
                fields |= {"endTxnMarker": kind.name, "coordinatorEpoch": coordinator_epoch}
            elif self.with_payloads:
                fields |= self._payload(key, value)
                if header:
                    fields["headers"] = [_header(name, value) for name, value in header]
            yield Line("record", fields, "| ")

    def _payload(self, key: bytes | None, value: bytes | None) -> Mapping[str, object]:
        if self.decode is not None:
            return decoded(self.decode, key, value)
        return {"key": key, "payload": value}


def _batch(item: StoredBatch) -> Line:
    header, batch = item.header, item.view
    sequence = header.base_sequence
    fields: dict[str, object] = {
        "baseOffset": header.base_offset,
        "lastOffset": batch.last_offset,
        "count": header.record_count,
        "baseSequence": sequence,
        "lastSequence": advance(sequence, header.last_offset_delta) if sequence >= 0 else -1,
        "producerId": header.producer_id,
        "producerEpoch": header.producer_epoch,
        "partitionLeaderEpoch": header.leader_epoch,
        "isTransactional": batch.is_transactional,
        "isControl": batch.is_control,
        "deleteHorizonMs": batch.delete_horizon_ms,
        "position": item.position,
        "firstTimestamp": header.first_timestamp_ms,
        _TIMESTAMP_NAMES[batch.timestamp_type]: header.max_timestamp_ms,
        "size": header.length,
        "magic": header.magic[-1],
        "bodyEncoding": header.body_encoding,
        "compresscodec": _codec(batch.codec),
        "uncompressedSize": header.uncompressed_size,
        "headerCrc": header.header_crc,
        "crc": header.body_crc,
        "isvalid": item.is_valid,
    }
    return Line("batch", fields)


def _header(name: str, value: bytes | None) -> str:
    return name if value is None else f"{name}={value.decode('utf-8', 'backslashreplace')}"


def _codec(number: int) -> str:
    return Codec(number).label if number <= max(Codec) else str(number)


def _bad_bytes(item: BadBytes) -> Line:
    reason = "the last batch is not finished" if item.is_unfinished else "no batch can be read here"
    fields = {
        "position": item.position,
        "bytes": item.end - item.position,
        "expectedOffset": item.expected_offset,
        "nextOffset": item.next_offset,
        "reason": reason,
    }
    return Line("unfinished" if item.is_unfinished else "damage", fields)

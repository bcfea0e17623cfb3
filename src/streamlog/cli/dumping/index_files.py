"""The files beside a log: offset index, time index, aborted transactions, snapshots of producers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from streamlog.cli.dumping.line import Line
from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.checkpoint_file import decode_checkpoint
from streamlog.storage.index_file import IndexContent, parse_entries
from streamlog.storage.producer_entry import ProducerEntry

_OFFSET = struct.Struct("<II")
_TIME = struct.Struct("<qq")
_TRANSACTION = struct.Struct("<qqqq")
_OPEN_FROM, _OPEN_TO = -(2**15), -1
_END = _OPEN_FROM - 1


def offset_index_lines(data: bytes, path: str, base_offset: int) -> Iterator[Line]:
    """Yield the entries of an `.idx` file. *path* is where it belongs: its checksums vouch for that."""
    content = parse_entries(data, path)
    for relative, position in _entries(_OFFSET, content):
        yield Line("entry", {"offset": base_offset + relative, "position": position})
    yield from _end(content, data)


def time_index_lines(data: bytes, path: str, base_offset: int) -> Iterator[Line]:
    """Yield the entries of a `.tix` file."""
    content = parse_entries(data, path)
    for timestamp_ms, relative in _entries(_TIME, content):
        yield Line("entry", {"timestamp": timestamp_ms, "offset": base_offset + relative})
    yield from _end(content, data)


def transaction_index_lines(data: bytes, path: str) -> Iterator[Line]:
    """Yield the entries of a `.txn` file: the aborted transactions, and those that were open where a block ends, with that place."""
    content = parse_entries(data, path)
    for entry in map(AbortedTransaction._make, _entries(_TRANSACTION, content)):
        if _OPEN_FROM <= entry.last_offset <= _OPEN_TO:
            fields = {
                "producerId": entry.producer_id,
                "producerEpoch": _OPEN_TO - entry.last_offset,
                "firstOffset": entry.first_offset,
                "openAtPosition": entry.last_stable_offset,
            }
            yield Line("open", fields)
        elif entry.last_offset == _END:
            yield Line("end", {"offset": entry.first_offset, "position": entry.last_stable_offset})
        else:
            fields = {
                "producerId": entry.producer_id,
                "firstOffset": entry.first_offset,
                "lastOffset": entry.last_offset,
                "lastStableOffset": entry.last_stable_offset,
            }
            yield Line("aborted", fields)
    yield from _end(content, data)


def _entries(layout: struct.Struct, content: IndexContent) -> Iterator[tuple[int, ...]]:
    whole = len(content.entries) - len(content.entries) % layout.size
    return layout.iter_unpack(content.entries[:whole])


def _end(content: IndexContent, data: bytes) -> Iterator[Line]:
    yield Line("index", {"covers": content.covers, "isWhole": content.is_whole})
    if not content.is_whole:
        reason = "no block with the right checksum for this place"
        fields = {"position": content.end, "bytes": len(data) - content.end, "reason": reason}
        yield Line("damage", fields)


def snapshot_lines(data: bytes, path: str) -> Iterator[Line]:
    """Yield the producers of a `.snap` file, each with its last batches."""
    try:
        content = decode_checkpoint(data, "SNAPSHOT", path)
        entries = [ProducerEntry.unpack(fields) for fields in content["producers"]]
    except (CorruptLogError, UnsupportedFormatError, KeyError, TypeError, ValueError) as error:
        yield Line("damage", {"position": 0, "bytes": len(data), "reason": str(error)})
        return
    yield Line("snapshot", {"place": content.get("place"), "producers": len(entries)})
    for entry in entries:
        fields = {
            "producerId": entry.producer_id,
            "producerEpoch": entry.producer_epoch,
            "coordinatorEpoch": entry.coordinator_epoch,
            "currentTxnFirstOffset": entry.first_open_offset,
            "markerOffset": entry.marker_offset,
            "markerTimestamp": entry.marker_timestamp_ms,
        }
        yield Line("producer", fields)
        for first, last, base_offset, timestamp_ms in entry.recent:
            batch = {
                "firstSequence": first,
                "lastSequence": last,
                "baseOffset": base_offset,
                "timestamp": timestamp_ms,
            }
            yield Line("batch", batch, "| ")

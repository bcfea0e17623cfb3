"""Finding the producers of a log again by its headers and markers."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable

from streamlog.errors import ClosedError, RecordDecodeError
from streamlog.record.batch_view import BatchView
from streamlog.record.checksum import crc32c
from streamlog.record.control import read_marker
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE, MAGIC, TRANSACTIONAL_BIT
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.runtime import Mapping
from streamlog.storage.batch_scan import body_is_good, header_at, resync
from streamlog.storage.producer_state import ProducerStates
from streamlog.storage.segment import Segment

# layout.HEADER with holes where nobody looks: length, header_crc, magic, body_size, base_offset, attributes, last_offset_delta,
# base_sequence, producer_id, producer_epoch, max_timestamp.
_REPLAYED = struct.Struct("<II4sIq8xH6xIiqh14xq")
assert _REPLAYED.size == HEADER_SIZE
_UNPACK = _REPLAYED.unpack
_NO_COMMIT = bytes(8)

_logger = logging.getLogger("streamlog")


def replay_all(
    segments: Iterable[Segment], start_offset: int | None, states: ProducerStates
) -> None:
    """Tell *states* of every batch from *start_offset* on, None: of every one there is, as `replay` does for each of *segments*.

    One that cannot be read is left out with a warning. Whoever reads there gets an error. An append must not: who wrote there is a stranger
    now, who may begin anywhere.
    """
    for segment in segments:
        if start_offset is None or segment.next_offset > start_offset:
            try:
                replay(segment, start_offset or 0, states)
            except (OSError, ValueError, ClosedError) as error:
                _logger.warning(
                    "%s: not searched for producers, it cannot be read: %s", segment.path, error
                )


def replay(segment: Segment, start_offset: int, states: ProducerStates) -> None:
    """Tell *states* of every batch in *segment* that begins at *start_offset* or behind, in order.

    Reads headers, and the bodies of markers: about 1.5 us for each batch. Damage is stepped over, and so is a batch that comes again.
    Raises OSError, ValueError or ClosedError when the files cannot be read.
    """
    segment.ensure_indexes()
    end, next_offset = segment.position, segment.next_offset
    if not end:
        return
    mapping = segment.mapping_for_read()
    behind = max(start_offset, segment.base_offset)
    entries = states.entries
    position = segment.offset_index.floor(behind - segment.base_offset)
    while position + HEADER_SIZE <= end:
        raw = mapping[position : position + HEADER_SIZE]
        (
            length,
            header_crc,
            magic,
            body_size,
            base_offset,
            attributes,
            last_offset_delta,
            base_sequence,
            producer_id,
            producer_epoch,
            max_timestamp_ms,
        ) = _UNPACK(raw)
        # What read_header() checks and this does not, no writer ever got wrong: the checksum vouches for it.
        if (
            magic != MAGIC
            or length != body_size + HEADER_SIZE
            or position + length > end
            or crc32c(_NO_COMMIT + raw[8:]) != header_crc
        ):
            following = resync(mapping, position, end, behind)
            if following is None:
                return
            position = following[0]
            continue
        if behind <= base_offset < next_offset:
            if attributes & CONTROL_BIT:
                _replay_marker(mapping, position, end, states)
            elif producer_id < 0 or base_sequence < 0:
                pass
            elif (
                (entry := entries.get(producer_id)) is not None
                and entry.producer_epoch == producer_epoch
                and (entry.first_open_offset >= 0 or not attributes & TRANSACTIONAL_BIT)
            ):
                # Most batches go on where the one before ended: states.appended() at half the cost.
                last = base_sequence + last_offset_delta & MAX_SEQUENCE
                entry.recent.append((base_sequence, last, base_offset, max_timestamp_ms))
            else:
                states.appended(
                    producer_id,
                    producer_epoch,
                    base_sequence,
                    last_offset_delta + 1,
                    attributes,
                    base_offset,
                    max_timestamp_ms,
                )
            behind = base_offset + last_offset_delta + 1
        position += length + 7 & -8


def _replay_marker(mapping: Mapping, position: int, end: int, states: ProducerStates) -> None:
    header = header_at(mapping, position, end)
    if header is None or not body_is_good(mapping, position, header):
        return  # damaged: how the transaction ended is not known, and readers get an error there
    try:
        batch = BatchView(
            header, mapping[position + HEADER_SIZE : position + HEADER_SIZE + header.body_size]
        )
        control_type, coordinator_epoch = read_marker(batch)
    except RecordDecodeError:
        return  # a newer kind of marker
    states.completed(
        header.producer_id,
        header.producer_epoch,
        control_type,
        coordinator_epoch,
        header.base_offset,
        header.max_timestamp_ms,
    )

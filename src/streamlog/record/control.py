"""Control batches: the markers that end a transaction in a partition (TXN-8).

One record in a batch of its own, with Kafka's content, big-endian:

====== ====== ================================================
part   format fields
====== ====== ================================================
key    i16 x2 version (0), type (0 = ABORT, 1 = COMMIT)
value  i16 i32 version (0), epoch of the coordinator
====== ====== ================================================
"""

from __future__ import annotations

import struct
from enum import IntEnum

from streamlog.errors import RecordDecodeError
from streamlog.record.batch_builder import build_batch
from streamlog.record.batch_view import BatchView
from streamlog.record.columns import ColumnReader
from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT
from streamlog.record.pending_batch import PendingBatch

_KEY = struct.Struct(">hh")
_VALUE = struct.Struct(">hi")
_VERSION = 0


class ControlType(IntEnum):
    """How a transaction ended. Source: Kafka ``ControlRecordType``."""

    ABORT = 0
    COMMIT = 1


def build_marker(
    control_type: ControlType,
    producer_id: int,
    producer_epoch: int,
    coordinator_epoch: int,
    timestamp_ms: int,
) -> PendingBatch:
    """Return the batch that ends the transaction of *producer_id* in one partition. It takes one offset and has no sequence.

    From then on batches of an epoch below *producer_epoch* are refused. Source: Kafka ``EndTransactionMarker``.
    """
    key = _KEY.pack(_VERSION, control_type)
    batch = build_batch([_VALUE.pack(_VERSION, coordinator_epoch)], timestamp_ms, [key])
    batch.attributes = CONTROL_BIT | TRANSACTIONAL_BIT
    batch.producer_id, batch.producer_epoch = producer_id, producer_epoch
    return batch


def read_marker(batch: BatchView | PendingBatch) -> tuple[ControlType, int]:
    """Return type and coordinator epoch of a control *batch*.

    Raises RecordDecodeError for anything that :func:`build_marker` did not make; what a newer version may add is not looked at.
    """
    columns = ColumnReader(memoryview(batch.body), batch.record_count)
    keys, values = columns.keys(), columns.values()
    key, value = keys[0] if keys else None, values[0] if values else None
    if (
        not isinstance(key, bytes)
        or not isinstance(value, bytes)
        or len(key) < _KEY.size
        or len(value) < _VALUE.size
    ):
        raise RecordDecodeError(
            f"control batch: expected a key of {_KEY.size} bytes and a value of {_VALUE.size}, found {key!r:.40} and {value!r:.40}"
        )
    number = _KEY.unpack_from(key)[1]
    if number not in _NUMBERS:
        raise RecordDecodeError(f"control batch: expected type 0 or 1, found {number}")
    coordinator_epoch: int = _VALUE.unpack_from(value)[1]
    return ControlType(number), coordinator_epoch


_NUMBERS = {int(kind) for kind in ControlType}

"""Produce: batches are checked and stored as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.broker.topic_name import is_internal
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidRecordError,
    RecordDecodeError,
    StreamlogError,
)
from streamlog.record.codec import Codec
from streamlog.record.kafka_batch import pending_from_kafka
from streamlog.record.kafka_layout import (
    KAFKA_MAGIC,
    attributes_of,
    magic_of,
    size_of,
    time_and_producer_of,
)
from streamlog.record.layout import COMPRESSION_MASK, LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT
from streamlog.wire.codec.errors import RefusedRequestError
from streamlog.wire.error_codes import (
    INVALID_RECORD,
    INVALID_REQUIRED_ACKS,
    INVALID_TOPIC,
    NONE,
    NOT_ENOUGH_REPLICAS,
    UNSUPPORTED_COMPRESSION_TYPE,
    UNSUPPORTED_FOR_MESSAGE_FORMAT,
    code_of,
)
from streamlog.wire.parked import Slow

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.wire.call import Call

#: Advertised, and refused: without them old versions of librdkafka stop compressing (KAFKA-18659).
_FIRST_SERVED = 3
#: Before, nobody was to send zstd: consumers of the time could not read it (KIP-110).
_FIRST_WITH_ZSTD = 7
_NO_OFFSET = -1
_ACKS = (-1, 1, 0)
_ZSTD = int(Codec.ZSTD)


class _OldFormatError(StreamlogError):
    """Messages as they were before there were batches."""


def handle(call: Call) -> Any:
    """Append each batch and return its offset; nothing is returned with acks=0, where an error closes the connection."""
    if call.version < _FIRST_SERVED:
        raise RefusedRequestError(
            f"Produce: expected version {_FIRST_SERVED} or later, found {call.version}"
        )
    if _takes_long(call):
        return Slow(lambda: _append_all(call))
    return _append_all(call)


def _takes_long(call: Call) -> bool:
    """Whether an append may wait for a disk, or for somebody who does, or looks into a large batch: the loop has no time for that."""
    for topic in call.request.topic_data:
        for data in topic.partition_data:
            records = data.records or b""
            attributes = attributes_of(records)
            if attributes & TRANSACTIONAL_BIT:
                # The coordinator of transactions is asked about the first batch of each, and may be writing just now.
                return True
            try:
                partition = call.broker.partition(topic.name, data.index)
                if partition.append_takes_long(
                    len(records),
                    bool(attributes & COMPRESSION_MASK),
                    *time_and_producer_of(records),
                ):
                    return True
            except StreamlogError:
                continue  # gets its error below
    return False


def _append_all(call: Call) -> Any:
    request, make = call.request, call.response
    answers = []
    first_error = NONE
    for topic in request.topic_data:
        partitions = []
        for data in topic.partition_data:
            answer = _append(call, topic.name, data)
            first_error = first_error or answer.error_code
            partitions.append(answer)
        answers.append(make.Responses(name=topic.name, partition_responses=partitions))
    if request.acks == 0:
        if first_error:
            raise RefusedRequestError(f"Produce with acks=0 failed with error {first_error}")
        return None
    return make(responses=answers)


def _append(call: Call, topic: str, data: Any) -> Any:
    make = call.response.Responses.PartitionResponses
    index = data.index
    if call.request.acks not in _ACKS:
        return _refused(make, index, INVALID_REQUIRED_ACKS)
    if is_internal(topic):
        return _refused(make, index, INVALID_TOPIC, f"{topic} is the broker's own")
    try:
        partition: Partition = call.broker.partition(topic, index)
        records = data.records or b""
        if magic_of(records) != KAFKA_MAGIC or size_of(records) != len(records):
            _refuse_other_than_one_batch(topic, index, records)
        batch = pending_from_kafka(records)
        if batch.attributes & COMPRESSION_MASK == _ZSTD and call.version < _FIRST_WITH_ZSTD:
            return _refused(
                make,
                index,
                UNSUPPORTED_COMPRESSION_TYPE,
                f"{topic}-{index}: expected zstd from version {_FIRST_WITH_ZSTD} on, found it in {call.version}",
            )
        base_offset = partition.append(batch)
    except _OldFormatError as error:
        return _refused(make, index, UNSUPPORTED_FOR_MESSAGE_FORMAT, str(error))
    except ConcurrentTransactionsError as error:
        # Clients of these versions do not expect that here, and send the batch again after this (KIP-890).
        return _refused(make, index, NOT_ENOUGH_REPLICAS, str(error))
    except RecordDecodeError as error:
        # It will not get better by being sent again.
        return _refused(make, index, INVALID_RECORD, str(error))
    except (StreamlogError, OSError) as error:
        return _refused(make, index, code_of(error), str(error))
    is_log_append_time = batch.attributes & LOG_APPEND_TIME_BIT
    return make(
        index=index,
        base_offset=base_offset,
        log_append_time_ms=batch.max_timestamp_ms if is_log_append_time else -1,
        log_start_offset=partition.log_start_offset,
    )


def _refused(make: Any, index: int, code: int, message: str | None = None) -> Any:
    return make(index=index, error_code=code, base_offset=_NO_OFFSET, error_message=message)


def _refuse_other_than_one_batch(topic: str, index: int, records: bytes) -> None:
    """Raise what is wrong with *records* if it is something else than damage, which reading them finds."""
    if not records:
        raise InvalidRecordError(f"{topic}-{index}: expected one record batch, found none")
    magic = magic_of(records)
    if magic is None:
        return
    if magic < KAFKA_MAGIC:
        raise _OldFormatError(
            f"{topic}-{index}: expected record batches of magic {KAFKA_MAGIC}, found {magic}"
        )
    if magic_of(records[size_of(records) :]) == KAFKA_MAGIC:
        raise InvalidRecordError(f"{topic}-{index}: expected one record batch, found several")

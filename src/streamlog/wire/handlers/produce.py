"""Produce: batches are checked and stored as they came."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from streamlog.broker.topic_name import is_internal
from streamlog.errors import (
    ConcurrentTransactionsError,
    CorruptRecordError,
    InvalidRecordError,
    RecordDecodeError,
    StreamlogError,
)
from streamlog.record.codec import Codec
from streamlog.record.kafka_batch import pending_from_kafka
from streamlog.record.kafka_layout import KAFKA_MAGIC, magic_of, size_of
from streamlog.record.layout import COMPRESSION_MASK, LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT
from streamlog.wire.codec.errors import RefusedRequestError
from streamlog.wire.encoded_batches import TakesLongError
from streamlog.wire.error_codes import (
    INVALID_RECORD,
    INVALID_REQUIRED_ACKS,
    INVALID_TOPIC,
    NOT_ENOUGH_REPLICAS,
    UNSUPPORTED_COMPRESSION_TYPE,
    UNSUPPORTED_FOR_MESSAGE_FORMAT,
    code_of,
)
from streamlog.wire.parked import Slow

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.record import PendingBatch
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
    answers: list[Any] = []
    try:
        return _append_all(call, answers, may_wait=False)
    except TakesLongError:
        # Goes on behind those that are stored.
        return Slow(partial(_append_all, call, answers, may_wait=True))


def _append_all(call: Call, answers: list[Any], *, may_wait: bool) -> Any:
    """Append the batches that have none of *answers* yet, and return the response.

    Raises `TakesLongError` before the first one that may wait for somebody, unless that is all right.
    """
    request, make = call.request, call.response
    place = 0
    for topic in request.topic_data:
        for data in topic.partition_data:
            if place == len(answers):
                answers.append(_append(call, topic.name, data, may_wait))
            place += 1
    if request.acks == 0:
        for answer in answers:
            if answer.error_code:
                raise RefusedRequestError(
                    f"Produce with acks=0 failed with error {answer.error_code}"
                )
        return None
    rest = iter(answers)
    return make(
        responses=[
            make.Responses(
                name=topic.name, partition_responses=list(islice(rest, len(topic.partition_data)))
            )
            for topic in request.topic_data
        ]
    )


def _append(call: Call, topic: str, data: Any, may_wait: bool) -> Any:
    make = call.response.Responses.PartitionResponses
    index = data.index
    if call.request.acks not in _ACKS:
        return _refused(make, index, INVALID_REQUIRED_ACKS)
    if is_internal(topic):
        return _refused(make, index, INVALID_TOPIC, f"{topic} is the broker's own")
    try:
        partition: Partition = call.broker.partition(topic, index)
        batch = _batch_of(topic, index, data.records or b"")
        if batch.attributes & COMPRESSION_MASK == _ZSTD and call.version < _FIRST_WITH_ZSTD:
            return _refused(
                make,
                index,
                UNSUPPORTED_COMPRESSION_TYPE,
                f"{topic}-{index}: expected zstd from version {_FIRST_WITH_ZSTD} on, found it in {call.version}",
            )
        if not may_wait and _takes_long(partition, batch):
            raise TakesLongError
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


def _takes_long(partition: Partition, batch: PendingBatch) -> bool:
    """Whether an append may wait for a disk, or for somebody who does, or looks into a large batch: the loop has no time for that."""
    attributes = batch.attributes
    # The coordinator of transactions is asked about the first batch of each, and may be writing just now.
    return bool(attributes & TRANSACTIONAL_BIT) or partition.append_takes_long(
        len(batch.body),
        bool(attributes & COMPRESSION_MASK),
        batch.max_timestamp_ms,
        batch.producer_id,
    )


def _refused(make: Any, index: int, code: int, message: str | None = None) -> Any:
    return make(index=index, error_code=code, base_offset=_NO_OFFSET, error_message=message)


def _batch_of(topic: str, index: int, records: bytes) -> PendingBatch:
    """Return the one batch that *records* are; raise what is wrong with them."""
    try:
        return pending_from_kafka(records)
    except CorruptRecordError:
        _refuse_other_than_one_batch(topic, index, records)
        raise


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

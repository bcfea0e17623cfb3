"""ListOffsets, OffsetForLeaderEpoch and DeleteRecords: the bounds of a log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from streamlog.errors import InvalidRequestError, StreamlogError
from streamlog.structs import Isolation
from streamlog.wire.error_codes import (
    FENCED_LEADER_EPOCH,
    NONE,
    UNKNOWN_LEADER_EPOCH,
    UNSUPPORTED_VERSION,
    code_of,
)
from streamlog.wire.parked import Slow

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.wire.call import Call

LATEST = -1
EARLIEST = -2
MAX_TIMESTAMP = -3
#: The version from which that may be asked for (KIP-734). Those of tiered storage, -4 and -5, come later than what is served.
_HAS_MAX_TIMESTAMP = 7
_NO_EPOCH = -1


def handle(call: Call) -> Any:
    """Return the offset of each time: -1 the end, -2 the start, -3 the greatest timestamp, else the first record at or after it.

    Looking for a time reads batches and may have to decompress them, which is not for the loop.
    """
    for topic in call.request.topics:
        if any(one.timestamp not in (LATEST, EARLIEST) for one in topic.partitions):
            return Slow(lambda: _find_all(call))
    return _find_all(call)


def _find_all(call: Call) -> Any:
    make = call.response
    committed = call.request.isolation_level == 1
    isolation = Isolation.READ_COMMITTED if committed else Isolation.READ_UNCOMMITTED
    times = Counter(
        (topic.name, one.partition_index)
        for topic in call.request.topics
        for one in topic.partitions
    )
    return make(
        topics=[
            make.Topics(
                name=topic.name,
                partitions=[
                    # A client could not tell which answer is to which question.
                    make.Topics.Partitions(
                        partition_index=one.partition_index, error_code=InvalidRequestError.code
                    )
                    if times[topic.name, one.partition_index] > 1
                    else _find(call, topic.name, one, isolation)
                    for one in topic.partitions
                ],
            )
            for topic in call.request.topics
        ]
    )


def _find(call: Call, topic: str, wanted: Any, isolation: Isolation) -> Any:
    make = call.response.Topics.Partitions
    index, timestamp = wanted.partition_index, wanted.timestamp
    epoch: int | None
    try:
        partition = call.broker.partition(topic, index)
        if code := epoch_error(partition, wanted.current_leader_epoch):
            return make(partition_index=index, error_code=code)
        if timestamp == LATEST:
            # That of the record that comes there next, as in Kafka.
            offset, found_ms, epoch = partition.end_offset(isolation), -1, partition.leader_epoch
        elif timestamp == EARLIEST:
            offset, found_ms = partition.log_start_offset, -1
            epoch = partition.epoch_at(offset)
        elif timestamp >= 0 or (timestamp == MAX_TIMESTAMP and call.version >= _HAS_MAX_TIMESTAMP):
            found = (
                partition.offset_of_max_timestamp(isolation)
                if timestamp == MAX_TIMESTAMP
                else partition.offset_for_timestamp(timestamp, isolation)
            )
            if found is None:
                return make(partition_index=index)
            offset, found_ms, epoch = found.offset, found.timestamp_ms, found.leader_epoch
        else:
            return make(partition_index=index, error_code=UNSUPPORTED_VERSION)
        return make(
            partition_index=index,
            offset=offset,
            timestamp=found_ms,
            leader_epoch=_NO_EPOCH if epoch is None else epoch,
        )
    except (StreamlogError, OSError) as error:
        return make(partition_index=index, error_code=code_of(error))


def handle_epochs(call: Call) -> Any:
    """Return where the records of each leader epoch end (KIP-320)."""
    make = call.response
    answers = []
    for topic in call.request.topics:
        found = []
        for wanted in topic.partitions:
            answer = make.Topics.Partitions(partition=wanted.partition)
            try:
                partition = call.broker.partition(topic.topic, wanted.partition)
                answer.error_code = epoch_error(partition, wanted.current_leader_epoch)
                end = partition.end_offset_for_epoch(wanted.leader_epoch)
                if not answer.error_code and end is not None:
                    answer.leader_epoch, answer.end_offset = end.leader_epoch, end.end_offset
            except (StreamlogError, OSError) as error:
                answer.error_code = code_of(error)
            found.append(answer)
        answers.append(make.Topics(topic=topic.topic, partitions=found))
    return make(topics=answers)


def handle_delete(call: Call) -> Any:
    """Forget records below offsets (RET-9); -1 is the high watermark."""
    make = call.response
    answers = []
    for topic in call.request.topics:
        found = []
        for wanted in topic.partitions:
            answer = make.Topics.Partitions(
                partition_index=wanted.partition_index, low_watermark=-1
            )
            try:
                partition = call.broker.partition(topic.name, wanted.partition_index)
                answer.low_watermark = partition.delete_records(wanted.offset)
            except (StreamlogError, OSError) as error:
                answer.error_code = code_of(error)
            found.append(answer)
        answers.append(make.Topics(name=topic.name, partitions=found))
    return make(topics=answers)


def epoch_error(partition: Partition, believed: int) -> int:
    """Return what is wrong with the leader epoch that a client believes in, 0 for nothing; -1 believes in none."""
    if believed < 0 or believed == partition.leader_epoch:
        return NONE
    return FENCED_LEADER_EPOCH if believed < partition.leader_epoch else UNKNOWN_LEADER_EPOCH

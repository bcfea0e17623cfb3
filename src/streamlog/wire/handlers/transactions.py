"""InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn and TxnOffsetCommit: producers with an id and their transactions.

The versions served are those from before KIP-890: a producer announces the partitions of a transaction, and keeps its epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.broker.topic_name import is_internal
from streamlog.errors import (
    IllegalGenerationError,
    InvalidProducerIdMappingError,
    ProducerFencedError,
    StaleMemberEpochError,
    StreamlogError,
    TransactionAbortableError,
    UnknownMemberIdError,
)
from streamlog.structs import ProducerIdAndEpoch, TopicPartition
from streamlog.wire.error_codes import INVALID_REQUEST, INVALID_TOPIC, NONE, code_of
from streamlog.wire.handlers.groups.offsets import check_commit, commit_response
from streamlog.wire.handlers.groups.rebalance import check_group_id

if TYPE_CHECKING:
    from streamlog.wire.call import Call

_INVALID_PRODUCER_EPOCH = 47
_OPERATION_NOT_ATTEMPTED = 55
#: By API: the first version whose clients know that a producer can be fenced (KIP-588); those before are told of an old epoch.
_KNOWS_FENCING = {
    "InitProducerId": 4,
    "AddPartitionsToTxn": 2,
    "AddOffsetsToTxn": 2,
    "EndTxn": 2,
    "TxnOffsetCommit": 3,
}
_NOBODY = -1


def _code(call: Call, error: Exception) -> int:
    if isinstance(error, TransactionAbortableError):
        # Its own code comes with later versions than are served (KIP-890): who does not know it takes it for fatal. This one has
        # the transaction aborted, and then a new epoch asked for.
        return InvalidProducerIdMappingError.code
    if isinstance(error, ProducerFencedError) and call.version < _KNOWS_FENCING[call.api.name]:
        return _INVALID_PRODUCER_EPOCH
    return code_of(error)


def handle_init(call: Call) -> Any:
    """Return an id for an idempotent producer, or give a transactional id to one (TXN-3, TXN-4)."""
    request = call.request
    transactional_id = request.transactional_id
    has_id, has_epoch = request.producer_id >= 0, request.producer_epoch >= 0
    if transactional_id == "" or has_id is not has_epoch:
        return _no_producer(call, INVALID_REQUEST)
    expected = ProducerIdAndEpoch(request.producer_id, request.producer_epoch) if has_id else None
    broker = call.broker
    try:
        if transactional_id is None:
            producer = ProducerIdAndEpoch(broker.new_producer_id(), 0)
        else:
            producer = broker.transaction_coordinator.init_producer_id(
                transactional_id, request.transaction_timeout_ms, expected, announces=True
            )
    except (StreamlogError, OSError) as error:
        return _no_producer(call, _code(call, error))
    return call.response(producer_id=producer.producer_id, producer_epoch=producer.producer_epoch)


def _no_producer(call: Call, code: int) -> Any:
    return call.response(error_code=code, producer_id=_NOBODY, producer_epoch=_NOBODY)


def handle_add_partitions(call: Call) -> Any:
    """Let partitions be part of a transaction: all of them, or none."""
    request, make = call.request, call.response
    partitions = [
        TopicPartition(topic.name, number)
        for topic in request.topics
        for number in topic.partitions
    ]
    refused: dict[TopicPartition, int] = {}
    for topic_partition in partitions:
        try:
            call.broker.partition(*topic_partition)
            if is_internal(topic_partition.topic):
                refused[topic_partition] = INVALID_TOPIC
        except StreamlogError as error:
            refused[topic_partition] = code_of(error)
    code = _OPERATION_NOT_ATTEMPTED if refused else _announce(call, partitions)
    return make(
        results_by_topic=[
            make.ResultsByTopic(
                name=topic.name,
                results_by_partition=[
                    make.ResultsByTopic.ResultsByPartition(
                        partition_index=number,
                        partition_error_code=refused.get(TopicPartition(topic.name, number), code),
                    )
                    for number in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def handle_add_offsets(call: Call) -> Any:
    """Let the offsets of a group be part of a transaction (TXN-7)."""
    try:
        home = call.broker.group_coordinator.home_of(call.request.group_id)
    except (StreamlogError, OSError) as error:
        return call.response(error_code=code_of(error))
    return call.response(error_code=_announce(call, [home]))


def _announce(call: Call, partitions: list[TopicPartition]) -> int:
    request = call.request
    if not request.transactional_id:
        return INVALID_REQUEST
    try:
        call.broker.transaction_coordinator.announce(
            request.transactional_id, request.producer_id, request.producer_epoch, partitions
        )
    except (StreamlogError, OSError) as error:
        return _code(call, error)
    return NONE


def handle_end(call: Call) -> Any:
    """Commit or abort a transaction (TXN-8); the answer comes when its markers are written."""
    request = call.request
    if not request.transactional_id:
        return call.response(error_code=INVALID_REQUEST)
    try:
        call.broker.transaction_coordinator.end_transaction(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            request.committed,
        )
    except (StreamlogError, OSError) as error:
        return call.response(error_code=_code(call, error))
    return call.response()


def handle_commit_offsets(call: Call) -> Any:
    """Make offsets part of a transaction; they count if that is committed (TXN-7).

    Before version 3 there is no member to be told from others: nothing but the name of the group is looked at.
    """
    codes, offsets = check_commit(call)
    if offsets:
        codes.update(dict.fromkeys(offsets, _commit_offsets(call, offsets)))
    return commit_response(call, codes)


def _commit_offsets(call: Call, offsets: dict[TopicPartition, Any]) -> int:
    request, coordinator = call.request, call.broker.group_coordinator
    try:
        check_group_id(request.group_id)
        coordinator.commit_transactional_offsets(
            request.group_id,
            request.member_id,
            request.generation_id,
            request.group_instance_id,
            request.producer_id,
            request.producer_epoch,
            offsets,
        )
    except StaleMemberEpochError:
        return IllegalGenerationError.code  # that of a newer protocol: no client expects it here
    except UnknownMemberIdError as error:
        is_known = coordinator.remote.exists(request.group_id)
        return code_of(error) if is_known else IllegalGenerationError.code
    except (StreamlogError, OSError) as error:
        return _code(call, error)
    if request.member_id:
        coordinator.remote.heard(request.group_id, request.member_id)
    return NONE

"""DescribeProducers, DescribeTransactions and ListTransactions: transactions from outside (KIP-664)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import StreamlogError, TransactionalIdNotFoundError
from streamlog.wire.error_codes import INVALID_REQUEST, NONE, code_of, message_of

if TYPE_CHECKING:
    from streamlog.broker.transactions.description import TransactionDescription
    from streamlog.structs import ProducerStateInfo
    from streamlog.wire.call import Call

_NONE = -1
#: As Kafka writes them.
_STATE_NAMES = {
    state: "".join(part.capitalize() for part in state.value.split("_"))
    for state in TransactionState
}


def handle_producers(call: Call) -> Any:
    """Return what each partition knows of its idempotent producers."""
    make = call.response
    topics = []
    asked: dict[str, dict[int, None]] = {}  # each partition once: there may be many producers
    for topic in call.request.topics:
        asked.setdefault(topic.name, {}).update(dict.fromkeys(topic.partition_indexes))
    for name, numbers in asked.items():
        partitions = []
        for number in numbers:
            found = make.Topics.Partitions(partition_index=number)
            try:
                producers = call.broker.partition(name, number).describe_producers()
                found.active_producers = [_producer(call, one) for one in producers]
            except (StreamlogError, OSError) as error:
                found.error_code, found.error_message = code_of(error), message_of(error)
            partitions.append(found)
        topics.append(make.Topics(name=name, partitions=partitions))
    return make(topics=topics)


def _producer(call: Call, producer: ProducerStateInfo) -> Any:
    coordinator_epoch = producer.coordinator_epoch
    start_offset = producer.current_transaction_start_offset
    return call.response.Topics.Partitions.ActiveProducers(
        producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch,
        last_sequence=producer.last_sequence,
        last_timestamp=producer.last_timestamp_ms,
        coordinator_epoch=_NONE if coordinator_epoch is None else coordinator_epoch,
        current_txn_start_offset=_NONE if start_offset is None else start_offset,
    )


def handle_describe(call: Call) -> Any:
    """Return each transactional id with its transaction."""
    make = call.response
    states = []
    for transactional_id in dict.fromkeys(call.request.transactional_ids):
        if not transactional_id:
            states.append(make.TransactionStates(transactional_id="", error_code=INVALID_REQUEST))
            continue
        try:
            found = call.broker.transaction_coordinator.describe(transactional_id)
            states.append(_description(call, found))
        except (StreamlogError, OSError) as error:
            states.append(
                make.TransactionStates(transactional_id=transactional_id, error_code=code_of(error))
            )
    return make(transaction_states=states)


def _description(call: Call, found: TransactionDescription) -> Any:
    make = call.response.TransactionStates
    started_ms = found.transaction_start_time_ms
    by_topic = groupby(found.topic_partitions, key=lambda one: one.topic)
    return make(
        error_code=NONE,
        transactional_id=found.transactional_id,
        transaction_state=_STATE_NAMES[found.state],
        transaction_timeout_ms=found.transaction_timeout_ms,
        transaction_start_time_ms=_NONE if started_ms is None else started_ms,
        producer_id=found.producer_id,
        producer_epoch=found.producer_epoch,
        topics=[
            make.Topics(topic=topic, partitions=[one.partition for one in partitions])
            for topic, partitions in by_topic
        ],
    )


def handle_list(call: Call) -> Any:
    """Return the transactional ids that pass all filters: of a state, of a producer id, open for longer than a time."""
    request, make = call.request, call.response
    wanted = set(request.state_filters)
    try:
        listings = call.broker.transaction_coordinator.list_transactions()
    except (StreamlogError, OSError) as error:
        return make(error_code=code_of(error))
    return make(
        unknown_state_filters=sorted(wanted - set(_STATE_NAMES.values())),
        transaction_states=[
            make.TransactionStates(
                transactional_id=one.transactional_id,
                producer_id=one.producer_id,
                transaction_state=_STATE_NAMES[one.state],
            )
            for one in listings
            if (not wanted or _STATE_NAMES[one.state] in wanted)
            and (not request.producer_id_filters or one.producer_id in request.producer_id_filters)
            and (
                request.duration_filter < 0
                or _is_open_for(call, one.transactional_id, request.duration_filter)
            )
        ],
    )


def _is_open_for(call: Call, transactional_id: str, duration_ms: int) -> bool:
    """Whether a transaction of the id is open for longer than that."""
    try:
        found = call.broker.transaction_coordinator.describe(transactional_id)
    except TransactionalIdNotFoundError:
        return False  # it expired a moment ago
    started_ms = found.transaction_start_time_ms
    now_ms = call.broker.runtime.clock.time_ms()
    return started_ms is not None and now_ms - started_ms > duration_ms

"""CreateTopics, DeleteTopics, CreatePartitions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from streamlog.broker.config_operations import topic_entries
from streamlog.errors import InvalidRequestError, PolicyViolationError, StreamlogError
from streamlog.wire.config_text import SOURCES, key_text, value_text
from streamlog.wire.error_codes import code_of
from streamlog.wire.topics import TopicFinder

if TYPE_CHECKING:
    from streamlog.wire.call import Call

_DEFAULT = -1
#: In one request; Kafka draws the same line (``QuorumController.MAX_RECORDS_PER_USER_OP``).
_MAX_PARTITIONS = 10_000


def handle_create(call: Call) -> Any:
    """Create topics, each on its own. Without a number of partitions they get the listener's."""
    make, wanted = call.response, call.request.topics
    repeated = _repeated(topic.name for topic in wanted)
    total = sum(_wanted_partitions(call, topic) for topic in wanted)
    return make(topics=[_create(call, topic, repeated, total) for topic in wanted])


def _create(call: Call, wanted: Any, repeated: set[str], total: int) -> Any:
    make, broker = call.response.Topics, call.broker
    try:
        _refuse_repeated(wanted.name, repeated)
        _refuse_too_many(total)
        description = broker.topic_registry.create(
            wanted.name,
            _partitions(call, wanted),
            None if wanted.replication_factor == _DEFAULT else wanted.replication_factor,
            {config.name: config.value for config in wanted.configs if config.value is not None},
            validate_only=call.request.validate_only,
        )
    except (StreamlogError, OSError) as error:
        return make(name=wanted.name, error_code=code_of(error), error_message=str(error))
    answer = make(
        name=wanted.name,
        topic_id=bytes.fromhex(description.topic_id),
        num_partitions=len(description.partitions),
        replication_factor=1,
    )
    if not call.request.validate_only and call.version >= 5:
        try:
            entries = topic_entries(broker.topic(wanted.name), broker.config)
        except StreamlogError:
            return answer  # deleted again meanwhile
        answer.configs = [
            make.Configs(
                name=key_text(entry.name),
                value=value_text(entry.value),
                config_source=SOURCES[entry.source],
            )
            for entry in entries.values()
        ]
    return answer


def _wanted_partitions(call: Call, wanted: Any) -> int:
    if wanted.assignments:
        return len(wanted.assignments)
    if wanted.num_partitions == _DEFAULT:
        return call.settings.default_partitions
    return max(int(wanted.num_partitions), 0)


def _partitions(call: Call, wanted: Any) -> int:
    """Return how many partitions are wanted; the assignment to brokers, where there is one, says it too."""
    if not wanted.assignments:
        if wanted.num_partitions == _DEFAULT:
            return call.settings.default_partitions
        return int(wanted.num_partitions)
    node_id = call.settings.node_id
    numbers = sorted(one.partition_index for one in wanted.assignments)
    if numbers != list(range(len(numbers))) or any(
        one.broker_ids != [node_id] for one in wanted.assignments
    ):
        raise InvalidRequestError(
            f"topic {wanted.name!r}: expected an assignment of partitions 0 to {len(numbers) - 1} to broker {node_id} each"
        )
    return len(numbers)


def handle_delete(call: Call) -> Any:
    """Delete topics by name, or by id from version 6 on."""
    make, request = call.response, call.request
    if call.version >= 6:
        wanted = [(topic.name, topic.topic_id) for topic in request.topics]
    else:
        wanted = [(name, bytes(16)) for name in request.topic_names]
    finder = TopicFinder(call)
    return make(responses=[_delete(call, finder, name, topic_id) for name, topic_id in wanted])


def _delete(call: Call, finder: TopicFinder, name: str | None, topic_id: bytes) -> Any:
    make = call.response.Responses
    try:
        topic = finder.with_id(topic_id) if name is None else finder.named(name)
        call.broker.delete_topic(topic.name)
    except (StreamlogError, OSError) as error:
        return make(
            name=name, topic_id=topic_id, error_code=code_of(error), error_message=str(error)
        )
    return make(name=topic.name, topic_id=bytes.fromhex(topic.topic_id))


def handle_create_partitions(call: Call) -> Any:
    """Let topics have more partitions."""
    make, request = call.response, call.request
    repeated = _repeated(topic.name for topic in request.topics)
    total = sum(_added_partitions(call, topic) for topic in request.topics)
    results = []
    for topic in request.topics:
        answer = make.Results(name=topic.name)
        try:
            _refuse_repeated(topic.name, repeated)
            _refuse_too_many(total)
            call.broker.topic_registry.grow(
                topic.name, topic.count, validate_only=request.validate_only
            )
        except (StreamlogError, OSError) as error:
            answer.error_code, answer.error_message = code_of(error), str(error)
        results.append(answer)
    return make(results=results)


def _added_partitions(call: Call, wanted: Any) -> int:
    try:
        present = len(call.broker.topic(wanted.name).partitions)
    except StreamlogError:
        return 0  # gets its error
    return max(int(wanted.count) - present, 0)


def _repeated(names: Any) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _refuse_repeated(name: str, repeated: set[str]) -> None:
    if name in repeated:
        raise InvalidRequestError(f"topic {name!r} stands in the request more than once")


def _refuse_too_many(partitions: int) -> None:
    if partitions > _MAX_PARTITIONS:
        raise PolicyViolationError(
            f"expected at most {_MAX_PARTITIONS} partitions in a request, found {partitions}"
        )

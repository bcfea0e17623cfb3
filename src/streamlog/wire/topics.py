"""Topics as clients name them: by name, or by the id that a topic got when it was created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.topic_name import is_internal, validate_topic_name
from streamlog.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.topic import Topic
    from streamlog.wire.call import Call


def find_or_create(call: Call, name: str, allow_auto_create: bool) -> Topic:
    """Return the topic, created with the listener's number of partitions if client and listener both allow it.

    Raises `InvalidTopicError`, `UnknownTopicOrPartitionError`, and what creating a topic may raise.
    """
    broker, settings = call.broker, call.settings
    try:
        return broker.topic(name)
    except UnknownTopicOrPartitionError:
        validate_topic_name(name)
        allow_auto_create &= settings.auto_create and not broker.read_only
        if not allow_auto_create or is_internal(name):
            raise
    try:
        broker.create_topic(name, partitions=settings.default_partitions)
    except TopicAlreadyExistsError:
        pass  # by somebody else, a moment ago
    return broker.topic(name)


def topic_by_id(broker: Broker, topic_id: bytes) -> Topic:
    """Return the topic of that id; raises `UnknownTopicOrPartitionError`."""
    wanted = topic_id.hex()
    for name in broker.topics(include_internal=True):
        topic = broker.topic(name)
        if topic.topic_id == wanted:
            return topic
    raise UnknownTopicOrPartitionError(f"there is no topic of id {wanted}")

"""Topics as clients name them: by name, or by the id that a topic got when it was created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.topic_name import is_internal, validate_topic_name
from streamlog.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.topic import Topic
    from streamlog.wire.call import Call

#: For one request. Who asks for more than that comes again for those that were not created, as for any that is not there yet.
_MAX_CREATED = 100


class UnknownTopicIdError(UnknownTopicOrPartitionError):
    """There is no topic of that id, nor will there be one: ids are not given twice."""

    code = 100


class TopicIds:
    """Finds topics by their ids, for all requests of a listener. Threads: any."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        #: All topics by their ids, and the epoch in which they were looked at. Replaced, never changed.
        self._known: tuple[int, dict[bytes, Topic]] = -1, {}

    def find(self, topic_id: bytes) -> Topic:
        """Return the topic of that id, and never another one that was given its name; raises `UnknownTopicIdError`."""
        epoch, topics = self._known
        # The epoch first: what changes while we look has us look again.
        now = self._broker.topic_epoch
        if epoch != now:
            topics = {
                bytes.fromhex(one.topic_id): one for one in self._broker.topic_registry.topics()
            }
            self._known = now, topics
        known = topics.get(topic_id)
        # Asked for by its name as well: what another process did to the topics is looked at by whoever asks for one.
        topic = None if known is None else self._broker.topic_registry.find(known.name)
        if known is None or topic is None or topic.topic_id != known.topic_id:
            raise UnknownTopicIdError(f"there is no topic of id {topic_id.hex()}")
        return topic


class TopicFinder:
    """Finds the topics of one request. Threads: one."""

    def __init__(self, call: Call, *, may_create: bool = False) -> None:
        self._broker, self._settings = call.broker, call.settings
        self._left = _MAX_CREATED if may_create and call.settings.auto_create else 0
        self._names: dict[str, str] | None = None

    def named(self, name: str) -> Topic:
        """Return the topic, created with the listener's number of partitions if client and listener both allow it.

        Raises `InvalidTopicError`, `UnknownTopicOrPartitionError`, and what creating a topic may raise.
        """
        broker = self._broker
        try:
            return broker.topic(name)
        except UnknownTopicOrPartitionError:
            validate_topic_name(name)
            if not self._left or broker.read_only or is_internal(name):
                raise
        self._left -= 1
        try:
            broker.create_topic(name, partitions=self._settings.default_partitions)
        except TopicAlreadyExistsError:
            pass  # by somebody else, a moment ago
        return broker.topic(name)

    def with_id(self, topic_id: bytes) -> Topic:
        """Return the topic of that id; raises `UnknownTopicIdError`."""
        if self._names is None:
            self._names = {one.topic_id: one.name for one in self._broker.topic_registry.topics()}
        wanted = topic_id.hex()
        if wanted in self._names:
            topic = self._broker.topic(self._names[wanted])
            if topic.topic_id == wanted:
                return topic
        raise UnknownTopicIdError(f"there is no topic of id {wanted}")

"""The topics a producer knows: looked up when first used, forgotten when topics change."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakMethod

from streamlog.broker.topic_name import is_internal
from streamlog.client.partitioner import (
    Murmur2Partitioner,
    StickyPartitioner,
    resolve_partitioner,
)
from streamlog.client.topic_route import TopicRoute
from streamlog.errors import (
    InvalidTopicError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.broker import Broker
    from streamlog.broker.topic import Topic
    from streamlog.client.accumulator import RecordAccumulator
    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.config import ProducerConfig


class TopicRoutes:
    """Routes by topic, and the two tables that `send` looks into first.

    * `route` to a topic, `queue` of a partition
    * ``plain``, ``keyed``: where a record goes that needs nothing but to be appended

    The broker says when topics change, so nothing here is ever checked for its age, and what does not
    exist is not waited for. Threads: any. Source: Kafka ``ProducerMetadata``.
    """

    def __init__(
        self, broker: Broker, config: ProducerConfig, accumulator: RecordAccumulator
    ) -> None:
        self._broker = broker
        self._config = config
        self._accumulator = accumulator
        self._random = broker.runtime.random.stream(f"producer-{config.client_id}")
        self.partitioner = resolve_partitioner(
            config.partitioner, self._random, ignore_keys=config.partitioner_ignore_keys
        )
        is_plain = not config.interceptors and config.value_serializer in (None, "bytes")
        self.plain_is_used = is_plain and isinstance(
            self.partitioner, (Murmur2Partitioner, StickyPartitioner)
        )
        """Whether a record with a value and nothing else needs nothing but to be appended."""
        self.keyed_is_used = (
            is_plain and config.key_serializer in (None, "bytes") and self.partitioner.memoisable
        )
        """Whether a record with value and key, where the key has been seen, needs nothing else."""
        self._routes: dict[str, TopicRoute] = {}
        self.generation = 0
        """Grows when routes are forgotten, or `shut`."""
        self._is_shut = False
        self.plain: dict[str, PartitionQueue] = {}
        """By topic, the queue for records that have a value and nothing else."""
        self.keyed: dict[str, dict[bytes, PartitionQueue]] = {}
        """By topic and key, the queue for records that have key and value and nothing else."""
        self._listener = _Listener(WeakMethod(self._forget))
        broker.add_topic_listener(self._listener)

    def route(self, name: str) -> TopicRoute:
        """Return the route to a topic, which is created if that is allowed.

        Raises InvalidTopicError, for an internal topic as well; UnknownTopicOrPartitionError when the
        topic neither exists nor may be created by its use.
        """
        route = self._routes.get(name)
        if route is not None:
            return route
        if is_internal(name):
            raise InvalidTopicError(f"topic {name!r} is internal: only the broker writes to it")
        while True:
            epoch = self._broker.topic_epoch
            route = self._make(self._broker.topic_or_create(name, True))
            self._routes[name] = route
            if self._broker.topic_epoch == epoch:
                return route
            # Topics changed while the route was made, this one perhaps.
            self._routes.pop(name, None)

    def use(self, route: TopicRoute) -> None:
        """From now on `send` finds the topic's current queue, and its keys', in the tables."""
        route.is_used = True
        if self.plain_is_used:
            current = route.current()
            current.has_senders = True
            self.plain[route.topic] = current
        if self.keyed_is_used:
            self.keyed[route.topic] = route.memo
        # Forgotten since the caller got it, or shut meanwhile.
        if self._is_shut or self._routes.get(route.topic) is not route:
            route.is_used = False
            self.plain.pop(route.topic, None)
            self.keyed.pop(route.topic, None)

    def remember(self, topic: object, key: object) -> PartitionQueue | None:
        """Return the queue for *key* of a topic in ``keyed``, which has it from now on; None when topic
        or key do not belong there.
        """
        if type(key) is bytes and isinstance(topic, str) and topic in self.keyed:
            route = self._routes.get(topic)
            if route is not None:
                return route.remember(key)
        return None

    def queue(self, route: TopicRoute, number: int) -> PartitionQueue:
        """Return the queue of partition *number*.

        Raises UnknownTopicOrPartitionError when there is none.
        """
        if number >= len(route.queues):
            route = self.route(route.topic)  # the topic may have grown meanwhile
            if number >= len(route.queues):
                raise UnknownTopicOrPartitionError(
                    f"{route.topic}-{number} does not exist: topic {route.topic!r} has"
                    f" {len(route.queues)} partition(s)"
                )
        return route.queues[number]

    def shut(self) -> None:
        """From now on every record goes the long way, where it is refused: no transaction is open."""
        self._is_shut = True
        self._bar()

    def reopen(self) -> None:
        """Take records again; the first one of each topic, and of each writer, goes the long way."""
        self._bar()
        self._is_shut = False

    def _bar(self) -> None:
        self.generation += 1
        self.plain.clear()
        self.keyed.clear()
        for route in list(self._routes.values()):
            route.is_used = False

    def close(self) -> None:
        """Stop listening to changes."""
        self._broker.remove_topic_listener(self._listener)
        self._forget()

    def _make(self, topic: Topic) -> TopicRoute:
        config = self._config
        queues = [self._accumulator.queue(partition) for partition in topic.partitions]
        appends_itself = (
            not self._accumulator.lingers
            and config.acks != 0
            and config.compression_type == "none"
            and topic.config.message_timestamp_type == "CreateTime"
        )
        for queue in queues:
            append_value = queue.partition.append_value if appends_itself else None
            with queue.lock:
                queue.own_append_value = append_value
                if self._accumulator.refusal is not None:
                    append_value = None
                queue.idle_append_value = append_value
                queue.append_value = None if queue.sealed or queue.tail else append_value
        return TopicRoute(topic, queues, config, self.partitioner, self._random, self.plain)

    def _forget(self) -> None:
        """Look everything up again when it is next needed."""
        self.generation += 1
        self._routes.clear()
        self.plain.clear()
        self.keyed.clear()


class _Listener(Signal):
    """A signal that acts when it is set instead of waking somebody.

    The topics hold it, and the broker's maintenance thread holds the topics. So it holds the producer
    weakly: a broker and a producer that the program has dropped must not keep the directory locked.
    """

    __slots__ = ("_act",)

    def __init__(self, act: WeakMethod[Callable[[], None]]) -> None:
        super().__init__()
        self._act = act

    def set(self) -> None:
        """Topics changed."""
        act = self._act()
        if act is not None:
            act()

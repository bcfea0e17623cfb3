"""What a producer knows of one topic, and which partition a record of it goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.partition_queue import NEVER
from streamlog.client.partitioner import CustomPartitioner
from streamlog.client.sticky import StickyPartition
from streamlog.record.serialization import check_bytes, resolve_serializer
from streamlog.runtime import Lock

if TYPE_CHECKING:
    from typing import Any

    from streamlog.broker.topic import Topic
    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.client.partitioner import Partitioner, RandomNumbers
    from streamlog.config import ProducerConfig

MAX_MEMO_KEYS = 65_536
"""So many keys of a topic have their partition remembered; then all are forgotten and it starts anew."""
MAX_MEMO_KEY_BYTES = 128
"""Longer keys are not remembered: there is room for them in each row of each queue they may go to."""


class TopicRoute:
    """One topic as it was when the route was made; a change of the topics makes a new one.

    * `queue_for` a record; `remember` where a key goes
    * `serialize` a value, `serialize_key`
    * `produced`, `single_produced`: move on from the current partition of records without a key

    Threads: any. Source: Kafka ``KafkaProducer.partition``, ``BuiltInPartitioner``.
    """

    __slots__ = (
        "_adapts",
        "_current",
        "_lock",
        "_partitioner",
        "_plain",
        "_serialize_key",
        "_serialize_value",
        "_sticky",
        "batch_limit_bytes",
        "is_used",
        "keys_are_plain",
        "memo",
        "partitioner_is_custom",
        "queues",
        "topic",
        "values_are_plain",
    )

    def __init__(
        self,
        topic: Topic,
        queues: list[PartitionQueue],
        config: ProducerConfig,
        partitioner: Partitioner,
        random: RandomNumbers,
        plain: dict[str, PartitionQueue],
    ) -> None:
        """*plain* is where `send` finds the current queue; it is kept up to date once the topic is in
        it.
        """
        self.topic = topic.name
        self.queues = queues
        """In partition order."""
        self.batch_limit_bytes = min(topic.config.max_message_bytes, topic.config.segment_bytes)
        """The topic takes no larger batch."""
        self.is_used = False
        """Whether `send` finds the topic in its tables."""
        self.memo: dict[bytes, PartitionQueue] = {}
        """Where a key goes, for as many keys as are remembered."""
        self._partitioner = partitioner
        self.partitioner_is_custom = isinstance(partitioner, CustomPartitioner)
        self._serialize_key = resolve_serializer(config.key_serializer, topic.name, "key")
        self._serialize_value = resolve_serializer(config.value_serializer, topic.name, "value")
        self.keys_are_plain = self._serialize_key is None
        self.values_are_plain = self._serialize_value is None
        """Whether they are sent as they are."""
        self._sticky = StickyPartition(config.batch_size, random)
        self._adapts = config.partitioner_adaptive_partitioning_enable
        self._plain = plain
        self._lock = Lock()
        self._current = queues[self._sticky.current(len(queues))]
        for queue in queues:
            queue.route = self if len(queues) > 1 else None
            queue.switch_at_bytes = NEVER
        if len(queues) > 1:
            self._count_singles_of(self._current)

    def serialize(self, value: Any) -> bytes | None:
        """Return the bytes of a value. Raises SerializationError."""
        if self._serialize_value is None:
            return check_bytes(value, self.topic, "value")
        return self._serialize_value(value)

    def serialize_key(self, key: Any) -> bytes | None:
        """Return the bytes of a key. Raises SerializationError."""
        if self._serialize_key is None:
            return check_bytes(key, self.topic, "key")
        return self._serialize_key(key)

    def queue_for(self, key: bytes | None, value: bytes | None) -> PartitionQueue:
        """Return the queue of the partition that the partitioner chooses (PRD-11).

        Raises what the caller's own partitioner raises, ValueError when it names no partition.
        """
        number = self._partitioner.partition(self.topic, key, value, len(self.queues))
        return self._current if number is None else self.queues[number]

    def current(self) -> PartitionQueue:
        """Return the queue where records without a key go at present."""
        return self._current

    def remember(self, key: bytes) -> PartitionQueue | None:
        """Put the queue for *key* into ``memo`` and return it; None for a key that is not fit for that.

        For a partitioner that is ``memoisable``.
        """
        if not 0 < len(key) <= MAX_MEMO_KEY_BYTES:
            return None
        queue = self.queue_for(key, None)
        queue.has_senders = True
        queue.make_room_for_keys(len(key))
        if len(self.memo) >= MAX_MEMO_KEYS:
            self.memo.clear()
        self.memo[key] = queue
        return queue

    def produced(self, queue: PartitionQueue, batch_bytes: int) -> None:
        """Count a batch appended by *queue*, and choose another current partition when it is time.

        A batch that was closed because nothing more fitted is a whole one, however little is missing
        (PAR-2).
        """
        if queue is not self._current:
            return
        sticky = self._sticky
        with self._lock:
            if batch_bytes * 4 >= sticky.batch_size * 3:
                batch_bytes = max(batch_bytes, sticky.batch_size)
            sticky.update(batch_bytes, len(self.queues), queue_sizes=self._queue_sizes())
            self._move()

    def single_produced(self, queue: PartitionQueue) -> None:
        """Move on from *queue*: enough records were appended to it one by one (PAR-2)."""
        with self._lock:
            queue.switch_at_bytes = NEVER
            if queue is self._current:
                self._sticky.choose(len(self.queues), self._queue_sizes())
                self._move()
                self._count_singles_of(self._current)

    def _move(self) -> None:
        """Make the sticky partition's queue the current one. The caller holds the lock."""
        self._current = current = self.queues[self._sticky.partition]
        if self.topic in self._plain:
            current.has_senders = True
            self._plain[self.topic] = current

    def _count_singles_of(self, queue: PartitionQueue) -> None:
        queue.switch_at_bytes = queue.single_bytes + self._sticky.batch_size

    def _queue_sizes(self) -> list[int] | None:
        """Return how many batches wait for each partition, None when none does or all are equal."""
        if not self._adapts:
            return None
        sizes = [len(queue.sealed) for queue in self.queues]
        return sizes if any(sizes) else None

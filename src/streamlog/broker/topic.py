"""One topic: its partitions and the configuration they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from streamlog.broker.topic_name import is_internal
from streamlog.errors import UnknownTopicOrPartitionError
from streamlog.structs import PartitionInfo, TopicDescription

if TYPE_CHECKING:
    from streamlog.broker.append_gate import AppendGate
    from streamlog.broker.partition import Partition
    from streamlog.config import TopicConfig
    from streamlog.runtime.threads import Lock


class Topic:
    """A topic in use. Read its attributes from any thread; only the topic registry changes them.

    ``partitions`` grows by being replaced, so whoever holds the list sees one consistent state.
    """

    __slots__ = (
        "config",
        "created_ms",
        "gate",
        "is_internal",
        "name",
        "overrides",
        "partitions",
        "topic_id",
        "waiters_lock",
    )

    def __init__(
        self,
        name: str,
        topic_id: str,
        created_ms: int,
        overrides: dict[str, Any],
        config: TopicConfig,
        gate: AppendGate,
        waiters_lock: Lock,
    ) -> None:
        self.name = name
        self.topic_id = topic_id
        """Hex digits, new for each creation: a deleted topic and its namesake are told apart."""
        self.created_ms = created_ms
        self.is_internal = is_internal(name)
        self.overrides = overrides
        """What was set for this topic, by Kafka's names with underscores; what is kept on disk."""
        self.config = config
        """The broker's defaults with the overrides."""
        self.gate = gate
        self.waiters_lock = waiters_lock
        self.partitions: list[Partition] = []
        """In partition order, from 0, without gaps."""

    def __repr__(self) -> str:
        return f"<Topic {self.name!r} with {len(self.partitions)} partition(s)>"

    def partition(self, number: int) -> Partition:
        """Return partition *number*; raise `UnknownTopicOrPartitionError` when there is none."""
        partitions = self.partitions
        if 0 <= number < len(partitions):
            return partitions[number]
        raise UnknownTopicOrPartitionError(
            f"{self.name}-{number} does not exist: topic {self.name!r} has partitions 0 to "
            f"{len(partitions) - 1}"
        )

    def describe(self, broker_id: int, partition_count: int | None = None) -> TopicDescription:
        """Return a snapshot, with *broker_id* as leader and only replica of each partition; of a topic
        that is still to be created, with the *partition_count* it will have.
        """
        count = len(self.partitions) if partition_count is None else partition_count
        return TopicDescription(
            name=self.name,
            topic_id=self.topic_id,
            partitions=[
                PartitionInfo(self.name, number, broker_id, (broker_id,), (broker_id,))
                for number in range(count)
            ],
            configs=attrs.asdict(self.config, recurse=False),
            is_internal=self.is_internal,
        )

"""The topics of the broker, as its groups see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamlog.broker.topics_snapshot import TopicFacts, TopicsSnapshot
from streamlog.errors import UnknownTopicOrPartitionError
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker


class GroupTopics:
    """Which topics there are, and their ids. Threads: any for the ids; `snapshot` is for whoever holds
    the coordinator's lock.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._snapshot: tuple[int, TopicsSnapshot] = (-1, TopicsSnapshot({}))

    def snapshot(self) -> TopicsSnapshot:
        """Return the topics as they are now; the same object for as long as nothing changes."""
        broker = self._broker
        # Read first: a change during the copy is then seen as a change by the next heartbeat.
        epoch = broker.topic_epoch
        if self._snapshot[0] != epoch:
            facts = {
                topic.name: TopicFacts(topic.topic_id, len(topic.partitions), topic.is_internal)
                for topic in broker.topic_registry.topics()
            }
            # Topics change their configuration more often than their shape.
            if facts == self._snapshot[1].facts:
                self._snapshot = epoch, self._snapshot[1]
            else:
                self._snapshot = epoch, TopicsSnapshot(facts)
        return self._snapshot[1]

    def ids_of(self, partitions: Iterable[TopicPartition]) -> dict[str, str]:
        """Return the id of each topic. Raises `UnknownTopicOrPartitionError` for a partition that does
        not exist.
        """
        topic_ids: dict[str, str] = {}
        for name, number in partitions:
            topic = self._broker.topic(name)
            topic.partition(number)
            topic_ids[name] = topic.topic_id
        return topic_ids

    def existing_ids_of(self, partitions: Iterable[TopicPartition]) -> dict[str, str]:
        """Return the ids of those topics that exist: nothing is committed for the others."""
        topic_ids: dict[str, str] = {}
        for name in sorted({topic_partition.topic for topic_partition in partitions}):
            try:
                topic_ids[name] = self._broker.topic(name).topic_id
            except UnknownTopicOrPartitionError:
                pass
        return topic_ids

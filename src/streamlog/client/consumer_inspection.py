"""The calls of a consumer that only look: topics, their partitions, and what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from streamlog.errors import StreamlogError, UnknownTopicOrPartitionError
from streamlog.structs import PartitionInfo, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.client.commits import OffsetCommitter
    from streamlog.client.fetcher import Fetcher
    from streamlog.client.subscription import SubscriptionState
    from streamlog.client.thread_guard import ThreadGuard
    from streamlog.config import ConsumerConfig
    from streamlog.structs import Isolation


class ConsumerMetrics(TypedDict):
    """What `Consumer.metrics` returns; totals since the consumer was made. Source: Kafka
    ``FetchMetricsRegistry``, ``KafkaConsumerMetrics``.
    """

    poll_total: int
    """Calls of ``poll``; an iteration counts none."""
    records_consumed_total: int
    """Records returned, before interceptors; those sought back to count again."""
    bytes_consumed_total: int
    """Bytes of the batches read for that, headers left out; batches are read as a whole and ahead."""
    commit_total: int
    """Successful commits, automatic ones included."""
    assigned_partitions: int
    records_lag: dict[TopicPartition, int]
    """What `Consumer.current_lag` returns for each assigned partition that has a position."""


class InspectionCalls:
    """Part of `Consumer`, which supplies the attributes. Threads: as there."""

    config: ConsumerConfig
    _broker: Broker
    _committer: OffsetCommitter | None
    _fetcher: Fetcher
    _guard: ThreadGuard
    _isolation: Isolation
    _polls: int
    _subscription: SubscriptionState

    def partitions_for(self, topic: str) -> list[PartitionInfo]:
        """Return the partitions of *topic* in order, assigned or not.

        Creates the topic if ``allow_auto_create_topics`` and the broker allow it. Raises
        `UnknownTopicOrPartitionError`, `InvalidTopicError`. Source: Kafka
        ``KafkaConsumer.partitionsFor``.
        """
        with self._guard:
            broker = self._broker
            found = broker.topic_or_create(topic, self.config.allow_auto_create_topics)
            return found.describe(broker.config.broker_id).partitions

    def list_topics(self, *, include_internal: bool = False) -> dict[str, list[PartitionInfo]]:
        """Return the partitions of every topic by its name, names sorted; the broker's own topics only
        with *include_internal*. Source: Kafka ``KafkaConsumer.listTopics``.
        """
        with self._guard:
            broker, found = self._broker, {}
            for name in broker.topics(include_internal=include_internal):
                try:
                    found[name] = broker.describe_topic(name).partitions
                except UnknownTopicOrPartitionError:
                    continue  # deleted since it was named
            return found

    def metrics(self) -> ConsumerMetrics:
        """Return what was counted since the consumer was made, and how far behind it is.

        Threads: any, also while another one polls, as in Kafka: each number is right by itself.
        """
        if self._guard.refusal is not None:
            self._guard.refuse()
        assigned = self._subscription.assigned  # replaced as a whole when it changes
        lags = {}
        for name, one in assigned.items():
            try:
                lag = one.lag(self._isolation)
            except StreamlogError:
                continue  # the partition is damaged or gone, which `poll` will say
            if lag is not None:
                lags[name] = lag
        return ConsumerMetrics(
            poll_total=self._polls,
            records_consumed_total=self._fetcher.delivered_count,
            bytes_consumed_total=self._fetcher.read_bytes,
            commit_total=0 if self._committer is None else self._committer.commit_count,
            assigned_partitions=len(assigned),
            records_lag=lags,
        )

"""The topics as one rebalance sees them: fixed, so that every member is judged by the same facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streamlog.broker.group_member import Subscription


class TopicFacts(NamedTuple):
    """What an assignment depends on."""

    topic_id: str
    partition_count: int
    is_internal: bool


class TopicsSnapshot:
    """All topics of the broker at one moment. Source: Kafka ``MetadataImage``.

    Threads: whoever holds the coordinator's lock (it remembers what it resolved).
    """

    def __init__(self, facts: Mapping[str, TopicFacts]) -> None:
        self.facts = facts
        """By topic name."""
        self.names_by_id: Mapping[str, str] = {one.topic_id: name for name, one in facts.items()}
        self._resolved: dict[Subscription, frozenset[str]] = {}

    def resolve(self, subscription: Subscription) -> frozenset[str]:
        """Return the topics *subscription* wants: those named, existing or not, and all that match.

        A hundred members with one pattern cost one pass over the topics.
        """
        pattern = subscription.pattern
        if pattern is None:
            return subscription.topics
        names = self._resolved.get(subscription)
        if names is None:
            names = subscription.topics.union(
                name
                for name, facts in self.facts.items()
                if pattern.fullmatch(name)
                and not (facts.is_internal and subscription.exclude_internal_topics)
            )
            self._resolved[subscription] = names
        return names

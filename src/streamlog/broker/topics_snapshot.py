"""The topics as one rebalance sees them: fixed, so that every member is judged by the same facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from streamlog.broker.group_member import Subscription
from streamlog.broker.topic_patterns import SharedPattern


class TopicFacts(NamedTuple):
    """What an assignment depends on."""

    topic_id: str
    partition_count: int
    is_internal: bool


class TopicsSnapshot:
    """All topics of the broker at one moment. Source: Kafka ``MetadataImage``.

    Threads: any (it remembers what it resolved, for as long as somebody has the subscription).
    """

    def __init__(self, facts: Mapping[str, TopicFacts]) -> None:
        self.facts = facts
        """By topic name."""
        self.names_by_id: Mapping[str, str] = {one.topic_id: name for name, one in facts.items()}
        self._internal = frozenset(name for name, one in facts.items() if one.is_internal)
        self._resolved: WeakKeyDictionary[Subscription, frozenset[str]] = WeakKeyDictionary()

    def resolve(self, subscription: Subscription) -> frozenset[str]:
        """Return the topics *subscription* wants: those named, existing or not, and all that match.

        A hundred members with one pattern cost one pass over the topics.
        """
        pattern = subscription.pattern
        if pattern is None:
            return subscription.topics
        names = self._resolved.get(subscription)
        if names is None:
            if isinstance(pattern, SharedPattern):
                found = pattern.matches(self.facts)
            else:
                found = frozenset(name for name in self.facts if pattern.fullmatch(name))
            if subscription.exclude_internal_topics:
                found -= self._internal
            names = self._resolved[subscription] = found | subscription.topics
        return names

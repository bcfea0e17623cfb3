"""What a consumer reads and why: nothing yet, topics of its group, or partitions it chose itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, KeysView
from enum import Enum

from streamlog.broker.group_member import Subscription
from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.rebalance_listener import RebalanceListener
from streamlog.errors import IllegalStateError
from streamlog.structs import TopicPartition


class SubscriptionKind(Enum):
    """The three ways to read, of which a consumer uses one (CON-3)."""

    NONE = "none"
    TOPICS = "topics"
    PATTERN = "pattern"
    ASSIGNED = "assigned"


class SubscriptionState:
    """The subscription and the partitions assigned because of it.

    * who decides: `subscribe`, `assign_from_user`, `unsubscribe`
    * what is assigned: ``assigned`` (by partition), `assign_from_group`, `require`

    Threads: the consumer's. Source: Kafka ``SubscriptionState``.
    """

    def __init__(self, on_change: Callable[[Iterable[AssignedPartition]], None]) -> None:
        self.kind = SubscriptionKind.NONE
        self.request = Subscription()
        """What the group is asked for."""
        self.listener: RebalanceListener | None = None
        self.assigned: dict[TopicPartition, AssignedPartition] = {}
        """In the order of assignment, which is the order of the first round of reading."""
        self._on_change = on_change

    def subscribe(self, request: Subscription, listener: RebalanceListener | None) -> None:
        """Ask for topics or a pattern instead of what was asked for before.

        The assignment stays until the group changes it. Raises `IllegalStateError` after `assign`,
        and for topics after a pattern or the reverse (CON-3).
        """
        kind = SubscriptionKind.TOPICS if request.pattern is None else SubscriptionKind.PATTERN
        self._set_kind(kind)
        self.request = request
        self.listener = listener

    def paused(self) -> set[TopicPartition]:
        """Return the assigned partitions that are paused."""
        return {name for name, one in self.assigned.items() if one.paused}

    def require_assignable(self) -> None:
        """Raise `IllegalStateError` when the group decides what is assigned (CON-3)."""
        self._check_kind(SubscriptionKind.ASSIGNED)

    def assign_from_user(self, partitions: Iterable[TopicPartition]) -> None:
        """Read exactly *partitions*; those that were assigned before keep position and pause."""
        self._set_kind(SubscriptionKind.ASSIGNED)
        self._assign(dict.fromkeys(partitions).keys())

    def assign_from_group(self, partitions: frozenset[TopicPartition]) -> None:
        """Read exactly *partitions*: new ones without a position, lost ones forgotten (CON-7)."""
        kept = [
            topic_partition for topic_partition in self.assigned if topic_partition in partitions
        ]
        self._assign(dict.fromkeys([*kept, *sorted(partitions - set(kept))]).keys())

    def unsubscribe(self) -> None:
        """Read nothing, want nothing."""
        self.kind = SubscriptionKind.NONE
        self.request = Subscription()
        self.listener = None
        self._assign({}.keys())

    @property
    def is_by_group(self) -> bool:
        """Whether the group decides what is assigned."""
        return self.kind in (SubscriptionKind.TOPICS, SubscriptionKind.PATTERN)

    def require(self, topic_partition: TopicPartition) -> AssignedPartition:
        """Return an assigned partition; raise `IllegalStateError` when it is not (CON-6)."""
        assigned = self.assigned.get(topic_partition)
        if assigned is None:
            hint = ""
            if self.is_by_group and not self.assigned:
                hint = ". The group assigns partitions inside poll(): call it first, or do this in"
                hint += " on_partitions_assigned of a listener"
            raise IllegalStateError(
                f"{_name(topic_partition)} is not assigned to this consumer; assigned are: "
                f"{', '.join(map(str, sorted(self.assigned))) or 'none'}{hint}"
            )
        return assigned

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert self.kind is not SubscriptionKind.NONE or not self.assigned
        assert (self.kind is SubscriptionKind.PATTERN) == (self.request.pattern is not None)
        assert (self.kind is SubscriptionKind.TOPICS) == bool(self.request.topics)
        for topic_partition, assigned in self.assigned.items():
            assert topic_partition == assigned.topic_partition
            assigned._check()

    def _set_kind(self, kind: SubscriptionKind) -> None:
        self._check_kind(kind)
        self.kind = kind

    def _check_kind(self, kind: SubscriptionKind) -> None:
        if self.kind not in (SubscriptionKind.NONE, kind):
            raise IllegalStateError(
                "subscribe(topics), subscribe(pattern=...) and assign() exclude each other: expected "
                f"{self.kind.value}, which is in use, found {kind.value}; call unsubscribe() first"
            )

    def _assign(self, partitions: KeysView[TopicPartition]) -> None:
        before = self.assigned
        self.assigned = {
            topic_partition: before.get(topic_partition) or AssignedPartition(topic_partition)
            for topic_partition in partitions
        }
        for topic_partition, left in before.items():
            if topic_partition not in self.assigned:
                left.version += 1
        self._on_change(self.assigned.values())


def subscription_request(
    topics: str | Iterable[str] | None,
    pattern: str | re.Pattern[str] | None,
    *,
    exclude_internal_topics: bool,
) -> Subscription:
    """Return what the arguments of ``Consumer.subscribe`` ask for.

    Raises `IllegalStateError` unless exactly one of the two is given, ValueError for an empty topic
    name or a pattern that does not compile, TypeError for anything that is no text.
    """
    if (topics is None) == (pattern is None):
        found = "neither" if topics is None else "both"
        raise IllegalStateError(f"subscribe: expected either topics or pattern=..., found {found}")
    if pattern is not None:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"subscribe: {pattern!r} is not a regular expression: {error}"
            ) from error
        if not isinstance(compiled.pattern, str):
            raise TypeError("subscribe: expected a pattern of text, found one of bytes")
        return Subscription(pattern=compiled, exclude_internal_topics=exclude_internal_topics)
    if not isinstance(topics, (str, Iterable)):
        raise TypeError(f"subscribe: expected topic names, found {topics!r:.80}")
    names = [topics] if isinstance(topics, str) else list(topics)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"subscribe: expected topic names, found {type(name).__name__}")
        if not name.strip():
            raise ValueError("subscribe: expected topic names, found an empty one")
    return Subscription(frozenset(names), exclude_internal_topics=exclude_internal_topics)


def _name(topic_partition: object) -> str:
    if isinstance(topic_partition, TopicPartition):
        return str(topic_partition)
    return repr(topic_partition)

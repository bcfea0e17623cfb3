"""Which topics the patterns of members match, found out without holding up other groups.

To match takes up to a millisecond for a name, and more for a pattern of this process. So it is done before the coordinator's lock is
taken, in the thread of whoever asks, and remembered for as long as a member has the pattern. What the lock's holder may find to do
is what came into being in between. Source: Kafka ``GroupMetadataManager.maybeUpdateRegularExpressions``, ``TopicRegexResolver``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import attrs

from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from streamlog.broker.group import Group
    from streamlog.broker.group_member import NamePattern
    from streamlog.broker.group_membership import Heartbeat
    from streamlog.broker.group_store import GroupStore
    from streamlog.broker.group_topics import GroupTopics

_NOTHING: tuple[Collection[str], frozenset[str]] = (), frozenset()


class SharedPattern:
    """The pattern of all members that have an equal one, which tries each name once. Equal to those of an equal pattern. Threads: any."""

    __slots__ = ("__weakref__", "_found", "_lock", "_of_member", "is_counted")

    def __init__(self, of_member: NamePattern) -> None:
        self._of_member = of_member
        self._lock = Lock()
        # Names that were tried, and those that match: one attribute, so that no lock is needed to read both.
        self._found = _NOTHING
        self.is_counted = False
        """Whether what it matches was asked for; see `MemberMemory`."""

    @property
    def pattern(self) -> str:
        """Its text."""
        return self._of_member.pattern

    @property
    def match_count(self) -> int:
        """How many names matched the last time."""
        return len(self._found[1])

    def fullmatch(self, name: str, /) -> object:
        """Return something that is true if all of *name* matches."""
        return self._of_member.fullmatch(name)

    def matches(self, names: Collection[str]) -> frozenset[str]:
        """Return those of *names* that match. Names that the last call had as well are not tried again."""
        tried, found = self._found
        if tried is not names:
            match = self._of_member.fullmatch
            found = frozenset(
                name for name in names if (name in found if name in tried else match(name))
            )
            self._found = names, found
        return found

    def match_ahead(self, names: Collection[str]) -> None:
        """Do what `matches` does; of several threads one does it for all."""
        with self._lock:
            self.matches(names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedPattern) and self._of_member == other._of_member

    def __hash__(self) -> int:
        return hash(self._of_member)


class TopicPatterns:
    """The patterns of all members. Threads: any, without the coordinator's *lock*."""

    def __init__(self, lock: Lock, store: GroupStore, topics: GroupTopics) -> None:
        self._lock = lock
        self._store = store
        self._topics = topics
        self._shared: WeakValueDictionary[NamePattern, SharedPattern] = WeakValueDictionary()

    def prepared(self, request: Heartbeat) -> Heartbeat:
        """Return *request* with a pattern that others share, after all that it needs was matched; see `match_of`."""
        subscription = request.subscription
        pattern = None if subscription is None else subscription.pattern
        if subscription is None or pattern is None:
            self.match_of(request.group_id)
            return request
        shared = self._share(pattern)
        self.match_of(request.group_id, shared)
        return request._replace(subscription=attrs.evolve(subscription, pattern=shared))

    def match_of(self, group_id: str, wanted: SharedPattern | None = None) -> None:
        """Match *wanted* and, if there are other topics than the group has seen, the patterns of its members. Raises `CorruptLogError`."""
        with self._lock:
            topics = self._topics.snapshot()
            group = self._store.find(group_id)
            patterns = {wanted}
            if group.topics is not topics:
                patterns |= _patterns_of(group)
        for pattern in patterns:
            if pattern is not None:
                pattern.match_ahead(topics.facts)

    def _share(self, pattern: NamePattern) -> SharedPattern:
        if isinstance(pattern, SharedPattern):
            return pattern
        shared = self._shared.get(pattern)
        if shared is None:
            shared = self._shared[pattern] = SharedPattern(pattern)
        return shared


def _patterns_of(group: Group) -> set[SharedPattern | None]:
    return {
        one.subscription.pattern
        for one in group.members.values()
        if isinstance(one.subscription.pattern, SharedPattern)
    }

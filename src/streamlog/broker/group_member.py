"""One consumer as its group knows it: what it wants, what it may read, what it still has to give back."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import attrs

from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.member_session import MemberSession
from streamlog.structs import TopicPartition

_NOTHING: frozenset[TopicPartition] = frozenset()


class MemberState(Enum):
    """How far a member is on the way to the target assignment (NGP-3). Source: Kafka ``MemberState``."""

    STABLE = "stable"
    """It holds exactly its target of the epoch it is in."""
    UNREVOKED_PARTITIONS = "unrevoked_partitions"
    """It was told to give partitions back and has not confirmed; it stays in its old epoch."""
    UNRELEASED_PARTITIONS = "unreleased_partitions"
    """It reached the target epoch but waits for partitions that others have not given back."""


class NamePattern(Protocol):
    """A ``re.Pattern``, or what stands for one that a client sent."""

    @property
    def pattern(self) -> str:
        """Its text."""

    def fullmatch(self, name: str, /) -> object:
        """Return something that is true if all of *name* matches."""


@attrs.frozen
class Subscription:
    """What a member wants to read: topics by name, and every topic whose whole name matches a pattern.

    See `TopicsSnapshot.resolve`.
    """

    topics: frozenset[str] = frozenset()
    pattern: NamePattern | None = None
    exclude_internal_topics: bool = True
    """Whether the pattern skips internal topics; one subscribed by name is always included."""


@attrs.frozen
class MemberAssignment:
    """Where one member stands. Source: Kafka ``ConsumerGroupCurrentMemberAssignment``."""

    epoch: int = 0
    """The group epoch whose target the member works with; its generation, as the user sees it."""
    previous_epoch: int = 0
    """The epoch before: a heartbeat that still carries it lost a race and is not an error (NGP-4)."""
    state: MemberState = MemberState.STABLE
    assigned: frozenset[TopicPartition] = _NOTHING
    """What the member may read."""
    pending_revocation: frozenset[TopicPartition] = _NOTHING
    """What it must stop reading; nobody else gets these until it confirms."""

    @property
    def claimed(self) -> frozenset[TopicPartition]:
        """Everything nobody else may have: assigned, or not yet given back."""
        return self.assigned | self.pending_revocation


@attrs.frozen
class GroupMember:
    """A member of a group. A change makes a new one; only the session is shared and mutable."""

    member_id: str
    client_id: str
    subscription: Subscription
    topics: frozenset[str]
    """The subscription resolved against the topics that exist."""
    session: MemberSession
    current: MemberAssignment = MemberAssignment()
    assignor: str = "range"
    """Which of the coordinator's assignors it votes for."""
    instance_id: str | None = None
    """Of a static member, which keeps its place while it is away; see `static_membership`."""
    classic: ClassicMember | None = attrs.field(default=None, eq=False)
    """What it joined with, if it speaks the classic protocol; see `classic.mixed_group`."""
    client_host: str = ""
    """Where it calls from; empty in this process."""

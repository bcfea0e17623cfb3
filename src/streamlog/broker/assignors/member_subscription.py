"""What an assignor needs to know of one member of a group."""

from __future__ import annotations

import attrs

from streamlog.structs import TopicPartition

NO_GENERATION = -1
"""The generation of a member that was never in one, or does not say."""


@attrs.frozen
class MemberSubscription:
    """What a member wants, and what it has. Source: Kafka ``ConsumerPartitionAssignor.Subscription``."""

    member_id: str
    topics: frozenset[str]
    """The topics it wants, patterns already resolved; topics that do not exist are skipped."""
    instance_id: str | None = None
    owned: tuple[TopicPartition, ...] = ()
    """The partitions that it reads, or claims to; sticky assignors let it keep them."""
    generation: int = NO_GENERATION
    """The generation in which it got them (ASG-5)."""
    user_data: bytes | None = None
    """Whatever the member's assignor wanted to tell the leader's."""


def assignment_order(member: MemberSubscription) -> tuple[int, str]:
    """Sort key of range and round robin (ASG-1): static members by instance id, then the others by member id."""
    if member.instance_id is not None:
        return 0, member.instance_id
    return 1, member.member_id

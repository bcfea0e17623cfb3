"""The cooperative sticky rule: what moves is first given back, and handed out in a second round."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamlog.broker.assignors.member_subscription import MemberSubscription
from streamlog.broker.assignors.ownership import resolve_claims
from streamlog.broker.assignors.sticky import place_sticky
from streamlog.structs import TopicPartition


def assign_cooperative_sticky(
    members: Collection[MemberSubscription], partition_counts: Mapping[str, int]
) -> dict[str, frozenset[TopicPartition]]:
    """Return each member's partitions as `assign_sticky` would, less those that another member reads.

    A partition that moves is left out: its owner sees that it lost it, gives it back and joins again,
    and the round after that hands it out. So no partition ever has two owners while everybody goes on
    reading (ASG-6). Source: Kafka ``CooperativeStickyAssignor``, KIP-429.
    """
    if not members:
        return {}
    ownership = resolve_claims(members, partition_counts)
    shares = place_sticky(members, partition_counts, ownership)
    claimed = {member.member_id: frozenset(member.owned) for member in members}
    released = frozenset[TopicPartition]().union(
        *(claimed[name] - share for name, share in shares.items())
    )
    contested = ownership.contested
    return {
        name: frozenset(
            tp
            for tp in share
            if tp not in contested and (tp in claimed[name] or tp not in released)
        )
        for name, share in shares.items()
    }

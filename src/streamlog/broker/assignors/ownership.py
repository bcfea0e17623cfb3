"""Who may keep what: the claims of a group's members, freed of contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from streamlog.broker.assignors.member_subscription import MemberSubscription
from streamlog.structs import TopicPartition


@attrs.frozen
class Ownership:
    """What each member may keep, and what more than one member claimed."""

    by_member: Mapping[str, list[TopicPartition]]
    """Of every member, in the order of its claim."""
    contested: frozenset[TopicPartition]
    """Claimed twice in one generation: nobody keeps it, and nobody may have it at once (ASG-5)."""


def resolve_claims(
    members: Iterable[MemberSubscription], partition_counts: Mapping[str, int]
) -> Ownership:
    """Return what each member may keep of what it claims.

    A claim counts for partitions that exist, of topics the member still wants. Of two claims the one
    of the higher generation wins; with the same generation neither does (ASG-5). Source: Kafka
    ``AbstractStickyAssignor``.
    """
    best: dict[TopicPartition, tuple[int, str]] = {}
    contested: set[TopicPartition] = set()
    ordered = sorted(members, key=lambda member: member.member_id)
    for member in ordered:
        for topic_partition in dict.fromkeys(member.owned):
            topic, number = topic_partition
            if topic not in member.topics or number >= partition_counts.get(topic, 0):
                continue
            generation = best.get(topic_partition, (None, ""))[0]
            if generation is None or member.generation > generation:
                best[topic_partition] = member.generation, member.member_id
                contested.discard(topic_partition)
            elif member.generation == generation:
                contested.add(topic_partition)
    kept = {
        member.member_id: [
            topic_partition
            for topic_partition in dict.fromkeys(member.owned)
            if topic_partition not in contested
            and best.get(topic_partition, (0, ""))[1] == member.member_id
        ]
        for member in ordered
    }
    return Ownership(kept, frozenset(contested))

"""Sharing partitions among members that want different topics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamlog.broker.assignors.member_subscription import MemberSubscription
from streamlog.structs import TopicPartition


def assign_uneven(
    members: Iterable[MemberSubscription],
    partition_counts: Mapping[str, int],
    owned: Mapping[str, Sequence[TopicPartition]],
) -> dict[str, frozenset[TopicPartition]]:
    """Return each member's partitions where subscriptions differ (ASG-7).

    Everybody keeps what it owns, what is free goes to the member with the least, and then single
    partitions move as long as a move makes the sizes of two members more alike. So at the end no
    member has two partitions more than another that wants one of them. Every partition that somebody
    wants has an owner. Deterministic; not Kafka's exact outcome. Cost: O(partitions * members) a
    round, few rounds.
    """
    ordered = sorted(members, key=lambda member: member.member_id)
    subscribers: dict[str, list[str]] = {}
    for member in ordered:
        for topic in member.topics:
            subscribers.setdefault(topic, []).append(member.member_id)
    shares = {member.member_id: set(owned[member.member_id]) for member in ordered}
    owners = {tp: member_id for member_id, share in shares.items() for tp in share}

    def least_loaded(topic: str) -> str:
        return min(subscribers[topic], key=lambda member_id: (len(shares[member_id]), member_id))

    # Those that few want first: the others can still even it out.
    topics = sorted(
        subscribers.keys() & partition_counts.keys(),
        key=lambda topic: (len(subscribers[topic]), topic),
    )
    for topic in topics:
        for number in range(partition_counts[topic]):
            topic_partition = TopicPartition(topic, number)
            if topic_partition not in owners:
                member_id = owners[topic_partition] = least_loaded(topic)
                shares[member_id].add(topic_partition)
    # Each move makes the sum of the squares of the sizes smaller, so this ends.
    moved = True
    while moved:
        moved = False
        for topic_partition in sorted(owners):
            owner, other = owners[topic_partition], least_loaded(topic_partition.topic)
            if len(shares[owner]) > len(shares[other]) + 1:
                shares[owner].remove(topic_partition)
                shares[other].add(topic_partition)
                owners[topic_partition] = other
                moved = True
    return {member_id: frozenset(share) for member_id, share in shares.items()}

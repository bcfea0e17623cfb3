"""The uniform rule: the coordinator's own way to share, balanced before sticky."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamlog.broker.assignors.member_subscription import MemberSubscription
from streamlog.broker.assignors.uneven import assign_uneven
from streamlog.structs import TopicPartition


def assign_uniform(
    members: Collection[MemberSubscription], partition_counts: Mapping[str, int]
) -> dict[str, frozenset[TopicPartition]]:
    """Return each member's target: sizes differ by one at most, then as little moves as can (NGP-6).

    ``owned`` is the member's target until now; targets never contradict each other. With equal
    subscriptions the first members, by id, get what does not divide evenly; unequal ones are shared by
    `assign_uneven`. Every member is a key of the answer. Cost: O(partitions). Source: Kafka
    ``UniformHomogeneousAssignmentBuilder``.

    >>> a = MemberSubscription("a", frozenset({"t"}), owned=(TopicPartition("t", 2),))
    >>> b = MemberSubscription("b", frozenset({"t"}))
    >>> sorted(tp.partition for tp in assign_uniform([a, b], {"t": 3})["a"])
    [0, 2]
    """
    owned = {
        member.member_id: [
            tp
            for tp in sorted(member.owned)
            if tp.topic in member.topics and tp.partition < partition_counts.get(tp.topic, 0)
        ]
        for member in sorted(members, key=lambda member: member.member_id)
    }
    subscriptions = {member.topics for member in members}
    if len(subscriptions) > 1:
        return assign_uneven(members, partition_counts, owned)
    topics = frozenset[str]().union(*subscriptions) & partition_counts.keys()
    taken = {tp for kept in owned.values() for tp in kept}
    total = sum(partition_counts[topic] for topic in topics)
    free = [
        tp
        for topic in sorted(topics)
        for number in range(partition_counts[topic])
        if (tp := TopicPartition(topic, number)) not in taken
    ]
    shares: dict[str, list[TopicPartition]] = {}
    quotas: dict[str, int] = {}
    for rank, (member_id, kept) in enumerate(owned.items()):
        quota, extra = divmod(total, len(owned))
        quotas[member_id] = quota = quota + (rank < extra)
        shares[member_id] = kept[:quota]
        free += kept[quota:]
    free.reverse()
    for member_id, share in shares.items():
        while len(share) < quotas[member_id]:
            share.append(free.pop())
    return {member_id: frozenset(share) for member_id, share in shares.items()}

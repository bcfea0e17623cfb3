"""The sticky rule: as even as can be, and as little moved as that allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from streamlog.broker.assignors.member_subscription import MemberSubscription
from streamlog.broker.assignors.ownership import Ownership, resolve_claims
from streamlog.broker.assignors.uneven import assign_uneven
from streamlog.structs import TopicPartition


def assign_sticky(
    members: Collection[MemberSubscription], partition_counts: Mapping[str, int]
) -> dict[str, frozenset[TopicPartition]]:
    """Return each member's partitions: balanced first, then as they were (ASG-4, ASG-5, ASG-7).

    With equal subscriptions the sizes differ by one at most, and the outcome is exactly Kafka's. With
    unequal ones see `assign_uneven`. Every member is a key of the answer. Cost: O(partitions log
    partitions) for equal subscriptions. Source: Kafka ``AbstractStickyAssignor``.

    >>> a = MemberSubscription("a", frozenset({"t"}), owned=(TopicPartition("t", 2),), generation=1)
    >>> b = MemberSubscription("b", frozenset({"t"}))
    >>> sorted(tp.partition for tp in assign_sticky([a, b], {"t": 3})["a"])
    [1, 2]
    """
    if not members:
        return {}
    return place_sticky(members, partition_counts, resolve_claims(members, partition_counts))


def place_sticky(
    members: Collection[MemberSubscription],
    partition_counts: Mapping[str, int],
    ownership: Ownership,
) -> dict[str, frozenset[TopicPartition]]:
    """As `assign_sticky`, when the claims were resolved already."""
    subscriptions = {member.topics for member in members}
    if len(subscriptions) > 1:
        return assign_uneven(members, partition_counts, ownership.by_member)
    (topics,) = subscriptions
    return _assign_even(topics, partition_counts, ownership.by_member)


def _assign_even(
    topics: frozenset[str],
    partition_counts: Mapping[str, int],
    owned: Mapping[str, Sequence[TopicPartition]],
) -> dict[str, frozenset[TopicPartition]]:
    partitions = [
        TopicPartition(topic, number)
        for topic in sorted(topics & partition_counts.keys())
        for number in range(partition_counts[topic])
    ]
    quota, extra = divmod(len(partitions), len(owned))
    # So many members get one more than the quota; fewer and fewer of them are still to be found.
    shares: dict[str, list[TopicPartition]] = {}
    below: list[str] = []
    at_quota: deque[str] = deque()
    for member_id in sorted(owned):
        kept = sorted(owned[member_id], key=lambda tp: (tp.partition, tp.topic))
        if len(kept) < quota:
            below.append(member_id)
        elif len(kept) > quota and extra:
            extra -= 1
            kept = kept[: quota + 1]
        else:
            kept = kept[:quota]
            at_quota.append(member_id)
        shares[member_id] = kept
    taken = {topic_partition for kept in shares.values() for topic_partition in kept}
    left = deque(tp for tp in partitions if tp not in taken)
    while below:
        # One each in turn, not one after the other: which ones a member gets depends on it.
        for member_id in below:
            shares[member_id].append(left.popleft())
        filled = [member_id for member_id in below if len(shares[member_id]) == quota]
        at_quota.extend(filled)
        below = [member_id for member_id in below if len(shares[member_id]) < quota]
    for topic_partition, member_id in zip(left, at_quota, strict=False):
        shares[member_id].append(topic_partition)
    return {member_id: frozenset(share) for member_id, share in shares.items()}

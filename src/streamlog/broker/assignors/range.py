"""The range rule: every topic is cut into consecutive runs, one for each subscriber."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlog.broker.assignors.member_subscription import MemberSubscription, assignment_order
from streamlog.structs import TopicPartition


def assign_range(
    members: Iterable[MemberSubscription], partition_counts: Mapping[str, int]
) -> dict[str, frozenset[TopicPartition]]:
    """Return each member's partitions by the range rule, every topic on its own (ASG-2).

    With q, r = divmod(partitions, subscribers) the first r subscribers, in `assignment_order`, get
    q + 1 consecutive partitions and the others q. Every member is a key of the answer, perhaps with
    nothing. Topics missing from *partition_counts* do not exist. Cost: O(partitions + members).
    Source: Kafka ``RangeAssignor``.

    >>> both = [MemberSubscription(name, frozenset({"t"})) for name in ("a", "b")]
    >>> sorted(tp.partition for tp in assign_range(both, {"t": 3})["a"])
    [0, 1]
    """
    ordered = sorted(members, key=assignment_order)
    subscribers: dict[str, list[str]] = {}
    for member in ordered:
        for topic in member.topics:
            subscribers.setdefault(topic, []).append(member.member_id)
    shares: dict[str, list[TopicPartition]] = {member.member_id: [] for member in ordered}
    for topic, member_ids in subscribers.items():
        share, extra = divmod(partition_counts.get(topic, 0), len(member_ids))
        start = 0
        for rank, member_id in enumerate(member_ids):
            end = start + share + (rank < extra)
            shares[member_id].extend(TopicPartition(topic, number) for number in range(start, end))
            start = end
    return {member_id: frozenset(partitions) for member_id, partitions in shares.items()}

"""Who gets which partition: functions from subscriptions to assignments, with no state and no clock.

Rules: semantics C12. Only ``range`` so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from streamlog.structs import TopicPartition


@attrs.frozen
class MemberSubscription:
    """What an assignor needs to know of one member."""

    member_id: str
    topics: frozenset[str]
    """The topics it wants, patterns already resolved; topics that do not exist are skipped."""
    instance_id: str | None = None


def assignment_order(member: MemberSubscription) -> tuple[int, str]:
    """Sort key of range and round robin (ASG-1): static members by instance id, then the others by member id."""
    if member.instance_id is not None:
        return 0, member.instance_id
    return 1, member.member_id


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

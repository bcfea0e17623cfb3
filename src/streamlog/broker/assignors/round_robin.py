"""The round robin rule: partitions are dealt like cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlog.broker.assignors.member_subscription import MemberSubscription, assignment_order
from streamlog.structs import TopicPartition


def assign_round_robin(
    members: Iterable[MemberSubscription], partition_counts: Mapping[str, int]
) -> dict[str, frozenset[TopicPartition]]:
    """Return each member's partitions by the round robin rule (ASG-3).

    All partitions of all subscribed topics, by topic and number, go one by one to the members in
    `assignment_order`, round and round; a member not subscribed to a topic is passed over. Every
    member is a key of the answer. Cost: O(partitions * members) at worst. Source: Kafka
    ``RoundRobinAssignor``.

    >>> both = [MemberSubscription(name, frozenset({"t"})) for name in ("a", "b")]
    >>> sorted(tp.partition for tp in assign_round_robin(both, {"t": 3})["a"])
    [0, 2]
    """
    ordered = sorted(members, key=assignment_order)
    shares: dict[str, list[TopicPartition]] = {member.member_id: [] for member in ordered}
    wanted = frozenset[str]().union(*(member.topics for member in ordered))
    turn = 0
    for topic in sorted(wanted & partition_counts.keys()):
        for number in range(partition_counts[topic]):
            # Somebody wants it, so the search ends.
            while topic not in ordered[turn].topics:
                turn = (turn + 1) % len(ordered)
            shares[ordered[turn].member_id].append(TopicPartition(topic, number))
            turn = (turn + 1) % len(ordered)
    return {member_id: frozenset(partitions) for member_id, partitions in shares.items()}

"""Members and assignments in the short form that tests read well in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlog.broker.assignors import MemberSubscription
from streamlog.structs import TopicPartition


def tps(*names: str) -> tuple[TopicPartition, ...]:
    """``tps("t-0")`` is the partition 0 of t."""
    pairs = (name.rsplit("-", 1) for name in names)
    return tuple(TopicPartition(topic, int(number)) for topic, number in pairs)


def member(
    member_id: str, *topics: str, owned: Iterable[str] = (), generation: int = 1
) -> MemberSubscription:
    return MemberSubscription(
        member_id, frozenset(topics), owned=tps(*owned), generation=generation
    )


def numbered(count: int, *topics: str) -> list[MemberSubscription]:
    """Members m0, m1, ... that want *topics*, or t."""
    return [member(f"m{number}", *(topics or ("t",))) for number in range(count)]


def shares(assigned: Mapping[str, Iterable[TopicPartition]]) -> dict[str, list[str]]:
    """The assignment with partitions by name, sorted."""
    return {
        name: [f"{tp.topic}-{tp.partition}" for tp in sorted(share)]
        for name, share in sorted(assigned.items())
    }


def after(
    members: Iterable[MemberSubscription],
    assigned: Mapping[str, Iterable[TopicPartition]],
    generation: int = 1,
) -> list[MemberSubscription]:
    """The members as they come to the next round, owning what was *assigned*."""
    return [
        MemberSubscription(
            one.member_id,
            one.topics,
            owned=tuple(sorted(assigned.get(one.member_id, ()))),
            generation=generation,
        )
        for one in members
    ]

"""Who gets which partition, decided by the leader of a classic group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

import attrs

from streamlog.broker.assignors import (
    MemberSubscription,
    assign_cooperative_sticky,
    assign_range,
    assign_round_robin,
    assign_sticky,
)
from streamlog.broker.classic.consumer_protocol import decode_owned, encode_owned
from streamlog.structs import TopicPartition

Assignment = Mapping[str, Collection[TopicPartition]]


class PartitionAssignor(ABC):
    """A way to share partitions out; derive from it for one of your own.

    All members of a group need one of the same ``name`` (GRP-5). The methods run in `Consumer.poll`,
    one consumer's object in one thread at a time. Source: Kafka ``ConsumerPartitionAssignor``.
    """

    name: str
    """What the members of a group agree on."""
    is_cooperative: bool = False
    """Whether `assign` never gives away what another member still reads, so that nobody has to stop
    reading for a rebalance (ASG-6, KIP-429). Cooperative rebalancing needs it of every assignor of a
    consumer (GRP-13).
    """

    def subscription_user_data(self, topics: frozenset[str]) -> bytes | None:
        """Return what the leader's assignor should know of this member, by ``user_data``."""
        return None

    @abstractmethod
    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        """Return each member's partitions. Runs in the leader; members left out get nothing.

        *members* is sorted by member id; *partition_counts* has the topics that exist.
        """

    def on_assignment(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """Take note of what this member got. Does nothing unless overridden."""
        return


class RangeAssignor(PartitionAssignor):
    """Consecutive partitions of each topic (ASG-2)."""

    name = "range"

    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        """Return each member's partitions."""
        return assign_range(members, partition_counts)


class RoundRobinAssignor(PartitionAssignor):
    """All partitions in turn (ASG-3)."""

    name = "roundrobin"

    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        """Return each member's partitions."""
        return assign_round_robin(members, partition_counts)


class StickyAssignor(PartitionAssignor):
    """Balanced, and as before as far as that allows (ASG-4); everybody stops reading meanwhile.

    It has to remember what it had, since that is given up before the group is joined again.
    """

    name = "sticky"

    def __init__(self) -> None:
        self._had: bytes | None = None

    def subscription_user_data(self, topics: frozenset[str]) -> bytes | None:
        """Return the partitions that this member had, and their generation."""
        return self._had

    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        """Return each member's partitions."""
        claiming = []
        for member in members:
            owned, generation = decode_owned(member.user_data)
            claiming.append(attrs.evolve(member, owned=owned, generation=generation))
        return assign_sticky(claiming, partition_counts)

    def on_assignment(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        """Remember it for the next time."""
        self._had = encode_owned(partitions, generation)


class CooperativeStickyAssignor(PartitionAssignor):
    """As `StickyAssignor`, but only what moves is given up, in a round of its own (ASG-6)."""

    name = "cooperative-sticky"
    is_cooperative = True

    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        """Return each member's partitions."""
        return assign_cooperative_sticky(members, partition_counts)


STOCK_ASSIGNORS: Mapping[str, type[PartitionAssignor]] = {
    assignor.name: assignor
    for assignor in (
        RangeAssignor,
        RoundRobinAssignor,
        StickyAssignor,
        CooperativeStickyAssignor,
    )
}


def make_assignors(chosen: Sequence[object]) -> tuple[PartitionAssignor, ...]:
    """Return an assignor for each name, class or object of ``partition_assignment_strategy``.

    An object should not be shared between consumers. Raises ValueError for two of one name, TypeError
    for what is no `PartitionAssignor`.
    """
    assignors: list[PartitionAssignor] = []
    for one in chosen:
        made = STOCK_ASSIGNORS[one] if isinstance(one, str) else one
        if isinstance(made, type):
            made = made()
        if not isinstance(made, PartitionAssignor):
            raise TypeError(
                "partition_assignment_strategy: expected a class derived from PartitionAssignor, found "
                f"{type(made).__name__}"
            )
        assignors.append(made)
    names = [assignor.name for assignor in assignors]
    if len(set(names)) < len(names):
        raise ValueError(f"partition_assignment_strategy: expected different names, found {names}")
    return tuple(assignors)

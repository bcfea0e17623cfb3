"""A consumer group: who is in it, who reads what, and what was committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import attrs

from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group_member import GroupMember, MemberState
from streamlog.broker.group_records import (
    CurrentAssignment,
    GroupEpoch,
    GroupRecord,
    GroupTombstone,
    GroupType,
    MemberChanged,
    MemberLeft,
    MemberReplaced,
    OffsetCommit,
    OffsetTombstone,
    PendingCommit,
    TargetAssignment,
    TopicsSeen,
    Topology,
    TransactionCompleted,
)
from streamlog.broker.pending_offsets import PendingOffsets
from streamlog.broker.topics_snapshot import TopicsSnapshot
from streamlog.structs import TopicPartition

_NOTHING: frozenset[TopicPartition] = frozenset()


class GroupState(Enum):
    """What a group as a whole is doing. Source: Kafka ``GroupState``."""

    EMPTY = "empty"
    """No members; offsets may be there."""
    RECONCILING = "reconciling"
    """Some member is on the way to its target."""
    STABLE = "stable"
    """Every member holds its target."""
    PREPARING_REBALANCE = "preparing_rebalance"
    """Classic groups: waiting for all members to join."""
    COMPLETING_REBALANCE = "completing_rebalance"
    """Classic groups: waiting for the leader's assignment."""
    DEAD = "dead"
    """Deleted."""
    UNKNOWN = "unknown"
    """It has members, or had when their process was killed: what they do, another process knows that has the directory open."""


class Group:
    """The state of one group, changed by `replay` and by nothing else.

    * membership: ``members``, `target_of`, ``owners``, `state`
    * offsets: ``offsets``

    Threads: whoever holds the coordinator's lock. Source: Kafka ``ConsumerGroup``.
    """

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.epoch = 0
        """Grows with every change of membership, subscriptions or topics (NGP-2)."""
        self.empty_since_ms: int | None = None
        """When the last member left (GRP-12); None while there are members, and where nobody knows."""
        self.stored_type: GroupType | None = None
        """Which protocol the epoch is of; None for a group that nobody joined, and where nobody knows."""
        self.stored_protocol_type = ""
        """What its members said that they are, under the classic protocol."""
        self.members: dict[str, GroupMember] = {}
        self.topology: Topology = {}
        """The topics the target was computed from."""
        self.topics: TopicsSnapshot | None = None
        """The topics the subscriptions were last held against."""
        self.owners: dict[TopicPartition, str] = {}
        """Partition to the one member that claims it. The invariant of the whole machinery."""
        self.offsets: dict[TopicPartition, OffsetCommit] = {}
        self.pending = PendingOffsets()
        """Those that depend on transactions."""
        self.classic: ClassicGroup | None = None
        """The rebalance of a group under the classic protocol, whose generation is `epoch`. Members are
        here or there, never in both.
        """
        self._targets: Mapping[str, frozenset[TopicPartition]] = {}

    @property
    def is_consumer(self) -> bool:
        """Whether the group is under KIP-848, as one that such members left still is, until a classic one joins."""
        return self.classic is None and (
            bool(self.members) or self.stored_type is GroupType.CONSUMER
        )

    @property
    def state(self) -> GroupState:
        """Whether the group is empty, settled or on the way."""
        if self.classic is not None and self.classic.state is not ClassicState.EMPTY:
            return GroupState(self.classic.state.value)
        if not self.members:
            return GroupState.EMPTY
        settled = all(self.is_settled(member) for member in self.members.values())
        return GroupState.STABLE if settled else GroupState.RECONCILING

    @property
    def exists(self) -> bool:
        """Whether anything is remembered of the group: one nobody ever used looks like one deleted."""
        return bool(self.member_count or self.offsets or self.pending or self.epoch)

    @property
    def member_count(self) -> int:
        """How many members there are, under either protocol."""
        return len(self.members) + (0 if self.classic is None else len(self.classic.members))

    def is_settled(self, member: GroupMember) -> bool:
        """Return whether *member* holds its target of the present epoch."""
        return member.current.epoch == self.epoch and member.current.state is MemberState.STABLE

    def target_of(self, member_id: str) -> frozenset[TopicPartition]:
        """Return what the member should end up with."""
        return self._targets.get(member_id, _NOTHING)

    def replay_all(self, records: Sequence[GroupRecord]) -> None:
        """Apply *records*, all of them even if Ctrl-C comes in between: they are stored, so they have to be true."""
        try:
            for record in records:
                self.replay(record)
        except BaseException:
            for record in records:
                self.replay(record)
            raise

    def replay(self, record: GroupRecord) -> None:
        """Apply *record*. Deterministic, never fails: the handler checked before it made the record."""
        if isinstance(record, OffsetCommit):
            self.offsets[record.topic_partition] = record
            if self.pending:
                self.pending.supersede(record.topic_partition)
        elif isinstance(record, OffsetTombstone):
            self.offsets.pop(record.topic_partition, None)
            self.pending.supersede(record.topic_partition)
        elif isinstance(record, PendingCommit):
            self.pending.add(record.producer_id, record.commit)
        elif isinstance(record, TransactionCompleted):
            self._complete(record)
        elif isinstance(record, GroupEpoch):
            self.epoch, self.empty_since_ms = record.epoch, record.empty_since_ms
            self.stored_type = record.group_type
            self.stored_protocol_type = record.protocol_type
        elif isinstance(record, GroupTombstone):
            self.epoch, self.empty_since_ms = 0, None
            self.stored_type, self.stored_protocol_type = None, ""
        elif isinstance(record, CurrentAssignment):
            member = self.members[record.member_id]
            self._replace(attrs.evolve(member, current=record.current))
        elif isinstance(record, MemberChanged):
            self._replace(record.member)
        elif isinstance(record, MemberReplaced):
            self._rename(record.old_member_id, record.member.member_id)
            self._replace(record.member)
        elif isinstance(record, MemberLeft):
            member_left = self.members.get(record.member_id)
            if member_left is not None:  # otherwise applied already, see `replay_all`
                self._release(member_left)
                del self.members[record.member_id]
        elif isinstance(record, TargetAssignment):
            self.topology = record.topology
            self._targets = record.targets
        elif isinstance(record, TopicsSeen):
            self.topics = record.topics

    def _complete(self, record: TransactionCompleted) -> None:
        # In this order: told again after an interruption, it ends the same way.
        if record.committed:
            for commit in self.pending.of(record.producer_id):
                self.offsets[commit.topic_partition] = commit
        self.pending.forget(record.producer_id, record.committed)

    def _replace(self, member: GroupMember) -> None:
        before = self.members.get(member.member_id)
        if before is not None:
            self._release(before)
        self.members[member.member_id] = member
        for topic_partition in member.current.claimed:
            self.owners[topic_partition] = member.member_id

    def _rename(self, old_id: str, new_id: str) -> None:
        """Give the target of *old_id* to *new_id*, and what it claimed to whoever wants it."""
        if old_id in self._targets:
            self._targets = {
                new_id if name == old_id else name: target for name, target in self._targets.items()
            }
        old = self.members.get(old_id)
        if old is not None:  # otherwise applied already, see `replay_all`
            self._release(old)
            del self.members[old_id]

    def _release(self, member: GroupMember) -> None:
        for topic_partition in member.current.claimed:
            self.owners.pop(topic_partition, None)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        claims = [
            (topic_partition, member.member_id)
            for member in self.members.values()
            for topic_partition in member.current.claimed
        ]
        # No partition is claimed twice, and the owners are those who claim.
        assert dict(claims) == self.owners
        assert len(claims) == len(self.owners)
        targets = [one for name in self.members for one in self.target_of(name)]
        assert len(set(targets)) == len(targets)
        for name, member in self.members.items():
            assert name == member.member_id
            assert member.current.previous_epoch <= member.current.epoch <= self.epoch
            assert not member.current.assigned & member.current.pending_revocation
            assert not self.is_settled(member) or member.current.assigned == self.target_of(name)
        if self.classic is not None:
            assert not self.members, "members are here or there"
            assert (self.classic.group_id, self.classic.generation) == (self.group_id, self.epoch)
            self.classic._check()
        for topic_partition, commit in self.offsets.items():
            assert commit.group_id == self.group_id
            assert commit.topic_partition == topic_partition

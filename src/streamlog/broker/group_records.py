"""What can happen to a group, as values: handlers return them, `Group.replay` applies them.

`OffsetCommit`, `OffsetTombstone`, `GroupEpoch` and `GroupTombstone` outlive the process and are written
to ``__consumer_offsets`` (see `offsets_topic`). The others describe members, which end with the
process they live in, and are applied without being written.

Source: Kafka ``GroupCoordinatorRecordHelpers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from streamlog.broker.group_member import GroupMember, MemberAssignment
from streamlog.broker.topics_snapshot import TopicsSnapshot
from streamlog.structs import TopicPartition

Topology = Mapping[str, tuple[str, int]]
"""Topic name to (topic id, number of partitions): what a target assignment was computed from."""


class GroupType(Enum):
    """Which protocol a group is under. Source: Kafka ``Group.GroupType``."""

    CLASSIC = "classic"
    CONSUMER = "consumer"
    """KIP-848."""


class OffsetCommit(NamedTuple):
    """A group has read *topic_partition* up to, and not including, *offset* (CON-9)."""

    group_id: str
    topic_partition: TopicPartition
    offset: int
    leader_epoch: int | None
    metadata: str
    commit_timestamp_ms: int
    topic_id: str
    """The topic that was meant; one deleted and created again under the same name is another."""


class OffsetTombstone(NamedTuple):
    """The group's offset of *topic_partition* is forgotten."""

    group_id: str
    topic_partition: TopicPartition


class PendingCommit(NamedTuple):
    """*commit* counts if the transaction of *producer_id* is committed (TXN-7). Stored as the commit is, in
    a batch of the transaction.
    """

    group_id: str
    producer_id: int
    commit: OffsetCommit


class TransactionCompleted(NamedTuple):
    """What is pending from *producer_id* counts, or is forgotten. Stored as a marker, for all groups of a
    partition at once.
    """

    producer_id: int
    committed: bool


class GroupEpoch(NamedTuple):
    """The group's epoch, written so that it keeps growing after a restart, and what kind of group it is.

    Source: Kafka ``ConsumerGroupMetadataValue``, and ``GroupMetadataValue`` for a classic group.
    """

    group_id: str
    epoch: int
    empty_since_ms: int | None = None
    """When the last member left (wall clock); None while there are members, and where nobody knows."""
    group_type: GroupType | None = None
    """None where nobody knows: the directory is from before it was stored, and nobody has joined since."""
    protocol_type: str = ""
    """What the members of a classic group say that they are; see `JoinRequest`. Empty where nobody has come yet."""


class GroupTombstone(NamedTuple):
    """The group is deleted; one of its name starts again at epoch 0."""

    group_id: str


class MemberChanged(NamedTuple):
    """A member joined or changed what it wants; replaces the member of the same id."""

    group_id: str
    member: GroupMember


class MemberReplaced(NamedTuple):
    """A static member came back as *member*, and takes the place and the target of *old_member_id*."""

    group_id: str
    old_member_id: str
    member: GroupMember


class MemberLeft(NamedTuple):
    """A member closed, unsubscribed or was evicted; what it claimed is free."""

    group_id: str
    member_id: str


class TargetAssignment(NamedTuple):
    """The assignment every member is on the way to."""

    group_id: str
    epoch: int
    topology: Topology
    targets: Mapping[str, frozenset[TopicPartition]]


class TopicsSeen(NamedTuple):
    """The group's subscriptions were held against these topics."""

    group_id: str
    topics: TopicsSnapshot


class CurrentAssignment(NamedTuple):
    """One member took a step towards its target."""

    group_id: str
    member_id: str
    current: MemberAssignment


StoredRecord = OffsetCommit | OffsetTombstone | GroupEpoch | GroupTombstone
STORED_RECORDS = OffsetCommit, OffsetTombstone, GroupEpoch, GroupTombstone
"""The same for isinstance, which takes three times as long for a union, and each commit asks."""
MemberRecord = (
    MemberChanged | MemberReplaced | MemberLeft | TopicsSeen | TargetAssignment | CurrentAssignment
)
TransactionalRecord = PendingCommit | TransactionCompleted
GroupRecord = StoredRecord | MemberRecord | TransactionalRecord

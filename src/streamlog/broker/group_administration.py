"""Looking at groups and taking them apart from outside: handlers that read the group.

As everywhere in the coordinator a handler changes nothing: it returns records. Source: Kafka
``GroupCoordinatorShard.deleteGroups``, ``deleteOffsets``; GRP-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlog.broker.classic.consumer_members import assigned_partitions, wanted_topics
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import CONSUMER_PROTOCOL
from streamlog.broker.group import Group
from streamlog.broker.group_description import (
    ConsumerGroupDescription,
    ConsumerGroupListing,
    GroupOffset,
    MemberDescription,
)
from streamlog.broker.group_membership import preferred_assignor
from streamlog.broker.group_records import (
    GroupRecord,
    GroupTombstone,
    OffsetTombstone,
)
from streamlog.errors import (
    GroupIdNotFoundError,
    GroupNotEmptyError,
    GroupSubscribedToTopicError,
)
from streamlog.structs import OffsetAndMetadata, TopicPartition


def list_group(group: Group) -> ConsumerGroupListing:
    """Return the group in a line."""
    return ConsumerGroupListing(group.group_id, group.state, is_simple=group.epoch == 0)


def describe_group(
    group: Group,
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    bounds: Mapping[TopicPartition, tuple[int, int]],
) -> ConsumerGroupDescription:
    """Return everything about the group. *bounds* has log start and log end of every partition that is
    committed or claimed; one without bounds was deleted and is left out.
    """
    members, owners = _members(group)
    offsets = []
    for topic_partition in sorted(bounds):
        start, end = bounds[topic_partition]
        position = committed.get(topic_partition)
        offset = None if position is None else position.offset
        lag = None if offset is None else max(end - max(offset, start), 0)
        owner = owners.get(topic_partition)
        offsets.append(GroupOffset(topic_partition, offset, end, lag, owner))
    return ConsumerGroupDescription(
        group.group_id,
        group.state,
        group.epoch,
        is_simple=group.epoch == 0,
        protocol="consumer" if group.is_consumer else "classic",
        assignor=_assignor(group),
        members=members,
        offsets=tuple(offsets),
    )


def owned_partitions(group: Group) -> frozenset[TopicPartition]:
    """Return every partition that somebody reads."""
    return frozenset(_members(group)[1])


def _assignor(group: Group) -> str | None:
    if group.classic is not None:
        return group.classic.protocol
    return preferred_assignor(group.members.values()) if group.members else None


def _members(
    group: Group,
) -> tuple[tuple[MemberDescription, ...], Mapping[TopicPartition, str]]:
    """Return the members by id, and who reads what."""
    if group.classic is not None:
        members = tuple(
            _classic_member(group.classic, member)
            for _, member in sorted(group.classic.members.items())
        )
        return members, {tp: member.member_id for member in members for tp in member.assignment}
    members = tuple(
        MemberDescription(
            member.member_id,
            member.client_id,
            member.instance_id,
            member.current.epoch,
            member.current.state,
            tuple(sorted(member.topics)),
            tuple(sorted(member.current.assigned)),
            tuple(sorted(group.target_of(member.member_id))),
        )
        for _, member in sorted(group.members.items())
    )
    return members, group.owners


def _classic_member(group: ClassicGroup, member: ClassicMember) -> MemberDescription:
    topics = wanted_topics(group, member) or frozenset()
    assignment = tuple(sorted(assigned_partitions(group, member)))
    return MemberDescription(
        member.member_id,
        member.client_id,
        member.instance_id,
        group.generation,
        None,
        tuple(sorted(topics)),
        assignment,
        assignment,
    )


def handle_delete_group(group: Group) -> list[GroupRecord]:
    """Return what deletes the group and all it committed.

    Raises `GroupIdNotFoundError`, `GroupNotEmptyError` while it has members (GRP-12).
    """
    check_exists(group)
    if group.member_count:
        raise GroupNotEmptyError(
            f"group {group.group_id!r}: expected no members, found {group.member_count}"
        )
    # Those in transactions as well: whatever becomes of those, it came before this.
    partitions = {**group.offsets, **dict.fromkeys(sorted(group.pending.partitions()))}
    records: list[GroupRecord] = [OffsetTombstone(group.group_id, tp) for tp in partitions]
    return [*records, GroupTombstone(group.group_id)]


def handle_delete_offsets(group: Group, partitions: Iterable[TopicPartition]) -> list[GroupRecord]:
    """Return what forgets the offsets of *partitions*; those never committed change nothing.

    All or nothing. Raises `GroupIdNotFoundError`, `GroupSubscribedToTopicError` when a member wants
    one of the topics, `GroupNotEmptyError` when there are members that are no consumers.
    """
    check_exists(group)
    classic = group.classic
    if classic is not None and classic.members and classic.protocol_type != CONSUMER_PROTOCOL:
        raise GroupNotEmptyError(
            f"group {group.group_id!r}: expected no members of protocol type {classic.protocol_type!r}, "
            f"which may read anything, found {len(classic.members)}"
        )
    records: list[GroupRecord] = []
    for topic_partition in partitions:
        topic = topic_partition.topic
        readers = [member for member in _members(group)[0] if topic in member.topics]
        if readers:
            raise GroupSubscribedToTopicError(
                f"group {group.group_id!r}: {topic_partition}: expected no member subscribed to "
                f"{topic!r}, found {len(readers)}"
            )
        if topic_partition in group.offsets or topic_partition in group.pending.partitions():
            records.append(OffsetTombstone(group.group_id, topic_partition))
    return records


def check_exists(group: Group) -> None:
    """Raise `GroupIdNotFoundError` for a group that nothing is remembered of."""
    if not group.exists:
        raise GroupIdNotFoundError(f"group {group.group_id!r} does not exist")

"""Looking at groups and taking them apart from outside: handlers that read the group.

As everywhere in the coordinator a handler changes nothing: it returns records. Source: Kafka
``GroupCoordinatorShard.deleteGroups``, ``deleteOffsets``; GRP-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlog.broker.group import Group
from streamlog.broker.group_description import (
    ConsumerGroupDescription,
    ConsumerGroupListing,
    GroupOffset,
    MemberDescription,
)
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

ASSIGNOR = "range"
"""The one assignor there is."""


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
    offsets = []
    for topic_partition in sorted(bounds):
        start, end = bounds[topic_partition]
        position = committed.get(topic_partition)
        offset = None if position is None else position.offset
        lag = None if offset is None else max(end - max(offset, start), 0)
        owner = group.owners.get(topic_partition)
        offsets.append(GroupOffset(topic_partition, offset, end, lag, owner))
    return ConsumerGroupDescription(
        group.group_id,
        group.state,
        group.epoch,
        is_simple=group.epoch == 0,
        assignor=ASSIGNOR,
        members=tuple(
            MemberDescription(
                member.member_id,
                member.client_id,
                member.current.epoch,
                member.current.state,
                tuple(sorted(member.topics)),
                tuple(sorted(member.current.assigned)),
                tuple(sorted(group.target_of(member.member_id))),
            )
            for _, member in sorted(group.members.items())
        ),
        offsets=tuple(offsets),
    )


def handle_delete_group(group: Group) -> list[GroupRecord]:
    """Return what deletes the group and all it committed.

    Raises `GroupIdNotFoundError`, `GroupNotEmptyError` while it has members (GRP-12).
    """
    check_exists(group)
    if group.members:
        raise GroupNotEmptyError(
            f"group {group.group_id!r}: expected no members, found {len(group.members)}"
        )
    records: list[GroupRecord] = [OffsetTombstone(group.group_id, tp) for tp in group.offsets]
    return [*records, GroupTombstone(group.group_id)]


def handle_delete_offsets(group: Group, partitions: Iterable[TopicPartition]) -> list[GroupRecord]:
    """Return what forgets the offsets of *partitions*; those never committed change nothing.

    All or nothing. Raises `GroupIdNotFoundError`, `GroupSubscribedToTopicError` when a member wants
    one of the topics.
    """
    check_exists(group)
    records: list[GroupRecord] = []
    for topic_partition in partitions:
        topic = topic_partition.topic
        readers = [member for member in group.members.values() if topic in member.topics]
        if readers:
            raise GroupSubscribedToTopicError(
                f"group {group.group_id!r}: {topic_partition}: expected no member subscribed to "
                f"{topic!r}, found {len(readers)}"
            )
        if topic_partition in group.offsets:
            records.append(OffsetTombstone(group.group_id, topic_partition))
    return records


def check_exists(group: Group) -> None:
    """Raise `GroupIdNotFoundError` for a group that nothing is remembered of."""
    if not group.exists:
        raise GroupIdNotFoundError(f"group {group.group_id!r} does not exist")

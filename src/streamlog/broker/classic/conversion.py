"""A group changes from one protocol to the other while its members go on reading (NGP-5).

The first member that speaks KIP-848 turns a classic group into one of its kind; the classic members stay,
and are served from the state of that group by `mixed_group`. When the last KIP-848 member has
left, it turns back. Source: Kafka ``ConsumerGroup.fromClassicGroup``, ``ClassicGroup.fromConsumerGroup``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from streamlog.broker.classic.consumer_members import consumer_of
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    encode_assignment,
    version_of,
)
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.requests import CONSUMER_PROTOCOL
from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, MemberAssignment, Subscription
from streamlog.broker.group_records import GroupRecord, MemberLeft
from streamlog.broker.member_session import RemoteSession
from streamlog.broker.static_membership import LEAVE_FOR_NOW_EPOCH
from streamlog.structs import TopicPartition

NO_VOTE = ""
"""A classic member has no say in which of the coordinator's assignors is used."""


def members_of_classic(classic: ClassicGroup) -> Iterator[GroupMember]:
    """Yield the members of *classic* as those of a KIP-848 group, in the epoch that is their
    generation, with what the last assignment gave them. Raises `GroupIdNotFoundError`; see `consumer_of`.
    """
    taken: set[TopicPartition] = set()
    for member in classic.members.values():
        # An assignor of the user's may have given a partition twice; here nobody may.
        subscription, assignment = consumer_of(classic, member)
        assigned = assignment.partitions - taken
        taken |= assigned
        topics = subscription.topics
        epoch = LEAVE_FOR_NOW_EPOCH if member.is_away else classic.generation_of(member)
        current = MemberAssignment(epoch, epoch, assigned=assigned)
        yield GroupMember(
            member.member_id,
            member.client_id,
            Subscription(topics),
            topics,
            member.session,
            current,
            NO_VOTE,
            member.instance_id,
            member,
            member.client_host,
        )


def would_be_classic(group: Group, without: str = "") -> bool:
    """Return whether all members but *without* are classic ones, and there are any."""
    left = [one for name, one in group.members.items() if name != without]
    return bool(left) and None not in [one.classic for one in left]


def to_classic(group: Group, without: str = "") -> tuple[ClassicGroup, list[GroupRecord]]:
    """Return the classic group of all members but *without*, and what takes all of them out of *group*.

    Its generation is the epoch, and nobody has to be in that one: all have to join again, and may commit until
    then what they read.
    """
    classic = ClassicGroup(group.group_id, group.epoch)
    classic.protocol_type = CONSUMER_PROTOCOL
    for member in group.members.values():
        if member.member_id != without and member.classic is not None:
            one = member.classic
            one.member_id = member.member_id
            version = version_of(one.protocols[0][1])
            one.assignment = encode_assignment(ConsumerAssignment(member.current.assigned), version)
            one.joining = one.syncing = None
            if isinstance(one.session, RemoteSession):
                one.session.revoke_by_ms = math.inf
            one.is_away = member.current.epoch == LEAVE_FOR_NOW_EPOCH
            one.generation = None if one.is_away else member.current.epoch
            classic.add(one)
    return classic, [MemberLeft(group.group_id, name) for name in group.members]

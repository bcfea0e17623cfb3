"""What the coordinator reads in the bytes of classic members, for show and for the other protocol.

Nothing depends on it where members are of another kind than consumers, or write what nobody else understands.
"""

from __future__ import annotations

from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    decode_assignment,
    decode_subscription,
)
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import CONSUMER_PROTOCOL, JoinRequest
from streamlog.errors import GroupIdNotFoundError, InconsistentGroupProtocolError
from streamlog.structs import TopicPartition


def wanted_topics(group: ClassicGroup, member: ClassicMember) -> frozenset[str] | None:
    """Return the topics that *member* subscribes to, None where nobody can tell."""
    if group.protocol_type != CONSUMER_PROTOCOL:
        return None
    try:
        return decode_subscription(member.protocols[0][1]).topics
    except ValueError:
        return None


def assigned_partitions(group: ClassicGroup, member: ClassicMember) -> frozenset[TopicPartition]:
    """Return what *member* was assigned, nothing where nobody can tell."""
    if group.protocol_type != CONSUMER_PROTOCOL:
        return frozenset()
    try:
        return decode_assignment(member.assignment).partitions
    except ValueError:
        return frozenset()


def consumer_of(
    group: ClassicGroup, member: ClassicMember
) -> tuple[ConsumerSubscription, ConsumerAssignment]:
    """Return what *member* wants and has, to make it a member under KIP-848.

    Raises `GroupIdNotFoundError`, with which Kafka refuses to turn a group that is not of consumers, or not of consumers that it understands.
    """
    if group.protocol_type == CONSUMER_PROTOCOL:
        try:
            assignment = decode_assignment(member.assignment)
            return decode_subscription(member.protocols[0][1]), assignment
        except ValueError as error:
            reason = str(error)
    else:
        reason = f"expected protocol type {CONSUMER_PROTOCOL!r}, found {group.protocol_type!r}"
    raise GroupIdNotFoundError(
        f"group {group.group_id!r} is a classic group and stays one: member {member.member_id!r}: {reason}"
    )


def subscription_of(request: JoinRequest) -> ConsumerSubscription:
    """Return what a classic member wants of a group under KIP-848. Raises `InconsistentGroupProtocolError`."""
    if request.protocol_type == CONSUMER_PROTOCOL and request.protocols:
        try:
            return decode_subscription(request.protocols[0][1])
        except ValueError as error:
            reason = str(error)
    else:
        reason = f"expected protocol type {CONSUMER_PROTOCOL!r}, found {request.protocol_type!r}"
    raise InconsistentGroupProtocolError(f"group {request.group_id!r}: {reason}")

"""What classic members of a KIP-848 group ask, answered from the state of that group (NGP-5).

A join is a heartbeat with what the member owns, answered at once; a sync fetches the assignment; a
heartbeat says whether another join would change anything. So a classic member takes the same steps as the
others, each by a join. Source: Kafka ``GroupMetadataManager.classicGroupJoinToConsumerGroup``,
``classicGroupSyncToConsumerGroup``, ``classicGroupHeartbeatToConsumerGroup``.
"""

from __future__ import annotations

from streamlog.broker.classic.consumer_members import subscription_of
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    encode_assignment,
)
from streamlog.broker.classic.conversion import NO_VOTE
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import JoinRequest, JoinResponse, SyncResponse
from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, MemberState, Subscription
from streamlog.broker.group_membership import JOIN_EPOCH, Heartbeat, HeartbeatResponse
from streamlog.broker.static_membership import check_instance
from streamlog.errors import (
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


def heartbeat_of(group: Group, request: JoinRequest, member_id: str) -> Heartbeat:
    """Return the heartbeat that a classic join by *member_id* amounts to. Raises `InconsistentGroupProtocolError`."""
    told = subscription_of(request)
    member = group.members.get(member_id)
    is_new = member is None or member.classic is None or member.session is not request.session
    return Heartbeat(
        group.group_id,
        member_id,
        JOIN_EPOCH if is_new or member is None else member.current.epoch,
        request.client_id,
        Subscription(told.topics),
        request.session,
        frozenset() if is_new else frozenset(told.owned),
        NO_VOTE,
        request.instance_id,
        ClassicMember.of(member_id, request),
        request.client_host,
    )


def join_response(request: JoinRequest, response: HeartbeatResponse) -> JoinResponse:
    """Return what a classic member is told: nobody leads."""
    protocol = request.protocols[0][0]
    return JoinResponse(response.member_epoch, protocol, "", response.member_id, {})


def sync_response(member: GroupMember) -> SyncResponse:
    """Return the assignment of a classic member."""
    assert member.classic is not None
    assignment = encode_assignment(ConsumerAssignment(member.current.assigned))
    return SyncResponse(member.classic.protocols[0][0], assignment)


def check_classic_member(
    group: Group, member_id: str, instance_id: str | None, generation: int
) -> GroupMember:
    """Return the classic member if that is its epoch. Raises `FencedInstanceIdError`,
    `UnknownMemberIdError`, `IllegalGenerationError`.
    """
    check_instance(group, member_id, instance_id)
    member = group.members.get(member_id)
    if member is None or member.classic is None:
        raise UnknownMemberIdError(
            f"group {group.group_id!r}: {member_id!r} is not a member (epoch {group.epoch})"
        )
    if member.current.epoch != generation:
        raise IllegalGenerationError(
            f"group {group.group_id!r}: member {member_id!r}: expected generation "
            f"{member.current.epoch}, found {generation}"
        )
    return member


def check_up_to_date(group: Group, member: GroupMember) -> None:
    """Raise `RebalanceInProgressError` if another join would take *member* a step further."""
    current = member.current
    is_free = any(
        group.owners.get(topic_partition, member.member_id) == member.member_id
        for topic_partition in group.target_of(member.member_id) - current.assigned
    )
    if (
        current.epoch < group.epoch
        or current.state is MemberState.UNREVOKED_PARTITIONS
        or (current.state is MemberState.UNRELEASED_PARTITIONS and is_free)
    ):
        raise RebalanceInProgressError(f"group {group.group_id!r} rebalances")

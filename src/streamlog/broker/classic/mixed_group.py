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
    version_of,
)
from streamlog.broker.classic.conversion import NO_VOTE
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import (
    CONSUMER_PROTOCOL,
    JoinRequest,
    JoinResponse,
    SyncRequest,
    SyncResponse,
)
from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, MemberState, Subscription
from streamlog.broker.group_membership import JOIN_EPOCH, Heartbeat, HeartbeatResponse
from streamlog.broker.static_membership import check_instance
from streamlog.errors import (
    IllegalGenerationError,
    InconsistentGroupProtocolError,
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
    """Return the assignment of a classic member, in the version that its subscription has: an older client may not know the newest."""
    assert member.classic is not None
    protocol, told = member.classic.protocols[0]
    assignment = encode_assignment(ConsumerAssignment(member.current.assigned), version_of(told))
    return SyncResponse(protocol, assignment)


def check_protocols(group: Group, request: JoinRequest) -> None:
    """Raise `InconsistentGroupProtocolError` unless the classic members but this one have one of its assignors: they may be among themselves
    one day. Source: Kafka ``ConsumerGroup.supportsClassicProtocols``.
    """
    supported = [
        one.classic.protocol_names
        for one in group.members.values()
        if one.classic is not None
        and one.member_id != request.member_id
        and (request.instance_id is None or one.instance_id != request.instance_id)
    ]
    names = [name for name, _ in request.protocols]
    if supported and not frozenset.intersection(*supported).intersection(names):
        common = sorted(frozenset.intersection(*supported))
        raise InconsistentGroupProtocolError(
            f"group {request.group_id!r}: expected one of the assignors that all classic members have, {common}, found {names}"
        )


def check_sync(group: Group, member: GroupMember, request: SyncRequest) -> None:
    """Raise `InconsistentGroupProtocolError` when the member believes in another protocol than it was told (KIP-559), and
    `RebalanceInProgressError` when it has to join again for an assignment; one that has still to give back is told what it keeps.

    Source: Kafka ``GroupMetadataManager.throwIfClassicProtocolUnmatched``, ``throwIfRebalanceInProgress``.
    """
    assert member.classic is not None
    told = member.classic.protocols[0][0]
    for expected, found in (
        (CONSUMER_PROTOCOL, request.protocol_type),
        (told, request.protocol),
    ):
        if found is not None and found != expected:
            raise InconsistentGroupProtocolError(
                f"group {group.group_id!r}: expected protocol {expected!r}, found {found!r}"
            )
    current = member.current
    if current.epoch < group.epoch and current.state is not MemberState.UNREVOKED_PARTITIONS:
        raise RebalanceInProgressError(f"group {group.group_id!r} rebalances")


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

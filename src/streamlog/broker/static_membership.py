"""Members with a name of their own, which keep their place while they are away (KIP-345, NGP-1, NGP-4).

As everywhere in the coordinator nothing is changed here. Source: Kafka
``GroupMetadataManager.getOrMaybeSubscribeStaticConsumerMember``, ``consumerGroupStaticMemberGroupLeave``.
"""

from __future__ import annotations

from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, MemberAssignment
from streamlog.broker.group_records import CurrentAssignment, GroupRecord
from streamlog.broker.reconciliation import TRANSITIONS, MemberEvent
from streamlog.errors import FencedInstanceIdError, UnreleasedInstanceIdError

LEAVE_FOR_NOW_EPOCH = -2
"""The member epoch of a static member that is away: nobody else gets what it had."""


def stale_epoch(group: Group, member: GroupMember, found: int) -> str:
    """Return what to tell a member that comes with epoch *found*, which is not its own any more."""
    current = member.current.epoch
    if current == LEAVE_FOR_NOW_EPOCH:
        return (
            f"group {group.group_id!r}: static member {member.instance_id!r} counts as away, since it "
            f"was closed or did not poll for max_poll_interval_ms; found epoch {found}"
        )
    return (
        f"group {group.group_id!r}: member {member.member_id!r}: expected epoch {current}, "
        f"found {found}"
    )


def find_static_member(group: Group, instance_id: str | None) -> GroupMember | None:
    """Return the member of that name, here or away, None when there is none."""
    if instance_id is None:
        return None
    found = (one for one in group.members.values() if one.instance_id == instance_id)
    return next(found, None)


def find_predecessor(
    group: Group, member_id: str, instance_id: str | None, *, takes_over: bool = False
) -> GroupMember | None:
    """Return the member whose place the joining one takes, None for a new member and for the same one
    again. Raises `UnreleasedInstanceIdError` while that member is not away, unless the joining one
    *takes_over*, as the classic protocol has it (GRP-11), or that one is a classic member elsewhere: by
    that protocol it does not say that it closed.
    """
    found = find_static_member(group, instance_id)
    if found is None or found.member_id == member_id:
        return None
    takes_over |= found.classic is not None and found.session.is_remote
    if found.current.epoch != LEAVE_FOR_NOW_EPOCH and not takes_over:
        raise UnreleasedInstanceIdError(
            f"group {group.group_id!r}: {instance_id!r} is in use by {found.member_id!r}: close that "
            "consumer first"
        )
    return found


def check_instance(group: Group, member_id: str, instance_id: str | None) -> None:
    """Raise `FencedInstanceIdError` when another member has taken the name *instance_id* over."""
    found = find_static_member(group, instance_id)
    if found is not None and found.member_id != member_id:
        raise FencedInstanceIdError(
            f"group {group.group_id!r}: another consumer joined as {instance_id!r}"
        )


def handle_leave_for_now(group: Group, member_id: str) -> list[GroupRecord]:
    """Return what changes when a static member goes away: it has given back what it had to, and keeps
    the rest. Nothing when it is no member.
    """
    member = group.members.get(member_id)
    if member is None:
        return []
    away = MemberAssignment(
        LEAVE_FOR_NOW_EPOCH,
        LEAVE_FOR_NOW_EPOCH,
        TRANSITIONS[member.current.state, MemberEvent.LEFT_FOR_NOW],
        member.current.assigned,
    )
    return [CurrentAssignment(group.group_id, member_id, away)]

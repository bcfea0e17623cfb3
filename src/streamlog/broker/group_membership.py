"""Joining, reconciling and leaving a group: handlers that read the group and return what changes.

A handler never changes anything. It returns ``(response, records)``; the coordinator writes those
that last, then lets `Group.replay` apply them all. An exception means that nothing happened.

Source: Kafka ``GroupMetadataManager.consumerGroupHeartbeat``; KIP-848; semantics C13.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import attrs

from streamlog.broker.assignors import MemberSubscription, assign_range, assign_uniform
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, Subscription
from streamlog.broker.group_records import (
    CurrentAssignment,
    GroupEpoch,
    GroupRecord,
    GroupType,
    MemberChanged,
    MemberLeft,
    MemberReplaced,
    TargetAssignment,
    TopicsSeen,
    Topology,
)
from streamlog.broker.member_session import MemberSession
from streamlog.broker.reconciliation import reconcile
from streamlog.broker.static_membership import check_instance, find_predecessor, stale_epoch
from streamlog.broker.topics_snapshot import TopicsSnapshot
from streamlog.errors import FencedMemberEpochError, UnknownMemberIdError
from streamlog.structs import TopicPartition

JOIN_EPOCH = 0
"""The member epoch of a heartbeat that joins (NGP-1)."""


class Heartbeat(NamedTuple):
    """What a member says about itself. Source: Kafka ``ConsumerGroupHeartbeatRequest``."""

    group_id: str
    member_id: str
    """The name it joins with, and keeps; see `GroupCoordinator.new_member_id`."""
    member_epoch: int
    """The epoch of the last response, `JOIN_EPOCH` to join or to join again."""
    client_id: str
    subscription: Subscription | None
    """None for the one it has; a join names one."""
    session: MemberSession
    """The one it is watched by from a join on."""
    owned: frozenset[TopicPartition] | None
    """The partitions it reads now: not before they were assigned, no longer once given back. None for all it
    read when it was last heard of."""
    assignor: str | None = "range"
    """The coordinator's assignor that it would like: ``"range"`` or ``"uniform"``; None for the one it said before."""
    instance_id: str | None = None
    """Of a static member; it may take the place of the one of this name that is away."""
    classic: ClassicMember | None = None
    """Of a member that speaks the classic protocol, and joins by it."""
    client_host: str = ""


class HeartbeatResponse(NamedTuple):
    """What the member may read from now on. Source: Kafka ``ConsumerGroupHeartbeatResponse``."""

    member_id: str
    member_epoch: int
    assignment: frozenset[TopicPartition]
    """All of it. What the member owns beyond this it gives up, and confirms by a heartbeat."""
    has_changed: bool = True
    """Whether the last response said something else about the assignment; always true for a join."""


def handle_heartbeat(
    group: Group, request: Heartbeat, topics: TopicsSnapshot
) -> tuple[HeartbeatResponse, list[GroupRecord]]:
    """Return what the member may read, and what changes by this heartbeat.

    The request names the member, also when it joins. Raises `UnknownMemberIdError` for one that left
    or was evicted, `FencedMemberEpochError` for an epoch that cannot be continued (NGP-4): both mean
    drop everything and join again. For static members `UnreleasedInstanceIdError`,
    `FencedInstanceIdError`.
    """
    group_id, member_id = group.group_id, request.member_id
    replaced: GroupMember | None = None
    if request.member_epoch == JOIN_EPOCH:
        replaced = find_predecessor(
            group, member_id, request.instance_id, takes_over=request.classic is not None
        )
        subscription = request.subscription
        assert subscription is not None and request.assignor is not None, "a join names all"
        member = GroupMember(
            member_id,
            request.client_id,
            subscription,
            topics.resolve(subscription),
            request.session,
            assignor=request.assignor,
            instance_id=request.instance_id,
            classic=request.classic,
            client_host=request.client_host,
        )
    else:
        check_instance(group, member_id, request.instance_id)
        member = _known_member(group, request)
        subscription = request.subscription
        if subscription is not None and member.subscription != subscription:
            wanted = topics.resolve(subscription)
            member = attrs.evolve(member, subscription=subscription, topics=wanted)
        if request.assignor is not None and member.assignor != request.assignor:
            member = attrs.evolve(member, assignor=request.assignor)
    records: list[GroupRecord] = []
    old_id = member_id if replaced is None else replaced.member_id
    members = {**group.members, member_id: member}
    if replaced is not None:
        del members[old_id]
    if topics is not group.topics:
        # For all members at once: a rebalance for each that notices would move partitions to and fro.
        members = {name: _look_again(one, topics) for name, one in members.items()}
        member = members[member_id]
        records.append(TopicsSeen(group_id, topics))
    changed = [one for name, one in members.items() if one is not group.members.get(name)]
    if replaced is not None:
        records.append(MemberReplaced(group_id, old_id, member))
        changed.remove(member)
    records += [MemberChanged(group_id, one) for one in changed]

    epoch, target, owners = group.epoch, group.target_of(old_id), group.owners
    if records:
        topology = _topology(members, topics)
        is_other = replaced is not None and _wants(member) != _wants(replaced)
        if changed or is_other or topology != group.topology:
            epoch += 1
            change = _new_target(group, epoch, members, topology, {member_id: target})
            records += GroupEpoch(group_id, epoch, None, GroupType.CONSUMER), change
            target = change.targets[member_id]
    if request.member_epoch == JOIN_EPOCH and old_id in group.members:
        # Joining again gives up what it had; the records say so, `owners` does not yet.
        owners = {tp: owner for tp, owner in owners.items() if owner != old_id}
    owned = member.current.claimed if request.owned is None else request.owned
    current = reconcile(member_id, member.current, owned, epoch, target, owners)
    if current is not member.current:
        records.append(CurrentAssignment(group_id, member_id, current))
    has_changed = request.member_epoch == JOIN_EPOCH or current.assigned != member.current.assigned
    response = HeartbeatResponse(member_id, current.epoch, current.assigned, has_changed)
    return response, records


def handle_leave(
    group: Group, member_id: str, topics: TopicsSnapshot, now_ms: int
) -> list[GroupRecord]:
    """Return what changes when *member_id* leaves or is evicted: nothing when it is no member."""
    if member_id not in group.members:
        return []
    members = {name: one for name, one in group.members.items() if name != member_id}
    epoch = group.epoch + 1
    change = _new_target(group, epoch, members, _topology(members, topics))
    empty_since_ms = None if members else now_ms
    return [
        MemberLeft(group.group_id, member_id),
        GroupEpoch(group.group_id, epoch, empty_since_ms, GroupType.CONSUMER),
        change,
    ]


def _known_member(group: Group, request: Heartbeat) -> GroupMember:
    member = group.members.get(request.member_id)
    if member is None:
        raise UnknownMemberIdError(
            f"group {group.group_id!r}: {request.member_id!r} is not a member (epoch {group.epoch})"
        )
    current = member.current
    if request.member_epoch == current.epoch:
        return member
    is_retry = request.owned is not None and request.owned <= current.claimed
    if request.member_epoch == current.previous_epoch and is_retry:
        return member  # the answer to its last heartbeat did not reach it
    raise FencedMemberEpochError(stale_epoch(group, member, request.member_epoch))


def _wants(member: GroupMember) -> tuple[frozenset[str], str]:
    """Return what a target depends on."""
    return member.topics, member.assignor


def _look_again(member: GroupMember, topics: TopicsSnapshot) -> GroupMember:
    wanted = topics.resolve(member.subscription)
    return member if wanted == member.topics else attrs.evolve(member, topics=wanted)


def _topology(members: Mapping[str, GroupMember], topics: TopicsSnapshot) -> Topology:
    """Return the wanted topics that exist."""
    wanted = frozenset[str]().union(*(member.topics for member in members.values()))
    facts = topics.facts
    return {
        name: (facts[name].topic_id, facts[name].partition_count)
        for name in wanted
        if name in facts
    }


def preferred_assignor(members: Iterable[GroupMember]) -> str:
    """Return the assignor with most votes, range when there are as many for the other.

    Source: Kafka ``ConsumerGroup.preferredServerAssignor``.
    """
    votes = Counter(member.assignor for member in members)
    return "uniform" if votes["uniform"] > votes["range"] else "range"


def _new_target(
    group: Group,
    epoch: int,
    members: Mapping[str, GroupMember],
    topology: Topology,
    inherited: Mapping[str, frozenset[TopicPartition]] = {},
) -> TargetAssignment:
    subscriptions = [
        # What a member was on the way to is what stickiness is about.
        MemberSubscription(
            name,
            member.topics,
            member.instance_id,
            owned=tuple(inherited.get(name) or group.target_of(name)),
        )
        for name, member in members.items()
    ]
    counts = {name: partition_count for name, (_, partition_count) in topology.items()}
    is_uniform = preferred_assignor(members.values()) == "uniform"
    assign = assign_uniform if is_uniform else assign_range
    return TargetAssignment(group.group_id, epoch, topology, assign(subscriptions, counts))

"""Members of groups that are known by their requests alone, since they live in other processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import attrs

from streamlog.broker.classic.checks import known_member
from streamlog.broker.classic.requests import CONSUMER_PROTOCOL, JoinRequest
from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group import Group, GroupState
from streamlog.broker.group_administration import check_exists
from streamlog.broker.group_member import GroupMember, Subscription
from streamlog.broker.group_membership import preferred_assignor
from streamlog.broker.group_records import GroupType
from streamlog.broker.member_session import RemoteSession
from streamlog.broker.static_membership import find_static_member, stale_epoch
from streamlog.errors import (
    FencedInstanceIdError,
    GroupIdNotFoundError,
    IllegalGenerationError,
    StaleMemberEpochError,
    UnknownMemberIdError,
)
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.classic.coordinator import ClassicCoordinator
    from streamlog.broker.group_store import GroupStore
    from streamlog.broker.member_watch import MemberWatch
    from streamlog.runtime import Clock
    from streamlog.runtime.threads import Lock

NO_EPOCH = -1
"""Of somebody who is in no group."""


class GroupOverview(NamedTuple):
    """A group in a line."""

    group_id: str
    state: GroupState
    protocol_type: str
    """Empty where nobody ever joined."""
    is_classic: bool


class ClassicMemberView(NamedTuple):
    """A member with the bytes that it and its leader gave."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes
    assignment: bytes


class ClassicGroupView(NamedTuple):
    """A classic group; protocol, metadata and assignments only while it is stable."""

    state: GroupState
    protocol_type: str
    protocol: str
    members: tuple[ClassicMemberView, ...]


class ConsumerGroupView(NamedTuple):
    """A group under KIP-848."""

    state: GroupState
    epoch: int
    assignor: str
    members: tuple[GroupMember, ...]
    targets: Mapping[str, frozenset[TopicPartition]]


class RemoteMembers:
    """What the coordinator does for them besides: `GroupCoordinator` makes it and shares its lock. Threads: any.

    * membership: `heard`, `leave`, `leave_classic`, `check_member`, `check_epoch`, `is_modern`
    * looks: `exists`, `subscription_of`, `list_groups`, `describe_classic`, `describe_consumer`
    """

    def __init__(
        self,
        lock: Lock,
        store: GroupStore,
        clock: Clock,
        classic: ClassicCoordinator,
        watch: MemberWatch,
        remove: Callable[[str, str], None],
    ) -> None:
        self._lock = lock
        self._store = store
        self._clock = clock
        self._classic = classic
        self._watch = watch
        self._remove = remove

    def heard(self, group_id: str, member_id: str) -> None:
        """Note that the member is alive, since it committed; nothing happens when it is none."""
        with self._lock:
            group = self._store.find(group_id)
            if member_id in group.members:
                self._watch.heard(group, member_id)
            elif group.classic is not None and member_id in group.classic.members:
                session = group.classic.members[member_id].session
                session.heard(self._clock.monotonic_ms())

    def leave(self, group_id: str, member_id: str, instance_id: str | None) -> None:
        """Remove a member for good, static or not; a static one need not name its ``member_id``.

        Raises `UnknownMemberIdError`, `FencedInstanceIdError`.
        """
        self._leave(group_id, member_id, instance_id, by_classic_protocol=False)

    def leave_classic(self, group_id: str, member_id: str, instance_id: str | None) -> None:
        """As `leave`, but raise `UnknownMemberIdError` for who does not speak the classic protocol.

        Source: Kafka ``GroupMetadataManager.classicGroupLeave``.
        """
        self._leave(group_id, member_id, instance_id, by_classic_protocol=True)

    def _leave(
        self, group_id: str, member_id: str, instance_id: str | None, *, by_classic_protocol: bool
    ) -> None:
        with self._lock:
            group = self._store.find(group_id)
            classic = group.classic
            if group.members:
                member = group.members[_known_id(group, member_id, instance_id)]
                if by_classic_protocol and member.classic is None:
                    raise _unknown(group_id, instance_id or member_id)
                self._remove(group_id, member.member_id)
                member.session.notify()  # it may live here, and learns by this alone that it is none any more
            elif classic is not None and instance_id is None and member_id in classic.pending_ids:
                self._classic.leave(classic, member_id)
            elif classic is not None:
                if instance_id is not None and not member_id:
                    member_id = classic.static_ids.get(instance_id, "")
                known_member(classic, member_id, instance_id)
                self._classic.leave(classic, member_id)
            else:
                raise _unknown(group_id, instance_id or member_id)

    def subscription_of(self, group_id: str, member_id: str) -> Subscription:
        """Return what a member under KIP-848 subscribes to, nothing for no member."""
        with self._lock:
            member = self._store.find(group_id).members.get(member_id)
            return Subscription() if member is None else member.subscription

    def check_member(self, group_id: str, member_id: str, instance_id: str | None) -> None:
        """Raise `UnknownMemberIdError` or `FencedInstanceIdError` unless it is a member under KIP-848."""
        with self._lock:
            _known_id(self._store.find(group_id), member_id, instance_id)

    def is_modern(self, group_id: str, member_id: str) -> bool:
        """Return whether it is a member that speaks KIP-848 itself."""
        with self._lock:
            member = self._store.find(group_id).members.get(member_id)
            return member is not None and member.classic is None

    def exists(self, group_id: str) -> bool:
        """Return whether anything is remembered of the group."""
        with self._lock:
            return self._store.find(group_id).exists

    def check_epoch(self, group_id: str, member_id: str | None, epoch: int) -> None:
        """Raise `UnknownMemberIdError` for who says that it is a member of a group under KIP-848 and is not, also of one without members,
        `StaleMemberEpochError` for a member that is not in *epoch* (NGP-4), `IllegalGenerationError` for such a classic one.

        Source: Kafka ``ConsumerGroup.validateOffsetFetch``.
        """
        if member_id is None and epoch < 0:
            return
        with self._lock:
            group = self._store.find(group_id)
            if not group.is_consumer:
                return
            member = group.members.get(member_id or "")
            if member is None:
                raise _unknown(group_id, member_id or "")
            if member.current.epoch != epoch:
                stale = StaleMemberEpochError if member.classic is None else IllegalGenerationError
                raise stale(stale_epoch(group, member, epoch))

    # ---- looks

    def list_groups(self) -> list[GroupOverview]:
        """Return every group that has members, offsets or a past, by name."""
        with self._lock:
            for home in self._store.homes():
                self._store.load(home)
            return self._listed()

    def _listed(self) -> list[GroupOverview]:
        return [
            GroupOverview(group_id, group.state, _protocol_type(group), not group.is_consumer)
            for group_id, group in sorted(self._store.groups.items())
            if group.exists
        ]

    def describe_classic(self, group_id: str) -> ClassicGroupView:
        """Return the group. Raises `GroupIdNotFoundError`, also for one under KIP-848."""
        with self._lock:
            group = self._store.find(group_id)
            check_exists(group)
            if group.members:
                raise GroupIdNotFoundError(f"group {group_id!r} is not a classic group")
            classic, protocol = group.classic, None
            if classic is not None and classic.state is ClassicState.STABLE:
                protocol = classic.protocol
            members = () if classic is None else tuple(classic.members.values())
            return ClassicGroupView(
                group.state,
                _protocol_type(group),
                protocol or "",
                tuple(
                    ClassicMemberView(
                        one.member_id,
                        one.instance_id,
                        one.client_id,
                        one.client_host,
                        b"" if protocol is None else one.metadata(protocol),
                        b"" if protocol is None else one.assignment,
                    )
                    for one in members
                ),
            )

    def describe_consumer(self, group_id: str) -> ConsumerGroupView:
        """Return the group. Raises `GroupIdNotFoundError`, also for a classic one."""
        with self._lock:
            group = self._store.find(group_id)
            check_exists(group)
            if not group.is_consumer:
                raise GroupIdNotFoundError(f"group {group_id!r} is not a consumer group")
            members = tuple(one for _, one in sorted(group.members.items()))
            return ConsumerGroupView(
                group.state,
                group.epoch,
                preferred_assignor(members),
                members,
                {one.member_id: group.target_of(one.member_id) for one in members},
            )


def resume_session(group: Group, request: JoinRequest) -> JoinRequest:
    """Return *request* with the session that its member has, if it is one already and lives elsewhere."""
    told = request.session
    if not request.member_id or not isinstance(told, RemoteSession):
        return request
    member = group.members.get(request.member_id) or (
        group.classic and group.classic.members.get(request.member_id)
    )
    if not member or not isinstance(member.session, RemoteSession):
        return request
    session = member.session
    session.max_poll_interval_ms = told.max_poll_interval_ms
    session.rebalance_timeout_ms = told.rebalance_timeout_ms
    session.heard(told.last_poll_ms)
    return attrs.evolve(request, session=session)


def _known_id(group: Group, member_id: str, instance_id: str | None) -> str:
    """Return the id of the member that is meant."""
    if instance_id is None:
        if member_id in group.members:
            return member_id
        raise _unknown(group.group_id, member_id)
    found = find_static_member(group, instance_id)
    if found is None:
        raise _unknown(group.group_id, instance_id)
    if member_id and found.member_id != member_id:
        raise FencedInstanceIdError(
            f"group {group.group_id!r}: another consumer joined as {instance_id!r}"
        )
    return found.member_id


def _unknown(group_id: str, name: str) -> UnknownMemberIdError:
    return UnknownMemberIdError(f"group {group_id!r}: {name!r} is not a member")


def _protocol_type(group: Group) -> str:
    """Return it; where it was not stored, consumers are the likely ones."""
    if group.classic is not None and group.classic.protocol_type:
        return group.classic.protocol_type
    if group.stored_type is GroupType.CLASSIC:
        return group.stored_protocol_type
    return CONSUMER_PROTOCOL if group.members or group.epoch else ""

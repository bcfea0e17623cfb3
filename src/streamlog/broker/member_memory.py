"""How many members a group has room for, and what those in other processes may make all groups keep."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import TYPE_CHECKING

from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group_membership import JOIN_EPOCH
from streamlog.broker.group_records import GroupTombstone
from streamlog.broker.static_membership import find_static_member
from streamlog.broker.topic_patterns import SharedPattern
from streamlog.errors import GroupMaxSizeReachedError, StreamlogError

if TYPE_CHECKING:
    from streamlog.broker.classic.member import ClassicMember
    from streamlog.broker.classic.requests import JoinRequest, SyncRequest
    from streamlog.broker.group import Group
    from streamlog.broker.group_member import GroupMember, Subscription
    from streamlog.broker.group_membership import Heartbeat
    from streamlog.broker.group_store import GroupStore
    from streamlog.config import BrokerConfig
    from streamlog.runtime import Clock

# Measured: what a group, a member and an id that was handed out take besides what they are told.
_GROUP_BYTES, _MEMBER_BYTES, _PENDING_BYTES = 2048, 2048, 1024
#: What a name of a topic takes in sets, besides itself.
_ENTRY_BYTES = 64
#: What an assigned partition takes, with its owner.
_PARTITION_BYTES = 256
#: All is counted anew when there seems to be no room, but not for each request that is refused: after that time, or when a
#: part of the limit was added since.
_RECOUNT_MS = 1000.0
_PART = 8

_log = logging.getLogger("streamlog")


class MemberMemory:
    """Bounds what members elsewhere make all groups together keep. Threads: whoever holds the coordinator's lock.

    * ask, before it is kept: `admit_join`, `admit_sync`, `admit_heartbeat`, `admit_member`

    Each raises `GroupMaxSizeReachedError` when there is no room, also after groups that have nothing but a past were forgotten (*drop* ends what runs for one), as
    the next look at offsets would (GRP-12). Only what grows is asked for: a member that says as much as before is never refused.
    Members of this process do not count. Nobody says when something is kept no longer: ``used_bytes`` may be too much, and is counted anew when that
    matters, hence at most a second later. Source: Kafka bounds the number of members only (``group.max.size``), and what a classic
    group assigns by the size of a record.
    """

    def __init__(
        self,
        store: GroupStore,
        clock: Clock,
        config: BrokerConfig,
        drop: Callable[[Group], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_size = config.group_consumer_max_size
        self._limit_bytes = config.group_metadata_max_bytes
        self._drop = drop
        self._added_bytes = 0
        self._counted_ms = -math.inf
        self.used_bytes = 0
        """What is kept, or was at some time since it was counted."""

    def admit_join(self, group: Group, request: JoinRequest) -> None:
        """Let a member of the classic protocol join *group*, or join again."""
        if not request.session.is_remote:
            return
        if request.requires_member_id and not request.member_id and request.instance_id is None:
            self._admit(group, _pending_bytes(request.client_id))  # an id is all that is kept
            return
        known = _classic_member(group, request.member_id, request.instance_id)
        before = 0 if known is None else _told_bytes(known)
        if not group.member_count:  # the group takes this over, whoever else comes
            before -= getsizeof(request.protocol_type)
        self._admit(group, _told_bytes(request) - before)

    def admit_sync(self, group: Group, request: SyncRequest) -> None:
        """Let the leader of a classic group in *group* bring the assignment, if it is the leader who asks."""
        classic = group.classic
        if classic is None or classic.leader_id != request.member_id:
            return
        before = sum(getsizeof(one.assignment) for one in classic.members.values())
        after = sum(
            getsizeof(data)
            for name, data in request.assignments.items()
            if name in classic.members and classic.members[name].session.is_remote
        )
        self._admit(group, after - before)

    def admit_heartbeat(self, group: Group, request: Heartbeat) -> None:
        """Let a member join *group* under KIP-848, or subscribe to something else; also a classic one, besides what it joins with."""
        subscription = request.subscription
        known = group.members.get(request.member_id)
        if request.member_epoch == JOIN_EPOCH:
            known = known or find_static_member(group, request.instance_id)
            is_new = (
                known is None
                and _classic_member(group, request.member_id, request.instance_id) is None
            )
            if is_new and group.member_count >= self._max_size:
                raise GroupMaxSizeReachedError(
                    f"group {group.group_id!r}: expected at most group_consumer_max_size={self._max_size} members"
                )
        if request.session.is_remote and subscription is not None:
            before = 0 if known is None else _wanted_bytes(known, known.subscription)
            pattern = subscription.pattern
            if isinstance(pattern, SharedPattern) and not pattern.is_counted:
                before -= _ENTRY_BYTES * pattern.match_count
            self._admit(group, _wanted_bytes(request, subscription) - before)
            if isinstance(pattern, SharedPattern):
                pattern.is_counted = True

    def admit_member(self, group: Group, member: GroupMember) -> None:
        """Let a classic member of *group* become one under KIP-848: what it wants is read from its bytes, and takes more room than they do."""
        if member.session.is_remote:
            self._admit(group, _modern_bytes(member))

    def _admit(self, group: Group, growth_bytes: int) -> None:
        if growth_bytes <= 0:
            return
        if not group.exists:
            growth_bytes += _GROUP_BYTES + getsizeof(group.group_id)
        if self.used_bytes + growth_bytes > self._limit_bytes:
            self._count_anew_if_due(group, growth_bytes)
            if self.used_bytes + growth_bytes > self._limit_bytes:
                raise GroupMaxSizeReachedError(
                    f"group {group.group_id!r}: all groups together keep {self.used_bytes} bytes of what their members said: expected "
                    f"at most group_metadata_max_bytes={self._limit_bytes}, found a request for {growth_bytes} more"
                )
        self.used_bytes += growth_bytes
        self._added_bytes += growth_bytes

    def _count_anew_if_due(self, asking: Group, growth_bytes: int) -> None:
        now_ms = self._clock.monotonic_ms()
        part_bytes = self._limit_bytes // _PART
        is_late = now_ms - self._counted_ms >= _RECOUNT_MS
        if not is_late and self._added_bytes + growth_bytes < part_bytes:
            return
        self._counted_ms, self._added_bytes = now_ms, 0
        groups = list(self._store.groups.values())
        self.used_bytes = sum(map(kept_bytes, groups)) + _matched_bytes(groups)
        # More than is needed now, so that there is room until all is counted anew.
        wanted_bytes = self._limit_bytes - max(growth_bytes, 2 * part_bytes)
        try:
            for group in groups:
                if self.used_bytes <= wanted_bytes:
                    break
                if group is not asking and _is_idle(group):
                    size_bytes = kept_bytes(group)
                    if group.epoch:
                        self._store.apply(group, [GroupTombstone(group.group_id)])
                    self._drop(group)
                    self.used_bytes -= size_bytes
        except (StreamlogError, OSError) as error:
            _log.warning("groups without members and offsets were not forgotten: %s", error)


def kept_bytes(group: Group) -> int:
    """Return what *group* keeps because of members elsewhere: nothing for one that has offsets alone, which are what a disk has room for."""
    classic = group.classic
    size = 0
    for member in group.members.values():
        if member.session.is_remote:
            size += _modern_bytes(member)
            size += 0 if member.classic is None else _classic_bytes(member.classic)
    if classic is not None:
        for one in classic.members.values():
            if one.session.is_remote:
                size += _classic_bytes(one)
        size += sum(_pending_bytes(name) for name in classic.pending_ids)
    if not size and not _is_idle(group):
        return 0
    protocol_type = group.stored_protocol_type if classic is None else classic.protocol_type
    return size + _GROUP_BYTES + getsizeof(group.group_id) + getsizeof(protocol_type)


def _matched_bytes(groups: Iterable[Group]) -> int:
    """Return what patterns of members elsewhere match in *groups*, which is kept once for all members that have the pattern."""
    patterns = {
        one.subscription.pattern
        for group in groups
        for one in group.members.values()
        if one.session.is_remote and isinstance(one.subscription.pattern, SharedPattern)
    }
    return sum(_ENTRY_BYTES * one.match_count for one in patterns)


def _is_idle(group: Group) -> bool:
    """Return whether the group has nothing but a past."""
    classic = group.classic
    if classic is not None and (classic.state is not ClassicState.EMPTY or classic.pending_ids):
        return False
    return not (group.member_count or group.offsets or group.pending)


def _classic_member(group: Group, member_id: str, instance_id: str | None) -> ClassicMember | None:
    """Return the classic member that comes again, also one in a group under KIP-848."""
    classic = group.classic
    if classic is None:
        known = group.members.get(member_id) or find_static_member(group, instance_id)
        return None if known is None else known.classic
    if not member_id and instance_id is not None:
        member_id = classic.static_ids.get(instance_id, "")
    return classic.members.get(member_id)


def _classic_bytes(member: ClassicMember) -> int:
    return _told_bytes(member) + getsizeof(member.assignment)


def _modern_bytes(member: GroupMember) -> int:
    # A leader may have assigned what there is none of.
    assigned_bytes = _PARTITION_BYTES * len(member.current.assigned)
    return _wanted_bytes(member, member.subscription) + assigned_bytes


def _told_bytes(one: ClassicMember | JoinRequest) -> int:
    """Return what a classic member takes without its assignment."""
    told = sum(_ENTRY_BYTES + getsizeof(name) + getsizeof(data) for name, data in one.protocols)
    return _MEMBER_BYTES + _names_bytes(one) + told


def _wanted_bytes(one: GroupMember | Heartbeat, subscription: Subscription) -> int:
    """Return what a member under KIP-848 takes without its assignment."""
    size = _MEMBER_BYTES + _names_bytes(one) + sum(map(getsizeof, subscription.topics))
    if subscription.pattern is not None:
        size += getsizeof(subscription.pattern.pattern)
    return size + _ENTRY_BYTES * len(subscription.topics)


def _names_bytes(one: ClassicMember | JoinRequest | GroupMember | Heartbeat) -> int:
    names = one.member_id, one.client_id, one.client_host, one.instance_id or ""
    return sum(map(getsizeof, names))


def _pending_bytes(name: str) -> int:
    return _PENDING_BYTES + getsizeof(name)

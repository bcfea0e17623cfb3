"""Rebalancing classic groups: what a join, a sync, a heartbeat and a leave do in each state.

Nobody waits in a call. A join that has to wait for others is parked as a `Reply`, and answered by
whoever completes the phase: the last member to join, or the timer that gives up on the absent.

Source: Kafka ``GroupMetadataManager.classicGroupJoin`` and its neighbours; GRP-1 to GRP-11.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from streamlog.broker.classic.checks import check_member, check_protocol, known_member
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.join_checks import (
    check_protocols,
    check_session_timeout,
    check_size,
)
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import (
    JoinRequest,
    JoinResponse,
    Reply,
    SyncRequest,
    SyncResponse,
)
from streamlog.broker.classic.state import HEARTBEAT_REFUSALS, ClassicEvent, ClassicState
from streamlog.errors import (
    FencedInstanceIdError,
    MemberIdRequiredError,
    RebalanceInProgressError,
    StreamlogError,
    UnknownMemberIdError,
)

if TYPE_CHECKING:
    from streamlog.broker.group_timers import GroupTimers
    from streamlog.broker.member_session import MemberSession
    from streamlog.config import BrokerConfig
    from streamlog.runtime import Clock

_RETRY_MS = 1000.0
"""When a generation could not be stored, which is tried again by itself: a full disk may have room then."""

_log = logging.getLogger("streamlog")


class ClassicCoordinator:
    """The verbs of classic groups.

    * the rebalance: `join`, `sync`
    * membership: `heartbeat`, `begin_leaving`, `leave`, `detach`
    * from KIP-848, and the end: `take_over`, `give_up`

    Threads: whoever holds the coordinator's lock. *store_generation* makes the next generation of a
    group durable and returns it; *new_member_id* makes one of a client id.
    """

    def __init__(
        self,
        config: BrokerConfig,
        clock: Clock,
        timers: GroupTimers,
        store_generation: Callable[[str], int],
        new_member_id: Callable[[str, str], str],
    ) -> None:
        self._config = config
        self._clock = clock
        self._timers = timers
        self._store_generation = store_generation
        self._new_member_id = new_member_id

    # ---- the join phase

    def join(self, group: ClassicGroup, request: JoinRequest, reply: Reply[JoinResponse]) -> None:
        """Join, or join again; *reply* is given when everybody has, or at once where nothing changes.

        Raises `InvalidSessionTimeoutError`, `GroupMaxSizeReachedError`,
        `InconsistentGroupProtocolError` (GRP-6), `MemberIdRequiredError` (GRP-2),
        `UnknownMemberIdError` for a member that was removed, `FencedInstanceIdError` (GRP-11).
        """
        self.check_session_timeout(request)
        check_protocols(group, request)
        if not group.members:
            group.protocol_type = request.protocol_type
        instance_id = request.instance_id
        if instance_id is not None and request.member_id == "":
            if instance_id in group.static_ids:
                self._come_back(group, request, reply)
            else:
                check_size(self._config, group)
                self._add(group, self._new_member_id(group.group_id, instance_id), request, reply)
        elif request.member_id == "":
            check_size(self._config, group)
            member_id = self._new_member_id(group.group_id, request.client_id)
            if not request.requires_member_id:
                self._add(group, member_id, request, reply)
                return
            self._expect(group, member_id, request.session_timeout_ms)
            raise MemberIdRequiredError(
                f"group {group.group_id!r}: join again as {member_id!r}", member_id=member_id
            )
        elif instance_id is None and request.member_id in group.pending_ids:
            check_size(self._config, group)
            self._add(group, request.member_id, request, reply)
        else:
            self._join_again(group, request, reply)

    def _expect(self, group: ClassicGroup, member_id: str, timeout_ms: int) -> None:
        """Remember an id that was handed out, until somebody joins with it or takes too long."""
        group.pending_ids.add(member_id)
        self._timers.arm(
            _name_of(group, member_id),
            timeout_ms,
            partial(self._expect_no_longer, group, member_id),
        )

    def _expect_no_longer(self, group: ClassicGroup, member_id: str) -> None:
        group.pending_ids.discard(member_id)
        if group.state is ClassicState.PREPARING_REBALANCE and not group.is_delayed:
            self._end_join_phase_if_all_joined(group)

    def _add(
        self,
        group: ClassicGroup,
        member_id: str,
        request: JoinRequest,
        reply: Reply[JoinResponse],
    ) -> None:
        member = ClassicMember.of(member_id, request)
        member.joining = reply
        group.add(member)
        group.has_newcomers = True
        self._watch(group, member)
        self._rebalance(group)

    def _join_again(
        self, group: ClassicGroup, request: JoinRequest, reply: Reply[JoinResponse]
    ) -> None:
        member = known_member(group, request.member_id, request.instance_id)
        is_changed = member.protocols != request.protocols
        is_leader = member.member_id == group.leader_id
        member.update(request)
        self._watch(group, member)
        is_settled = (group.state is ClassicState.COMPLETING_REBALANCE and not is_changed) or (
            group.state is ClassicState.STABLE and not is_changed and not is_leader
        )
        if is_settled:  # GRP-9: it only lost the answer
            reply.give(group.join_response(member))
            return
        member.joining = reply
        self._rebalance(group)

    def _come_back(
        self, group: ClassicGroup, request: JoinRequest, reply: Reply[JoinResponse]
    ) -> None:
        """Let a static member take its own place; the one that had it before is fenced (GRP-11)."""
        assert request.instance_id is not None
        old_id = group.static_ids[request.instance_id]
        old = group.members[old_id]
        fenced = FencedInstanceIdError(
            f"group {group.group_id!r}: another consumer joined as {request.instance_id!r}"
        )
        if old.joining is not None:
            old.joining.fail(fenced)
        if old.syncing is not None:
            old.syncing.fail(fenced)
        old.joining = old.syncing = None
        old.session.notify()
        self._timers.disarm(_name_of(group, old_id))
        leader_before = group.leader_id
        new_id = self._new_member_id(group.group_id, request.instance_id)
        member = group.rename(old_id, new_id)
        if old_id in group.unsynced:
            group.unsynced = group.unsynced - {old_id} | {new_id}
        member.update(request)
        self._watch(group, member)
        if group.state is ClassicState.STABLE and group.choose_protocol() == group.protocol:
            response = group.join_response(member, skip_assignment=True)
            reply.give(response._replace(leader_before=leader_before or ""))
            return
        member.joining = reply
        self._rebalance(group)

    def _rebalance(self, group: ClassicGroup) -> None:
        """Begin a join phase, or go on with the one there is; end it when everybody has joined."""
        if group.state is not ClassicState.PREPARING_REBALANCE:
            was_empty = group.state is ClassicState.EMPTY
            for member in group.members.values():
                if member.syncing is not None:
                    member.syncing.fail(
                        RebalanceInProgressError(f"group {group.group_id!r} rebalances again")
                    )
                    member.syncing = None
            group.happens(ClassicEvent.REBALANCE)
            group.unsynced = frozenset()
            for member in group.members.values():
                if member.joining is None:
                    member.session.notify()
            delay_ms = float(
                max(self._config.group_initial_rebalance_delay_ms, group.longest_initial_delay_ms)
            )
            if was_empty and delay_ms:
                group.has_newcomers = False
                self._delay(group, delay_ms, float(group.longest_rebalance_ms))
                return
            if was_empty:
                self._end_join_phase(group)
                return
            self._arm(group, group.longest_rebalance_ms, self._end_join_phase)
        if not group.is_delayed:
            self._end_join_phase_if_all_joined(group)

    def _delay(self, group: ClassicGroup, delay_ms: float, left_ms: float) -> None:
        """Give others the time to come to a group that was empty, longer while they do (GRP-3)."""
        group.is_delayed = True
        pause_ms = min(delay_ms, left_ms)
        left_ms -= pause_ms

        def look_again(group: ClassicGroup) -> None:
            if group.has_newcomers and left_ms > 0:
                group.has_newcomers = False
                self._delay(group, delay_ms, left_ms)
            else:
                group.is_delayed = False
                self._end_join_phase(group)

        self._arm(group, pause_ms, look_again)

    def _end_join_phase_if_all_joined(self, group: ClassicGroup) -> None:
        # Who was just given an id is about to join with it, and would be the next rebalance.
        if not group.pending_ids and all(
            member.joining is not None for member in group.members.values()
        ):
            self._end_join_phase(group)

    def _end_join_phase(self, group: ClassicGroup) -> None:
        """Begin the next generation with those who joined, and static members who did not (GRP-4)."""
        for member in list(group.members.values()):
            if member.joining is None and not member.is_static:
                self._forget(group, member.member_id)
        joined = [one for one in group.members.values() if one.joining is not None]
        if group.members and not joined:
            # Only static members are left, all silent: their sessions decide.
            self._arm(group, group.longest_rebalance_ms, self._end_join_phase)
            return
        try:
            generation = self._store_generation(group.group_id)
        except (StreamlogError, OSError) as error:
            _log.warning("group %r: rebalance not completed: %s", group.group_id, error)
            self._arm(group, _RETRY_MS, self._end_join_phase)
            return
        group.choose_leader_among_joined()
        group.begin_generation(generation)
        if not group.members:
            self._timers.disarm(_name_of(group))
            return
        group.unsynced = frozenset(member.member_id for member in joined)
        self._arm(group, group.longest_rebalance_ms, self._give_up_on_unsynced)
        now_ms = self._clock.monotonic_ms()
        for member in joined:
            reply, member.joining = member.joining, None
            assert reply is not None
            _hear_waiting(member, reply, now_ms)
            reply.give(group.join_response(member))

    # ---- the sync phase

    def sync(self, group: ClassicGroup, request: SyncRequest, reply: Reply[SyncResponse]) -> None:
        """Bring the assignment, as the leader, and fetch one's own; followers wait for the leader.

        Raises `UnknownMemberIdError`, `FencedInstanceIdError`, `IllegalGenerationError`,
        `RebalanceInProgressError`, `InconsistentGroupProtocolError` when the member believes in another protocol.
        """
        member = check_member(
            group, request.member_id, request.instance_id, request.generation, HEARTBEAT_REFUSALS
        )
        check_protocol(group, request)
        now_ms = self._clock.monotonic_ms()
        member.session.heard(now_ms)
        group.unsynced -= {member.member_id}
        if not group.unsynced:
            self._timers.disarm(_name_of(group))
        if group.state is ClassicState.STABLE:
            reply.give(group.sync_response(member))
            return
        member.syncing = reply
        if member.member_id != group.leader_id:
            return
        for name, one in group.members.items():
            one.assignment = request.assignments.get(name, b"")
        group.happens(ClassicEvent.ASSIGNED)
        for one in group.members.values():
            waiting, one.syncing = one.syncing, None
            if waiting is not None:
                _hear_waiting(one, waiting, now_ms)
                waiting.give(group.sync_response(one))

    def _give_up_on_unsynced(self, group: ClassicGroup) -> None:
        """Go on without members that joined and never asked for their assignment (GRP-10)."""
        for member_id in sorted(group.unsynced):
            self._forget(group, member_id)
        group.unsynced = frozenset()
        self._rebalance(group)

    # ---- membership

    def heartbeat(
        self, group: ClassicGroup, member_id: str, instance_id: str | None, generation: int
    ) -> None:
        """Return while all is well (GRP-7).

        Raises `UnknownMemberIdError`, `FencedInstanceIdError`, `IllegalGenerationError`, and
        `RebalanceInProgressError` when the member has to join again.
        """
        check_member(group, member_id, instance_id, generation, {}).session.heard(
            self._clock.monotonic_ms()  # also when it is told to join again
        )
        check_member(group, member_id, instance_id, generation, HEARTBEAT_REFUSALS)

    def begin_leaving(self, group: ClassicGroup, member_id: str) -> int | None:
        """Return the generation in which a member that is about to leave may commit until it has, None
        for no member.

        A group that waits for its leader's assignment refuses commits (GRP-8), and a member that goes on
        reading meanwhile would leave what it read to be read again. So the rebalance that its leaving
        means begins now, and waits for it. A static member's leaving means none: nothing happens.
        """
        member = group.members.get(member_id)
        if member is None:
            return None
        if not member.is_static:
            member.joining = None
            if group.state is ClassicState.COMPLETING_REBALANCE:
                self._rebalance(group)
        return group.generation_of(member)

    def leave(self, group: ClassicGroup, member_id: str) -> None:
        """Remove the member, static or not; nothing happens when it is none."""
        if member_id in group.pending_ids:
            self._timers.disarm(_name_of(group, member_id))
            self._expect_no_longer(group, member_id)
        if member_id in group.members:
            self._forget(group, member_id)
            self._rebalance(group)

    def detach(self, group: ClassicGroup, member_id: str) -> None:
        """A static member closed: keep its place for its session time-out (CON-15)."""
        member = group.members.get(member_id)
        if member is not None:
            session = member.session
            member.is_away = True
            session.last_poll_ms = self._clock.monotonic_ms() - session.max_poll_interval_ms
            self._watch(group, member)

    def _forget(self, group: ClassicGroup, member_id: str) -> None:
        self._timers.disarm(_name_of(group, member_id))
        member = group.remove(member_id)
        gone = UnknownMemberIdError(f"group {group.group_id!r}: {member_id!r} is not a member")
        for reply in (member.joining, member.syncing):
            if reply is not None:
                reply.fail(gone)
        member.joining = member.syncing = None
        group.unsynced -= {member_id}
        member.session.notify()

    # ---- the end of a classic group, and one that comes from the other protocol: GRP-12, NGP-5

    def give_up(self, group: ClassicGroup) -> None:
        """Let the group be dead: deleted, or one of the other protocol. Its members are looked after no longer; whoever
        waits is told to join again, which goes elsewhere.
        """
        again = RebalanceInProgressError(f"group {group.group_id!r} changes its protocol")
        self._timers.disarm(_name_of(group))
        for member_id in group.pending_ids:
            self._timers.disarm(_name_of(group, member_id))
        for member in group.members.values():
            self._timers.disarm(_name_of(group, member.member_id))
            for reply in (member.joining, member.syncing):
                if reply is not None:
                    reply.fail(again)
            member.joining = member.syncing = None
        group.happens(ClassicEvent.DELETED)

    def take_over(self, group: ClassicGroup) -> None:
        """Look after members that come from the other protocol: all of them have to join."""
        group.happens(ClassicEvent.REBALANCE)
        for member in group.members.values():
            if member.is_away:
                self.detach(group, member.member_id)
            else:
                self._watch(group, member)
                member.session.notify()
        self._arm(group, group.longest_rebalance_ms, self._end_join_phase)

    # ---- silence: CON-14

    def _watch(self, group: ClassicGroup, member: ClassicMember) -> None:
        """Remove the member once it was silent for too long.

        A dynamic one may not poll for ``max_poll_interval_ms``, after which Kafka's heartbeat thread
        leaves for it; for a static one the thread only falls silent, and the session ends later. One elsewhere may
        not be silent for its session time-out, unless it waits for an answer.
        """
        now_ms = self._clock.monotonic_ms()
        due_ms = self._end_of_patience_ms(member, now_ms)
        callback = partial(self._look_after, group, member, member.session)
        self._timers.arm(_name_of(group, member.member_id), max(due_ms - now_ms, 0), callback)

    def _end_of_patience_ms(self, member: ClassicMember, now_ms: float) -> float:
        session = member.session
        # A member waiting inside poll has a last poll of infinity: it is as alive as can be.
        silent_since_ms = min(session.last_poll_ms, now_ms)
        if session.is_remote:
            for reply in (member.joining, member.syncing):
                if reply is not None:
                    silent_since_ms = max(silent_since_ms, min(reply.abandoned_ms, now_ms))
            return silent_since_ms + session.max_poll_interval_ms
        grace_ms = member.session_timeout_ms if member.is_static else 0
        return silent_since_ms + session.max_poll_interval_ms + grace_ms

    def _look_after(
        self, group: ClassicGroup, member: ClassicMember, session: MemberSession
    ) -> None:
        if group.members.get(member.member_id) is not member or member.session is not session:
            return
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._end_of_patience_ms(member, now_ms):
            self._watch(group, member)
            return
        if session.is_remote:
            _log.info(
                "group %r: removed member %r: not heard of for session_timeout_ms=%d",
                group.group_id,
                member.member_id,
                member.session_timeout_ms,
            )
        elif member.is_static:
            _log.info(
                "group %r: removed static member %r: away for more than session_timeout_ms=%d",
                group.group_id,
                member.instance_id,
                member.session_timeout_ms,
            )
        else:
            _log.warning(
                "group %r: removed member %r: it did not poll for max_poll_interval_ms=%d",
                group.group_id,
                member.member_id,
                member.session.max_poll_interval_ms,
            )
        self._forget(group, member.member_id)
        self._rebalance(group)

    # ---- checks

    def check_session_timeout(self, request: JoinRequest) -> None:
        """Raise `InvalidSessionTimeoutError` outside the broker's bounds (GRP-6)."""
        check_session_timeout(self._config, request)

    # ---- timers

    def _arm(
        self, group: ClassicGroup, delay_ms: float, callback: Callable[[ClassicGroup], None]
    ) -> None:
        self._timers.arm(_name_of(group), delay_ms, partial(callback, group))

    def _check(self, groups: Iterable[ClassicGroup]) -> None:
        """Assert that of *groups*, which are all, every member is watched, and every rebalance has an end. For tests."""
        expected = set()
        for group in groups:
            expected |= {_name_of(group, one) for one in (*group.members, *group.pending_ids)}
            if group.state is ClassicState.PREPARING_REBALANCE or group.unsynced:
                expected.add(_name_of(group))
        assert expected == self._timers.armed


def _hear_waiting(member: ClassicMember, reply: Reply[Any], now_ms: float) -> None:
    """Give a member elsewhere its whole session time-out again, unless nobody waits for *reply* any more."""
    member.session.heard(min(reply.abandoned_ms, now_ms))


def _name_of(group: ClassicGroup, member_id: str = "") -> tuple[str, str]:
    """Return the name of the timer of a member, or of the group's present phase."""
    return group.group_id, member_id

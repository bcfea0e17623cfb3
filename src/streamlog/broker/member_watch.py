"""Who looks after members that fall silent: CON-14, and static members that stay away."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, MemberState
from streamlog.broker.group_timers import GroupTimers
from streamlog.broker.member_session import MemberSession, RemoteSession
from streamlog.broker.static_membership import LEAVE_FOR_NOW_EPOCH

if TYPE_CHECKING:
    from streamlog.runtime import Clock

_log = logging.getLogger("streamlog")


class MemberWatch:
    """The timers of the members of KIP-848 groups, one each. Threads: whoever holds the coordinator's lock.

    A member that does not poll for ``max_poll_interval_ms`` is let go by *remove*; a static one only
    leaves for now, by *detach*, and is removed once it has been away for *absence_ms*. One elsewhere is
    removed when its session ends, static or not, or when it does not give back what it has to.
    """

    def __init__(
        self,
        timers: GroupTimers,
        clock: Clock,
        absence_ms: int,
        remove: Callable[[str, str], object],
        detach: Callable[[Group, str], object],
    ) -> None:
        self._timers = timers
        self._clock = clock
        self._absence_ms = absence_ms
        self._remove = remove
        self._detach = detach

    def watch(self, group: Group, member_id: str) -> None:
        """Watch a member that has joined, or joined again."""
        self._arm(group, member_id, self._patience_ms(group.members[member_id].session))

    def heard(
        self,
        group: Group,
        member_id: str,
        told: MemberSession | None = None,
        *,
        is_behind: bool = False,
    ) -> None:
        """Note that a member elsewhere sent a request, in which it may have *told* another rebalance time-out; it is given
        that much time for what it has to give back (NGP-3), and a classic one that *is_behind* for joining again.
        """
        member = group.members[member_id]
        session = member.session
        if not isinstance(session, RemoteSession):
            return
        now_ms = self._clock.monotonic_ms()
        session.heard(now_ms)
        if isinstance(told, RemoteSession) and told.rebalance_timeout_ms >= 0:
            session.rebalance_timeout_ms = told.rebalance_timeout_ms
        if member.current.state is not MemberState.UNREVOKED_PARTITIONS and not is_behind:
            session.revoke_by_ms = math.inf
        elif session.revoke_by_ms == math.inf:
            session.revoke_by_ms = now_ms + session.rebalance_timeout_ms
            self.watch(group, member_id)

    def await_return(self, group: Group, member_id: str) -> None:
        """Watch a static member that has left for now."""
        self._arm(group, member_id, self._absence_of(group.members[member_id]))

    def _absence_of(self, member: GroupMember) -> int:
        """Return how long it may be away: a classic member says that itself."""
        return self._absence_ms if member.classic is None else member.classic.session_timeout_ms

    def forget(self, group_id: str, member_id: str) -> None:
        """Watch a member no longer; nothing happens when it is none."""
        self._timers.disarm((group_id, member_id))

    def close(self) -> None:
        """Watch nobody any more."""
        self._timers.close()

    @property
    def watched(self) -> set[object]:
        """Group id and member id of everybody who is watched. For tests."""
        return set(self._timers.armed)

    def _patience_ms(self, session: MemberSession) -> float:
        now_ms = self._clock.monotonic_ms()
        # A member waiting inside poll has a last poll of infinity: it is as alive as can be.
        left_ms = min(session.last_poll_ms, now_ms) + session.max_poll_interval_ms - now_ms
        if isinstance(session, RemoteSession):
            return min(left_ms, session.revoke_by_ms - now_ms)
        return left_ms

    def _arm(self, group: Group, member_id: str, delay_ms: float) -> None:
        session = group.members[member_id].session
        callback = partial(self._look_after, group, member_id, session)
        self._timers.arm((group.group_id, member_id), max(delay_ms, 0), callback)

    def _look_after(self, group: Group, member_id: str, session: MemberSession) -> None:
        member = group.members.get(member_id)
        if member is None or member.session is not session:
            return
        is_away = member.current.epoch == LEAVE_FOR_NOW_EPOCH
        if not is_away and self._patience_ms(session) > 0:
            self.watch(group, member_id)
            return
        self._arm(group, member_id, session.max_poll_interval_ms)  # in case it fails now
        if is_away:
            _log.info(
                "group %r: removed static member %r: away for more than %d ms",
                group.group_id,
                member.instance_id,
                self._absence_of(member),
            )
            self._remove(group.group_id, member_id)
            return
        if isinstance(session, RemoteSession):
            _log.info(
                "group %r: removed member %r: %s",
                group.group_id,
                member_id,
                f"not heard of for {session.max_poll_interval_ms:.0f} ms"
                if session.revoke_by_ms == math.inf
                else f"it gave no partitions back for {session.rebalance_timeout_ms:.0f} ms",
            )
            self._remove(group.group_id, member_id)
            return
        what = (
            "removed member" if member.instance_id is None else "from now on away is static member"
        )
        _log.warning(
            "group %r: %s %r: it did not poll for max_poll_interval_ms=%d",
            group.group_id,
            what,
            member.instance_id or member_id,
            session.max_poll_interval_ms,
        )
        if member.instance_id is None:
            self._remove(group.group_id, member_id)
        else:
            self._detach(group, member_id)
        session.notify()

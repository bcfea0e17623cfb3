"""Groups with members of both protocols: the way there and back, and what classic members are told (NGP-5)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamlog.broker.classic.conversion import members_of_classic, to_classic, would_be_classic
from streamlog.broker.classic.mixed_group import (
    check_classic_member,
    check_protocols,
    check_sync,
    check_up_to_date,
    heartbeat_of,
    join_response,
    sync_response,
)
from streamlog.broker.classic.requests import CONSUMER_PROTOCOL
from streamlog.broker.group_records import GroupRecord, GroupType, MemberChanged
from streamlog.broker.static_membership import check_instance
from streamlog.errors import (
    MemberIdRequiredError,
    RebalanceInProgressError,
    StreamlogError,
    UnknownMemberIdError,
)

if TYPE_CHECKING:
    from streamlog.broker.classic.coordinator import ClassicCoordinator
    from streamlog.broker.classic.requests import (
        JoinRequest,
        JoinResponse,
        Reply,
        SyncRequest,
        SyncResponse,
    )
    from streamlog.broker.group import Group
    from streamlog.broker.group_member import GroupMember
    from streamlog.broker.group_membership import Heartbeat, HeartbeatResponse
    from streamlog.broker.member_watch import MemberWatch

_log = logging.getLogger("streamlog")


class ProtocolBridge:
    """The verbs of mixed groups. Threads: whoever holds the coordinator's lock.

    * classic members of a KIP-848 group: `join`, `sync`, `heartbeat`
    * the whole group: `to_consumer`, `to_classic_if_alone`

    *send* carries out a heartbeat and stores what it changes, *store_classic* stores that a group is classic.
    """

    def __init__(
        self,
        classic: ClassicCoordinator,
        watch: MemberWatch,
        send: Callable[[Group, Heartbeat], HeartbeatResponse],
        new_member_id: Callable[[str, str], str],
        store_classic: Callable[[Group, str], None],
    ) -> None:
        self._classic = classic
        self._watch = watch
        self._send = send
        self._new_member_id = new_member_id
        self._store_classic = store_classic

    def join(self, group: Group, request: JoinRequest, reply: Reply[JoinResponse]) -> None:
        """Join, or take the next step; *reply* is given at once.

        Raises `InvalidSessionTimeoutError`, `InconsistentGroupProtocolError`, `MemberIdRequiredError`,
        `FencedInstanceIdError`, and what storing the group's epoch may raise.
        """
        self._classic.check_session_timeout(request)
        check_protocols(group, request)
        member_id = request.member_id
        if member_id == "":
            name = request.instance_id or request.client_id
            member_id = self._new_member_id(group.group_id, name)
            if request.instance_id is None and request.requires_member_id:
                raise MemberIdRequiredError(
                    f"group {group.group_id!r}: join again as {member_id!r}", member_id=member_id
                )
        else:
            check_instance(group, member_id, request.instance_id)
            if request.instance_id is not None and member_id not in group.members:
                raise UnknownMemberIdError(
                    f"group {group.group_id!r}: {request.instance_id!r} is not a member"
                )
        heartbeat = heartbeat_of(
            group, request, member_id
        )  # which is refused before anything changes
        known = group.members.get(member_id)
        if known is not None and known.classic is not None:
            known.classic.update(request)
        response = self._send(group, heartbeat)
        reply.give(join_response(request, response))
        # The last other member may have been a static one, which came back as this.
        self.to_classic_if_alone(group)

    def sync(self, group: Group, request: SyncRequest, reply: Reply[SyncResponse]) -> None:
        """Fetch the assignment. Raises as `check_classic_member` and `check_sync` do."""
        member = check_classic_member(
            group, request.member_id, request.instance_id, request.generation
        )
        try:
            check_sync(group, member, request)
        except RebalanceInProgressError:
            self._watch.heard(group, member.member_id, is_behind=True)
            raise
        self._watch.heard(group, member.member_id)
        reply.give(sync_response(member))

    def heartbeat(
        self, group: Group, member_id: str, instance_id: str | None, generation: int
    ) -> None:
        """Return while another join would change nothing. Raises as `check_classic_member` does, and
        `RebalanceInProgressError`.
        """
        member = check_classic_member(group, member_id, instance_id, generation)
        try:
            check_up_to_date(group, member)
        except RebalanceInProgressError:
            self._watch.heard(group, member_id, is_behind=True)
            raise
        self._watch.heard(group, member_id)

    def to_consumer(self, group: Group, admit: Callable[[Group, GroupMember], None]) -> None:
        """Turn a classic group into a KIP-848 one, with the members it has. Raises `GroupIdNotFoundError`; see `consumer_of`. What *admit*
        raises for one of them leaves all as it is.
        """
        classic = group.classic
        assert classic is not None
        members: list[GroupRecord] = []
        for one in members_of_classic(classic):
            admit(group, one)
            members.append(MemberChanged(group.group_id, one))
        self._classic.give_up(classic)
        group.classic = None
        group.replay_all(members)
        for member_id, member in classic.members.items():
            if member.is_away:
                self._watch.await_return(group, member_id)
            else:
                self._watch.watch(group, member_id)

    def to_classic_if_alone(self, group: Group, without: str = "") -> bool:
        """Turn the group into a classic one if all members but *without*, who leaves, are classic; return
        whether it did.
        """
        if not would_be_classic(group, without):
            return False
        if group.stored_type is not GroupType.CLASSIC:
            try:
                self._store_classic(group, CONSUMER_PROTOCOL)
            except (StreamlogError, OSError) as error:
                # The next generation says it as well, which is tried until it is stored.
                _log.warning(
                    "group %r: not stored yet that it is classic: %s", group.group_id, error
                )
        member_ids = list(group.members)
        group.classic, records = to_classic(group, without)
        group.replay_all(records)
        for member_id in member_ids:
            self._watch.forget(group.group_id, member_id)
        self._classic.take_over(group.classic)
        return True

"""JoinGroup and SyncGroup: the two phases of a rebalance, each answered when the group is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.broker.classic.requests import JoinRequest, Reply, SyncRequest
from streamlog.broker.member_session import RemoteSession
from streamlog.errors import (
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    MemberIdRequiredError,
    StreamlogError,
)
from streamlog.wire.error_codes import NONE, code_of
from streamlog.wire.parked import Parked

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.classic.requests import JoinResponse, SyncResponse
    from streamlog.wire.call import Call
    from streamlog.wire.parked import WakeSignal

#: The version from which a first join is only given an id (KIP-394), and the one from which names may be null.
_MEMBER_ID_REQUIRED, _NULLABLE_NAMES = 4, 7
#: The version from which a sync has to say which protocol its member believes in (KIP-559).
_NAMES_PROTOCOL = 5


class ParkedReply(Parked):
    """An answer of the group coordinator that comes when the other members are ready.

    It is made, and the coordinator asked, in a worker's thread, before the connection knows of it. Whichever of `start` and the answer
    comes second sees the other.
    """

    def __init__(self, call: Call, respond: Callable[[Reply[Any]], Any]) -> None:
        self._clock = call.broker.runtime.clock
        self._respond = respond
        self._signal: WakeSignal | None = None
        self.reply: Reply[Any] = Reply(self._note)

    def _note(self) -> None:
        """Called with the coordinator's lock held."""
        signal = self._signal
        if signal is not None:
            signal.set()

    def start(self, signal: WakeSignal) -> None:
        """Be woken by the answer."""
        self._signal = signal

    def look(self, is_late: bool) -> Any:
        """Return the response once there is an answer; a rebalance has time-outs of its own."""
        return self._respond(self.reply) if self.reply.is_ready else None

    def stop(self) -> None:
        """Let the member's session time-out run from now on, if nobody waits for its answer any more."""
        if not self.reply.is_ready:
            self.reply.abandoned_ms = self._clock.monotonic_ms()


# ---- joining


def handle_join(call: Call) -> Any:
    """Join a group; answered when all of its members have joined, or have not in time."""
    parked = ParkedReply(call, lambda reply: _joined(call, reply))
    try:
        call.broker.group_coordinator.join(_join_request(call), parked.reply)
    except (StreamlogError, OSError) as error:
        return _join_refused(call, error)
    return parked


def _join_request(call: Call) -> JoinRequest:
    request = call.request
    check_group_id(request.group_id)
    session_ms = request.session_timeout_ms
    # Version 0 has one time-out for both.
    rebalance_ms = session_ms if call.version == 0 else max(request.rebalance_timeout_ms, 0)
    return JoinRequest(
        request.group_id,
        request.member_id,
        request.group_instance_id,
        call.client_id,
        session_ms,
        rebalance_ms,
        tuple((one.name, one.metadata) for one in request.protocols),
        RemoteSession(session_ms, rebalance_ms, call.broker.runtime.clock.monotonic_ms()),
        request.protocol_type,
        call.client_host,
        call.version >= _MEMBER_ID_REQUIRED,
        call.settings.initial_rebalance_delay_ms,
    )


def _joined(call: Call, reply: Reply[JoinResponse]) -> Any:
    try:
        joined = reply.take()
    except StreamlogError as error:
        return _join_refused(call, error)
    make = call.response
    leader_id, members = joined.leader_id, joined.members
    if joined.skip_assignment:
        # Of a leader that came back no assignment is wanted: before version 9 it is told that it follows its old self (KIP-814).
        leader_id, members = joined.leader_before, {}
    return make(
        generation_id=joined.generation,
        protocol_type=joined.protocol_type,
        protocol_name=joined.protocol,
        leader=leader_id,
        member_id=joined.member_id,
        members=[
            make.Members(member_id=name, group_instance_id=instance_id, metadata=metadata)
            for name, (instance_id, metadata) in members.items()
        ],
    )


def _join_refused(call: Call, error: Exception) -> Any:
    member_id = call.request.member_id
    if isinstance(error, MemberIdRequiredError):
        member_id = error.member_id
    return call.response(
        error_code=code_of(error),
        protocol_name=None if call.version >= _NULLABLE_NAMES else "",
        member_id=member_id,
    )


# ---- fetching the assignment


def handle_sync(call: Call) -> Any:
    """Bring the assignment, as the leader, and fetch one's own; the others wait for the leader."""
    request = call.request
    parked = ParkedReply(call, lambda reply: _synced(call, reply))
    try:
        check_group_id(request.group_id)
        if call.version >= _NAMES_PROTOCOL and None in (
            request.protocol_type,
            request.protocol_name,
        ):
            raise InconsistentGroupProtocolError(
                f"group {request.group_id!r}: expected protocol type and name, found none"
            )
        call.broker.group_coordinator.sync(
            SyncRequest(
                request.group_id,
                request.member_id,
                request.group_instance_id,
                request.generation_id,
                {one.member_id: one.assignment for one in request.assignments},
                request.protocol_type,
                request.protocol_name,
            ),
            parked.reply,
        )
    except (StreamlogError, OSError) as error:
        return call.response(error_code=code_of(error))
    return parked


def _synced(call: Call, reply: Reply[SyncResponse]) -> Any:
    try:
        synced = reply.take()
    except StreamlogError as error:
        return call.response(error_code=code_of(error))
    return call.response(
        error_code=NONE,
        protocol_type=synced.protocol_type,
        protocol_name=synced.protocol,
        assignment=synced.assignment,
    )


def check_group_id(group_id: str) -> None:
    """Raise `InvalidGroupIdError` for an empty name, which nobody can be a member of."""
    if not group_id:
        raise InvalidGroupIdError("expected the name of a group, found an empty one")

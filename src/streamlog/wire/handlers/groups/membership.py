"""Heartbeat and LeaveGroup: staying in a classic group, and leaving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.errors import StreamlogError
from streamlog.wire.error_codes import NONE, code_of
from streamlog.wire.handlers.groups.rebalance import check_group_id

if TYPE_CHECKING:
    from streamlog.wire.call import Call

#: The version from which several members may leave at once.
_SEVERAL = 3


def handle_heartbeat(call: Call) -> Any:
    """Return while all is well, and an error when the member has to join again."""
    request = call.request
    try:
        check_group_id(request.group_id)
        call.broker.group_coordinator.classic_heartbeat(
            request.group_id,
            request.member_id,
            request.group_instance_id,
            request.generation_id,
        )
    except (StreamlogError, OSError) as error:
        return call.response(error_code=code_of(error))
    return call.response()


def handle_leave(call: Call) -> Any:
    """Remove classic members for good, also static ones; what is wrong with one of several is told for that one."""
    request, make = call.request, call.response
    try:
        check_group_id(request.group_id)
    except StreamlogError as error:
        return make(error_code=code_of(error))
    if call.version < _SEVERAL:
        return make(error_code=_leave(call, request.member_id, None))
    return make(
        members=[
            make.Members(
                member_id=one.member_id,
                group_instance_id=one.group_instance_id,
                error_code=_leave(call, one.member_id, one.group_instance_id),
            )
            for one in request.members
        ]
    )


def _leave(call: Call, member_id: str, instance_id: str | None) -> int:
    try:
        remote = call.broker.group_coordinator.remote
        remote.leave_classic(call.request.group_id, member_id, instance_id)
    except (StreamlogError, OSError) as error:
        return code_of(error)
    return NONE

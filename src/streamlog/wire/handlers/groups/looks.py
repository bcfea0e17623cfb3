"""DescribeGroups, ListGroups and DeleteGroups: groups as those outside see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.errors import GroupIdNotFoundError, StreamlogError
from streamlog.wire.authorized import GROUP, NOT_ASKED
from streamlog.wire.error_codes import NONE, code_of

if TYPE_CHECKING:
    from streamlog.broker.group import GroupState
    from streamlog.wire.call import Call

_CLASSIC, _CONSUMER = "classic", "consumer"


def handle_describe(call: Call) -> Any:
    """Return classic groups with the bytes of their members. One that does not exist, or is under KIP-848, is Dead, as in Kafka."""
    wanted = dict.fromkeys(call.request.groups)  # an answer may be much longer than the name
    return call.response(groups=[_describe(call, group_id) for group_id in wanted])


def _describe(call: Call, group_id: str) -> Any:
    make = call.response.Groups
    operations = GROUP if call.request.include_authorized_operations else NOT_ASKED
    try:
        group = call.broker.group_coordinator.remote.describe_classic(group_id)
    except GroupIdNotFoundError:
        return make(group_id=group_id, group_state="Dead", authorized_operations=operations)
    except (StreamlogError, OSError) as error:
        return make(group_id=group_id, error_code=code_of(error))
    return make(
        group_id=group_id,
        group_state=state_name(group.state),
        protocol_type=group.protocol_type,
        protocol_data=group.protocol,
        members=[
            make.Members(
                member_id=one.member_id,
                group_instance_id=one.instance_id,
                client_id=one.client_id,
                client_host=one.client_host,
                member_metadata=one.metadata,
                member_assignment=one.assignment,
            )
            for one in group.members
        ],
        authorized_operations=operations,
    )


def handle_list(call: Call) -> Any:
    """Return the groups that are in one of the states and of one of the types asked for; none asked for is all."""
    request, make = call.request, call.response
    states = {state.casefold() for state in request.states_filter}
    types = {one.casefold() for one in request.types_filter}
    try:
        groups = call.broker.group_coordinator.remote.list_groups()
    except (StreamlogError, OSError) as error:
        return make(error_code=code_of(error))
    found = []
    for group in groups:
        state = state_name(group.state)
        kind = _CLASSIC if group.is_classic else _CONSUMER
        if (states and state.casefold() not in states) or (types and kind not in types):
            continue
        found.append(
            make.Groups(
                group_id=group.group_id,
                protocol_type=group.protocol_type,
                group_state=state,
                group_type=kind,
            )
        )
    return make(groups=found)


def handle_delete(call: Call) -> Any:
    """Forget groups without members, and what they committed."""
    make = call.response.Results
    results = []
    for group_id in dict.fromkeys(call.request.groups_names):
        code = NONE
        try:
            call.broker.group_coordinator.delete(group_id)
        except (StreamlogError, OSError) as error:
            code = code_of(error)
        results.append(make(group_id=group_id, error_code=code))
    return call.response(results=results)


def state_name(state: GroupState) -> str:
    """Return *state* as Kafka spells it, such as ``PreparingRebalance``."""
    return "".join(word.capitalize() for word in state.value.split("_"))

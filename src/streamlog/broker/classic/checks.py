"""Whether somebody is the member that it says it is."""

from __future__ import annotations

from collections.abc import Mapping

from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import SyncRequest
from streamlog.broker.classic.state import ClassicState
from streamlog.errors import (
    FencedInstanceIdError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    StreamlogError,
    UnknownMemberIdError,
)


def known_member(group: ClassicGroup, member_id: str, instance_id: str | None) -> ClassicMember:
    """Return the member. Raises `UnknownMemberIdError`, and `FencedInstanceIdError` when another has
    its instance id (GRP-11).
    """
    member = group.members.get(member_id)
    if instance_id is not None:
        current = group.static_ids.get(instance_id)
        if current is None:
            member = None
        elif current != member_id:
            raise FencedInstanceIdError(
                f"group {group.group_id!r}: another consumer joined as {instance_id!r}"
            )
    if member is None:
        raise UnknownMemberIdError(
            f"group {group.group_id!r}: {member_id!r} is not a member "
            f"(generation {group.generation})"
        )
    return member


def check_protocol(group: ClassicGroup, request: SyncRequest) -> None:
    """Raise `InconsistentGroupProtocolError` when the member believes in a protocol that is not the group's (KIP-559)."""
    for expected, found in (
        (group.protocol_type, request.protocol_type),
        (group.protocol, request.protocol),
    ):
        if found is not None and found != expected:
            raise InconsistentGroupProtocolError(
                f"group {group.group_id!r}: expected protocol {expected!r}, found {found!r}"
            )


def check_member(
    group: ClassicGroup,
    member_id: str,
    instance_id: str | None,
    generation: int,
    refusals: Mapping[ClassicState, type[StreamlogError]],
) -> ClassicMember:
    """Return the member if it is in the present generation, and the state does not refuse it.

    Raises as `known_member` does, `IllegalGenerationError`, and what *refusals* has for the state.
    """
    member = known_member(group, member_id, instance_id)
    expected = group.generation_of(member)
    if generation != expected:
        raise IllegalGenerationError(
            f"group {group.group_id!r}: expected generation {expected}, found {generation}"
        )
    refusal = refusals.get(group.state)
    if refusal is not None:
        raise refusal(f"group {group.group_id!r} is {group.state.value}")
    return member

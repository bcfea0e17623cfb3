"""Whether somebody may join a group as it says (GRP-6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.requests import JoinRequest
from streamlog.errors import (
    GroupMaxSizeReachedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
)

if TYPE_CHECKING:
    from streamlog.config import BrokerConfig


def check_session_timeout(config: BrokerConfig, request: JoinRequest) -> None:
    """Raise `InvalidSessionTimeoutError` outside the broker's bounds."""
    low, high = config.group_min_session_timeout_ms, config.group_max_session_timeout_ms
    if not low <= request.session_timeout_ms <= high:
        raise InvalidSessionTimeoutError(
            f"group {request.group_id!r}: session_timeout_ms: expected {low} to {high} "
            f"(group_min_session_timeout_ms, group_max_session_timeout_ms), "
            f"found {request.session_timeout_ms}"
        )


def check_protocols(group: ClassicGroup, request: JoinRequest) -> None:
    """Raise `InconsistentGroupProtocolError` unless the other members have the protocol type of the request, and one of its assignors.

    Source: Kafka ``ClassicGroup.supportsProtocols``.
    """
    names = [name for name, _ in request.protocols]
    for what, found in (("a protocol type", request.protocol_type), ("an assignor", names)):
        if not found:
            raise InconsistentGroupProtocolError(
                f"group {request.group_id!r}: expected {what}, found none"
            )
    itself = {request.member_id, group.static_ids.get(request.instance_id or "", "")}
    if group.members.keys() <= itself:
        return
    if request.protocol_type != group.protocol_type:
        raise InconsistentGroupProtocolError(
            f"group {request.group_id!r}: expected protocol type {group.protocol_type!r}, as its "
            f"members have, found {request.protocol_type!r}"
        )
    common = group.common_protocols(itself)
    if not common.intersection(names):
        raise InconsistentGroupProtocolError(
            f"group {request.group_id!r}: expected one of the assignors that all members have, "
            f"{sorted(common)}, found {names}"
        )


def check_size(config: BrokerConfig, group: ClassicGroup) -> None:
    """Raise `GroupMaxSizeReachedError` when there is no room for one more."""
    limit = config.group_max_size
    if len(group.members) >= limit:
        raise GroupMaxSizeReachedError(
            f"group {group.group_id!r}: expected at most group_max_size={limit} members"
        )

"""The states of a classic group, and everything that can happen to one, as a table (GRP-1)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from streamlog.errors import (
    CoordinatorNotAvailableError,
    IllegalStateError,
    RebalanceInProgressError,
    StreamlogError,
    UnknownMemberIdError,
)


class ClassicState(Enum):
    """Source: Kafka ``ClassicGroupState``."""

    EMPTY = "empty"
    """No members; offsets may be there."""
    PREPARING_REBALANCE = "preparing_rebalance"
    """Waiting for all members to join."""
    COMPLETING_REBALANCE = "completing_rebalance"
    """All have joined; waiting for the leader's assignment."""
    STABLE = "stable"
    """Everybody has an assignment."""
    DEAD = "dead"
    """Deleted."""


class ClassicEvent(Enum):
    """What moves a group from one state to another."""

    REBALANCE = "rebalance"
    """Somebody joined, left, or changed its mind."""
    JOINED = "joined"
    """The join phase is over, and there are members."""
    EMPTIED = "emptied"
    """The join phase is over, and there are none."""
    ASSIGNED = "assigned"
    """The leader's assignment has come."""
    DELETED = "deleted"
    """The group is deleted, or becomes one of the other protocol."""


_EMPTY, _PREPARING = ClassicState.EMPTY, ClassicState.PREPARING_REBALANCE
_COMPLETING, _STABLE, _DEAD = (
    ClassicState.COMPLETING_REBALANCE,
    ClassicState.STABLE,
    ClassicState.DEAD,
)

TRANSITIONS: Mapping[tuple[ClassicState, ClassicEvent], ClassicState] = {
    (_EMPTY, ClassicEvent.REBALANCE): _PREPARING,
    (_STABLE, ClassicEvent.REBALANCE): _PREPARING,
    (_COMPLETING, ClassicEvent.REBALANCE): _PREPARING,
    (_PREPARING, ClassicEvent.JOINED): _COMPLETING,
    (_PREPARING, ClassicEvent.EMPTIED): _EMPTY,
    (_COMPLETING, ClassicEvent.ASSIGNED): _STABLE,
    **{(state, ClassicEvent.DELETED): _DEAD for state in ClassicState},
}
"""Every pair that is not here is refused."""

HEARTBEAT_REFUSALS: Mapping[ClassicState, type[StreamlogError]] = {
    _EMPTY: UnknownMemberIdError,
    _PREPARING: RebalanceInProgressError,
    _DEAD: CoordinatorNotAvailableError,
}
"""What a member is told by state (GRP-7); in the others all is well."""

COMMIT_REFUSALS: Mapping[ClassicState, type[StreamlogError]] = {
    _COMPLETING: RebalanceInProgressError,
    _DEAD: CoordinatorNotAvailableError,
}
"""What a member's commit is told (GRP-8). While others are still joining, its generation is current."""

TRANSACTION_REFUSALS: Mapping[ClassicState, type[StreamlogError]] = {
    _DEAD: CoordinatorNotAvailableError
}
"""What it is told in a transaction: those are not kept from committing while assignments are made (GRP-8)."""


def following(state: ClassicState, event: ClassicEvent) -> ClassicState:
    """Return the state after *event*. Raises IllegalStateError for a pair that cannot happen."""
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise IllegalStateError(f"a group that is {state.value} cannot be {event.value}")
    return found

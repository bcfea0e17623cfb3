from __future__ import annotations

from itertools import product

import pytest

from streamlog.broker.classic.state import (
    COMMIT_REFUSALS,
    HEARTBEAT_REFUSALS,
    TRANSITIONS,
    ClassicEvent,
    ClassicState,
    following,
)
from streamlog.errors import (
    CoordinatorNotAvailableError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

S, E = ClassicState, ClassicEvent

ALLOWED = {
    (S.EMPTY, E.REBALANCE): S.PREPARING_REBALANCE,
    (S.STABLE, E.REBALANCE): S.PREPARING_REBALANCE,
    (S.COMPLETING_REBALANCE, E.REBALANCE): S.PREPARING_REBALANCE,
    (S.PREPARING_REBALANCE, E.JOINED): S.COMPLETING_REBALANCE,
    (S.PREPARING_REBALANCE, E.EMPTIED): S.EMPTY,
    (S.COMPLETING_REBALANCE, E.ASSIGNED): S.STABLE,
    (S.EMPTY, E.DELETED): S.DEAD,
    (S.PREPARING_REBALANCE, E.DELETED): S.DEAD,
    (S.COMPLETING_REBALANCE, E.DELETED): S.DEAD,
    (S.STABLE, E.DELETED): S.DEAD,
    (S.DEAD, E.DELETED): S.DEAD,
}


@pytest.mark.parametrize(("state", "event"), list(product(S, E)))
def test_grp_1_every_pair_of_state_and_event_has_an_outcome_or_is_refused(
    state: ClassicState, event: ClassicEvent
) -> None:
    if (state, event) in ALLOWED:
        assert following(state, event) is ALLOWED[state, event]
    else:
        assert (state, event) not in TRANSITIONS
        with pytest.raises(IllegalStateError, match=f"a group that is {state.value} cannot be"):
            following(state, event)


def test_grp_7_heartbeats_are_answered_by_state() -> None:
    assert {
        S.EMPTY: UnknownMemberIdError,
        S.PREPARING_REBALANCE: RebalanceInProgressError,
        S.DEAD: CoordinatorNotAvailableError,
    } == HEARTBEAT_REFUSALS


def test_grp_8_commits_are_answered_by_state() -> None:
    assert {
        S.COMPLETING_REBALANCE: RebalanceInProgressError,
        S.DEAD: CoordinatorNotAvailableError,
    } == COMMIT_REFUSALS

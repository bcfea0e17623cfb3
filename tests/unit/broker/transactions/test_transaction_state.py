from __future__ import annotations

from itertools import product

import pytest

from streamlog.broker.transactions.state import (
    COMMITTED,
    OPEN,
    PREPARED,
    TRANSITIONS,
    TransactionEvent,
    TransactionState,
    following,
)
from streamlog.errors import IllegalStateError

S = TransactionState

# TXN-1, word by word.
PREDECESSORS = {
    S.ONGOING: {S.EMPTY, S.COMPLETE_COMMIT, S.COMPLETE_ABORT, S.ONGOING},
    S.PREPARE_COMMIT: {S.ONGOING},
    S.PREPARE_ABORT: {S.ONGOING, S.PREPARE_EPOCH_FENCE},
    S.COMPLETE_COMMIT: {S.PREPARE_COMMIT},
    S.COMPLETE_ABORT: {S.PREPARE_ABORT},
    S.EMPTY: {S.EMPTY, S.COMPLETE_COMMIT, S.COMPLETE_ABORT},
    S.DEAD: {S.EMPTY, S.COMPLETE_COMMIT, S.COMPLETE_ABORT},
    S.PREPARE_EPOCH_FENCE: {S.ONGOING},
}


@pytest.mark.parametrize("state", TransactionState)
def test_state_is_reached_from_its_legal_predecessors_alone(state: TransactionState) -> None:
    found = {before for (before, _), after in TRANSITIONS.items() if after is state}
    assert found == PREDECESSORS[state]


@pytest.mark.parametrize(("state", "event"), [*product(TransactionState, TransactionEvent)])
def test_pair_that_the_table_lacks_is_refused(
    state: TransactionState, event: TransactionEvent
) -> None:
    if (state, event) in TRANSITIONS:
        assert state in PREDECESSORS[following(state, event)]
    else:
        with pytest.raises(IllegalStateError, match=f"in state {state.value}"):
            following(state, event)


def test_every_state_but_the_first_and_the_last_leads_somewhere() -> None:
    assert {before for before, _ in TRANSITIONS} == set(TransactionState) - {S.DEAD}


def test_what_is_open_is_undecided_and_what_is_prepared_is_decided() -> None:
    assert {S.PREPARE_COMMIT, S.COMPLETE_COMMIT} == COMMITTED
    assert {S.PREPARE_COMMIT, S.PREPARE_ABORT} == PREPARED
    assert {S.ONGOING, S.PREPARE_EPOCH_FENCE} == OPEN

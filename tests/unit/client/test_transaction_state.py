"""The states of a transactional producer: TXN-5."""

from __future__ import annotations

import itertools

import pytest

from streamlog.client.transaction_state import PREDECESSORS, TransactionState, may_follow

S = TransactionState

LEGAL = {
    (S.UNINITIALIZED, S.INITIALIZING),
    (S.ABORTING, S.INITIALIZING),
    (S.INITIALIZING, S.READY),
    (S.COMMITTING, S.READY),
    (S.ABORTING, S.READY),
    (S.READY, S.IN_TRANSACTION),
    (S.IN_TRANSACTION, S.COMMITTING),
    (S.IN_TRANSACTION, S.ABORTING),
    (S.ABORTABLE_ERROR, S.ABORTING),
    (S.IN_TRANSACTION, S.ABORTABLE_ERROR),
    (S.COMMITTING, S.ABORTABLE_ERROR),
    (S.ABORTABLE_ERROR, S.ABORTABLE_ERROR),
    *((state, S.FATAL_ERROR) for state in S),
}


@pytest.mark.parametrize(("state", "target"), list(itertools.product(S, S)))
def test_each_pair_of_states_is_legal_or_not_as_txn_5_says(
    state: TransactionState, target: TransactionState
) -> None:
    assert may_follow(state, target) is ((state, target) in LEGAL)


def test_every_state_has_its_predecessors_in_the_table() -> None:
    assert set(PREDECESSORS) == set(S)


def test_a_fatal_error_is_left_by_no_way() -> None:
    """TXN-5: only close."""
    assert [target for target in S if may_follow(S.FATAL_ERROR, target)] == [S.FATAL_ERROR]


def test_an_abortable_error_is_left_by_aborting_only() -> None:
    """TXN-5: only abort."""
    left = {target for target in S if may_follow(S.ABORTABLE_ERROR, target)}
    assert left == {S.ABORTABLE_ERROR, S.ABORTING, S.FATAL_ERROR}

"""The states of a transactional producer, and which of them may follow which (TXN-5)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class TransactionState(Enum):
    """Where a transactional producer stands. Source: Kafka ``TransactionManager.State``."""

    UNINITIALIZED = "uninitialized"
    """Made, and without a producer id: ``init_transactions`` comes first."""
    INITIALIZING = "initializing"
    """``init_transactions`` is under way, or timed out and is to be called again."""
    READY = "ready"
    """No transaction is open."""
    IN_TRANSACTION = "in transaction"
    """The only state in which records and offsets are taken."""
    COMMITTING = "committing"
    """``commit_transaction`` is under way, or timed out and is to be called again."""
    ABORTING = "aborting"
    """The same for ``abort_transaction``."""
    ABORTABLE_ERROR = "abortable error"
    """Something failed that aborting the transaction cures; nothing else is allowed but to close."""
    FATAL_ERROR = "fatal error"
    """Something failed for good; nothing is allowed but to close."""


_S = TransactionState

PREDECESSORS: Mapping[TransactionState, frozenset[TransactionState]] = MappingProxyType(
    {
        _S.UNINITIALIZED: frozenset(),
        # From ABORTING: the id had expired, and the producer gets another to go on with (TXN-10).
        _S.INITIALIZING: frozenset({_S.UNINITIALIZED, _S.ABORTING}),
        _S.READY: frozenset({_S.INITIALIZING, _S.COMMITTING, _S.ABORTING}),
        _S.IN_TRANSACTION: frozenset({_S.READY}),
        _S.COMMITTING: frozenset({_S.IN_TRANSACTION}),
        _S.ABORTING: frozenset({_S.IN_TRANSACTION, _S.ABORTABLE_ERROR}),
        # Not from ABORTING: what fails meanwhile is being cured already.
        _S.ABORTABLE_ERROR: frozenset({_S.IN_TRANSACTION, _S.COMMITTING, _S.ABORTABLE_ERROR}),
        _S.FATAL_ERROR: frozenset(_S),
    }
)
"""For each state, those it may follow. Source: Kafka ``TransactionManager.State.isTransitionValid``,
without what only idempotent producers without a transaction use.
"""


def may_follow(state: TransactionState, target: TransactionState) -> bool:
    """Return whether a producer in *state* may go on to *target*."""
    return state in PREDECESSORS[target]

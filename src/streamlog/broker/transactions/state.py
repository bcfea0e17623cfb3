"""The states of a transactional id, and everything that can happen to one, as a table (TXN-1)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from streamlog.errors import IllegalStateError


class TransactionState(Enum):
    """What the last transaction of a transactional id is doing. Source: Kafka ``TransactionState``."""

    EMPTY = "empty"
    """A producer took the id and has begun nothing yet."""
    ONGOING = "ongoing"
    """Partitions or offsets belong to it; it is not decided."""
    PREPARE_COMMIT = "prepare_commit"
    """Decided, whatever happens now: markers are being written."""
    PREPARE_ABORT = "prepare_abort"
    """The same for an abort."""
    COMPLETE_COMMIT = "complete_commit"
    """Every partition has its marker."""
    COMPLETE_ABORT = "complete_abort"
    """The same for an abort."""
    DEAD = "dead"
    """Expired: nothing is remembered of the id."""
    PREPARE_EPOCH_FENCE = "prepare_epoch_fence"
    """Its producer is shut out, by a newer one or by the clock; the abort comes next."""


class TransactionEvent(Enum):
    """What moves an id from one state to another."""

    BEGUN = "a partition was added"
    COMMIT = "commit"
    ABORT = "abort"
    FENCED = "its producer was fenced"
    COMPLETED = "all markers written"
    TAKEN = "a producer took the id"
    EXPIRED = "expired"


_SETTLED = (
    TransactionState.EMPTY,
    TransactionState.COMPLETE_COMMIT,
    TransactionState.COMPLETE_ABORT,
)
_ONGOING = TransactionState.ONGOING
_FENCE = TransactionState.PREPARE_EPOCH_FENCE

TRANSITIONS: Mapping[tuple[TransactionState, TransactionEvent], TransactionState] = {
    **{(state, TransactionEvent.BEGUN): _ONGOING for state in (*_SETTLED, _ONGOING)},
    (_ONGOING, TransactionEvent.COMMIT): TransactionState.PREPARE_COMMIT,
    (_ONGOING, TransactionEvent.ABORT): TransactionState.PREPARE_ABORT,
    (_ONGOING, TransactionEvent.FENCED): _FENCE,
    (_FENCE, TransactionEvent.ABORT): TransactionState.PREPARE_ABORT,
    (
        TransactionState.PREPARE_COMMIT,
        TransactionEvent.COMPLETED,
    ): TransactionState.COMPLETE_COMMIT,
    (TransactionState.PREPARE_ABORT, TransactionEvent.COMPLETED): TransactionState.COMPLETE_ABORT,
    **{(state, TransactionEvent.TAKEN): TransactionState.EMPTY for state in _SETTLED},
    **{(state, TransactionEvent.EXPIRED): TransactionState.DEAD for state in _SETTLED},
}
"""Every pair that is not here is refused."""

COMMITTED = frozenset({TransactionState.PREPARE_COMMIT, TransactionState.COMPLETE_COMMIT})
"""Decided for good, as a commit."""
PREPARED = frozenset({TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT})
"""Decided, and some markers may be missing."""
OPEN = frozenset({_ONGOING, _FENCE})
"""Not decided: the clock may abort it (TXN-12)."""


def following(state: TransactionState, event: TransactionEvent) -> TransactionState:
    """Return the state after *event*. Raises IllegalStateError for a pair that cannot happen."""
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise IllegalStateError(
            f"a transaction in state {state.value} cannot go on by: {event.value}"
        )
    return found

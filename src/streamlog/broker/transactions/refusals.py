"""Why a producer gets no for an answer: the errors of the coordinator, in words (TXN-10)."""

from __future__ import annotations

from streamlog.broker.transactions.transaction import Transaction
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidProducerIdMappingError,
    ProducerFencedError,
)
from streamlog.structs import ProducerIdAndEpoch

FENCED_HINT = "a newer producer has the id, or the transaction timed out"


def named(transaction: Transaction) -> str:
    """Return how messages name the id and who has it."""
    return (
        f"transactional id {transaction.transactional_id!r}, producer "
        f"{transaction.producer.producer_id}"
    )


def concurrent(transaction: Transaction) -> ConcurrentTransactionsError:
    """Return the error of one who has to come again."""
    return ConcurrentTransactionsError(
        f"transactional id {transaction.transactional_id!r}: a transaction of it is being completed; "
        "try again"
    )


def fenced(
    transaction: Transaction, caller: ProducerIdAndEpoch
) -> ProducerFencedError | InvalidProducerIdMappingError:
    """Return the error of *caller*, who has not, or not any more, what the transaction is to use."""
    expected, ended = transaction.producer, transaction.ended
    if caller.producer_id != expected.producer_id and (
        ended is None or caller.producer_id != ended.producer_id
    ):
        return InvalidProducerIdMappingError(
            f"transactional id {transaction.transactional_id!r}: expected producer id "
            f"{expected.producer_id}, found {caller.producer_id}"
        )
    return ProducerFencedError(
        f"transactional id {transaction.transactional_id!r}, producer {caller.producer_id}: expected "
        f"epoch {expected.producer_epoch}, found {caller.producer_epoch}: {FENCED_HINT}"
    )


def lost(transaction: Transaction) -> InvalidProducerIdMappingError:
    """Return the error of a producer whose transaction was open when the broker ended."""
    return InvalidProducerIdMappingError(
        f"{named(transaction)}: the broker ended while a transaction may have been open, which was "
        "aborted: abort it, and begin another"
    )

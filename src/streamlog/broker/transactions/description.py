"""What is told about transactions to those outside of them."""

from __future__ import annotations

import attrs

from streamlog.broker.transactions.state import OPEN, PREPARED, TransactionState
from streamlog.broker.transactions.transaction import Transaction
from streamlog.structs import TopicPartition


@attrs.frozen
class TransactionListing:
    """One line of a list of transactional ids. Source: Kafka ``TransactionListing``."""

    transactional_id: str
    producer_id: int
    state: TransactionState


@attrs.frozen
class TransactionDescription:
    """A transactional id at one moment: later changes do not show. Source: Kafka
    ``TransactionDescription``.
    """

    transactional_id: str
    state: TransactionState
    producer_id: int
    """Of the transaction that is open or being completed, or else of the next one."""
    producer_epoch: int
    transaction_timeout_ms: int
    transaction_start_time_ms: int | None
    """When the first partition was added (wall clock); None unless a transaction is open, in this process."""
    topic_partitions: tuple[TopicPartition, ...]
    """Where it wrote, sorted; none unless a transaction is open or being completed. Partitions of
    ``__consumer_offsets`` stand for the offsets that were sent to it.
    """


def list_transaction(transaction: Transaction) -> TransactionListing:
    """Return the id in a line."""
    return TransactionListing(
        transaction.transactional_id, transaction.producer.producer_id, transaction.state
    )


def describe_transaction(transaction: Transaction) -> TransactionDescription:
    """Return everything about the id."""
    is_open = transaction.state in OPEN
    has_partitions = is_open or transaction.state in PREPARED
    return TransactionDescription(
        transaction.transactional_id,
        transaction.state,
        transaction.producer.producer_id,
        transaction.producer.producer_epoch,
        transaction.timeout_ms,
        transaction.started_ms if is_open else None,
        tuple(sorted(transaction.partitions)) if has_partitions else (),
    )

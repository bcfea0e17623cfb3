"""What can go wrong between an idempotent or transactional producer and its broker."""

from __future__ import annotations

from streamlog.errors.general import RetriableError, StreamlogError


class OutOfOrderSequenceError(StreamlogError):
    """A batch does not continue its producer's sequence in the partition (IDM-3): one before it is
    missing. Not retriable by the caller: an idempotent producer takes a new epoch and sends it again by
    itself (IDM-6); in a transaction, abort it.
    """

    code = 45


class DuplicateSequenceError(StreamlogError):
    """A batch was stored already, too long ago for its offset to be known (IDM-3). Not retriable, and
    there is no need to: the records are in the log.
    """

    code = 46


class InvalidProducerEpochError(StreamlogError):
    """A batch carries an epoch that its producer id has left behind (IDM-4). Not retriable: abort the
    transaction; if `ProducerFencedError` follows, close the producer.
    """

    code = 47


class InvalidTxnStateError(StreamlogError):
    """The request does not fit the state its transaction is in, such as a write outside of it (IDM-8,
    TXN-8). Not retriable: close the producer; its open transaction is aborted when it times out or when a
    new producer takes the id.
    """

    code = 48


class InvalidProducerIdMappingError(StreamlogError):
    """The transactional id no longer has the producer id of the request: it expired, or another
    producer got it (TXN-10). Not retriable: abort the transaction, or make a new producer.
    """

    code = 49


class InvalidTxnTimeoutError(StreamlogError, ValueError):
    """``transaction_timeout_ms`` is not above 0, or above the broker's ``transaction_max_timeout_ms``
    (TXN-3). Not retriable: configure another.
    """

    code = 50


class ConcurrentTransactionsError(RetriableError):
    """The id's last transaction is still being completed (TXN-3, TXN-8). Retriable: after a pause,
    which the producer makes by itself up to ``max_block_ms``.
    """

    code = 51


class TransactionCoordinatorFencedError(StreamlogError):
    """A marker came from a transaction coordinator that a later one has replaced. Not retriable: the later
    one writes it.
    """

    code = 52


class UnknownProducerIdError(OutOfOrderSequenceError):
    """The partition remembers nothing of the producer, where a batch says it had written before
    (IDM-5). Not retriable by the caller: handled as `OutOfOrderSequenceError` is.
    """

    code = 59


class UnstableOffsetCommitError(RetriableError):
    """Offsets of the group were sent to a transaction that is not decided yet, and the caller wants stable
    ones. Retriable: when that transaction is committed or aborted.
    """

    code = 88


class ProducerFencedError(StreamlogError):
    """A newer producer with the same ``transactional_id`` has taken over, or the transaction timed out
    and was aborted (TXN-12, TXN-16). Not retriable: close this producer.
    """

    code = 90


class TransactionalIdNotFoundError(StreamlogError):
    """No transaction coordinator knows the transactional id. Not retriable: check the name with
    ``list_transactions``; an id that nobody uses expires.
    """

    code = 105


class TransactionAbortableError(StreamlogError):
    """Something went wrong in the transaction that aborting it cures (KIP-890). Not retriable as it is:
    ``abort_transaction``, then begin again.
    """

    code = 120


class TransactionAbortedError(StreamlogError):
    """The record was still waiting in the producer when its transaction was aborted, and was not
    sent (TXN-6). Not retriable as it is: send it in the next transaction.
    """


class UnsupportedCompressionTypeError(StreamlogError, ValueError):
    """A batch is compressed with a codec that is unknown, or whose library is not installed. Not
    retriable: the message names what to install.
    """

    code = 76

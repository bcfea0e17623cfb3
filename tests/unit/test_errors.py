"""The error classes: codes and parents as Kafka has them, data that survives pickle and copy."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from streamlog import errors
from streamlog.errors import (
    AlreadyOpenError,
    BufferExhaustedError,
    ClosedError,
    CorruptLogError,
    CorruptRecordError,
    DataLossError,
    DiskFullError,
    DurabilityError,
    IllegalStateError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordDecodeError,
    RetriableError,
    StorageError,
    StreamlogError,
    StreamlogTimeoutError,
)
from streamlog.structs import TopicPartition

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, StreamlogError)
]

# Kafka's protocol/Errors.java, as semantics C15 lists them.
CODES = {
    "OffsetOutOfRangeError": 1,
    "CorruptRecordError": 2,
    "UnknownTopicOrPartitionError": 3,
    "NotLeaderOrFollowerError": 6,
    "StreamlogTimeoutError": 7,
    "MessageTooLargeError": 10,
    "RecordTooLargeError": 10,
    "OffsetMetadataTooLargeError": 12,
    "CoordinatorNotAvailableError": 15,
    "InvalidTopicError": 17,
    "RecordBatchTooLargeError": 18,
    "IllegalGenerationError": 22,
    "InconsistentGroupProtocolError": 23,
    "InvalidGroupIdError": 24,
    "UnknownMemberIdError": 25,
    "InvalidSessionTimeoutError": 26,
    "RebalanceInProgressError": 27,
    "InvalidTimestampError": 32,
    "TopicAlreadyExistsError": 36,
    "InvalidPartitionsError": 37,
    "InvalidReplicationFactorError": 38,
    "InvalidConfigurationError": 40,
    "InvalidRequestError": 42,
    "PolicyViolationError": 44,
    "OutOfOrderSequenceError": 45,
    "DuplicateSequenceError": 46,
    "InvalidProducerEpochError": 47,
    "InvalidTxnStateError": 48,
    "InvalidProducerIdMappingError": 49,
    "InvalidTxnTimeoutError": 50,
    "ConcurrentTransactionsError": 51,
    "TransactionCoordinatorFencedError": 52,
    "StorageError": 56,
    "UnknownProducerIdError": 59,
    "GroupNotEmptyError": 68,
    "GroupIdNotFoundError": 69,
    "UnsupportedCompressionTypeError": 76,
    "MemberIdRequiredError": 79,
    "GroupMaxSizeReachedError": 81,
    "FencedInstanceIdError": 82,
    "GroupSubscribedToTopicError": 86,
    "InvalidRecordError": 87,
    "UnstableOffsetCommitError": 88,
    "ProducerFencedError": 90,
    "TransactionalIdNotFoundError": 105,
    "FencedMemberEpochError": 110,
    "UnreleasedInstanceIdError": 111,
    "StaleMemberEpochError": 113,
    "TransactionAbortableError": 120,
}

RETRIABLE = {
    "BufferExhaustedError",
    "ConcurrentTransactionsError",
    "CoordinatorNotAvailableError",
    "CorruptRecordError",
    "DiskFullError",
    "NotLeaderOrFollowerError",
    "RetriableCommitFailedError",
    "RetriableError",
    "StreamlogTimeoutError",
    "UnknownTopicOrPartitionError",
    "UnstableOffsetCommitError",
}

BUILT_IN_PARENTS = {
    ValueError: {
        *("InvalidConfigurationError", "InvalidRequestError", "SerializationError"),
        *("RecordDecodeError", "InvalidRecordError", "InvalidTimestampError"),
        *("RecordTooLargeError", "MessageTooLargeError", "RecordBatchTooLargeError"),
        *("InvalidTopicError", "InvalidPartitionsError", "InvalidReplicationFactorError"),
        *("InvalidGroupIdError", "OffsetMetadataTooLargeError"),
        *("InconsistentGroupProtocolError", "InvalidSessionTimeoutError"),
        *("InvalidTxnTimeoutError", "UnsupportedCompressionTypeError"),
    },
    LookupError: {
        *("UnknownTopicOrPartitionError", "NoOffsetForPartitionError", "NoNodeError"),
        *("OffsetOutOfRangeError", "LogTruncationError"),
    },
    IndexError: {"OffsetOutOfRangeError", "LogTruncationError"},
    TimeoutError: {"StreamlogTimeoutError", "BufferExhaustedError"},
    OSError: {
        *("StorageError", "AlreadyOpenError", "DiskFullError", "DurabilityError"),
        *("StreamlogTimeoutError", "BufferExhaustedError"),
    },
    RuntimeError: {
        *("IllegalStateError", "ClosedError", "ReadOnlyError", "ForkedError"),
        *("ConcurrentModificationError", "DeadlockError"),
    },
}

DAMAGE = {
    "topic_partition": TopicPartition("orders", 3),
    "first_bad_offset": 5,
    "next_good_offset": None,
    "file": "orders-3/00.log",
    "position": 80,
}
REQUIRED: dict[type[StreamlogError], dict[str, Any]] = {
    AlreadyOpenError: {"path": "data"},
    CorruptLogError: DAMAGE,
    DataLossError: DAMAGE,
}


def made(cls: type[StreamlogError], **data: Any) -> StreamlogError:
    return cls("orders-3: it went wrong", **{**REQUIRED.get(cls, {}), **data})


def test_codes_are_those_of_kafka() -> None:
    """C15."""
    assert {cls.__name__: cls.code for cls in CLASSES if cls.code is not None} == CODES


def test_exactly_these_may_be_retried() -> None:
    """C15; damage on disk and failed syncs are not among them."""
    assert {cls.__name__ for cls in CLASSES if issubclass(cls, RetriableError)} == RETRIABLE


@pytest.mark.parametrize("parent", BUILT_IN_PARENTS)
def test_the_nearest_built_in_is_a_parent(parent: type[Exception]) -> None:
    found = {cls.__name__ for cls in CLASSES if issubclass(cls, parent)}
    assert found == BUILT_IN_PARENTS[parent]


def test_kafkas_hierarchy_is_kept() -> None:
    """C15: BufferExhausted is a Timeout, LogTruncation an OffsetOutOfRange, UnknownProducerId an
    OutOfOrderSequence.
    """
    assert issubclass(BufferExhaustedError, StreamlogTimeoutError)
    assert issubclass(LogTruncationError, OffsetOutOfRangeError)
    assert issubclass(errors.UnknownProducerIdError, errors.OutOfOrderSequenceError)
    assert issubclass(DataLossError, CorruptLogError)
    assert issubclass(ClosedError, IllegalStateError)
    assert not issubclass(CorruptLogError, CorruptRecordError)
    assert not issubclass(CorruptLogError, OSError)


@pytest.mark.parametrize("cls", CLASSES)
def test_names_end_in_error_and_the_docstring_says_whether_to_retry(
    cls: type[StreamlogError],
) -> None:
    assert cls.__name__.endswith("Error")
    text = " ".join(cls.__dict__["__doc__"].split()).lower()
    if cls not in (StreamlogError, RetriableError, errors.WakeupError):
        assert "retriable" in text
        assert ("not retriable" in text) != issubclass(cls, RetriableError)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_every_error_survives_copy_and_pickle(cls: type[StreamlogError], clone: Any) -> None:
    error = made(cls)
    other = clone(error)
    assert type(other) is cls
    assert str(other) == str(error) == "orders-3: it went wrong"
    assert other.args == error.args
    assert vars(other) == vars(error)


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (
            RecordDecodeError("m", topic_partition=TopicPartition("t", 0), offset=0, origin="key"),
            (),
        ),
        (OffsetOutOfRangeError("m", offsets={TopicPartition("t", 0): 0}), ()),
        (NoOffsetForPartitionError("m", partitions=[TopicPartition("t", 0)]), ()),
        (made(CorruptLogError, next_good_offset=9), ()),
        (AlreadyOpenError("m", path="data", pid=1, since="2024-01-01T00:00:00Z"), ()),
        (DiskFullError("m", errno=28), ("errno",)),
        (StorageError("m", errno=5), ("errno",)),
        (DurabilityError("m", errno=5), ("errno",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_data_survives_pickle(error: StreamlogError, names: tuple[str, ...]) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert vars(other) == vars(error)
    for name in names:
        assert getattr(other, name) == getattr(error, name) != None  # noqa: E711


def test_an_error_number_does_not_change_the_message() -> None:
    assert str(DiskFullError("orders-3: no room for 100 bytes", errno=28)).startswith("orders-3")


def test_offsets_are_a_copy_and_partitions_are_sorted() -> None:
    offsets = {TopicPartition("t", 1): 0}
    error = OffsetOutOfRangeError("m", offsets=offsets)
    offsets.clear()
    assert error.offsets == {TopicPartition("t", 1): 0}
    unsorted = [TopicPartition("t", 2), TopicPartition("a", 9), TopicPartition("t", 1)]
    assert NoOffsetForPartitionError("m", partitions=unsorted).partitions == tuple(sorted(unsorted))


def test_a_failed_sync_has_an_unknown_outcome() -> None:
    assert DurabilityError("m").outcome == "unknown"

"""``__transaction_state``: what the coordinator remembers, as ordinary records of an ordinary topic.

The topic is internal and compacted by key, so that the last record of a key is the state. It is created
when a producer first takes a transactional id, with ``transaction_state_log_num_partitions`` partitions;
all records of an id are in one partition, found as that of a group is (TXN-2).

Keys and values are msgpack arrays in which nothing is nested:

===================  =================  ================================================================
record               key                value
===================  =================  ================================================================
transaction          ``[0, id]``        ``[2, state, producer_id, producer_epoch, ended_producer_id,
                                        ended_producer_epoch, timeout_ms, updated_ms, flags, topic,
                                        topic_id, partition, end_offset, partition, end_offset, ...,
                                        topic, topic_id, partition, end_offset, ...]``
===================  =================  ================================================================

Version 3 is written while markers of earlier transactions are owed: behind ``flags`` it has their number,
and for each of them ``topic, topic_id, partition, end_offset, producer_id, producer_epoch``. Version 1 had
no ``flags``, no ``topic_id`` and no ``end_offset``; it is read.

``state`` has Kafka's numbers: 0 empty, 2 prepare commit, 3 prepare abort, 4 complete commit, 5 complete
abort. ``producer_id`` and ``producer_epoch`` are those that the next transaction is to use; ``ended_...``
those that the transaction's batches carry, nil when there is none or its producer was fenced.
``updated_ms`` is the wall clock. A null value forgets the id. ``end_offset`` is where the log of the
partition, in a topic of that id, ended just before the transaction was decided as a commit; -1 and nil
where that is not known. Owed is the marker of a transaction that was committed, in a partition that
could not be written or synced any more when something else took the place of the transaction's record.

What is ongoing is not stored: its producer lives in this process and ends with it, and that it left
something open is told by the partitions themselves. A producer in another process, which announces its
partitions, may live longer: that the id has one is the flag 1; the flag 2 says that a transaction of it
has begun behind the one that the record is about. Reading is strict, as in `offsets_topic`. Source:
Kafka ``TransactionLog``, ``TransactionLogKey.json``, ``TransactionLogValue.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgpack

from streamlog.broker.partition import Partition
from streamlog.broker.stored_arrays import (
    check_types,
    check_version,
    decode_records,
    read_batches,
    unpack_fields,
    unpack_long,
)
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.state import TransactionState
from streamlog.record import BatchView
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

TRANSACTION_KEY = 0
TRANSACTION_VERSION = 3
"""The newest. What owes no marker is written as version 2."""
_ANNOUNCES, _HAS_BEGUN = 1, 2

_STATE_NUMBERS = {
    TransactionState.EMPTY: 0,
    TransactionState.PREPARE_COMMIT: 2,
    TransactionState.PREPARE_ABORT: 3,
    TransactionState.COMPLETE_COMMIT: 4,
    TransactionState.COMPLETE_ABORT: 5,
}
_STATES = {number: state for state, number in _STATE_NUMBERS.items()}
_OPTIONAL_INT = int, type(None)
_FIXED_FIELDS = int, int, int, int, _OPTIONAL_INT, _OPTIONAL_INT, int, int

_FIRST_VERSION, _VERSION_WITHOUT_OWED = 1, 2
_OWED_FIELDS = str, (str, type(None)), int, int, int, int
_NO_OFFSET = -1
_NOTHING = object()

_pack = msgpack.Packer(autoreset=True).pack


class LogEnd(NamedTuple):
    """Where the log of a partition ended when a transaction was decided."""

    topic_id: str
    """Another topic of the same name has another one."""
    offset: int


class CommitMarker(NamedTuple):
    """What the partition of a transaction that was committed has to get, and may not have on disk yet."""

    producer: ProducerIdAndEpoch
    """Those on the transaction's batches."""
    end: LogEnd | None
    """None where it is not known."""


class TransactionRecord(NamedTuple):
    """Everything that outlives the process of one transactional id."""

    transactional_id: str
    state: TransactionState
    producer: ProducerIdAndEpoch
    """What the next transaction is to use."""
    ended: ProducerIdAndEpoch | None
    """What the transaction that ended used; None when there was none, or its producer was fenced."""
    timeout_ms: int
    updated_ms: int
    partitions: tuple[TopicPartition, ...]
    """Those that get a marker, or got one; none while the state is empty."""
    ends: tuple[LogEnd | None, ...] = ()
    """One for each of them, None where it is not known; none at all where none is."""
    announces: bool = False
    """Whether the producer announces its partitions, and keeps its epoch (see `Transaction.announces`)."""
    has_begun: bool = False
    """Whether its next transaction has begun."""
    owed: tuple[tuple[TopicPartition, CommitMarker], ...] = ()
    """The markers that transactions before this one owe."""


class TransactionTombstone(NamedTuple):
    """The id expired: who comes with it again gets a new producer id."""

    transactional_id: str


StoredTransaction = TransactionRecord | TransactionTombstone


def encode_transaction(record: StoredTransaction) -> tuple[bytes, bytes | None]:
    """Return key and value of *record* as they are stored.

    Threads: whoever holds the coordinator's lock (the packer is shared).
    """
    key = _pack((TRANSACTION_KEY, record.transactional_id))
    if isinstance(record, TransactionTombstone):
        return key, None
    version = TRANSACTION_VERSION if record.owed else _VERSION_WITHOUT_OWED
    fields: list[object] = [version, _STATE_NUMBERS[record.state], *record.producer]
    fields += record.ended or (None, None)
    fields += record.timeout_ms, record.updated_ms
    fields.append(_ANNOUNCES * record.announces | _HAS_BEGUN * record.has_begun)
    if record.owed:
        fields.append(len(record.owed))
        for (topic, number), (producer, end) in record.owed:
            topic_id, end_offset = end or (None, _NO_OFFSET)
            fields += topic, topic_id, number, end_offset, *producer
    fields += _flat(record.partitions, record.ends or (None,) * len(record.partitions))
    return key, _pack(fields)


def decode_transaction(key: bytes | None, value: bytes | None) -> StoredTransaction | None:
    """Return what *key* and *value* say, None for a kind that this version does not know.

    Raises `UnsupportedFormatError` for a newer layout, ValueError for anything that
    `encode_transaction` cannot have written. Total: no other exception, whatever the bytes.
    """
    found = unpack_fields(key)
    if found[:1] != [TRANSACTION_KEY] or type(found[0]) is not int:
        if found and type(found[0]) is int:
            return None
        raise ValueError(f"expected a key that starts with its kind, found {found!r:.100}")
    _, transactional_id = check_types(found, (int, str))
    if value is None:
        return TransactionTombstone(transactional_id)
    fields = unpack_long(value)
    is_first = fields[:1] == [_FIRST_VERSION] and type(fields[0]) is int
    if not is_first:
        check_version(TRANSACTION_STATE_TOPIC, fields, TRANSACTION_VERSION)
    fixed, rest = fields[: len(_FIXED_FIELDS)], fields[len(_FIXED_FIELDS) :]
    flags = 0
    if not is_first:
        (flags,), rest = check_types(rest[:1], (int,)), rest[1:]
        if not 0 <= flags <= _ANNOUNCES | _HAS_BEGUN:
            raise ValueError(f"expected flags from 0 to {_ANNOUNCES | _HAS_BEGUN}, found {flags}")
    owed: tuple[tuple[TopicPartition, CommitMarker], ...] = ()
    if fields[0] == TRANSACTION_VERSION:
        (count,), rest = check_types(rest[:1], (int,)), rest[1:]
        width = len(_OWED_FIELDS)
        if not 0 < count <= len(rest) // width:
            raise ValueError(
                f"expected from 1 to {len(rest) // width} markers that are owed, found {count}"
            )
        owed = tuple(_owed(rest[start : start + width]) for start in range(0, count * width, width))
        rest = rest[count * width :]
    _, number, producer_id, epoch, ended_id, ended_epoch, timeout_ms, updated_ms = check_types(
        fixed, _FIXED_FIELDS
    )
    state = _STATES.get(number)
    if state is None:
        raise ValueError(f"expected a state from {sorted(_STATES)}, found {number}")
    if (ended_id is None) is not (ended_epoch is None):
        raise ValueError(f"expected an id with an epoch, found {ended_id} and {ended_epoch}")
    ended = None if ended_id is None else ProducerIdAndEpoch(ended_id, ended_epoch)
    found_partitions = list(_partitions(rest) if is_first else _partitions_and_ends(rest))
    ends = tuple(end for _, end in found_partitions)
    return TransactionRecord(
        transactional_id,
        state,
        ProducerIdAndEpoch(producer_id, epoch),
        ended,
        timeout_ms,
        updated_ms,
        tuple(topic_partition for topic_partition, _ in found_partitions),
        ends if any(ends) else (),
        bool(flags & _ANNOUNCES),
        bool(flags & _HAS_BEGUN),
        owed,
    )


def read_transactions(
    partition: Partition, start_offset: int = 0, end_offset: int | None = None
) -> Iterator[tuple[int, StoredTransaction]]:
    """Yield the records of one partition of the topic in order, those from *start_offset* to *end_offset* (None: the end now), each
    with the leader epoch it was written in. Raises `CorruptLogError` naming partition and offset for anything it cannot read.
    """
    return read_batches(
        partition, _decode_batch, "a record of a transaction", start_offset, end_offset
    )


def _decode_batch(batch: BatchView, start: int) -> Iterator[tuple[int, StoredTransaction]]:
    if not batch.is_control:
        records: Iterator[StoredTransaction] = decode_records(
            TRANSACTION_STATE_TOPIC, batch, start, decode_transaction
        )
        for record in records:
            yield batch.leader_epoch, record


def _flat(
    partitions: Iterable[TopicPartition], ends: Iterable[LogEnd | None]
) -> Iterator[str | int | None]:
    named = None
    for (topic, number), end in zip(partitions, ends, strict=True):
        topic_id, end_offset = end or (None, _NO_OFFSET)
        if (topic, topic_id) != named:
            named = topic, topic_id
            yield topic
            yield topic_id
        yield number
        yield end_offset


def _partitions_and_ends(
    fields: Iterable[object],
) -> Iterator[tuple[TopicPartition, LogEnd | None]]:
    topic: str | None = None
    topic_id: str | None = None
    rest = iter(fields)
    for field in rest:
        following = next(rest, _NOTHING)
        if isinstance(field, str) and (following is None or isinstance(following, str)):
            topic, topic_id = field, following
            continue
        if (
            topic is None
            or type(field) is not int
            or field < 0
            or type(following) is not int
            or (following < 0 if topic_id is not None else following != _NO_OFFSET)
        ):
            raise ValueError(
                f"expected a topic and its id, or a partition of {topic!r} and an offset, found "
                f"{field!r:.100} and {following!r:.100}"
            )
        end = None if topic_id is None else LogEnd(topic_id, following)
        yield TopicPartition(topic, field), end


def _owed(fields: list[Any]) -> tuple[TopicPartition, CommitMarker]:
    topic, topic_id, number, end_offset, producer_id, epoch = check_types(fields, _OWED_FIELDS)
    if number < 0 or (end_offset < 0 if topic_id is not None else end_offset != _NO_OFFSET):
        raise ValueError(
            f"expected a partition of {topic!r} and an offset, found {number} and {end_offset}"
        )
    end = None if topic_id is None else LogEnd(topic_id, end_offset)
    return (
        TopicPartition(topic, number),
        CommitMarker(ProducerIdAndEpoch(producer_id, epoch), end),
    )


def _partitions(fields: Iterable[object]) -> Iterator[tuple[TopicPartition, None]]:
    """Read those of version 1."""
    topic = None
    for field in fields:
        if isinstance(field, str):
            topic = field
        elif topic is None or type(field) is not int or field < 0:
            raise ValueError(f"expected a topic or a partition of {topic!r}, found {field!r:.100}")
        else:
            yield TopicPartition(topic, field), None

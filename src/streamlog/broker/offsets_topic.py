"""``__consumer_offsets``: what groups remember, as ordinary records of an ordinary topic.

The topic is internal and compacted by key, so that the last record of a key is the state. It is
created when a group first joins or commits, with ``offsets_topic_num_partitions`` partitions; all
records of a group are in partition `partition_for_group` (GRP-1).

Keys and values are msgpack arrays. The first element of a key says what it is about and how its
key is laid out, with Kafka's numbers; the first element of a value is the version of its layout.

===================  ==============================  ==============================================================
record               key                             value
===================  ==============================  ==============================================================
committed offset     ``[1, group, topic, partition]``  ``[1, offset, leader_epoch, metadata, commit_timestamp_ms, topic_id]``
group epoch          ``[3, group]``                  ``[3, epoch, empty_since_ms, type, protocol_type]``
===================  ==============================  ==============================================================

``offset`` is the next one to read; ``leader_epoch`` is nil when unknown; ``topic_id`` tells a topic
from one deleted before under the same name; ``empty_since_ms`` is when the last member left, nil while
there are members; ``type`` is ``"classic"`` or ``"consumer"`` and ``protocol_type`` what the members of a classic group
say that they are (version 1 of that value ended after ``epoch``, version 2 before ``type``, and is written still where the type
is not known). Both are in one record, so that they change together, whichever protocol follows the other. A null value forgets the key. One commit
is one batch, hence atomic (REC-8). Offsets that were sent to a transaction are in a batch of that
transaction, and count once its COMMIT marker follows (TXN-7). Record timestamps are the broker's wall clock.

Reading is strict: a key of a kind not listed here was written by a newer version and is skipped
with a warning, as Kafka does; a newer value layout of a listed kind is `UnsupportedFormatError`;
anything else is damage and raises `CorruptLogError`. Members are not stored: they end with the process.

Source: Kafka ``GroupCoordinatorRecordSerde``, ``OffsetCommitKey.json``, ``ConsumerGroupMetadataKey.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from streamlog.broker.group_records import (
    GroupEpoch,
    GroupTombstone,
    GroupType,
    OffsetCommit,
    OffsetTombstone,
    PendingCommit,
    StoredRecord,
    TransactionalRecord,
    TransactionCompleted,
)
from streamlog.broker.partition import Partition
from streamlog.broker.stored_arrays import (
    Layouts,
    check_types,
    check_version,
    decode_records,
    read_batches,
    unpack_fields,
)
from streamlog.record import BatchView
from streamlog.record.control import ControlType, read_marker
from streamlog.structs import TopicPartition

OFFSETS_TOPIC = "__consumer_offsets"

OFFSET_COMMIT_KEY = 1
GROUP_EPOCH_KEY = 3
OFFSET_COMMIT_VERSION = 1
GROUP_EPOCH_VERSION = 3
UNTYPED_EPOCH_VERSION = 2

_OPTIONAL_INT = int, type(None)
_OFFSET_COMMIT_LAYOUTS: Layouts = ((int, int, _OPTIONAL_INT, str, int, str),)
_GROUP_EPOCH_LAYOUTS: Layouts = (
    (int, int),
    (int, int, _OPTIONAL_INT),
    (int, int, _OPTIONAL_INT, str, str),
)
"""The types of the fields, from version 1 on."""

_pack = msgpack.Packer(autoreset=True).pack


def encode_record(record: StoredRecord) -> tuple[bytes, bytes | None]:
    """Return key and value of *record* as they are stored.

    Threads: whoever holds the coordinator's lock (the packer is shared).
    """
    if isinstance(record, OffsetCommit):
        topic, partition = record.topic_partition
        return (
            _pack((OFFSET_COMMIT_KEY, record.group_id, topic, partition)),
            _pack(
                (
                    OFFSET_COMMIT_VERSION,
                    record.offset,
                    record.leader_epoch,
                    record.metadata,
                    record.commit_timestamp_ms,
                    record.topic_id,
                )
            ),
        )
    if isinstance(record, OffsetTombstone):
        topic, partition = record.topic_partition
        return _pack((OFFSET_COMMIT_KEY, record.group_id, topic, partition)), None
    key = _pack((GROUP_EPOCH_KEY, record.group_id))
    if isinstance(record, GroupTombstone):
        return key, None
    if record.group_type is None:
        return key, _pack((UNTYPED_EPOCH_VERSION, record.epoch, record.empty_since_ms))
    return key, _pack(
        (
            GROUP_EPOCH_VERSION,
            record.epoch,
            record.empty_since_ms,
            record.group_type.value,
            record.protocol_type,
        )
    )


def decode_record(key: bytes | None, value: bytes | None) -> StoredRecord | None:
    """Return what *key* and *value* say, None for a kind that this version does not know.

    Raises `UnsupportedFormatError` for a newer layout, ValueError for anything that `encode_record`
    cannot have written. Total: no other exception, whatever the bytes.
    """
    fields = unpack_fields(key)
    if fields[:1] == [OFFSET_COMMIT_KEY]:
        _, group_id, topic, partition = check_types(fields, (int, str, str, int))
        topic_partition = TopicPartition(topic, partition)
        if value is None:
            return OffsetTombstone(group_id, topic_partition)
        content = _versioned(unpack_fields(value), _OFFSET_COMMIT_LAYOUTS)
        _, offset, leader_epoch, metadata, commit_timestamp_ms, topic_id = content
        if offset < 0 or partition < 0:
            raise ValueError(f"{topic_partition}: negative offset {offset} or partition")
        return OffsetCommit(
            group_id, topic_partition, offset, leader_epoch, metadata, commit_timestamp_ms, topic_id
        )
    if fields[:1] == [GROUP_EPOCH_KEY]:
        _, group_id = check_types(fields, (int, str))
        if value is None:
            return GroupTombstone(group_id)
        epoch, *more = _versioned(unpack_fields(value), _GROUP_EPOCH_LAYOUTS)[1:]
        if len(more) > 1:
            more[1] = GroupType(more[1])
        return GroupEpoch(group_id, epoch, *more)
    if fields and type(fields[0]) is int:
        return None
    raise ValueError(f"expected a key that starts with its kind, found {fields!r:.100}")


def read_records(
    partition: Partition, start_offset: int = 0, end_offset: int | None = None
) -> Iterator[StoredRecord | TransactionalRecord]:
    """Yield the records of one partition of the topic, from its log start or *start_offset* to *end_offset*, or its end now. Those
    of a transaction are pending until its marker comes.

    Raises `CorruptLogError` naming partition and offset for anything it cannot read.
    """
    return read_batches(partition, _decode_batch, "a record of a group", start_offset, end_offset)


def _decode_batch(batch: BatchView, start: int) -> Iterator[StoredRecord | TransactionalRecord]:
    if batch.is_control:
        control_type, _ = read_marker(batch)
        yield TransactionCompleted(batch.producer_id, control_type is ControlType.COMMIT)
        return
    records: Iterator[StoredRecord] = decode_records(OFFSETS_TOPIC, batch, start, decode_record)
    if not batch.is_transactional:
        yield from records
        return
    for record in records:
        if not isinstance(record, OffsetCommit):
            raise ValueError(f"expected offsets in a transaction, found {record!r:.100}")
        yield PendingCommit(record.group_id, batch.producer_id, record)


def _versioned(fields: list[Any], layouts: Layouts) -> list[Any]:
    return check_types(fields, layouts[check_version(OFFSETS_TOPIC, fields, len(layouts)) - 1])

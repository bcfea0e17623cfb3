"""Plain values that cross the public interface: coordinates, records, metadata.

Kafka's names; times in milliseconds since 1970 (UTC); offsets and counts from 0. ``None`` and
``b""`` are different things everywhere (REC-1). All of them may be shared between threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, IntEnum
from typing import Any, NamedTuple

import attrs

from streamlog.topic_partition import TopicPartition

__all__ = [
    "NO_TIMESTAMP",
    "ConsumerGroupMetadata",
    "ConsumerRecord",
    "Durability",
    "Header",
    "Isolation",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "PartitionInfo",
    "ProducerIdAndEpoch",
    "ProducerRecord",
    "ProducerStateInfo",
    "RecordMetadata",
    "TimestampType",
    "TopicDescription",
    "TopicPartition",
]

NO_TIMESTAMP = -1
"""Timestamp of a record that has none (Kafka ``RecordBatch.NO_TIMESTAMP``)."""

Header = tuple[str, bytes | None]
"""One record header; the same name may occur more than once (REC-1)."""


class TimestampType(IntEnum):
    """Who set a record's timestamp (REC-4). Source: Kafka ``TimestampType``."""

    CREATE_TIME = 0
    """The producer, when the record was sent or as the caller asked."""
    LOG_APPEND_TIME = 1
    """The broker, when the record was appended."""


class Durability(str, Enum):
    """What a record survives, from the moment its future is done."""

    NONE = "none"
    """Nothing is promised: ``acks=0``, where nobody waits for the append; a broker in memory; a failure."""
    PROCESS = "process"
    """The end of this process, ``kill -9`` included: the bytes are in the operating system's cache.
    """
    DISK = "disk"
    """Loss of power: the bytes were synced to the disk."""

    def __str__(self) -> str:
        return self.value


class Isolation(str, Enum):
    """How far a reader sees. Source: Kafka ``IsolationLevel``, KIP-98."""

    READ_UNCOMMITTED = "read_uncommitted"
    """Up to the high watermark, records of aborted transactions included."""
    READ_COMMITTED = "read_committed"
    """Up to the last stable offset, without records of aborted transactions."""

    def __str__(self) -> str:
        return self.value


class RecordMetadata(NamedTuple):
    """Where a sent record went. Source: Kafka ``RecordMetadata``.

    ``offset`` is -1 under ``acks=0``; a serialized size is -1 when that part is null.
    ``timestamp_ms`` is the broker's under ``LogAppendTime``.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    serialized_key_size: int = -1
    serialized_value_size: int = -1
    durability: Durability = Durability.PROCESS

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition the record went to."""
        return TopicPartition(self.topic, self.partition)


class ConsumerRecord(NamedTuple):
    """One record as read. Source: Kafka ``ConsumerRecord``.

    ``key`` and ``value`` are what the deserializers gave, bytes without one; a null stays None.
    Headers are in the order sent. A serialized size is -1 when that part is null.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = NO_TIMESTAMP
    timestamp_type: TimestampType = TimestampType.CREATE_TIME
    key: Any = None
    value: Any = None
    headers: tuple[Header, ...] = ()
    leader_epoch: int | None = None
    serialized_key_size: int = -1
    serialized_value_size: int = -1

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition the record was read from."""
        return TopicPartition(self.topic, self.partition)


class ProducerIdAndEpoch(NamedTuple):
    """Who writes: the id of an idempotent or transactional producer, and how often it was renewed.

    Of two with the same id the one with the greater epoch is right, the other is fenced (IDM-4).
    Source: Kafka ``ProducerIdAndEpoch``.
    """

    producer_id: int
    producer_epoch: int


class ProducerStateInfo(NamedTuple):
    """What a partition knows of one idempotent producer, when it was asked. Source: Kafka ``ProducerState``."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    """Of the last record of this epoch; -1 before there is one."""
    last_timestamp_ms: int
    """The greatest timestamp of the last batch, or that of the marker that followed it (IDM-5)."""
    coordinator_epoch: int | None
    """Of the coordinator that wrote the last marker; None when no transaction of this producer has ended here."""
    current_transaction_start_offset: int | None
    """The first offset of the transaction that is open here; None without one."""


def _header_tuple(headers: Iterable[Header]) -> tuple[Header, ...]:
    if isinstance(headers, Mapping):
        raise TypeError("headers are (name, value) pairs, not a mapping: a name may repeat")
    return tuple(headers)


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None and attribute.default is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, found {value!r:.80}")
    if value < 0:
        raise ValueError(f"{attribute.name} must be 0 or greater, found {value}")


@attrs.define
class ProducerRecord:
    """One record to send, for ``Producer.send(record)`` and interceptors. Source: Kafka
    ``ProducerRecord``.

    ``partition`` None lets the partitioner choose, ``timestamp_ms`` None means the time of
    ``send``; a negative one of either raises ValueError (REC-2). Headers are copied into a tuple
    (REC-3). All but topic and value are given by name: Java's constructors have the key before the
    value, which would silently be taken for one another.
    """

    topic: str
    value: Any = None
    key: Any = attrs.field(default=None, kw_only=True)
    headers: tuple[Header, ...] = attrs.field(default=(), converter=_header_tuple, kw_only=True)
    partition: int | None = attrs.field(default=None, validator=_not_negative, kw_only=True)
    timestamp_ms: int | None = attrs.field(default=None, validator=_not_negative, kw_only=True)


def _text_or_empty(text: str | None) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"metadata must be a str, found {text!r:.80}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"metadata must be text, found {text!r:.80}: {error}") from None
    return text


def _committed(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Let nothing be committed that could not be read again."""
    _not_negative(instance, attribute, value)
    if value is not None and value > _MAX_COMMITTED[attribute.name]:
        raise ValueError(
            f"{attribute.name} must be at most {_MAX_COMMITTED[attribute.name]}, found {value}"
        )


_MAX_COMMITTED = {"offset": 2**63 - 1, "leader_epoch": 2**31 - 1}


@attrs.frozen
class OffsetAndMetadata:
    """A committed position: the *next* offset to read, not the last one read (CON-9).

    ``metadata`` is the committer's own note; ``leader_epoch`` that of the last record read, None
    when unknown. Both are 0 or greater, of 64 and 32 bits. Raises ValueError, and TypeError for other
    types. Source: Kafka ``OffsetAndMetadata``.
    """

    offset: int = attrs.field(validator=_committed)
    metadata: str = attrs.field(default="", converter=_text_or_empty)
    leader_epoch: int | None = attrs.field(default=None, validator=_committed)


@attrs.frozen
class OffsetAndTimestamp:
    """Answer of ``offsets_for_times`` (TIM-1): the first record at or after the time asked for.

    Negative values raise ValueError. Source: Kafka ``OffsetAndTimestamp``.
    """

    offset: int = attrs.field(validator=_not_negative)
    timestamp_ms: int = attrs.field(validator=_not_negative)
    leader_epoch: int | None = None


def _text(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None and attribute.default is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, found {value!r:.80}")


def _number(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, found {value!r:.80}")


@attrs.frozen
class ConsumerGroupMetadata:
    """A consumer's identity in its group, to commit its offsets in a producer's transaction
    (TXN-7).

    ``generation_id`` is -1 and ``member_id`` empty while it is no member. Raises TypeError. Source: Kafka
    class of this name.
    """

    group_id: str = attrs.field(validator=_text)
    generation_id: int = attrs.field(default=-1, validator=_number)
    member_id: str = attrs.field(default="", validator=_text)
    group_instance_id: str | None = attrs.field(default=None, validator=_text)


def _broker_ids(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(ids)


@attrs.frozen
class PartitionInfo:
    """Who holds a partition, as broker ids. ``leader`` is None while the partition is offline.

    ``replicas`` begins with the preferred leader (REP-9); ``in_sync_replicas`` is in the same
    order.
    """

    topic: str
    partition: int
    leader: int | None
    replicas: tuple[int, ...] = attrs.field(converter=_broker_ids)
    in_sync_replicas: tuple[int, ...] = attrs.field(converter=_broker_ids)


@attrs.frozen
class TopicDescription:
    """A topic as the broker knows it now: a snapshot, later changes do not show.

    ``partitions`` is in partition order; ``configs`` holds every topic key with the value in force.
    """

    name: str
    topic_id: str
    partitions: list[PartitionInfo]
    configs: dict[str, Any]
    is_internal: bool = False

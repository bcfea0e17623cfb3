"""What a batch must fulfil before a partition takes it: size, keys, timestamps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from streamlog.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    MessageTooLargeError,
    RecordBatchTooLargeError,
    RecordDecodeError,
)
from streamlog.record import compressor_for
from streamlog.record.kafka_batch import look_into, recompress, set_append_time
from streamlog.record.layout import (
    HEADER_SIZE,
    KAFKA_V2_ENCODING,
    LOG_APPEND_TIME_BIT,
    MAX_BATCH_BYTES,
)
from streamlog.structs import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.config import TopicConfig
    from streamlog.record import PendingBatch
    from streamlog.structs import TopicPartition

_UNLIMITED_MS = 2**63 - 1
# More than a body adds around a lone value, and than the log adds to align it.
_SINGLE_VALUE_OVERHEAD = 64
_EVERY_BATCH = -(2**63)
#: A batch of that size, if it is not compressed, is decoded in less than a millisecond.
_SOON_READ_BYTES = 8 * 1024


class AppendGate:
    """The admission rules of one topic under one configuration, checked per batch, never per record.

    Partitions ask only ``batch.max_timestamp_ms > newest_ms or len(batch.body) > max_body_bytes``
    and call `admit` when that is true, which for an ordinary topic is about once an hour:
    ``newest_ms`` is the greatest timestamp known to be allowed, and the wall clock moves it up.
    (Set back, the clock does not take back what was already allowed.) Topics with stricter rules
    have a ``newest_ms`` that sends every batch through `admit`.

    A changed configuration makes a new gate, so an append that is under way meets the old rules or
    the new ones and never a mixture. Threads: any. Source: Kafka ``LogValidator``; REC-4, REC-6,
    REC-7.
    """

    __slots__ = (
        "_checks_every_batch",
        "_compressor",
        "_config",
        "_looks_at_records",
        "_opens_batches",
        "_time_ns",
        "flush_messages",
        "max_body_bytes",
        "max_value_bytes",
        "newest_ms",
    )

    def __init__(self, config: TopicConfig, time_ns: Callable[[], int]) -> None:
        self._config = config
        self._time_ns = time_ns
        self.max_body_bytes = (
            min(config.max_message_bytes, config.segment_bytes, MAX_BATCH_BYTES) - HEADER_SIZE
        )
        """The largest body that needs no closer look."""
        self.max_value_bytes = self.max_body_bytes - _SINGLE_VALUE_OVERHEAD
        """The largest value that needs no closer look when it is all of a batch."""
        self._compressor = compressor_for(config)
        """What brings batches into the topic's codec; None where they are stored as sent."""
        self.flush_messages = config.flush_messages or 0
        """Sync when so many records are not synced; 0 = never because of a count."""
        self.newest_ms = _EVERY_BATCH
        """The greatest batch timestamp that needs no closer look."""
        self._checks_every_batch = (
            config.message_timestamp_type == "LogAppendTime"
            or config.message_timestamp_before_max_ms < _UNLIMITED_MS
            or "compact" in config.cleanup_policy
            or self._compressor is not None
        )
        self._looks_at_records = (
            config.message_timestamp_before_max_ms < _UNLIMITED_MS
            or "compact" in config.cleanup_policy
        )
        """Whether a Kafka batch has to be decoded before it is stored."""
        self._opens_batches = self._looks_at_records or self._compressor is not None
        """Whether a Kafka batch is decoded or compressed before it is stored, which takes time for each byte that is in it."""

    def takes_long(self, size_bytes: int, is_compressed: bool) -> bool:
        """Return whether a Kafka batch of so many bytes may be synced, or is looked into for longer than the loop of a listener has time."""
        return self.flush_messages > 0 or (
            self._opens_batches and (is_compressed or size_bytes > _SOON_READ_BYTES)
        )

    def stored_ms(self, max_timestamp_ms: int) -> int:
        """Return the timestamp that a batch would be stored with now whose greatest one is *max_timestamp_ms*."""
        is_ours = self._config.message_timestamp_type == "LogAppendTime"
        return self._time_ns() // 1_000_000 if is_ours else max_timestamp_ms

    def admit(self, batch: PendingBatch, target: TopicPartition) -> None:
        """Raise what is wrong with *batch*; under LogAppendTime put the broker's time on it, and
        bring it into the topic's codec, after which its size is looked at again, as in Kafka. The records
        of a Kafka batch are decoded where one of the rules is about them.

        Raises `MessageTooLargeError` above ``max_message_bytes``, `RecordBatchTooLargeError` above
        ``segment_bytes``, `InvalidRecordError` for a null key in a compacted topic, or records of a
        Kafka batch that cannot be read,
        `InvalidTimestampError` outside the bounds of REC-4, `UnsupportedCompressionTypeError` where
        the library is missing. One bad record refuses the whole batch.
        """
        config = self._config
        self._check_size(batch, target)
        is_kafka = batch.body_encoding == KAFKA_V2_ENCODING
        if is_kafka and self._looks_at_records:
            _change(look_into, batch, target)
        if batch.has_null_keys and "compact" in config.cleanup_policy:
            raise InvalidRecordError(
                f"{target}: expected a key in every record of a compacted topic, found a null key "
                f"in a batch of {batch.record_count} record(s)"
            )
        now_ms = self._time_ns() // 1_000_000
        if config.message_timestamp_type == "LogAppendTime":
            if is_kafka:
                set_append_time(batch, now_ms)
            else:
                batch.attributes |= LOG_APPEND_TIME_BIT
                batch.max_timestamp_ms = now_ms
        else:
            self._check_timestamps(batch, now_ms, target)
        if self._compressor is not None and not batch.is_control:
            if is_kafka:
                _change(partial(recompress, compressor=self._compressor), batch, target)
            else:
                self._compressor.apply(batch)
            self._check_size(batch, target)
        if not self._checks_every_batch:
            self.newest_ms = now_ms + config.message_timestamp_after_max_ms

    def _check_size(self, batch: PendingBatch, target: TopicPartition) -> None:
        """Raise when the batch, as it is now, is larger than REC-6 allows."""
        config = self._config
        message_bytes, size_bytes = batch.message_bytes, batch.size_bytes
        max_message_bytes = min(
            config.max_message_bytes, MAX_BATCH_BYTES - size_bytes + message_bytes
        )
        if message_bytes > max_message_bytes:
            raise MessageTooLargeError(
                f"{target}: expected a batch of at most max_message_bytes={max_message_bytes}, "
                f"found {message_bytes} bytes in {batch.record_count} record(s)"
            )
        if size_bytes > config.segment_bytes:
            raise RecordBatchTooLargeError(
                f"{target}: expected a batch that fits segment_bytes={config.segment_bytes}, "
                f"found {size_bytes} bytes in {batch.record_count} record(s)"
            )

    def _check_timestamps(self, batch: PendingBatch, now_ms: int, target: TopicPartition) -> None:
        """Raise `InvalidTimestampError` when a record is older or newer than REC-4 allows."""
        config = self._config
        newest_ms = now_ms + config.message_timestamp_after_max_ms
        if batch.max_timestamp_ms > newest_ms:
            raise InvalidTimestampError(
                f"{target}: expected timestamps up to {newest_ms} (broker time {now_ms} + "
                f"message_timestamp_after_max_ms={config.message_timestamp_after_max_ms}), "
                f"found {batch.max_timestamp_ms}"
            )
        oldest_ms = now_ms - config.message_timestamp_before_max_ms
        if batch.min_timestamp_ms < oldest_ms and batch.min_timestamp_ms != NO_TIMESTAMP:
            raise InvalidTimestampError(
                f"{target}: expected timestamps from {oldest_ms} (broker time {now_ms} - "
                f"message_timestamp_before_max_ms={config.message_timestamp_before_max_ms}), "
                f"found {batch.min_timestamp_ms}"
            )


def _change(
    change: Callable[[PendingBatch], None], batch: PendingBatch, target: TopicPartition
) -> None:
    """Let *change* look into a client's batch. What it cannot read is that client's fault."""
    try:
        change(batch)
    except RecordDecodeError as error:
        raise InvalidRecordError(f"{target}: {error}") from error

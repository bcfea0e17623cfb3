"""A batch that is about to be written: it has content, and neither offset, epoch nor checksum yet."""

from __future__ import annotations

from streamlog.record.layout import (
    COLUMNS_ENCODING,
    CONTROL_BIT,
    HEADER_SIZE,
    KAFKA_V2_ENCODING,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    TRANSACTIONAL_BIT,
)
from streamlog.record.producer_stamp import ProducerStamp


class PendingBatch:
    """Records on their way into a log, packed once.

    Made by the builder functions, appended by exactly one thread; the leader may still change ``attributes`` and
    ``max_timestamp_ms`` (LogAppendTime) before the log packs the header. Source: Kafka ``MemoryRecords`` before append.
    """

    __slots__ = (
        "attributes",
        "base_sequence",
        "body",
        "body_encoding",
        "first_timestamp_ms",
        "has_null_keys",
        "max_timestamp_ms",
        "min_timestamp_ms",
        "producer_epoch",
        "producer_id",
        "record_count",
        "stamp",
        "uncompressed_size",
        "verified_marker_offset",
    )

    verified_marker_offset: int
    """Not stored, and only there for the first batch of a transaction: the offset of its producer's last marker, when somebody
    looked whether there is such a transaction. A later marker has ended it."""

    def __init__(
        self,
        body: bytes,
        record_count: int,
        first_timestamp_ms: int,
        max_timestamp_ms: int,
        min_timestamp_ms: int | None = None,
        has_null_keys: bool = True,
    ) -> None:
        self.body = body
        self.record_count = record_count
        self.first_timestamp_ms = first_timestamp_ms
        self.max_timestamp_ms = max_timestamp_ms
        #: Not stored: the leader checks the bounds of REC-4 against it, which of a Kafka batch is the first one until somebody looked.
        self.min_timestamp_ms = first_timestamp_ms if min_timestamp_ms is None else min_timestamp_ms
        #: Not stored: a compacted topic refuses the batch (REC-7), a Kafka batch once somebody looked.
        self.has_null_keys = has_null_keys
        self.attributes = 0
        self.body_encoding = COLUMNS_ENCODING
        self.producer_id = NO_PRODUCER_ID
        self.producer_epoch = NO_PRODUCER_EPOCH
        self.base_sequence = NO_SEQUENCE
        self.uncompressed_size = 0
        #: Not stored: whose batch it is. The log takes id, epoch and sequence from it in the moment of the append; a batch that has
        #: a sequence keeps it, so that sending it again is found out (IDM-2).
        self.stamp: ProducerStamp | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of header and body: what ``segment_bytes`` is compared with."""
        return HEADER_SIZE + len(self.body)

    @property
    def message_bytes(self) -> int:
        """What ``max_message_bytes`` is compared with: the same, but for a Kafka batch its own size, as in Kafka."""
        size_bytes = len(self.body)
        return size_bytes if self.body_encoding == KAFKA_V2_ENCODING else HEADER_SIZE + size_bytes

    @property
    def is_control(self) -> bool:
        """Whether the batch carries transaction markers instead of records."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL_BIT)

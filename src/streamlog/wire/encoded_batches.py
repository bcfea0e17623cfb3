"""Batches of our own as Kafka's, the last few kept: several clients read the same ones, and one that waits looks at them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record.kafka_batch import to_kafka
from streamlog.record.layout import KAFKA_V2_ENCODING, BatchHeader

if TYPE_CHECKING:
    from streamlog.record import BatchView
    from streamlog.structs import TopicPartition

_LIMIT_BYTES = 8 * 1024 * 1024


class EncodedBatches:
    """Remembers so many bytes of encoded batches, those that were asked for last. Threads: one."""

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        #: By partition and header, whose checksum stands for the body; the one that was asked for last at the end.
        self._batches: dict[tuple[TopicPartition, BatchHeader], bytes | bytearray] = {}
        self.size_bytes = 0
        """Bytes that are remembered."""

    def size_of(self, topic_partition: TopicPartition, view: BatchView) -> int:
        """Return how long `get` is, without copying what is stored; raises what it raises."""
        if view.body_encoding == KAFKA_V2_ENCODING:
            return len(view.body)
        return len(self.get(topic_partition, view))

    def get(self, topic_partition: TopicPartition, view: BatchView) -> bytes | bytearray:
        """Return what `to_kafka` does, which is not to be changed, and raise what it raises."""
        if view.body_encoding == KAFKA_V2_ENCODING:
            return to_kafka(view)
        key = topic_partition, view.header
        found = self._batches.pop(key, None)
        if found is None:
            found = to_kafka(view)
            if len(found) > self._limit_bytes:
                return found
            self.size_bytes += len(found)
        self._batches[key] = found
        while self.size_bytes > self._limit_bytes:
            oldest = next(iter(self._batches))
            self.size_bytes -= len(self._batches.pop(oldest))
        return found

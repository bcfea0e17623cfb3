"""Batches of our own as Kafka's, the last few kept: several clients read the same ones, and one that waits looks at them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record.kafka_batch import to_kafka
from streamlog.record.kafka_layout import at_offset
from streamlog.record.layout import KAFKA_V2_ENCODING, BatchHeader
from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlog.record import BatchView
    from streamlog.structs import TopicPartition

_LIMIT_BYTES = 8 * 1024 * 1024
#: What encoding costs besides looking at each byte, in bytes that could be looked at meanwhile: each record; being compressed again.
_RECORD_COST, _CODEC_COST = 100, 16
#: Copying what is stored as it came costs that much less.
_COPIED_PER_COST = 32


class TakesLongError(Exception):
    """What was asked for is more work than the caller has time for. Nothing is wrong."""


class Allowance:
    """How much work may be done before somebody else should do it. Threads: one."""

    def __init__(self, cost: int) -> None:
        self._left = cost

    def spend(self, cost: int) -> None:
        """Take *cost* of it; raise `TakesLongError` if that is more than there is left."""
        self._left -= cost
        if self._left < 0:
            raise TakesLongError


class EncodedBatches:
    """Remembers so many bytes of encoded batches, those that were asked for last. Threads: any."""

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._lock = Lock()
        #: By partition and header, whose checksum stands for the body; the one that was asked for last at the end.
        self._batches: dict[tuple[TopicPartition, BatchHeader], bytes | bytearray] = {}
        self.size_bytes = 0
        """Bytes that are remembered."""

    def size_of(
        self, topic_partition: TopicPartition, view: BatchView, allowance: Allowance | None = None
    ) -> int:
        """Return how long `get` is, without copying what is stored; raises what it raises."""
        if view.body_encoding == KAFKA_V2_ENCODING:
            if allowance is not None:
                allowance.spend(min(len(view.body) // _COPIED_PER_COST, _RECORD_COST))
            return len(view.body)
        return len(self.get(topic_partition, view, allowance))

    def get(
        self, topic_partition: TopicPartition, view: BatchView, allowance: Allowance | None = None
    ) -> bytes | bytearray:
        """Return what `to_kafka` does, which is not to be changed, and raise what it raises; `TakesLongError` instead of more work than
        the *allowance*.
        """
        if view.body_encoding == KAFKA_V2_ENCODING:
            if allowance is not None:
                allowance.spend(len(view.body) // _COPIED_PER_COST)
            return to_kafka(view)
        key = topic_partition, view.header
        with self._lock:
            found = self._batches.pop(key, None)
            if found is not None:
                self._batches[key] = found
                return found
        if allowance is not None:
            cost = view.size_bytes + _RECORD_COST * view.record_count
            allowance.spend(cost * _CODEC_COST if view.codec else cost)
        found = to_kafka(view)
        if len(found) <= self._limit_bytes:
            self._remember(key, found)
        return found

    def each(
        self,
        topic_partition: TopicPartition,
        views: Iterable[BatchView],
        allowance: Allowance | None = None,
    ) -> Iterator[bytes | bytearray]:
        """Yield `get` of each of *views*, in half the time where they are stored as they came; raises there what it raises."""
        for view in views:
            # By number, body_encoding: a name costs twice as much.
            if view.header[8] == KAFKA_V2_ENCODING and view.record_count:
                body = view.body
                if allowance is not None:
                    allowance.spend(len(body) // _COPIED_PER_COST)
                yield at_offset(body, view.base_offset, view.leader_epoch)
            else:
                yield self.get(topic_partition, view, allowance)

    def _remember(
        self, key: tuple[TopicPartition, BatchHeader], encoded: bytes | bytearray
    ) -> None:
        with self._lock:
            before = self._batches.pop(key, b"")  # made by two threads at once
            self.size_bytes += len(encoded) - len(before)
            self._batches[key] = encoded
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        while self.size_bytes > self._limit_bytes:
            oldest = next(iter(self._batches))
            self.size_bytes -= len(self._batches.pop(oldest))

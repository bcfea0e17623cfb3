"""What one `Consumer.poll` returned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from streamlog.client.record_slice import RecordSlice
from streamlog.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition


class ConsumerRecords:
    """The records of one poll: in offset order within a partition, in no order across (CON-16).

    * all of them: iterate; ``len()``; truth
    * values alone, several times faster: `values`
    * one partition or topic: `records`, `partitions`
    * where to go on: `next_offsets`

    Keys and values are decoded when asked for (before, when a deserializer is configured), a column
    of a batch at a time. Immutable; threads: one at a time. Source: Kafka ``ConsumerRecords``.
    """

    __slots__ = ("_count", "_slices")

    def __init__(self, slices: Sequence[RecordSlice] = ()) -> None:
        self._slices = slices
        self._count = -1

    def __len__(self) -> int:
        count = self._count
        if count < 0:
            count = self._count = sum([part.stop - part.start for part in self._slices])
        return count

    def __bool__(self) -> bool:
        return bool(self._slices)

    def __iter__(self) -> Iterator[ConsumerRecord]:
        slices = self._slices
        if len(slices) == 1:
            return slices[0].records()
        return chain.from_iterable(map(RecordSlice.records, slices))

    def __repr__(self) -> str:
        counts = ", ".join(f"{tp}: {len(self.records(tp))}" for tp in self.partitions)
        return f"<ConsumerRecords {counts or 'empty'}>"

    @property
    def count(self) -> int:
        """How many records there are; the same as ``len()``."""
        return len(self)

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """The partitions that records came from, in the order of `records`; none is empty."""
        return tuple(dict.fromkeys(part.topic_partition for part in self._slices))

    @property
    def next_offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """For each partition where to read on after these records: what to commit once they are
        processed (KIP-1094).
        """
        return {
            part.topic_partition: OffsetAndMetadata(
                part.next_offset, leader_epoch=part.view.leader_epoch
            )
            for part in self._slices
        }

    def values(self) -> list[Any]:
        """Return the values alone, in the order of iteration; a null value is None.

        Decodes nothing but the values: the fast way to read when keys and offsets do not matter.
        """
        slices = iter(self._slices)
        first = next(slices, None)
        if first is None:
            return []
        values = first.values()
        for part in slices:
            values += part.values()
        return values

    def records(self, source: TopicPartition | str) -> list[ConsumerRecord]:
        """Return the records of one partition, or of one topic by its name; none gives an empty list."""
        if isinstance(source, str):
            chosen = [part for part in self._slices if part.topic_partition.topic == source]
        else:
            chosen = [part for part in self._slices if part.topic_partition == source]
        return list(ConsumerRecords(chosen))


EMPTY = ConsumerRecords()

"""What one `Consumer.poll` returned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from streamlog.client.partition_arguments import to_partition
from streamlog.client.record_slice import Part, records_of
from streamlog.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition


class ConsumerRecords:
    """The records of one poll: in offset order within a partition, in no order across (CON-16).

    * all of them: iterate; ``len()``; truth
    * values alone, without decoding anything else: `values`
    * one partition or topic: `records`, `partitions`
    * where to go on: `next_offsets`

    Keys and values are decoded when asked for (before, when a deserializer is configured), a column
    of a batch at a time. Immutable; threads: one at a time. Source: Kafka ``ConsumerRecords``.
    """

    __slots__ = ("_groups",)

    def __init__(self, groups: Sequence[tuple[TopicPartition, Sequence[Part]]] = ()) -> None:
        # A partition may come twice, but never without records.
        self._groups = groups

    def __len__(self) -> int:
        return sum([part.record_count for _, parts in self._groups for part in parts])

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __iter__(self) -> Iterator[ConsumerRecord]:
        groups = self._groups
        if len(groups) == 1:
            topic_partition, parts = groups[0]
            if len(parts) == 1:
                return records_of(topic_partition, parts[0])
        return chain.from_iterable(
            [
                records_of(topic_partition, part)
                for topic_partition, parts in groups
                for part in parts
            ]
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{tp}: {len(self.records(tp))}" for tp in self.partitions)
        return f"<ConsumerRecords {counts or 'empty'}>"

    @property
    def count(self) -> int:
        """How many records there are; the same as ``len()``. A property, a method ``count()`` in Java."""
        return len(self)

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """The partitions that records came from, in the order of iteration; none is empty. A property, a
        method in Java.
        """
        return tuple(dict.fromkeys(topic_partition for topic_partition, _ in self._groups))

    @property
    def next_offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """For each partition where to read on after these records: what to commit once they are
        processed (KIP-1094).
        """
        return {
            topic_partition: OffsetAndMetadata(
                parts[-1].next_offset, leader_epoch=parts[-1].leader_epoch
            )
            for topic_partition, parts in self._groups
        }

    def values(self) -> list[Any]:
        """Return the values alone, in the order of iteration; a null value is None.

        Decodes nothing but the values: the fast way to read when keys and offsets do not matter.
        """
        values: list[Any] | None = None
        for _, parts in self._groups:
            for part in parts:
                if values is None:
                    values = part.values()  # a list of our own, to which the others are added
                else:
                    values += part.values()
        return [] if values is None else values

    def records(self, source: TopicPartition | str) -> list[ConsumerRecord]:
        """Return the records of one partition, or of one topic by its name; none gives an empty list.

        Raises TypeError for what names neither.
        """
        if isinstance(source, str):
            chosen = [group for group in self._groups if group[0].topic == source]
        else:
            partition = to_partition(source)
            chosen = [group for group in self._groups if group[0] == partition]
        return list(ConsumerRecords(chosen))


EMPTY = ConsumerRecords()

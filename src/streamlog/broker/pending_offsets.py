"""Offsets that a group will have committed if certain transactions are (TXN-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.group_records import OffsetCommit


class PendingOffsets:
    """What was sent to transactions that are not decided, by producer.

    The log decides which of two commits for one partition counts: the later one, whoever is told first
    that it counts. So whatever is later puts what is pending out of force, and a transaction that is
    committed puts out of force what is pending from before. Threads: whoever holds the coordinator's
    lock. Source: Kafka ``OffsetMetadataManager.pendingTransactionalOffsets``.
    """

    __slots__ = ("_by_producer", "_count")

    def __init__(self) -> None:
        self._by_producer: dict[int, dict[TopicPartition, tuple[int, OffsetCommit]]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._by_producer)

    def __contains__(self, producer_id: int) -> bool:
        return producer_id in self._by_producer

    def add(self, producer_id: int, commit: OffsetCommit) -> None:
        """Note *commit*, later than all that was noted before."""
        self._count += 1
        pending = self._by_producer.setdefault(producer_id, {})
        pending[commit.topic_partition] = self._count, commit

    def of(self, producer_id: int) -> list[OffsetCommit]:
        """Return what the producer's transaction would commit."""
        return [commit for _, commit in self._by_producer.get(producer_id, {}).values()]

    def forget(self, producer_id: int, committed: bool) -> None:
        """The producer's transaction is over; if it was *committed*, what is older does not count either."""
        mine = self._by_producer.get(producer_id, {})
        if committed:
            for topic_partition, (number, _) in mine.items():
                self._drop(topic_partition, number)
        self._by_producer.pop(producer_id, None)

    def supersede(self, topic_partition: TopicPartition) -> None:
        """Something later was stored for the partition: what is pending for it does not count any more."""
        self._drop(topic_partition, self._count + 1)

    def partitions(self) -> set[TopicPartition]:
        """Return the partitions whose offset depends on a transaction that is not decided."""
        return {one for pending in self._by_producer.values() for one in pending}

    def _drop(self, topic_partition: TopicPartition, before: int) -> None:
        for producer_id, pending in list(self._by_producer.items()):
            found = pending.get(topic_partition)
            if found is not None and found[0] < before:
                kept = {name: one for name, one in pending.items() if name != topic_partition}
                if kept:
                    self._by_producer[producer_id] = kept
                else:
                    del self._by_producer[producer_id]

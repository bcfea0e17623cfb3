"""Transactions as a partition sees them: batches and markers, without a coordinator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record import ControlType, ProducerStamp, build_batch, build_marker
from tests.support.consuming import NOW_MS, T0

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.broker.broker import Broker
    from streamlog.structs import TopicPartition


class Transactions:
    """Writes the batches and markers of any number of transactional producers to the partitions of *broker*."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._epochs: dict[int, int] = {}
        self._stamps: dict[tuple[int, TopicPartition], ProducerStamp] = {}

    def produce(
        self,
        producer_id: int,
        *values: bytes | None,
        partition: TopicPartition = T0,
        timestamp_ms: int = NOW_MS,
        keys: Sequence[bytes | None] | None = None,
    ) -> int:
        """Append a batch of the transaction of *producer_id*, which begins with the first one; return its base offset."""
        key = producer_id, partition
        if key not in self._stamps:
            epoch = self._epochs.setdefault(producer_id, 0)
            self._stamps[key] = ProducerStamp(producer_id, epoch, is_transactional=True)
        batch = build_batch(list(values) or [b"in a transaction"], timestamp_ms, keys)
        batch.stamp = self._stamps[key]
        target = self._broker.partition(*partition)
        target.verify_transaction = lambda *_: None  # the coordinator's part
        return target.append(batch)

    def commit(self, producer_id: int) -> list[int]:
        """End the transaction of *producer_id*; return the offsets of the markers, by partition."""
        return self._end(producer_id, ControlType.COMMIT)

    def abort(self, producer_id: int) -> list[int]:
        """As `commit`, but nothing of it counts."""
        return self._end(producer_id, ControlType.ABORT)

    def _end(self, producer_id: int, control_type: ControlType) -> list[int]:
        self._epochs[producer_id] = epoch = self._epochs.get(producer_id, 0) + 1
        touched = sorted(partition for pid, partition in self._stamps if pid == producer_id)
        for partition in touched:
            del self._stamps[producer_id, partition]
        return [
            self._broker.partition(*partition).append_marker(
                build_marker(control_type, producer_id, epoch, 0, NOW_MS)
            )
            for partition in touched
        ]

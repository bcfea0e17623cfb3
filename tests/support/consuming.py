"""What tests of consumers share: topics with known records, and listeners that remember."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.client.rebalance_listener import RebalanceListener
from streamlog.record import build_batch
from streamlog.structs import TopicPartition

T0 = TopicPartition("t", 0)
T1 = TopicPartition("t", 1)
NOW_MS = 1_700_000_000_000


def append(
    broker: Broker,
    values: Iterable[bytes | None],
    partition: TopicPartition = T0,
    **columns: Any,
) -> int:
    """Append one batch; return its first offset. *columns*: ``keys``, ``headers``, ``timestamps_ms``."""
    timestamps_ms = columns.pop("timestamps_ms", NOW_MS)
    batch = build_batch(list(values), timestamps_ms, **columns)
    return broker.partition(*partition).append(batch)


def fill(
    broker: Broker, count: int, partition: TopicPartition = T0, *, per_batch: int = 1
) -> list[bytes]:
    """Append *count* records whose values say partition and offset; return the values."""
    start = broker.partition(*partition).log_end_offset
    values = [b"%d@%d" % (partition.partition, start + n) for n in range(count)]
    for first in range(0, count, per_batch):
        append(broker, values[first : first + per_batch], partition)
    return values


def drain(consumer: Consumer, **options: Any) -> list[Any]:
    """Poll until nothing comes; return all values."""
    values: list[Any] = []
    while records := consumer.poll(0, **options):
        values += records.values()
    return values


class Recorder(RebalanceListener):
    """Remembers the calls of a rebalance, as (name, partition numbers)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []

    def on_partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.calls.append(("assigned", [tp.partition for tp in partitions]))

    def on_partitions_revoked(self, partitions: Collection[TopicPartition]) -> None:
        self.calls.append(("revoked", [tp.partition for tp in partitions]))

    def on_partitions_lost(self, partitions: Collection[TopicPartition]) -> None:
        self.calls.append(("lost", [tp.partition for tp in partitions]))

    def take(self) -> list[tuple[str, list[int]]]:
        """Return the calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

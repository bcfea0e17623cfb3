"""What tests of producers share: reading back what was sent, and partitions that fail on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.record import Headers, PendingBatch, ProducerStamp, split_batches
from streamlog.structs import RecordMetadata


class Stored(NamedTuple):
    """One record as a reader finds it."""

    offset: int
    value: bytes | None
    key: bytes | None
    timestamp_ms: int
    headers: Headers


def stored_batches(broker: Broker, topic: str = "t", partition: int = 0) -> list[list[Stored]]:
    """Everything in a partition, batch by batch, checksums verified."""
    source = broker.partition(topic, partition)
    batches: list[list[Stored]] = []
    offset = source.log_start_offset
    while data := source.read(offset, 1 << 20):
        for view in split_batches(data):
            view.check()
            count = view.record_count
            columns = zip(
                view.offsets(),
                view.values(),
                view.keys() or [None] * count,
                view.timestamps_ms(),
                view.headers() or [()] * count,
                strict=True,
            )
            batches.append([Stored(*row) for row in columns])
            offset = view.next_offset
    return batches


def stored(broker: Broker, topic: str = "t", partition: int = 0) -> list[Stored]:
    """Every record in a partition, in offset order."""
    return [record for batch in stored_batches(broker, topic, partition) for record in batch]


def values(broker: Broker, topic: str = "t", partition: int = 0) -> list[bytes | None]:
    """The values in a partition, in offset order."""
    return [record.value for record in stored(broker, topic, partition)]


class Stamped(NamedTuple):
    """Who sent a batch, and its place in the sequence (IDM-1)."""

    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int


def stamps(broker: Broker, topic: str = "t", partition: int = 0) -> list[Stamped]:
    """Who sent what is in a partition, batch by batch."""
    source = broker.partition(topic, partition)
    found: list[Stamped] = []
    offset = source.log_start_offset
    while data := source.read(offset, 1 << 20):
        for view in split_batches(data):
            producer = (view.producer_id, view.producer_epoch, view.base_sequence)
            found.append(Stamped(*producer, view.record_count))
            offset = view.next_offset
    return found


def check_sequences(found: list[Stamped]) -> None:
    """Assert that each epoch of each producer begins at 0 and has no gap, and that none comes back."""
    expected: dict[tuple[int, int], int] = {}
    newest: dict[int, int] = {}
    for producer_id, epoch, base_sequence, count in found:
        assert epoch >= newest.get(producer_id, 0)
        newest[producer_id] = epoch
        assert base_sequence == expected.get((producer_id, epoch), 0)
        expected[producer_id, epoch] = base_sequence + count


class Failures:
    """What the next appends to any partition do instead of appending.

    Each element is an error to raise, or None to append after all; when the list is used up,
    everything is appended. Those of `after` are raised by appends that stored their records.
    `attempts` counts appends, failed ones included.
    """

    def __init__(self) -> None:
        self.next: list[BaseException | None] = []
        self.after: list[BaseException | None] = []
        self.forever: Callable[[], BaseException] | None = None
        self.attempts = 0
        self.before_append: Callable[[], object] = lambda: None

    def check(self) -> None:
        self.attempts += 1
        self.before_append()
        error = self.next.pop(0) if self.next else None
        if error is None and self.forever is not None:
            error = self.forever()
        if error is not None:
            raise error

    def check_after(self) -> None:
        error = self.after.pop(0) if self.after else None
        if error is not None:
            raise error


@contextmanager
def failing_partitions() -> Iterator[Failures]:
    """Let appends of all brokers fail as the `Failures` say."""
    failures = Failures()
    append, append_value = Partition.append, Partition.append_value

    def checked_append(partition: Partition, batch: PendingBatch) -> int:
        failures.check()
        offset = append(partition, batch)
        failures.check_after()
        return offset

    def checked_append_value(
        partition: Partition, value: bytes, timestamp_ms: int, stamp: ProducerStamp | None = None
    ) -> int:
        failures.check()
        offset = append_value(partition, value, timestamp_ms, stamp)
        failures.check_after()
        return offset

    with (
        patch.object(Partition, "append", checked_append),
        patch.object(Partition, "append_value", checked_append_value),
    ):
        yield failures


class Deliveries:
    """An ``on_delivery`` that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[RecordMetadata, BaseException | None]] = []

    def __call__(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        self.calls.append((metadata, error))

    @property
    def offsets(self) -> list[int]:
        return [metadata.offset for metadata, _ in self.calls]

    @property
    def errors(self) -> list[BaseException | None]:
        return [error for _, error in self.calls]


LINGER: dict[str, Any] = {"linger_ms": 5}
"""A producer that batches."""

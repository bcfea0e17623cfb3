"""What a transactional producer in another process does to the broker: the rules from before KIP-890."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from streamlog.broker.broker import Broker
from streamlog.record import PendingBatch, build_batch
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.structs import OffsetAndMetadata, ProducerIdAndEpoch, TopicPartition
from tests.support.transaction_writer import TIMEOUT_MS


@attrs.define
class AnnouncingWriter:
    """A producer that announces its partitions, numbers its batches itself, and keeps its epoch."""

    broker: Broker
    transactional_id: str
    producer: ProducerIdAndEpoch
    sequences: dict[TopicPartition, int] = attrs.Factory(dict)
    is_open: bool = False
    """Whether it was told that a transaction has begun, and not yet how it ended."""

    def announce(self, *partitions: TopicPartition) -> None:
        """Add partitions to the transaction."""
        self.broker.transaction_coordinator.announce(
            self.transactional_id, *self.producer, partitions
        )
        self.is_open = True

    def batch(self, place: TopicPartition, *values: bytes) -> PendingBatch:
        """Return the batch that comes next in the partition."""
        batch = build_batch(list(values), self.broker.runtime.clock.time_ms())
        batch.producer_id, batch.producer_epoch = self.producer
        batch.base_sequence = self.sequences.get(place, 0)
        batch.attributes |= TRANSACTIONAL_BIT
        return batch

    def append(self, place: TopicPartition, *values: bytes) -> int:
        """Append records without announcing anything; return the offset of the first."""
        batch = self.batch(place, *values)
        offset = self.broker.partition(*place).append(batch)
        self.sequences[place] = batch.base_sequence + len(values)
        return offset

    def write(self, topic: str, number: int = 0, value: bytes = b"x") -> int:
        """Append one record of the transaction and return its offset."""
        place = TopicPartition(topic, number)
        self.announce(place)
        return self.append(place, value)

    def send_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Make offsets of a group part of the transaction."""
        coordinator = self.broker.group_coordinator
        self.announce(coordinator.home_of(group_id))
        coordinator.commit_transactional_offsets(group_id, "", -1, None, *self.producer, offsets)

    def end(self, *, commit: bool) -> None:
        """End the transaction; id and epoch stay."""
        coordinator = self.broker.transaction_coordinator
        after = coordinator.end_transaction(self.transactional_id, *self.producer, commit=commit)
        assert after == self.producer
        self.is_open = False

    def bump(self) -> None:
        """Ask for another epoch, as a producer does after an error that it can recover from."""
        self.producer = self.broker.transaction_coordinator.init_producer_id(
            self.transactional_id, TIMEOUT_MS, self.producer, announces=True
        )
        self.sequences.clear()


def new_announcer(broker: Broker, transactional_id: str = "t") -> AnnouncingWriter:
    """Return a producer that has just taken the id."""
    coordinator = broker.transaction_coordinator
    producer = coordinator.init_producer_id(transactional_id, TIMEOUT_MS, announces=True)
    return AnnouncingWriter(broker, transactional_id, producer)

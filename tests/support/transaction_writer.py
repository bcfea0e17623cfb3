"""What a transactional producer does to the broker, without a producer; and what can be seen of it."""

from __future__ import annotations

import attrs

from streamlog.broker.broker import Broker
from streamlog.broker.transactions.state import TransactionState
from streamlog.record import build_batch, split_batches
from streamlog.record.control import ControlType, read_marker
from streamlog.record.producer_stamp import ProducerStamp
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

TIMEOUT_MS = 60_000


@attrs.define
class Writer:
    """A producer as the broker sees one: an id, an epoch, and a stamp for each partition."""

    broker: Broker
    transactional_id: str
    producer: ProducerIdAndEpoch
    stamps: dict[TopicPartition, ProducerStamp] = attrs.Factory(dict)

    def write(self, topic: str, number: int = 0, value: bytes = b"x") -> int:
        """Append one record of the transaction and return its offset."""
        place = TopicPartition(topic, number)
        if place not in self.stamps:
            self.stamps[place] = ProducerStamp(*self.producer, is_transactional=True)
        batch = build_batch([value], self.broker.runtime.clock.time_ms())
        batch.stamp = self.stamps[place]
        return self.broker.partition(topic, number).append(batch)

    def end(self, *, commit: bool) -> ProducerIdAndEpoch:
        """End the transaction and go on with what the coordinator says."""
        coordinator = self.broker.transaction_coordinator
        self.producer = coordinator.end_transaction(
            self.transactional_id, *self.producer, commit=commit
        )
        self.stamps.clear()
        return self.producer


def new_writer(broker: Broker, transactional_id: str = "t") -> Writer:
    """Return a producer that has just taken the id."""
    coordinator = broker.transaction_coordinator
    producer = coordinator.init_producer_id(transactional_id, TIMEOUT_MS)
    return Writer(broker, transactional_id, producer)


def state(broker: Broker, transactional_id: str = "t") -> TransactionState:
    """What the id's last transaction is doing."""
    return broker.transaction_coordinator.describe(transactional_id).state


def markers(broker: Broker, topic: str, number: int = 0) -> list[tuple[ControlType, int, int]]:
    """Type, offset and epoch of each marker in the partition."""
    partition = broker.partition(topic, number)
    return [
        (read_marker(batch)[0], batch.base_offset, batch.producer_epoch)
        for batch in split_batches(partition.read(partition.log_start_offset, 1 << 20))
        if batch.is_control
    ]

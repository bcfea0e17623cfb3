"""Writing markers: the control batches that end a transaction in each of its partitions (TXN-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.errors import TransactionCoordinatorFencedError, UnknownTopicOrPartitionError
from streamlog.record.control import ControlType, build_marker
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition


class MarkerWriter:
    """Writes markers into partitions, and for those of the offsets topic tells the groups.

    Threads: any, holding no lock of the coordinators. Source: Kafka ``TransactionMarkerChannelManager``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._clock = broker.runtime.clock

    def write(
        self,
        topic_partition: TopicPartition,
        control_type: ControlType,
        producer_id: int,
        marker_epoch: int,
        coordinator_epoch: int,
    ) -> None:
        """End the producer's transaction in one partition; readers are woken. Nothing happens where the
        topic was deleted.

        Written also where nothing is open: from then on a batch of a lower epoch is refused there.
        Raises what the append raises, such as `DiskFullError`.
        """
        partition = self.find(topic_partition)
        if partition is None:
            return
        try:
            self._append(partition, control_type, producer_id, marker_epoch, coordinator_epoch)
        except TransactionCoordinatorFencedError:
            # The topic of transaction states was lost and began again: there is no other coordinator.
            coordinator_epoch = _coordinator_epoch(partition, producer_id)
            self._append(partition, control_type, producer_id, marker_epoch, coordinator_epoch)
        except UnknownTopicOrPartitionError:
            pass  # deleted a moment ago

    def is_shut(self, topic_partition: TopicPartition) -> bool:
        """Whether no marker can be written in the partition until the directory is opened again."""
        partition = self.find(topic_partition)
        return partition is not None and partition.append_refusal is not None

    def _append(
        self,
        partition: Partition,
        control_type: ControlType,
        producer_id: int,
        marker_epoch: int,
        coordinator_epoch: int,
    ) -> None:
        marker = build_marker(
            control_type, producer_id, marker_epoch, coordinator_epoch, self._clock.time_ms()
        )
        if partition.topic == OFFSETS_TOPIC:
            commit = control_type is ControlType.COMMIT
            self._broker.group_coordinator.complete_transaction(partition, marker, commit)
        else:
            partition.append_marker(marker)

    def find(self, topic_partition: TopicPartition) -> Partition | None:
        """Return the partition, None when its topic was deleted."""
        try:
            return self._broker.partition(*topic_partition)
        except UnknownTopicOrPartitionError:
            return None


def _coordinator_epoch(partition: Partition, producer_id: int) -> int:
    for producer in partition.describe_producers():
        if producer.producer_id == producer_id and producer.coordinator_epoch is not None:
            return producer.coordinator_epoch
    return 0

"""Where to start when nobody said: the reset policy of a consumer (CON-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.assigned_partition import EARLIEST, LATEST, AssignedPartition
from streamlog.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.config import ConsumerConfig
    from streamlog.runtime import Clock

NONE = "none"


class OffsetReset:
    """``auto_offset_reset`` applied. Threads: the consumer's. Source: Kafka ``OffsetFetcher``, KIP-1106."""

    def __init__(self, config: ConsumerConfig, clock: Clock) -> None:
        self._policy = config.auto_offset_reset
        self._duration_ms = config.auto_offset_reset_duration_ms
        self._isolation = config.isolation_level
        self._clock = clock

    @property
    def has_policy(self) -> bool:
        """Whether there is one other than none: then a position that is no longer there is replaced without asking."""
        return self._policy != NONE

    def start_of(self, partition: Partition, where: str | None = None) -> int:
        """Return the offset that the policy, or *where* in its place, stands for now.

        earliest: the log start; latest: the end of what is visible; by_duration: the first record
        that is not older, the end when there is none. Raises `NoOffsetForPartitionError` for none.
        """
        policy = where or self._policy
        if policy == NONE:
            raise NoOffsetForPartitionError(
                f"{partition.topic_partition}: nothing was committed and auto_offset_reset is 'none'",
                partitions=[partition.topic_partition],
            )
        if policy == EARLIEST:
            return partition.log_start_offset
        if policy != LATEST and self._duration_ms is not None:
            since_ms = max(self._clock.time_ms() - self._duration_ms, 0)
            found = partition.offset_for_timestamp(since_ms, self._isolation)
            if found is not None:
                return found.offset
        return partition.end_offset(self._isolation)

    def recover(self, assigned: AssignedPartition, error: OffsetOutOfRangeError) -> None:
        """Move *assigned*, whose position is outside the log, to where the policy says.

        Raises `OffsetOutOfRangeError` with the position when the policy is none.
        """
        partition = assigned.partition
        topic_partition, position = assigned.topic_partition, assigned.taken
        if self._policy == NONE or partition is None:
            raise OffsetOutOfRangeError(
                f"{error}; auto_offset_reset is 'none'", offsets={topic_partition: position}
            ) from error
        assigned.move_to(self.start_of(partition))

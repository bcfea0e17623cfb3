"""Finding where to start: committed offset, else the reset policy (CON-5)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.offset_reset import OffsetReset
from streamlog.errors import (
    CorruptLogError,
    NoOffsetForPartitionError,
    UnknownTopicOrPartitionError,
)
from streamlog.structs import OffsetAndMetadata, TopicPartition

_log = logging.getLogger("streamlog")

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition

CommittedLookup = Callable[
    [Iterable[TopicPartition]], Mapping[TopicPartition, "OffsetAndMetadata | None"]
]


class PositionFinder:
    """Gives positions to partitions that have none. Threads: the consumer's.

    Source: Kafka ``OffsetFetcher``, ``ConsumerCoordinator.initWithCommittedOffsetsIfNeeded``; KIP-320.
    """

    def __init__(self, reset: OffsetReset, committed: CommittedLookup) -> None:
        self._reset = reset
        self._committed = committed
        self.clamped: dict[TopicPartition, int] = {}
        """Committed offsets that the log was cut below, and what was committed: see `_clamp`."""

    def find(self, partitions: Iterable[AssignedPartition]) -> None:
        """Give a position to each of *partitions* that exists and has none.

        Raises `NoOffsetForPartitionError` naming all for which neither a commit nor a policy says
        anything; the others have their position then.
        """
        missing = [
            assigned
            for assigned in partitions
            if assigned.position is None and assigned.partition is not None
        ]
        unasked = [one.topic_partition for one in missing if one.requested_reset is None]
        committed = self._committed(unasked) if unasked else {}
        without: list[TopicPartition] = []
        for assigned in missing:
            try:
                self._place(assigned, committed.get(assigned.topic_partition))
            except NoOffsetForPartitionError:
                without.append(assigned.topic_partition)
            except UnknownTopicOrPartitionError:
                continue  # deleted just now: the next look at the topics sees it
        if without:
            names = ", ".join(map(str, sorted(without)))
            raise NoOffsetForPartitionError(
                f"nothing was committed for {names}, and auto_offset_reset is 'none'",
                partitions=without,
            )

    def _place(self, assigned: AssignedPartition, committed: OffsetAndMetadata | None) -> None:
        partition = assigned.partition
        if partition is None:
            return
        try:
            if committed is None:
                start = self._reset.start_of(partition, assigned.requested_reset)
                assigned.move_to(start, partition.leader_epoch)
                return
            valid = partition.valid_part_of(committed.offset, committed.leader_epoch)
            if valid < committed.offset:
                self._clamp(partition, committed, valid)
                assigned.move_to(valid, partition.leader_epoch)
            else:
                assigned.move_to(valid, committed.leader_epoch)
                assigned.committed_position = valid
        except CorruptLogError:
            # Reading raises it when it is this partition's turn, so that the others go on.
            assigned.move_to(0 if committed is None else committed.offset)

    def _clamp(self, partition: Partition, committed: OffsetAndMetadata, valid: int) -> None:
        """Report a committed offset that stands for records which are no more.

        The log was cut, by a power loss for one. Going on at that offset would silently skip whatever
        was, or is going to be, written below it since.
        """
        topic_partition = partition.topic_partition
        self.clamped[topic_partition] = committed.offset
        what = "log end" if valid == partition.log_end_offset else "end of its epoch"
        _log.warning(
            "%s: the committed offset %d is above the %s %d: the log was cut; going on there",
            topic_partition,
            committed.offset,
            what,
            valid,
        )

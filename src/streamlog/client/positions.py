"""Finding where to start: committed offset, else the reset policy (CON-5)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.offset_reset import OffsetReset
from streamlog.errors import (
    CorruptLogError,
    NoOffsetForPartitionError,
    UnknownTopicOrPartitionError,
)
from streamlog.structs import OffsetAndMetadata, TopicPartition

_log = logging.getLogger("streamlog")

CommittedLookup = Callable[
    [Iterable[TopicPartition]], Mapping[TopicPartition, "OffsetAndMetadata | None"]
]


class PositionFinder:
    """Gives positions to partitions that have none. Threads: the consumer's.

    Source: Kafka ``OffsetFetcher``, ``ConsumerCoordinator.initWithCommittedOffsetsIfNeeded``.
    """

    def __init__(self, reset: OffsetReset, committed: CommittedLookup) -> None:
        self._reset = reset
        self._committed = committed
        self.clamped: dict[TopicPartition, int] = {}
        """Committed offsets found above the log end, and what was committed: see `_clamp`."""

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
            if committed is not None:
                end = partition.log_end_offset
                if committed.offset > end:
                    self._clamp(assigned.topic_partition, committed.offset, end)
                    assigned.move_to(end)
                else:
                    assigned.move_to(committed.offset, committed.leader_epoch)
                    assigned.committed_position = committed.offset
            else:
                assigned.move_to(self._reset.start_of(partition, assigned.requested_reset))
        except CorruptLogError:
            # Reading raises it when it is this partition's turn, so that the others go on.
            assigned.move_to(0 if committed is None else committed.offset)

    def _clamp(self, topic_partition: TopicPartition, committed: int, end: int) -> None:
        """Report a committed offset above the log end.

        The log was cut, by a power loss for one. Waiting for that offset would silently skip whatever
        is written below it in the meantime.
        """
        self.clamped[topic_partition] = committed
        _log.warning(
            "%s: the committed offset %d is above the log end %d: the log was cut; going on at its end",
            topic_partition,
            committed,
            end,
        )

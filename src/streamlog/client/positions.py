"""Finding where to start: committed offset, else the reset policy (CON-5); and whether that is still there (REP-6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.offset_reset import OffsetReset
from streamlog.errors import (
    CorruptLogError,
    LogTruncationError,
    NoOffsetForPartitionError,
    StorageError,
    UnknownTopicOrPartitionError,
    UnstableOffsetCommitError,
)
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition

_log = logging.getLogger("streamlog")

CommittedLookup = Callable[
    [Iterable[TopicPartition]], Mapping[TopicPartition, "OffsetAndMetadata | None"]
]


class PositionFinder:
    """Gives positions to partitions that have none, and checks those that come from an earlier day.

    Threads: the consumer's. Source: Kafka ``OffsetFetcher``,
    ``ConsumerCoordinator.initWithCommittedOffsetsIfNeeded``, ``SubscriptionState.maybeCompleteValidation``.
    """

    def __init__(self, reset: OffsetReset, committed: CommittedLookup) -> None:
        self._reset = reset
        self._committed = committed
        self.is_waiting = False
        """Whether some have no position yet because a transaction that commits offsets for the group has not ended (TXN-7)."""
        self.clamped: dict[TopicPartition, int] = {}
        """Positions below which the log was cut, as they were before `find` moved them."""

    def find(self, partitions: Iterable[AssignedPartition]) -> None:
        """Give a position to each of *partitions* that exists and has none, and validate those that ask for it.

        While offsets of the group are part of an open transaction, those that depend on them stay without: `is_waiting`.

        Raises `LogTruncationError` naming all below whose position the log was cut,
        `NoOffsetForPartitionError` naming all for which nothing was committed, either only without a
        reset policy; the others have their position then.
        """
        waiting = [
            assigned
            for assigned in partitions
            if assigned.partition is not None
            and (assigned.position is None or not assigned.is_validated)
        ]
        unasked = [
            one.topic_partition
            for one in waiting
            if one.position is None and one.requested_reset is None
        ]
        committed: Mapping[TopicPartition, OffsetAndMetadata | None] = {}
        self.is_waiting = False
        if unasked:
            try:
                committed = self._committed(unasked)
            except UnstableOffsetCommitError:
                # What was committed before is about to be replaced, or not: either would be wrong now and then.
                self.is_waiting = True
                waiting = [
                    one
                    for one in waiting
                    if one.position is not None or one.requested_reset is not None
                ]
        without: list[TopicPartition] = []
        cut: dict[TopicPartition, int] = {}
        divergent: dict[TopicPartition, int] = {}
        for assigned in waiting:
            try:
                self._place(assigned, committed.get(assigned.topic_partition))
            except NoOffsetForPartitionError:
                without.append(assigned.topic_partition)
            except LogTruncationError as error:
                cut.update(error.offsets)
                divergent.update(error.divergent_offsets)
            except UnknownTopicOrPartitionError:
                continue  # deleted just now: the next look at the topics sees it
        if cut:
            places = ", ".join(f"{one} ({cut[one]})" for one in sorted(cut))
            raise LogTruncationError(
                f"the log was cut below the position of {places}, and auto_offset_reset is 'none'",
                offsets=cut,
                divergent_offsets=divergent,
            )
        if without:
            names = ", ".join(map(str, sorted(without)))
            raise NoOffsetForPartitionError(
                f"nothing was committed for {names}, and auto_offset_reset is 'none'",
                partitions=without,
            )

    def _place(self, assigned: AssignedPartition, committed: OffsetAndMetadata | None) -> None:
        partition, start = assigned.partition, committed
        if partition is None:
            return
        if assigned.position is not None:
            start = OffsetAndMetadata(assigned.position, leader_epoch=assigned.leader_epoch)
        try:
            if start is None:
                place = self._reset.start_of(partition, assigned.requested_reset)
                assigned.move_to(place, partition.leader_epoch)
                return
            end = _end_of_epoch(partition, start.leader_epoch)
            if end is None or end.offset < start.offset:
                self._clamp(assigned, partition, start, end)
            else:
                assigned.move_to(start.offset, start.leader_epoch)
                if start is committed:
                    assigned.committed_position = start.offset
        except (CorruptLogError, StorageError):
            # Reading raises it when it is this partition's turn, so that the others go on.
            assigned.move_to(0 if start is None else start.offset)

    def _clamp(
        self,
        assigned: AssignedPartition,
        partition: Partition,
        lost: OffsetAndMetadata,
        end: OffsetAndMetadata | None,
    ) -> None:
        """Go on at *end*, where the log was cut, in place of *lost*, and report it; raise without a policy.

        Waiting for the old offset, or going on there once as many records were written again, would
        silently skip what is below it. None for *end*: of that epoch this log knows nothing, and nobody
        can say since when the two have differed.
        """
        topic_partition = assigned.topic_partition
        if not self._reset.has_policy:
            divergent = {} if end is None else {topic_partition: end.offset}
            raise LogTruncationError(
                offsets={topic_partition: lost.offset}, divergent_offsets=divergent
            )
        if end is None:
            place = self._reset.start_of(partition)
            end = OffsetAndMetadata(place, leader_epoch=partition.leader_epoch)
        self.clamped[topic_partition] = lost.offset
        _log.warning(
            "%s: the log was cut below offset %d (leader epoch %s), where reading was to start; going on at offset %d",
            topic_partition,
            lost.offset,
            lost.leader_epoch,
            end.offset,
        )
        assigned.move_to(end.offset, end.leader_epoch)


def _end_of_epoch(partition: Partition, leader_epoch: int | None) -> OffsetAndMetadata | None:
    """Return up to where the log is as it was for a reader whose last record was of *leader_epoch*.

    None when the log knows nothing of that epoch. Without one, all that can be said is: up to its end.
    """
    if leader_epoch is None:
        return OffsetAndMetadata(partition.log_end_offset, leader_epoch=partition.leader_epoch)
    end = partition.end_offset_for_epoch(leader_epoch)
    return None if end is None else OffsetAndMetadata(end.end_offset, leader_epoch=end.leader_epoch)

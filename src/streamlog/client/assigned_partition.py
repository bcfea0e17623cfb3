"""One partition in the hands of a consumer: where it is, and what was fetched ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.record_slice import Part
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.record import BatchView
    from streamlog.structs import Isolation

EARLIEST = "earliest"
LATEST = "latest"


FIRST_READ_BYTES = 4 * 1024
"""What is read first after a seek: a batch of the usual size, since whoever seeks often wants little."""


class AssignedPartition:
    """Position and buffer of one assigned partition. Threads: the consumer's.

    ``position`` <= ``taken`` <= ``read_ahead``: what the user was given, what left the buffer, what
    was read from the log. The first two differ only while records are on their way to the user.
    Source: Kafka ``SubscriptionState.TopicPartitionState`` and ``CompletedFetch``.
    """

    __slots__ = (
        "committed_position",
        "is_validated",
        "leader_epoch",
        "partition",
        "paused",
        "pending",
        "position",
        "read_ahead",
        "read_size_bytes",
        "requested_reset",
        "rest",
        "taken",
        "taken_epoch",
        "topic_partition",
        "version",
        "was_found",
    )

    def __init__(self, topic_partition: TopicPartition) -> None:
        self.topic_partition = topic_partition
        self.partition: Partition | None = None
        """The partition itself; None while it does not exist."""
        self.was_found = False
        """Whether the partition ever existed: if so, another one of its name starts afresh."""
        self.position: int | None = None
        """The offset of the next record to return; None until it is looked up (CON-5)."""
        self.committed_position: int | None = None
        """The position last committed, as far as this consumer knows: no need to do it again."""
        self.is_validated = True
        """Whether ``position`` is as good as it gets; if not, it is to be compared with the log's epochs (REP-6)."""
        self.requested_reset: str | None = None
        """``EARLIEST`` or ``LATEST`` when asked for by a seek; carried out at the next look (CON-6)."""
        self.leader_epoch: int | None = None
        """That of the last record returned, to be committed with the position."""
        self.paused = False
        self.version = 0
        """Grows whenever records already taken must no longer be returned."""
        self.taken = -1
        self.taken_epoch: int | None = None
        self.read_ahead = -1
        self.read_size_bytes = FIRST_READ_BYTES
        """How much the next read asks for: more each time, from little after a seek."""
        self.rest: Part | None = None
        """What is left of the batch that is being returned in parts."""
        self.pending: list[BatchView] = []
        """The batches after it that were read already, the next one last: taking one lets go of it."""

    @property
    def is_fetchable(self) -> bool:
        """Whether poll may read it: there is one, its position is known, and it is not paused."""
        return self.partition is not None and self.position is not None and not self.paused

    def lag(self, isolation: Isolation) -> int | None:
        """Return how many offsets are between position and visible end; None while either is unknown.

        Threads: any.
        """
        position, partition = self.position, self.partition
        if position is None or partition is None:
            return None
        return partition.end_offset(isolation) - position

    def deliver(self) -> None:
        """What was taken is in the user's hands: the position moves (CON-4)."""
        self.position = self.taken
        self.leader_epoch = self.taken_epoch

    def drop_buffer(self) -> None:
        """Forget what was fetched ahead: it is read again from where the last record was taken."""
        self.rest = None
        self.pending = []
        self.read_ahead = self.taken
        self.read_size_bytes = FIRST_READ_BYTES

    def rewind(self) -> None:
        """Drop what was fetched and taken: the next record returned is the one at ``position``."""
        self.version += 1
        self.taken = -1 if self.position is None else self.position
        self.taken_epoch = self.leader_epoch
        self.drop_buffer()

    def move_to(
        self, position: int | None, leader_epoch: int | None = None, *, is_validated: bool = True
    ) -> None:
        """Continue at *position*; None has it looked up again. Not *is_validated*: compared with the log's epochs first."""
        self.position = position
        self.is_validated = is_validated
        self.leader_epoch = leader_epoch
        self.requested_reset = None
        self.rewind()

    def request_reset(self, where: str) -> None:
        """Continue at the start or end of the log, as it will be when someone looks."""
        self.move_to(None)
        self.requested_reset = where

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        if self.position is None:
            assert self.taken == self.read_ahead == -1
        else:
            assert 0 <= self.position <= self.taken <= self.read_ahead
        waiting = [view.base_offset for view in reversed(self.pending)]
        assert waiting == sorted(set(waiting))
        assert not waiting or self.pending[0].next_offset == self.read_ahead
        assert self.rest is None or self.taken < self.rest.next_offset <= self.read_ahead
        if self.partition is not None:
            assert self.partition.topic_partition == self.topic_partition

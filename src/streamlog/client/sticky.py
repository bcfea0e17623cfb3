"""The partition for records without a key. Source: Kafka ``BuiltInPartitioner``; KIP-480, KIP-794."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from streamlog.client.partitioner import RandomNumbers


class StickyPartition:
    """One topic's current partition for records without a key, and when to leave it (PAR-2).

    Staying on one partition until a batch is full makes few large batches where a new choice for
    each record would make many small ones. How long to stay counts bytes, never records, so that
    partitions get equal shares of data whatever the sizes of records.

    A producer's hot path keeps the count itself and asks only when there is something to decide::

        sticky.produced_bytes += record_bytes
        if sticky.produced_bytes >= sticky.batch_size:
            sticky.switch_if_due(partition_count, queue_is_finished=...)

    Threads: the holder of the topic's lock in the producer.
    """

    __slots__ = ("_random", "batch_size", "partition", "produced_bytes")

    def __init__(self, batch_size: int, random: RandomNumbers) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or greater, found {batch_size}")
        self._random = random.random
        self.batch_size = batch_size
        """So many bytes are put on a partition before the next is chosen."""
        self.partition = -1
        """The current partition, -1 before the first choice."""
        self.produced_bytes = 0
        """Bytes put on the current partition since it was chosen."""

    def current(self, partition_count: int) -> int:
        """Return the partition to append to, choosing one when there is none (any more)."""
        if 0 <= self.partition < partition_count:
            return self.partition
        return self.choose(partition_count)

    def update(
        self,
        appended_bytes: int,
        partition_count: int,
        *,
        queue_is_finished: bool = True,
        queue_sizes: Sequence[int] | None = None,
    ) -> int:
        """Count *appended_bytes*, switch if it is time, and return the partition for the next
        record.
        """
        self.produced_bytes += appended_bytes
        if self.produced_bytes >= self.batch_size:
            self.switch_if_due(
                partition_count, queue_is_finished=queue_is_finished, queue_sizes=queue_sizes
            )
        return self.partition

    def switch_if_due(
        self,
        partition_count: int,
        *,
        queue_is_finished: bool = True,
        queue_sizes: Sequence[int] | None = None,
    ) -> bool:
        """Choose the next partition if enough was put on this one; return whether one was chosen.

        Leaving a batch that still has room would send it small, so while the partition's queue ends
        in such a batch (*queue_is_finished* false) the switch waits, up to twice ``batch_size``.
        """
        due = self.batch_size if queue_is_finished else 2 * self.batch_size
        if self.produced_bytes < due:
            return False
        self.choose(partition_count, queue_sizes)
        return True

    def choose(self, partition_count: int, queue_sizes: Sequence[int] | None = None) -> int:
        """Return a new random partition and start counting anew; it may be the same one again.

        All are equally likely without *queue_sizes*. With them (batches waiting in the producer,
        one number for each partition), each has the weight longest queue + 1 - own queue, so that
        slow partitions get less (``partitioner_adaptive_partitioning_enable``).
        """
        if queue_sizes is None:
            chosen = int(self._random() * partition_count)
        else:
            if len(queue_sizes) != partition_count:
                raise ValueError(
                    f"expected {partition_count} queue sizes, found {len(queue_sizes)}"
                )
            longest = max(queue_sizes)
            totals = list(accumulate(longest + 1 - size for size in queue_sizes))
            chosen = bisect_right(totals, int(self._random() * totals[-1]))
        self.partition = chosen
        self.produced_bytes = 0
        return chosen

"""How much there is by now for a fetch that waits for many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.structs import Isolation
    from streamlog.wire.encoded_batches import Allowance, EncodedBatches

#: Looked at in one go.
_READ_BYTES = 1024 * 1024


class PartitionProgress:
    """What was counted of one partition of a fetch. Made by `FetchProgress.begin`."""

    __slots__ = ("fetch_offset", "first_bytes", "limit_bytes", "next_offset", "partition", "size_bytes")  # fmt: skip

    def __init__(self, partition: Partition, fetch_offset: int, limit_bytes: int) -> None:
        self.partition = partition
        self.fetch_offset = fetch_offset
        self.limit_bytes = limit_bytes
        self.next_offset = fetch_offset
        """Up to there it was counted."""
        self.first_bytes = 0
        """Of the first batch, which an answer has whatever its size if it has nothing else."""
        self.size_bytes = 0
        """Of all that was counted, with the whole of the last batch."""

    @property
    def is_full(self) -> bool:
        """Whether what comes next does not count. A first batch does in any case."""
        return 0 < self.size_bytes >= self.limit_bytes

    def add(self, size_bytes: int, next_offset: int) -> None:
        """Count a batch that ends before *next_offset*."""
        if not self.size_bytes:
            self.first_bytes = size_bytes
        self.size_bytes += size_bytes
        self.next_offset = next_offset


class FetchProgress:
    """Counts each batch once, when it has come, so that an append has nothing read again that was there before it.

    Counted is, of each partition, what is there up to its ``partition_max_bytes``. That includes the part of a batch that does not fit and
    is not in the answer: no more will be, however long the client waits. Source: Kafka ``DelayedFetch.tryComplete``; unlike there the
    first batch of all counts with its whole size, as it does in the answer, and a fetch from an older segment waits as any other.

    Threads: one at a time.
    """

    def __init__(self, isolation: Isolation, encoded_batches: EncodedBatches) -> None:
        self._isolation = isolation
        self._encoded = encoded_batches
        #: As they were asked for, also one that was asked for twice.
        self._partitions: list[PartitionProgress] = []

    def begin(self, partition: Partition, fetch_offset: int, limit_bytes: int) -> PartitionProgress:
        """Count up to *limit_bytes* of *partition* from *fetch_offset* on; return where the caller counts what it finds itself."""
        progress = PartitionProgress(partition, fetch_offset, max(limit_bytes, 0))
        self._partitions.append(progress)
        return progress

    @property
    def size_bytes(self) -> int:
        """What was counted so far."""
        size = 0
        for one in self._partitions:
            if one.size_bytes:
                found = min(one.size_bytes, one.limit_bytes)
                size += found if size else max(found, one.first_bytes)
        return size

    def reaches(self, wanted_bytes: int, allowance: Allowance | None) -> bool:
        """Return whether so many bytes are there by now, or something is wrong and has to be told.

        Raises `TakesLongError` when counting takes more than the *allowance*; what was counted until then stays counted.
        """
        try:
            for one in self._partitions:
                if one.partition.log_start_offset > one.fetch_offset:
                    return True
                self._count(one, allowance)
        except (StreamlogError, OSError):
            return True
        return self.size_bytes >= wanted_bytes

    def _count(self, one: PartitionProgress, allowance: Allowance | None) -> None:
        partition = one.partition
        end_offset = partition.end_offset(self._isolation)
        while one.next_offset < end_offset and not one.is_full:
            left = one.limit_bytes - one.size_bytes
            found = partition.read_batches(one.next_offset, min(left, _READ_BYTES), end_offset)
            if not found:
                break  # compaction left nothing
            for view in found:
                size = self._encoded.size_of(partition.topic_partition, view, allowance)
                one.add(size, view.next_offset)

"""How much more there is for a fetch that waits for many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.structs import Isolation
    from streamlog.wire.encoded_batches import Allowance, EncodedBatches

#: Looked at in one go.
_READ_BYTES = 1024 * 1024


class FetchProgress:
    """Counts the bytes of each batch once, when it has come, so that small appends do not have everything read again each time.

    Threads: one at a time.
    """

    def __init__(self, isolation: Isolation, encoded_batches: EncodedBatches) -> None:
        self._isolation = isolation
        self._encoded = encoded_batches
        #: By partition: the next offset to count, and how many bytes more the client takes of it.
        self._rest: dict[Partition, tuple[int, int]] = {}
        self.size_bytes = 0
        """What was counted so far."""

    def begin(self, partition: Partition, offset: int, limit_bytes: int) -> None:
        """Count up to *limit_bytes* of *partition* from *offset* on."""
        self._rest[partition] = offset, limit_bytes

    def reaches(self, wanted_bytes: int, allowance: Allowance | None) -> bool:
        """Return whether so many bytes are there by now, or something is wrong and has to be told.

        Raises `TakesLongError` when counting takes more than the *allowance*; what was counted until then stays counted.
        """
        try:
            for partition in self._rest:
                self._count(partition, allowance)
        except (StreamlogError, OSError):
            return True
        return self.size_bytes >= wanted_bytes

    def _count(self, partition: Partition, allowance: Allowance | None) -> None:
        offset, left = self._rest[partition]
        end_offset = partition.end_offset(self._isolation)
        while left > 0:
            found = partition.read_batches(offset, min(left, _READ_BYTES), end_offset)
            if not found:
                break
            for view in found:
                size = self._encoded.size_of(partition.topic_partition, view, allowance)
                self.size_bytes += min(size, left)
                left -= size
                offset = view.next_offset
                self._rest[partition] = offset, left

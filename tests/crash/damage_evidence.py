"""What the damaged files of a partition still say about what was in them."""

from __future__ import annotations

from functools import cached_property

from streamlog import TopicPartition
from streamlog.record.layout import HEADER_SIZE, read_header
from tests.crash.damage_data import CLEAN, POWER_FAILED, Batch, Damage, Dataset, partition_of


class Evidence:
    """What the damaged files of one partition still say."""

    def __init__(
        self, dataset: Dataset, tp: TopicPartition, files: Damage, *, no_state: bool
    ) -> None:
        self._dataset = dataset
        self._files = files
        self._tp = tp
        self._recovery_offset = 0 if no_state else dataset.recovery_offsets[tp]
        self._power_failed = no_state or dataset.state == POWER_FAILED
        self.end = max(dataset.records.get(tp, ()), default=-1) + 1

    @cached_property
    def batches(self) -> list[Batch]:
        """All batches of the partition as they were, in offset order."""
        return [
            batch
            for path, batches in self._dataset.batches.items()
            if partition_of(path) == self._tp
            for batch in batches
        ]

    @cached_property
    def intact(self) -> list[Batch]:
        """Those that are still where they were, byte for byte, in files whose other batches were not rearranged."""
        rearranged = {batch.path for batch in self.batches if self._is_taken(batch)}
        return [
            batch
            for batch in self.batches
            if batch.path not in rearranged and self._bytes(batch) == self._original(batch)
        ]

    def _is_taken(self, batch: Batch) -> bool:
        """Whether another batch stands in the place of this one."""
        header = read_header(self._bytes(batch)[:HEADER_SIZE])
        return header is not None and header.base_offset != batch.base_offset

    def _bytes(self, batch: Batch) -> bytes:
        data = self._files.get(batch.path, self._dataset.files[batch.path])
        return data[batch.position : batch.end] if isinstance(data, bytes) else b""

    def _original(self, batch: Batch) -> bytes:
        return self._dataset.files[batch.path][batch.position : batch.end]

    def batch_of(self, offset: int) -> Batch:
        return next(b for b in self.batches if b.base_offset <= offset < b.next_offset)

    def may_be_cut(self, batch: Batch) -> bool:
        """Whether a power failure explains that *batch* is gone, although nobody damaged it."""
        return self._power_failed and batch.base_offset >= self._recovery_offset

    def may_be_unread(self, offset: int) -> bool:
        """Whether recovery had no reason to read *offset*: below the recovery point only reading finds damage."""
        return self._dataset.state == CLEAN or offset < self._recovery_offset

    def left_no_trace(self, batch: Batch) -> bool:
        """Whether there is nothing where *batch* was: a zero length, or the end of the file."""
        return not any(self._bytes(batch)[:4]) or len(self._bytes(batch)) < 8

    def looks_torn(self, batch: Batch) -> bool:
        """Whether the log from *batch* on looks as if it had never been written, which a kill explains."""
        if self._dataset.state == CLEAN or batch.base_offset < self._recovery_offset:
            return False
        behind = [b for b in self.intact if b.base_offset > batch.base_offset]
        return self.left_no_trace(batch) and not behind

"""Making a log durable: group commits, and the recovery point that each of them moves."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from streamlog.errors import ClosedError
from streamlog.runtime import locked
from streamlog.storage.compaction.segment_swap import swapped
from streamlog.storage.log_segments import fingerprint
from streamlog.storage.log_trimming import TrimmableLog
from streamlog.storage.partition_checkpoint import (
    HAS_PRODUCERS,
    HAS_TRANSACTIONS,
    SYNC_FAILED,
    PartitionCheckpoint,
)
from streamlog.storage.segment import Segment

_logger = logging.getLogger("streamlog")


class SyncableLog(TrimmableLog):
    """The part of a log that says what survives a power loss, and where recovery would start."""

    has_transactions: bool
    _dirty: bool
    _has_producers: bool
    _on_dirty: Callable[[Any], None] | None

    @abstractmethod
    def _flush_transactions(self, segment: Segment) -> None:
        """Write out what the index of aborted transactions of the last segment lacks; never raises OSError."""

    @abstractmethod
    def _take_snapshot_if_due(self) -> None:
        """Write a snapshot of the producers now and then; never raises OSError."""

    @property
    def durable_end_offset(self) -> int:
        """Every record below survives a power loss (those below the log start have gone)."""
        return max(self._group_commit.durable_end_offset, self._log_start_offset)

    @property
    def is_dirty(self) -> bool:
        """Whether there are bytes that are not on the disk yet."""
        return self._dirty

    def sync(self, end_offset: int | None = None) -> None:
        """Return once every record below *end_offset* (None: all there are now) survives a power loss.

        Concurrent callers share one ``fdatasync`` (group commit). Raises DurabilityError when that failed, now or earlier.
        """
        self._group_commit.wait_for(self._next_offset if end_offset is None else end_offset)

    def _sync_segments(self) -> int:
        """Sync what is not yet on the disk, oldest first, and return the end offset that this covers. One thread at a time."""
        segments, reached = self._begin_sync()
        try:
            for segment in segments:
                segment.sync()
        except OSError as error:
            self._fail_sync(error)
            self._note_failed_sync()
            raise
        self._end_sync(reached)
        return reached.recovery_offset

    @locked
    def _begin_sync(self) -> tuple[list[Segment], PartitionCheckpoint]:
        """Return what has to be synced, and the recovery point that this will make."""
        self._check_usable()
        active = self._active
        return self._segments.unsynced(), PartitionCheckpoint(
            self._log_start_offset,
            self._next_offset,
            active.base_offset,
            active.position,
            self._leader_epoch,
            active.first_timestamp_ms,
            active.max_timestamp_ms,
            active.max_timestamp_offset,
        )

    @locked
    def _fail_sync(self, error: OSError) -> None:
        # Together, or an append in between would see no failure and raise the limit again.
        self._group_commit.fail(error)
        self._active.limit = 0

    def _note_failed_sync(self) -> None:
        """Let STATE say at once that pages may be lost: this process may not live until the next checkpoint."""
        try:
            self._persist()
        except ClosedError:
            pass  # the directory is closing, and writes STATE when all logs are closed
        except OSError as error:
            _logger.warning(
                "%s: that a sync failed could not be noted: %s", self.topic_partition, error
            )

    @locked
    def _end_sync(self, reached: PartitionCheckpoint) -> None:
        self._recovery_point = reached
        self._dirty = self._next_offset > reached.recovery_offset
        if not self._dirty:
            # The next append goes by _prepare, which announces it.
            self._active.limit = min(self._active.limit, -self._active.limit)
        elif self._on_dirty is not None:
            self._on_dirty(self)

    @locked
    def checkpoint(self) -> PartitionCheckpoint:
        """Return what STATE has to remember of this log now."""
        point = self._recovery_point
        try:
            if self._closed is None and point.recovery_offset > 0:
                self._flush_transactions(self._active)
                self._active.flush_indexes()
        except OSError as error:
            _logger.warning(
                "%s: index not written, it is rebuilt at the next open: %s",
                self.topic_partition,
                error,
            )
        if self._closed is None:
            self._take_snapshot_if_due()
        self._epochs.truncate_from_start(self._log_start_offset)
        base_offsets = self._segments.base_offsets()
        from_offset, to_offset = self._swapping or (-1, -1)
        if self._swapping is not None:
            # As they will be, whoever finishes it.
            base_offsets = swapped(base_offsets, from_offset, to_offset)
        sealed_count, sealed_crc = fingerprint(
            base_offsets, self._log_start_offset, point.segment_base_offset
        )
        return point._replace(
            log_start_offset=self._log_start_offset,
            leader_epoch=self._leader_epoch,
            truncating_to_offset=self._truncating_to_offset,
            flags=(SYNC_FAILED if self._group_commit.failure is not None else 0)
            | (HAS_PRODUCERS if self._has_producers else 0)
            | (HAS_TRANSACTIONS if self.has_transactions else 0),
            sealed_count=sealed_count,
            sealed_crc=sealed_crc,
            first_dirty_offset=self._first_dirty_offset,
            swapping_from_offset=from_offset,
            swapping_to_offset=to_offset,
            epochs=self._epochs.pack(),
        )

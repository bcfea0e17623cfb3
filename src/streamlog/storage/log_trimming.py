"""What makes a log shorter: retention and ``delete_records`` at its beginning, truncation at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from streamlog.config import TopicConfig
from streamlog.errors import DiskFullError
from streamlog.runtime import FileSystem, Lock, TokenLock, locked
from streamlog.storage.file_names import DELETED_SUFFIX
from streamlog.storage.group_commit import GroupCommit
from streamlog.storage.leader_epochs import LeaderEpochs
from streamlog.storage.log_reader import ReadableLog
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.retention import deletable_count
from streamlog.storage.segment import Segment
from streamlog.structs import NO_TIMESTAMP, TopicPartition


class TrimmableLog(ReadableLog, ABC):
    """The part of a log that drops records. What is dropped is recorded durably before a file changes."""

    lock: TokenLock
    _config: TopicConfig
    _epochs: LeaderEpochs
    _filesystem: FileSystem
    _group_commit: GroupCommit
    _leader_epoch: int
    _persist: Callable[[], None]
    _recovery_point: PartitionCheckpoint
    _truncating_to_offset: int

    def __init__(self, directory: str, topic_partition: TopicPartition) -> None:
        super().__init__(directory, topic_partition)
        # The greatest log start that is known to be in STATE, or there by other means.
        self._recorded_log_start = 0
        # Below it compaction has been, unless that is below the log start.
        self._first_dirty_offset = 0
        # The range of the segments that are being replaced by a cleaned one: noted before STATE is told, until STATE is told that
        # it is done. Whatever fails in between is done again.
        self._swapping: tuple[int, int] | None = None
        # So many truncations there were.
        self._cuts = 0
        # Held by whoever renames files of segments: retention, truncation, compaction; and while closing. Comes before the log's lock.
        self._files_lock = Lock()
        #: Gets the renamed files of deleted segments, and the delay in ms after which to unlink them. None: at once.
        self.on_files_retired: Callable[[list[str], int], None] | None = None

    @abstractmethod
    def sync(self, end_offset: int | None = None) -> None:
        """Return once every record below *end_offset* (None: all there are now) survives a power loss."""

    @abstractmethod
    def _roll(self) -> Segment:
        """Start a new segment."""

    @abstractmethod
    def _activate(self, segment: Segment, next_offset: int) -> None:
        """Append to *segment* from now on, its first record getting *next_offset*."""

    @abstractmethod
    def _forget_producers(self, end_offset: int) -> bool:
        """Find the producers again in a log that ends at *end_offset* now; return whether a name went that must not come back."""

    @abstractmethod
    def _finish_swap(self) -> None:
        """Finish the swap of segments that was interrupted, if there is one. Raises OSError."""

    @abstractmethod
    def _drop_old_snapshots(self) -> None:
        """Delete the snapshots from before the first segment."""

    def advance_log_start(self, offset: int) -> None:
        """Forget every record below *offset*; durable when it returns. Files go later, with retention (RET-9).

        An *offset* at or below the log start changes nothing. Raises OffsetOutOfRangeError above the log end. After DiskFullError or
        another OSError the records are forgotten here, and that may not last: call again.
        """
        if self._advance(offset):
            self._record_log_start([])

    @locked
    def _advance(self, offset: int) -> bool:
        self._check_usable()
        if offset > self._next_offset:
            raise self._out_of_range(offset)
        if offset <= self._recorded_log_start:
            return False
        # It may be there already, and not be on the disk: an earlier call failed.
        self._log_start_offset = max(self._log_start_offset, offset)
        return True

    def delete_expired(self, now_ms: int, high_watermark: int) -> int:
        """Apply retention once and return how many segments went (RET-1 to RET-8).

        Files are renamed at once and unlinked ``file_delete_delay_ms`` later. The log start moves first, durably: a log whose
        first file is missing without that would look like data loss.
        """
        with self._files_lock:
            expired = self._leave_behind(now_ms, high_watermark)
            if expired:
                self._record_log_start(expired)
                self._retire(expired)
                self._forget_snapshots()
        return len(expired)

    @locked
    def _forget_snapshots(self) -> None:
        self._drop_old_snapshots()

    @locked
    def _leave_behind(self, now_ms: int, high_watermark: int) -> list[Segment]:
        """Move the log start past the segments that may go, and return those."""
        self._check_usable()
        segments = self._segments.in_order()
        count = deletable_count(
            segments,
            self._config,
            now_ms=now_ms,
            log_start_offset=self._log_start_offset,
            high_watermark=high_watermark,
        )
        if count == len(segments):
            self._roll()  # the active one expired as well: its successor starts empty (RET-6)
        if count:
            self._log_start_offset = max(
                self._log_start_offset, self._segments.in_order()[count].base_offset
            )
        return segments[:count]

    def _record_log_start(self, expired: list[Segment]) -> None:
        """Make the log start durable. Where there is no room even for that, the indexes of what has *expired* make it."""
        offset = self._log_start_offset
        try:
            self._persist()
        except DiskFullError:
            if not expired:
                raise
            # Derived data of files that go next: or a disk filled by others to the last byte could not be emptied.
            for segment in expired:
                for path in segment.derived_paths:
                    if self._filesystem.exists(path):
                        self._filesystem.unlink(path)
            self._persist()
        self._log_start_recorded(offset)

    @locked
    def _log_start_recorded(self, offset: int) -> None:
        self._recorded_log_start = max(self._recorded_log_start, offset)

    def truncate_to(self, offset: int) -> None:
        """Cut every batch that holds *offset* or a later one (a follower that diverged, REP-5).

        The log end becomes the first offset of the batch that held *offset*, and the log start with it if that lay behind, inside
        the batch. Crash-safe: the cut is recorded durably before a
        byte changes, and recovery finishes it. Appends meanwhile raise StorageError; so do all later ones when it fails half-way
        (OSError), until the log is opened again. Readers are expected below what is cut (the high watermark): one that is not
        may meet zeros, which no checksum matches. Raises OffsetOutOfRangeError below the log start; at or above the log end
        nothing happens.
        """
        self._check_usable()
        if offset >= self._next_offset:
            return
        if offset < self._log_start_offset:
            raise self._out_of_range(offset)
        with self._files_lock:
            self._finish_swap()
            self.sync()  # so that the recovery point may be the place of the cut
            with self._group_commit.paused():
                self._truncate(offset)

    def _truncate(self, offset: int) -> None:
        target, position, later = self._announce_cut(offset)
        self._persist()
        snapshots_went = self._cut(target, position, later)
        self._retire(later)
        if later or snapshots_went:
            # Before the cut counts as done: a power loss may bring the names back, to follow what is appended from now on.
            self._filesystem.sync_dir(self.directory)
        target.sync()
        self._truncating_to_offset = -1
        self._persist()

    @locked
    def _announce_cut(self, offset: int) -> tuple[Segment, int, list[Segment]]:
        """Stop appends and note where the log will end; return the segment, the position in it, and what comes after."""
        self._check_usable()
        self._active.limit = 0  # appends go by _prepare from now on, which refuses them
        segments = self._segments.in_order()
        keep = max(number for number, s in enumerate(segments) if s.base_offset <= offset)
        target, later = segments[keep], segments[keep + 1 :]
        position, end_offset = target.position_of(offset)
        self._cuts += 1
        self._first_dirty_offset = min(self._first_dirty_offset, end_offset)
        self._log_start_offset = min(self._log_start_offset, end_offset)
        self._recorded_log_start = min(self._recorded_log_start, end_offset)
        self._truncating_to_offset = end_offset
        self._recovery_point = PartitionCheckpoint(
            self._log_start_offset,
            end_offset,
            target.base_offset,
            position,
            self._leader_epoch,
            NO_TIMESTAMP,
            NO_TIMESTAMP,
            target.base_offset,
        )
        return target, position, later

    @locked
    def _cut(self, target: Segment, position: int, later: list[Segment]) -> bool:
        end_offset = self._truncating_to_offset
        target.truncate(position, end_offset)
        self._activate(target, end_offset)
        self._group_commit.durable_end_offset = end_offset
        self._epochs.truncate_from_end(end_offset)
        self._epochs.assign(self._leader_epoch, end_offset)
        for segment in later:
            self._segments.remove(segment)
        return self._forget_producers(end_offset)

    def _retire(self, segments: list[Segment]) -> None:
        retired: list[str] = []
        for segment in segments:
            self._segments.remove(segment)
            segment.release_files()
            for path in segment.file_paths:
                if self._filesystem.exists(path):
                    self._filesystem.rename(path, path + DELETED_SUFFIX)
                    retired.append(path + DELETED_SUFFIX)
        if self.on_files_retired is not None:
            self.on_files_retired(retired, self._config.file_delete_delay_ms)
        else:
            for path in retired:
                self._filesystem.unlink(path)

    def _check(self) -> None:
        """Assert what holds of an undamaged log while no call is under way (LOG-6). For tests."""
        assert not self.lock.locked()
        self._segments._check()
        self._group_commit._check()
        segments, end_offset = self._segments.in_order(), self._next_offset
        assert self._active is segments[-1]
        assert self._active.next_offset == end_offset
        assert segments[0].base_offset <= self._log_start_offset <= end_offset
        assert (
            self._recovery_point.recovery_offset
            <= self._group_commit.durable_end_offset
            <= end_offset
        )
        assert self._truncating_to_offset < 0
        assert not self._files_lock.locked()
        assert self._first_dirty_offset <= end_offset
        assert self._swapping or all(segment.stored_at == segment.path for segment in segments)

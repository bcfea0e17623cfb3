"""Opening a partition directory: what is there, where the log ends, what is torn, what is damaged.

The work is proportional to what was written after the last checkpoint. Up to the checkpoint every byte was on the disk, so a
missing byte there is data loss and never a crash. Behind it, a crash explains some bad places and damage the others:

=============  ====================================================================  ==========================================
outcome        found                                                                 done
=============  ====================================================================  ==========================================
TORN_TAIL      nothing good behind the bad place; and the length word is 0, or the   cut to the good prefix
               machine was restarted
LOST_PAGES     good batches behind it, and the machine was restarted                 copied to quarantine, cut to the prefix
DAMAGED        same boot, and: good batches behind it, or a length word that is      nothing cut; the range is reported, and
               not 0 (it is stored last, so a killed process leaves a 0)             reading it raises
DATA_LOSS      the log ends before the checkpoint, or a file is missing              the partition is not opened
=============  ====================================================================  ==========================================

Running it again changes nothing, wherever it was killed: a cut is a truncation at the same place, and the checkpoint stays where
it was until the next sync.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise

import attrs

from streamlog.errors import DataLossError
from streamlog.record.layout import aligned
from streamlog.runtime import FileSystem, Mapping
from streamlog.storage.batch_scan import (
    find_next_batch,
    header_at,
    is_zero,
)
from streamlog.storage.file_names import (
    DELETED_SUFFIX,
    LOG_SUFFIX,
    SEGMENT_SUFFIXES,
    TEMPORARY_SUFFIX,
    base_offset_of,
    join,
)
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.quarantine import Quarantine
from streamlog.storage.recovery_report import DamagedRange, PartitionRecovery, RecoveryOutcome
from streamlog.storage.segment import Segment
from streamlog.storage.tail_scan import scan_tail

_logger = logging.getLogger("streamlog")


@attrs.define
class RecoveredLog:
    """What recovery hands to the log: its segments, oldest first, the last one active, and its bounds."""

    segments: list[Segment]
    log_start_offset: int
    leader_epoch: int
    recovery: PartitionRecovery
    #: Why nothing may be appended, or empty: the end of the log is not known.
    append_refused: str = ""


class LogRecovery:
    """Opens the directory of one partition. Used once, by the thread that opens the log."""

    def __init__(
        self,
        filesystem: FileSystem,
        directory: str,
        checkpoint: PartitionCheckpoint | None,
        make_segment: Callable[[int], Segment],
        recovery: PartitionRecovery,
        quarantine: Quarantine,
        *,
        clean: bool,
        same_boot: bool,
    ) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self._checkpoint = checkpoint
        self._make_segment = make_segment
        self._recovery = recovery
        self._quarantine = quarantine
        self._clean = clean
        self._same_boot = same_boot
        self._leader_epoch = checkpoint.leader_epoch if checkpoint else 0
        self._append_refused = ""

    def run(self) -> RecoveredLog:
        """Return the log as it is after recovery. Raises DataLossError when durable records are missing."""
        base_offsets = self._list_segments()
        checkpoint = self._checkpoint
        log_start_offset = (
            checkpoint.log_start_offset if checkpoint else (base_offsets[0] if base_offsets else 0)
        )
        base_offsets = self._drop_segments_below(log_start_offset, base_offsets)
        if not base_offsets:
            self._require(
                checkpoint is None or checkpoint.recovery_offset <= log_start_offset,
                "no segment file",
            )
            return self._result([self._make_segment(log_start_offset)], log_start_offset)
        self._require(
            base_offsets[0] <= log_start_offset,
            f"the first segment starts at offset {base_offsets[0]}, the log at {log_start_offset}",
        )
        segments = [self._make_segment(base_offset) for base_offset in base_offsets]
        if checkpoint is None:
            return self._result(self._scan(segments, 0, 0, base_offsets[0]), log_start_offset)
        first = self._index_of_recovery_point(checkpoint, base_offsets)
        if first is None:  # the checkpoint is the empty start of a log whose first file came later
            return self._result(self._scan(segments, 0, 0, base_offsets[0]), log_start_offset)
        for segment, following in pairwise(segments[: first + 1]):
            segment.load_sealed(following.base_offset)
        active = segments[first]
        self._take_checkpoint(active, checkpoint)
        if checkpoint.truncating_to_offset >= 0:
            # A truncation was under way: whatever is behind the checkpoint is half overwritten, and nobody wants it.
            self._remove_behind(
                segments, first, active.position, self._filesystem.file_size(active.path)
            )
            return self._result(segments[: first + 1], log_start_offset)
        if self._clean and active is segments[-1] and self._ends_at_checkpoint(active):
            return self._result(segments, log_start_offset)
        position, expected = checkpoint.segment_position, checkpoint.recovery_offset
        return self._result(self._scan(segments, first, position, expected), log_start_offset)

    # ------------------------------------------------------------------------------------------------------- files

    def _list_segments(self) -> list[int]:
        """Delete what a crash left half-deleted or half-written, and return the base offsets of the segments, in order."""
        names = self._filesystem.list_dir(self._directory)
        base_offsets = sorted(base for name in names if (base := base_offset_of(name)) is not None)
        stems = {f"{base:020d}" for base in base_offsets}
        for name in names:
            leftover = name.endswith((DELETED_SUFFIX, TEMPORARY_SUFFIX))
            orphan_index = (
                name.endswith(SEGMENT_SUFFIXES)
                and not name.endswith(LOG_SUFFIX)
                and name[:20] not in stems
            )
            if leftover or orphan_index:
                self._filesystem.unlink(join(self._directory, name))
        return base_offsets

    def _drop_segments_below(self, log_start_offset: int, base_offsets: list[int]) -> list[int]:
        """Finish a retention that was interrupted after it moved the log start."""
        while len(base_offsets) > 1 and base_offsets[1] <= log_start_offset:
            self._drop_all([self._make_segment(base_offsets.pop(0))])
        return base_offsets

    # ------------------------------------------------------------------------------------------------------- checkpoint

    def _index_of_recovery_point(
        self, checkpoint: PartitionCheckpoint, base_offsets: list[int]
    ) -> int | None:
        if checkpoint.segment_base_offset in base_offsets:
            first = base_offsets.index(checkpoint.segment_base_offset)
            path = self._make_segment(checkpoint.segment_base_offset).path
            found = self._filesystem.file_size(path)
            self._require(
                found >= checkpoint.segment_position,
                f"{path}: expected at least {checkpoint.segment_position} bytes, found {found}",
            )
            return first
        self._require(
            checkpoint.recovery_offset <= base_offsets[0],
            f"segment file {checkpoint.segment_base_offset:020d}{LOG_SUFFIX} is missing",
        )
        return None

    def _take_checkpoint(self, segment: Segment, checkpoint: PartitionCheckpoint) -> None:
        segment.position = segment.synced_position = checkpoint.segment_position
        segment.next_offset = checkpoint.recovery_offset
        segment.created_durably = checkpoint.segment_position > 0
        segment.first_timestamp_ms = checkpoint.first_timestamp_ms
        segment.max_timestamp_ms = checkpoint.max_timestamp_ms
        segment.max_timestamp_offset = checkpoint.max_timestamp_offset

    def _ends_at_checkpoint(self, segment: Segment) -> bool:
        """Whether the file holds nothing behind the checkpoint: a clean close trims it there."""
        return self._filesystem.file_size(segment.path) == segment.position

    # ------------------------------------------------------------------------------------------------------- scan

    def _scan(
        self, segments: list[Segment], first: int, position: int, expected: int
    ) -> list[Segment]:
        """Read everything from *position* of segment number *first* on, and return the segments that remain."""
        recovery = self._recovery
        recovery.outcome = RecoveryOutcome.SCANNED
        for number in range(first, len(segments)):
            segment = segments[number]
            if position == 0 and segment.base_offset != expected:
                raise self._data_loss(
                    f"offsets {expected} to {segment.base_offset - 1} are missing before {segment.path}"
                )
            size = self._filesystem.file_size(segment.path)
            mapping = self._map(segment, size)
            good_end, expected = self._scan_good(segment, mapping, position, size, expected)
            while mapping is not None and not self._is_end(mapping, good_end, size):
                following = self._find_good_behind(
                    segments[number:], mapping, good_end, size, expected
                )
                length_word = int.from_bytes(mapping[good_end : min(good_end + 4, size)], "little")
                damaged = self._same_boot and (following is not None or length_word != 0)
                if not damaged:
                    return self._cut(
                        segments, number, good_end, size, expected, lost_pages=following is not None
                    )
                good_end, expected = self._mark_damaged(
                    segment, mapping, good_end, size, expected, following
                )
                if self._append_refused:
                    break
                good_end, expected = self._scan_good(segment, mapping, good_end, size, expected)
            if self._append_refused:
                segment.position, segment.next_offset = good_end, expected
                return segments[: number + 1]
            segment.position, segment.next_offset = good_end, expected
            position = 0
            if number + 1 < len(segments):
                if expected != segments[number + 1].base_offset:
                    # Batches are missing at the very end of a file, on a batch boundary.
                    self._boundary_gap(segments, number, good_end, expected)
                    if not self._same_boot:
                        return self._cut(
                            segments, number, good_end, size, expected, lost_pages=True
                        )
                    expected = segments[number + 1].base_offset
                segment.sealed = True
                segment.next_offset = expected
                self._trim(segment, size)
        return segments

    def _scan_good(
        self, segment: Segment, mapping: Mapping | None, position: int, size: int, expected: int
    ) -> tuple[int, int]:
        """Count good batches from *position* on and return where they end: (position, next offset)."""
        if mapping is None:
            return position, expected
        scanned = scan_tail(segment, mapping, position, size, expected)
        recovery = self._recovery
        recovery.scanned_batches += scanned.batches
        recovery.scanned_records += scanned.records
        recovery.scanned_bytes += scanned.position - position
        self._leader_epoch = max(self._leader_epoch, scanned.leader_epoch)
        return scanned.position, scanned.next_offset

    def _is_end(self, mapping: Mapping, position: int, size: int) -> bool:
        return position >= size or is_zero(mapping, position, size)

    def _find_good_behind(
        self, segments: list[Segment], mapping: Mapping, position: int, size: int, expected: int
    ) -> tuple[Segment, int, int] | None:
        """Return (segment, position, base offset) of the first good batch behind the bad place, or None."""
        found = find_next_batch(mapping, position, size, expected)
        if found is not None:
            return segments[0], found[0], found[1].base_offset
        for segment in segments[1:]:
            size = self._filesystem.file_size(segment.path)
            later = self._map(segment, size)
            found = find_next_batch(later, 0, size, expected) if later is not None else None
            if found is not None:
                return segment, found[0], found[1].base_offset
        return None

    def _mark_damaged(
        self,
        segment: Segment,
        mapping: Mapping,
        position: int,
        size: int,
        expected: int,
        following: tuple[Segment, int, int] | None,
    ) -> tuple[int, int]:
        """Note the bad range and return where reading can go on: (position, offset)."""
        recovery = self._recovery
        recovery.outcome = RecoveryOutcome.DAMAGED
        header = header_at(mapping, position, size)
        if header is not None and header.base_offset == expected:
            # The frame is good and only the body is not: the next batch is where it always was.
            resume_position, resume_offset = position + header.aligned_size, header.next_offset
        elif following is not None and following[0] is segment:
            resume_position, resume_offset = following[1], following[2]
        elif following is not None:
            resume_position, resume_offset = aligned(size), following[0].base_offset
        else:
            self._append_refused = f"{segment.path}: byte {position}: damaged, and nothing readable follows: the end is unknown"
            resume_position, resume_offset = position, expected
        next_good = None if self._append_refused else resume_offset
        recovery.damaged_ranges.append(DamagedRange(expected, next_good, segment.path, position))
        recovery.message = (
            f"{segment.path}: byte {position}: expected the batch of offset {expected}, found damaged bytes; "
            f"readable again from offset {next_good}"
        )
        return resume_position, resume_offset

    def _boundary_gap(
        self, segments: list[Segment], number: int, position: int, expected: int
    ) -> None:
        segment, following = segments[number], segments[number + 1]
        self._recovery.message = (
            f"{segment.path}: byte {position}: expected batches up to offset {following.base_offset - 1}, "
            f"found the end of the file at offset {expected}"
        )
        if self._same_boot:
            self._recovery.outcome = RecoveryOutcome.DAMAGED
            self._recovery.damaged_ranges.append(
                DamagedRange(expected, following.base_offset, segment.path, position)
            )

    # ------------------------------------------------------------------------------------------------------- cut

    def _cut(
        self,
        segments: list[Segment],
        number: int,
        position: int,
        size: int,
        end_offset: int,
        *,
        lost_pages: bool,
    ) -> list[Segment]:
        """Cut the log at *position* of segment *number*; what is behind goes, by way of quarantine if it may be records."""
        segment, later = segments[number], segments[number + 1 :]
        recovery = self._recovery
        recovery.outcome = RecoveryOutcome.LOST_PAGES if lost_pages else RecoveryOutcome.TORN_TAIL
        recovery.ambiguous = not self._same_boot
        pieces = [(segment.path, position, size)] if size > position else []
        pieces += [(s.path, 0, self._filesystem.file_size(s.path)) for s in later]
        recovery.cut_bytes = sum(end - start for _, start, end in pieces)
        if lost_pages:
            for path, start, end in pieces:
                recovery.cut_records += self._count_records(path, start, end)
            reason = (
                recovery.message
                or f"power loss: bad batch at byte {position} of {segment.path}, good ones behind it"
            )
            recovery.quarantine_path = self._quarantine.keep(
                self._directory.rsplit("/", 1)[-1], pieces, reason
            )
        recovery.message = (
            recovery.message or f"{segment.path}: cut at byte {position}, offset {end_offset}"
        )
        self._remove_behind(segments, number, position, size)
        segment.position, segment.next_offset = position, end_offset
        # Offsets of what was cut will be given again: a new epoch tells the two apart (KIP-101).
        self._leader_epoch += 1
        _logger.warning("recovery of %s: %s", recovery.topic_partition, recovery.message)
        return segments[: number + 1]

    def _remove_behind(
        self, segments: list[Segment], number: int, position: int, size: int
    ) -> None:
        segment, later = segments[number], segments[number + 1 :]
        # Newest first: a kill in between leaves a log that the next recovery cuts at the same place.
        self._drop_all(later[::-1])
        if later:
            self._filesystem.sync_dir(self._directory)
        if size > position:
            # To disk before anything is appended: stale bytes must not come back behind a new, shorter batch.
            file = self._filesystem.open(segment.path)
            try:
                file.truncate(position)
                file.sync()
            finally:
                file.close()

    def _count_records(self, path: str, start: int, end: int) -> int:
        if end <= start:
            return 0
        file = self._filesystem.open(path, read_only=True)
        mapping = file.map(end, writable=False)
        file.close()
        count, position = 0, start
        while (found := find_next_batch(mapping, position, end, 0)) is not None:
            count += found[1].record_count
            position = found[0] + found[1].aligned_size
        return count

    def _trim(self, segment: Segment, size: int) -> None:
        if size > segment.position:
            file = self._filesystem.open(segment.path)
            file.truncate(segment.position)
            file.close()

    # ------------------------------------------------------------------------------------------------------- helpers

    def _map(self, segment: Segment, size: int) -> Mapping | None:
        if size == 0:
            return None
        file = self._filesystem.open(segment.path, read_only=True)
        try:
            return file.map(size, writable=False)
        finally:
            file.close()

    def _result(self, segments: list[Segment], log_start_offset: int) -> RecoveredLog:
        if self._recovery.outcome in (RecoveryOutcome.DAMAGED, RecoveryOutcome.DATA_LOSS):
            _logger.error(
                "recovery of %s: %s", self._recovery.topic_partition, self._recovery.message
            )
        if segments[-1].next_offset < log_start_offset:
            # A power loss brought deleted files back, incomplete. All they hold lies below the log start, whose offsets must
            # not be given again.
            self._drop_all(segments)
            segments = [self._make_segment(log_start_offset)]
        return RecoveredLog(
            segments, log_start_offset, self._leader_epoch, self._recovery, self._append_refused
        )

    def _drop_all(self, segments: list[Segment]) -> None:
        for segment in segments:
            for path in (segment.path, segment.offset_index_path, segment.time_index_path):
                if self._filesystem.exists(path):
                    self._filesystem.unlink(path)

    def _require(self, condition: bool, what: str) -> None:
        if not condition:
            raise self._data_loss(what)

    def _data_loss(self, what: str) -> DataLossError:
        recovery = self._recovery
        recovery.outcome = RecoveryOutcome.DATA_LOSS
        durable = self._checkpoint.recovery_offset if self._checkpoint else 0
        recovery.message = f"{recovery.topic_partition}: {self._directory}: {what}; records below offset {durable} were durable"
        return DataLossError(
            recovery.message,
            topic_partition=recovery.topic_partition,
            first_bad_offset=self._checkpoint.log_start_offset if self._checkpoint else 0,
            next_good_offset=None,
            file=self._directory,
            position=0,
        )

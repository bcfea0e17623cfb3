"""Opening a partition directory: what is there, where the log ends, what is torn, what is damaged.

The work is proportional to what was written after the last checkpoint. Up to the checkpoint every byte was on the disk, so a
missing byte there is data loss and never a crash. Behind it, a crash explains some bad places and damage the others:

=============  ====================================================================  ==========================================
outcome        found                                                                 done
=============  ====================================================================  ==========================================
TORN_TAIL      nothing good behind the bad place; and the length word is 0, or the   cut to the good prefix
               power may have failed
LOST_PAGES     good batches behind it, and the power may have failed                 copied to quarantine, cut to the prefix
DAMAGED        no power failure, and: good batches behind it, or a length word that  nothing cut; the range is reported, and
               is not 0 (it is stored last, so a killed process leaves a 0)          reading it raises
DATA_LOSS      the log ends before the checkpoint, or a file is missing              the partition is not opened
=============  ====================================================================  ==========================================

The power may have failed when the directory was not closed and the machine was restarted since; and after a sync that failed, for then
the system may have dropped what it could not write. Records may be gone that somebody has read, also without a trace, and
their offsets are about to be given again: a new leader epoch tells the two apart (KIP-101), and the log remembers where it began.

What was scanned is stored once more before it counts as readable: whether the system still means to write it is not known.

Running it again changes nothing, wherever it was killed: a cut is a truncation at the same place, and the checkpoint stays where
it was until the next sync.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise

import attrs

from streamlog.errors import DataLossError
from streamlog.record.layout import NO_PRODUCER_ID
from streamlog.runtime import FileSystem, Mapping
from streamlog.storage.batch_scan import find_next_batch, header_at, is_zero, resync
from streamlog.storage.compaction.segment_swap import drop_leftovers, finish_swap
from streamlog.storage.file_names import LOG_SUFFIX
from streamlog.storage.leader_epochs import LeaderEpochs
from streamlog.storage.log_cut import LogCut
from streamlog.storage.log_segments import fingerprint
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.quarantine import Quarantine
from streamlog.storage.recovery_report import DamagedRange, PartitionRecovery, RecoveryOutcome
from streamlog.storage.segment import Segment
from streamlog.storage.segment_listing import list_segments
from streamlog.storage.store_again import store_again
from streamlog.storage.tail_scan import scan_tail

_logger = logging.getLogger("streamlog")


@attrs.define
class RecoveredLog:
    """What recovery hands to the log: its segments, oldest first, the last one active, and its bounds."""

    segments: list[Segment]
    log_start_offset: int
    leader_epoch: int
    epochs: LeaderEpochs
    recovery: PartitionRecovery
    #: Offsets of the producer snapshots that may be used, in order.
    snapshots: list[int]
    #: Of the batches that had to be read: the greatest producer id, -1 without any; whether there is one of a transaction.
    greatest_producer_id: int
    has_transactions: bool
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
        power_failed: bool,
    ) -> None:
        """*clean*: the directory was closed; *power_failed*: whether that can be, see above."""
        self._filesystem = filesystem
        self._directory = directory
        self._checkpoint = checkpoint
        self._make_segment = make_segment
        self._recovery = recovery
        self._cut = LogCut(filesystem, directory, quarantine, recovery)
        self._clean = clean
        self._power_failed = power_failed
        self._leader_epoch = checkpoint.leader_epoch if checkpoint else 0
        self._epochs = LeaderEpochs(checkpoint.epochs if checkpoint else ())
        self._append_refused = ""
        self._snapshots: list[int] = []
        self._greatest_producer_id = NO_PRODUCER_ID
        self._has_transactions = False

    def run(self) -> RecoveredLog:
        """Return the log as it is after recovery. Raises DataLossError when durable records are missing."""
        checkpoint = self._checkpoint
        if checkpoint is not None and checkpoint.swapping_to_offset >= 0:
            finish_swap(
                self._filesystem,
                self._directory,
                checkpoint.swapping_from_offset,
                checkpoint.swapping_to_offset,
            )
        base_offsets, self._snapshots = list_segments(self._filesystem, self._directory)
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
        segments = [self._make_segment(base_offset) for base_offset in base_offsets]
        if base_offsets[0] > log_start_offset:
            self._require(
                self._power_failed and self._recovery_offset <= log_start_offset,
                f"the first segment starts at offset {base_offsets[0]}, the log at {log_start_offset}",
            )
            # Nothing was synced yet, and the first file lost its name: what follows is not the beginning of anything.
            self._cut.drop_all(segments)
            return self._result([self._make_segment(log_start_offset)], log_start_offset)
        first = (
            None if checkpoint is None else self._index_of_recovery_point(checkpoint, base_offsets)
        )
        if checkpoint is None or first is None:
            # No evidence, or only that of an empty log whose first file came later.
            remaining = self._scan(segments, 0, 0, base_offsets[0])
            store_again(self._filesystem, remaining, 0)
            if self._power_failed:
                self._forget_transactions(remaining)
                self._settle(remaining[-1])
            else:
                remaining[-1].forget_transactions_ahead()
            return self._result(remaining, log_start_offset)
        self._check_sealed(checkpoint, base_offsets)
        for segment, following in pairwise(segments[: first + 1]):
            segment.load_sealed(following.base_offset)
        active = segments[first]
        self._take_checkpoint(active, checkpoint)
        if checkpoint.truncating_to_offset >= 0:
            self._finish_truncation(segments[first:])
            return self._result(segments[: first + 1], log_start_offset)
        if self._clean and active is segments[-1] and self._ends_at_checkpoint(active):
            return self._result(segments, log_start_offset)
        position, expected = checkpoint.segment_position, checkpoint.recovery_offset
        remaining = self._scan(segments, first, position, expected)
        store_again(self._filesystem, remaining[first:], position)
        if self._power_failed:
            # Index files are never synced, and may be ahead of the log. One that is would be believed once the log has caught up.
            for segment in remaining[first:]:
                segment.load_indexes()
            self._forget_transactions(remaining[first:])
            self._settle(remaining[-1])
        else:
            remaining[-1].forget_transactions_ahead()
        return self._result(remaining, log_start_offset)

    @property
    def _recovery_offset(self) -> int:
        return self._checkpoint.recovery_offset if self._checkpoint else 0

    def _finish_truncation(self, segments: list[Segment]) -> None:
        """Whatever is behind the checkpoint is half overwritten, and nobody wants it."""
        active, recovery = segments[0], self._recovery
        recovery.outcome = RecoveryOutcome.SCANNED
        recovery.message = f"{active.path}: truncation at byte {active.position} finished"
        size = self._filesystem.file_size(active.path)
        self._cut.remove_behind(segments, active.position, size)
        self._forget_transactions([active])
        self._settle(active)
        mapping = self._map(active, active.position)
        header = header_at(mapping, 0, active.position) if mapping is not None else None
        if header is not None:
            active.first_timestamp_ms = header.max_timestamp_ms
        active.load_indexes()  # the files tell of what was cut, and do not hold the greatest timestamp of what was not

    # ------------------------------------------------------------------------------------------------------- files

    def _drop_segments_below(self, log_start_offset: int, base_offsets: list[int]) -> list[int]:
        """Finish a retention that was interrupted after it moved the log start."""
        while len(base_offsets) > 1 and base_offsets[1] <= log_start_offset:
            self._cut.delete([self._make_segment(base_offsets.pop(0))])
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
        # Or what was durable is all below the log start: then its last file may have gone and an earlier one come back.
        self._require(
            checkpoint.recovery_offset <= max(base_offsets[0], checkpoint.log_start_offset),
            f"segment file {checkpoint.segment_base_offset:020d}{LOG_SUFFIX} is missing",
        )
        return None

    def _check_sealed(self, checkpoint: PartitionCheckpoint, base_offsets: list[int]) -> None:
        """Raise DataLossError unless every segment before the recovery point is there: they were durable, and nobody reads them now."""
        before = checkpoint.segment_base_offset
        found = fingerprint(base_offsets, checkpoint.log_start_offset, before)
        expected = checkpoint.sealed_count, checkpoint.sealed_crc
        self._require(
            found == expected,
            f"expected {expected[0]} segment files before {before:020d}{LOG_SUFFIX} "
            f"(checksum of their offsets {expected[1]:08x}), found {found[0]} ({found[1]:08x})",
        )

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
        number = first - 1
        while (number := number + 1) < len(segments):  # some may go on the way
            segment = segments[number]
            size = self._filesystem.file_size(segment.path)
            mapping = self._map(segment, size)
            good_end, expected = self._scan_good(segment, mapping, position, size, expected)
            while mapping is not None and not self._is_end(mapping, good_end, size):
                following = self._find_good_behind(
                    segments[number:], mapping, good_end, size, expected
                )
                committed = mapping[good_end : min(good_end + 4, size)].count(0) < 4
                if self._power_failed or (following is None and not committed):
                    lost_pages = following is not None
                    return self._cut_at(segments, number, good_end, size, expected, lost_pages)
                good_end, expected = self._mark_damaged(
                    segment, mapping, good_end, size, expected, following
                )
                if self._append_refused:
                    break
                good_end, expected = self._scan_good(segment, mapping, good_end, size, expected)
            if self._append_refused:
                segment.position, segment.next_offset = good_end, expected
                segment.keeps_tail = True
                return segments[: number + 1]
            segment.position, segment.next_offset = good_end, expected
            position = 0
            drop_leftovers(self._filesystem, segments, number, expected, self._cut.delete)
            if number + 1 < len(segments):
                if expected != segments[number + 1].base_offset:
                    # Batches are missing at the very end of a file, on a batch boundary.
                    self._boundary_gap(segments, number, good_end, expected)
                    if self._power_failed:
                        return self._cut_at(segments, number, good_end, size, expected, True)
                    expected = segments[number + 1].base_offset
                segment.sealed = True
                segment.next_offset = expected
            if segment.sealed or segment.position > size:
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
        self._epochs.assign_all(scanned.epochs)
        self._greatest_producer_id = max(self._greatest_producer_id, scanned.greatest_producer_id)
        self._has_transactions |= scanned.has_transactions
        return scanned.position, scanned.next_offset

    def _is_end(self, mapping: Mapping, position: int, size: int) -> bool:
        # A rest of less than eight bytes holds nothing, whatever it is.
        return position >= size & -8 or is_zero(mapping, position, size)

    def _find_good_behind(
        self, segments: list[Segment], mapping: Mapping, position: int, size: int, expected: int
    ) -> tuple[Segment, int, int] | None:
        """Return (segment, position, base offset) of the first good batch behind the bad place, or None."""
        found = resync(mapping, position, size, expected)
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
            resume_position, resume_offset = size & -8, following[0].base_offset
        else:
            self._append_refused = f"{segment.path}: byte {position}: damaged, and nothing readable follows: the end is unknown"
            resume_position, resume_offset = position, expected
        next_good = None if self._append_refused else resume_offset
        self._note_damage(DamagedRange(expected, next_good, segment.path, position))
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
        if not self._power_failed:
            self._recovery.outcome = RecoveryOutcome.DAMAGED
            self._note_damage(DamagedRange(expected, following.base_offset, segment.path, position))

    def _note_damage(self, found: DamagedRange) -> None:
        ranges = self._recovery.damaged_ranges
        if ranges and ranges[-1].next_good_offset == found.first_bad_offset:
            ranges[-1] = attrs.evolve(ranges[-1], next_good_offset=found.next_good_offset)
        else:
            ranges.append(found)

    def _cut_at(
        self,
        segments: list[Segment],
        number: int,
        position: int,
        size: int,
        end_offset: int,
        lost_pages: bool,
    ) -> list[Segment]:
        """Cut the log at *position* of segment *number*, and return the segments that remain."""
        segment, recovery = segments[number], self._recovery
        self._cut.cut(
            segments[number:], position, size, lost_pages=lost_pages, ambiguous=self._power_failed
        )
        segment.position, segment.next_offset = position, end_offset
        if position > size:
            self._trim(segment, size)
        _logger.warning("recovery of %s: %s", recovery.topic_partition, recovery.message)
        return segments[: number + 1]

    def _trim(self, segment: Segment, size: int) -> None:
        """Give preallocated room back; or put back the zeros behind the last batch, which it is whole without."""
        if size != segment.position:
            file = self._filesystem.open(segment.path)
            try:
                file.truncate(segment.position)
            finally:
                file.close()

    # ------------------------------------------------------------------------------------------------------- helpers

    def _forget_transactions(self, segments: list[Segment]) -> None:
        """Delete what the index files of *segments* tell of transactions: they may be ahead of the log, as those of offsets and times."""
        for segment in segments:
            segment.transactions.forget()

    def _settle(self, segment: Segment) -> None:
        """Make the end of *segment*, and that nothing follows it, durable.

        An earlier recovery may have cut here and been killed before that was on the disk. The next power loss would bring back what
        it cut, behind batches that were appended since and fit.
        """
        file = self._filesystem.open(segment.path)
        try:
            file.sync()
        finally:
            file.close()
        self._filesystem.sync_dir(self._directory)

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
            self._cut.delete(segments)
            segments, self._append_refused = [self._make_segment(log_start_offset)], ""
        end_offset = segments[-1].next_offset
        self._drop_snapshots(segments[0].base_offset, end_offset)
        leader_epoch = max(self._leader_epoch, self._epochs.latest) + int(self._power_failed)
        self._epochs.truncate_from_end(end_offset)
        self._epochs.assign(leader_epoch, end_offset)
        return RecoveredLog(
            segments,
            log_start_offset,
            leader_epoch,
            self._epochs,
            self._recovery,
            self._snapshots,
            self._greatest_producer_id,
            self._has_transactions,
            self._append_refused,
        )

    def _drop_snapshots(self, start_offset: int, end_offset: int) -> None:
        """Delete the producer snapshots that are not of this log as it is now, for good: offsets that were cut off are given again."""
        snapshots = ProducerSnapshots(self._filesystem, self._directory, self._snapshots)
        if snapshots.delete_above(end_offset):
            self._filesystem.sync_dir(self._directory)
        snapshots.delete_below(start_offset)

    def _require(self, condition: bool, what: str) -> None:
        if not condition:
            raise self._data_loss(what)

    def _data_loss(self, what: str) -> DataLossError:
        recovery = self._recovery
        recovery.outcome = RecoveryOutcome.DATA_LOSS
        recovery.message = (
            f"{recovery.topic_partition}: {self._directory}: {what}; "
            f"records below offset {self._recovery_offset} were durable"
        )
        return DataLossError(
            recovery.message,
            topic_partition=recovery.topic_partition,
            first_bad_offset=self._checkpoint.log_start_offset if self._checkpoint else 0,
            next_good_offset=None,
            file=self._directory,
            position=0,
        )

"""Checking one log end to end: bytes, offsets, records, producers, and what is derived from them."""

from __future__ import annotations

from collections.abc import Callable

from streamlog.runtime import FileSystem
from streamlog.storage.compaction.cleaned_file import cleaned_path
from streamlog.storage.compaction.segment_swap import swapped
from streamlog.storage.file_names import (
    LOG_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    base_offset_of,
    join,
    segment_stem,
)
from streamlog.storage.log_segments import fingerprint
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.verification.batch_check import (
    DecodeRecord,
    batch_problem,
    can_decompress,
)
from streamlog.storage.verification.batch_walk import BadBytes, Room, StoredBatch, walk_batches
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.storage.verification.finding import Finding, Severity
from streamlog.storage.verification.index_check import IndexCheck
from streamlog.storage.verification.producer_check import ProducerCheck
from streamlog.storage.verification.snapshot_check import SnapshotCheck
from streamlog.storage.verification.transaction_check import TransactionCheck
from streamlog.structs import TopicPartition


class LogVerification:
    """One pass over one log. Nothing is written, and nobody is kept from writing.

    Where somebody has the log open, what is checked is what was stored when the pass came by. Threads: one.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        directory: str,
        topic_partition: TopicPartition,
        checkpoint: PartitionCheckpoint | None,
        *,
        is_closed: bool,
        power_failed: bool = False,
        may_be_compacted: bool = False,
        decode: DecodeRecord | None = None,
        on_bytes: Callable[[int], object] = lambda count: None,
    ) -> None:
        """*checkpoint* is that of STATE, None where it says nothing; *is_closed* whether STATE says that everything is on the disk and nobody has it open.

        *power_failed*: whether what was not synced may be gone. *may_be_compacted*: whether the topic's policy says so. *decode* is held against each record; *on_bytes* is told how many
        bytes were checked since the last call.
        """
        self._filesystem = filesystem
        self._directory = directory
        self._topic_partition = topic_partition
        self._checkpoint = checkpoint
        self._is_closed = is_closed
        # Opening cuts what is bad behind this recovery point: after a power failure or a failed sync, or where a truncation was under
        # way. None where it cuts nothing.
        self._cut_behind: PartitionCheckpoint | None = None
        if checkpoint is not None and (
            power_failed or checkpoint.sync_failed or checkpoint.truncating_to_offset >= 0
        ):
            self._cut_behind = checkpoint
        self._may_be_compacted = may_be_compacted or (
            checkpoint is not None and checkpoint.first_dirty_offset > 0
        )
        self._decode = decode
        self._on_bytes = on_bytes
        self._can_decompress = can_decompress()
        # Files of a swap under way that stand for the segments at these base offsets.
        self._swapped_in: dict[int, str] = {}
        self._findings: list[Finding] = []
        self._has_damage = False
        self._skipped_batches = 0
        self._leader_epoch = -1
        #: Counted on the way.
        self.batches = self.records = 0

    def run(self) -> list[Finding]:
        """Check everything and return what was found, in the order of the log. Raises OSError when files cannot be read."""
        try:
            self._run()
        except _CutHereError as cut:
            self._findings.append(cut.finding)
        if self._skipped_batches:
            message = (
                f"{self._skipped_batches} compressed batches were not looked into: "
                "their library is not installed"
            )
            self._add(Severity.NOTE, message, self._directory)
        return self._findings

    def _run(self) -> None:
        names = self._filesystem.list_dir(self._directory)
        base_offsets = [base for name in names if (base := base_offset_of(name)) is not None]
        base_offsets = self._finish_swap(base_offsets)
        self._check_segments(base_offsets)
        first_offset = base_offsets[0] if base_offsets else self._start_offset
        snapshots = SnapshotCheck(self._filesystem, self._directory, names)
        producers = ProducerCheck(may_have_gaps=self._may_be_compacted)
        transactions = None
        if any(name.endswith(TRANSACTION_INDEX_SUFFIX) for name in names):
            transactions = TransactionCheck(
                self._filesystem, first_offset, may_have_gaps=self._may_be_compacted
            )
        expected = first_offset
        following: list[int | None] = [*base_offsets[1:], None]
        for base_offset, next_base in zip(base_offsets, following, strict=False):
            expected = self._check_segment(
                base_offset, next_base, producers, snapshots, transactions
            )
        self._check_end(base_offsets, expected)
        for path, message in snapshots.problems(
            first_offset,
            expected,
            may_have_gaps=self._may_be_compacted or self._has_damage,
            may_be_ahead=not self._is_closed,
        ):
            self._add(Severity.DERIVED, message, path)

    # ---- the log as a whole

    def _finish_swap(self, base_offsets: list[int]) -> list[int]:
        """Return the segments as they will be when the swap of compaction that is under way, if one is, was finished."""
        checkpoint = self._checkpoint
        if checkpoint is None or checkpoint.swapping_to_offset < 0 or not base_offsets:
            return base_offsets
        begin, end = checkpoint.swapping_from_offset, checkpoint.swapping_to_offset
        cleaned = cleaned_path(self._directory, begin)
        if self._filesystem.exists(cleaned):
            self._swapped_in[begin] = cleaned
        return swapped(base_offsets, begin, end)

    @property
    def _start_offset(self) -> int:
        return 0 if self._checkpoint is None else self._checkpoint.log_start_offset

    def _check_segments(self, base_offsets: list[int]) -> None:
        checkpoint = self._checkpoint
        if checkpoint is None:
            return
        start, before = checkpoint.log_start_offset, checkpoint.segment_base_offset
        if not base_offsets:
            if checkpoint.recovery_offset > start:
                message = f"expected records up to offset {checkpoint.recovery_offset}, found no segment file"
                self._damage(message, self._directory, start)
            return
        if base_offsets[0] > start:
            message = f"the log starts at offset {start}: expected a segment for it, found {base_offsets[0]} first"
            self._damage(message, self._directory, start)
        elif before in base_offsets:
            counted, crc = fingerprint(base_offsets, start, before)
            expected = checkpoint.sealed_count, checkpoint.sealed_crc
            if (counted, crc) != expected:
                message = (
                    f"expected {expected[0]} segment files before {segment_stem(before)}{LOG_SUFFIX} (checksum of their offsets "
                    f"{expected[1]:08x}, says STATE), found {counted} ({crc:08x})"
                )
                self._damage(message, self._directory, start)
        elif checkpoint.recovery_offset > max(base_offsets[0], start):
            message = "expected the segment of the recovery point, found none"
            self._damage(message, self._path(before), checkpoint.recovery_offset)

    def _check_end(self, base_offsets: list[int], log_end: int) -> None:
        checkpoint = self._checkpoint
        if checkpoint is None or self._has_damage:
            return
        if base_offsets and log_end < checkpoint.recovery_offset:
            message = f"expected records up to offset {checkpoint.recovery_offset} (says STATE), found an end at {log_end}"
            self._damage(message, self._path(base_offsets[-1]), log_end)

    # ---- one segment

    def _check_segment(
        self,
        base_offset: int,
        next_base: int | None,
        producers: ProducerCheck,
        snapshots: SnapshotCheck,
        transactions: TransactionCheck | None,
    ) -> int:
        """Return the offset behind the last batch, or that of the next segment where that is greater."""
        path, is_last = self._path(base_offset), next_base is None
        stem = join(self._directory, segment_stem(base_offset))
        size = self._filesystem.file_size(path)
        index = IndexCheck(self._filesystem, stem, base_offset, size)
        content = FileBytes.open(self._filesystem, path)
        end, expected, reported, had_damage = 0, base_offset, 0, self._has_damage
        is_cut_off = False
        for item in walk_batches(content, base_offset, is_growing=is_last and not self._is_closed):
            if isinstance(item, BadBytes):
                self._bad_bytes(base_offset, item, is_last)
                producers.forget()
                is_cut_off = item.next_offset is None
                expected = expected if item.next_offset is None else item.next_offset
            elif isinstance(item, Room):
                break
            else:
                self._check_batch(path, item, expected, producers)
                snapshots.see(item.header)
                index.see(item.position, item.header)
                expected = max(expected, item.header.next_offset)
                end = item.position + item.header.aligned_size
            if (item.position >> 20) != (reported >> 20):
                self._on_bytes(item.position - reported)
                reported = item.position
        self._on_bytes(max(size - reported, 0))
        if next_base is not None and expected != next_base and not is_cut_off:
            message = f"expected batches up to offset {next_base - 1}, found the end of the file at offset {expected}"
            self._damage(message, path, expected, end)
            producers.forget()
        next_expected = expected if next_base is None else max(expected, next_base)
        if base_offset in self._swapped_in:
            return next_expected  # without indexes yet
        has_damage = self._has_damage and not had_damage
        for index_path, message in index.problems(
            end, is_closed=self._is_closed or not is_last, has_damage=has_damage
        ):
            self._add(Severity.DERIVED, message, index_path)
        if transactions is not None and not self._has_damage:
            problem = transactions.problem(stem, content, end, (base_offset, expected))
            if problem is not None and (self._is_closed or not is_last):
                self._add(Severity.DERIVED, problem, stem + TRANSACTION_INDEX_SUFFIX)
        return next_expected

    def _recovered_end(self, base_offset: int) -> int:
        """Return the byte up to which the segment was on the disk, says STATE."""
        checkpoint = self._checkpoint
        if checkpoint is None or base_offset != checkpoint.segment_base_offset:
            return 0
        return checkpoint.segment_position

    def _bad_bytes(self, base_offset: int, bad: BadBytes, is_last: bool) -> None:
        path, durable = self._path(base_offset), self._recovered_end(base_offset)
        if bad.is_unfinished and is_last and not self._is_closed and bad.position >= durable:
            message = (
                "the last batch is not finished: it is being written, or the next open cuts it off"
            )
            self._add(Severity.NOTE, message, path, bad.expected_offset, bad.position)
            return
        resumes = (
            "nothing readable follows"
            if bad.next_offset is None
            else f"readable again from offset {bad.next_offset}, byte {bad.end}"
        )
        message = (
            f"expected the batch of offset {bad.expected_offset}, found damaged bytes; {resumes}"
        )
        self._damage(message, path, bad.expected_offset, bad.position)

    def _check_batch(
        self, path: str, item: StoredBatch, expected: int, producers: ProducerCheck
    ) -> None:
        header, position = item.header, item.position
        self.batches += 1
        self.records += header.record_count
        if header.base_offset != expected:
            message = f"expected the batch of offset {expected}, found that of offset {header.base_offset}"
            self._damage(message, path, min(expected, header.base_offset), position)
            producers.forget()
            if header.base_offset < expected:
                return  # one that comes again
        if not item.is_valid:
            message = f"batch at offset {header.base_offset}: the checksum of its body is wrong"
            self._damage(message, path, header.base_offset, position)
        elif item.view.codec and not self._can_decompress:
            self._skipped_batches += 1
        elif problem := batch_problem(item.view, self._decode):
            message = f"batch at offset {header.base_offset}: {problem}"
            self._damage(message, path, header.base_offset, position)
        if header.leader_epoch < self._leader_epoch:
            message = (
                f"batch at offset {header.base_offset}: expected leader epoch {self._leader_epoch} or greater, "
                f"found {header.leader_epoch}"
            )
            self._damage(message, path, header.base_offset, position)
        self._leader_epoch = max(self._leader_epoch, header.leader_epoch)
        if problem := producers.problem(header):
            message = f"batch at offset {header.base_offset}: {problem}"
            self._damage(message, path, header.base_offset, position)

    # ---- findings

    def _path(self, base_offset: int) -> str:
        path = join(self._directory, segment_stem(base_offset) + LOG_SUFFIX)
        return self._swapped_in.get(base_offset, path)

    def _damage(
        self, message: str, path: str, offset: int | None, position: int | None = None
    ) -> None:
        if self._is_cut_by_opening(path, position):
            message = (
                f"was not on the disk for certain, and the next open cuts the log here: {message}"
            )
            raise _CutHereError(
                Finding(Severity.NOTE, message, path, self._topic_partition, offset, position)
            )
        self._has_damage = True
        self._add(Severity.DAMAGE, message, path, offset, position)

    def _is_cut_by_opening(self, path: str, position: int | None) -> bool:
        checkpoint, base_offset = self._cut_behind, base_offset_of(path.rsplit("/", 1)[-1])
        if checkpoint is None:
            return False
        if (
            base_offset is None
        ):  # the log as a whole, or what stands for segments that were on the disk
            return checkpoint.recovery_offset <= checkpoint.log_start_offset
        place = checkpoint.segment_base_offset, checkpoint.segment_position
        return (base_offset, position or 0) >= place

    def _add(
        self,
        severity: Severity,
        message: str,
        path: str,
        offset: int | None = None,
        position: int | None = None,
    ) -> None:
        self._findings.append(
            Finding(severity, message, path, self._topic_partition, offset, position)
        )


class _CutHereError(Exception):
    """Nothing behind this place will be there once the log was opened."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding

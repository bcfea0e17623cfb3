"""Making again what is derived from a log. The log itself is only read.

The directory must be locked by the caller: nobody may write meanwhile. Files that a reader or a producer makes when they are needed
(snapshots, and the aborted transactions of the active segment) are removed, which is how those begin anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamlog.config import TopicConfig
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.runtime import FileSystem, TokenLock
from streamlog.storage.file_names import (
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    SNAPSHOT_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    base_offset_of,
    join,
    segment_stem,
)
from streamlog.storage.leader_epochs import LeaderEpochs
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.partition_checkpoint import (
    HAS_PRODUCERS,
    HAS_TRANSACTIONS,
    PartitionCheckpoint,
)
from streamlog.storage.segment import Segment
from streamlog.storage.transaction_index import KnownTransactions, TransactionIndex
from streamlog.storage.transaction_walk import walk_transactions
from streamlog.storage.verification.batch_walk import StoredBatch, walk_batches
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.structs import NO_TIMESTAMP

_INDEX_SUFFIXES = OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX
_NOTHING_IN_FILE = KnownTransactions([], {}, 0, False)


class LogRepair:
    """Makes the derived files of one log again. Threads: one, with the directory locked."""

    def __init__(self, filesystem: FileSystem, directory: str) -> None:
        self._filesystem = filesystem
        self._directory = directory
        names = filesystem.list_dir(directory)
        self._base_offsets = [base for name in names if (base := base_offset_of(name)) is not None]

    def run(self, paths: Iterable[str]) -> list[str]:
        """Make each of *paths* again, files of this log, and return those that there are no more or that are new. Raises OSError."""
        bad = set(paths)
        done: list[str] = []
        stems = {
            path[: -len(suffix)]
            for path in bad
            for suffix in _INDEX_SUFFIXES
            if path.endswith(suffix)
        }
        for number, base_offset in enumerate(self._base_offsets):
            if join(self._directory, segment_stem(base_offset)) in stems:
                done += self._rebuild_indexes(number)
        bad_transactions = {path for path in bad if path.endswith(TRANSACTION_INDEX_SUFFIX)}
        if bad_transactions:
            done += self._rebuild_transactions(bad_transactions)
        for path in sorted(path for path in bad if path.endswith(SNAPSHOT_SUFFIX)):
            self._remove(path)
            done.append(path)
        if done:
            self._filesystem.sync_dir(self._directory)
        return done

    def _rebuild_indexes(self, number: int) -> list[str]:
        defaults = TopicConfig()
        segment = Segment(
            self._filesystem,
            self._directory,
            self._base_offsets[number],
            OpenSegments(None),
            TokenLock(),
            defaults.index_interval_bytes,
            defaults.segment_index_bytes,
        )
        for path in (segment.offset_index_path, segment.time_index_path):
            self._remove(path)
        is_last = number + 1 == len(self._base_offsets)
        if is_last:
            segment.position, segment.next_offset = self._end_of(segment.path, segment.base_offset)
        else:
            segment.load_sealed(self._base_offsets[number + 1])
        # A log that lacks zeros behind its last batch gets them when it is opened, and its indexes with them.
        if 0 < segment.position <= self._filesystem.file_size(segment.path):
            try:
                segment.load_indexes()
                segment.flush_indexes()
            finally:
                segment.release_files()
        return [segment.offset_index_path, segment.time_index_path]

    def _rebuild_transactions(self, bad: set[str]) -> list[str]:
        done: list[str] = []
        opened: dict[int, tuple[int, int]] = {}
        following: list[int | None] = [*self._base_offsets[1:], None]
        for base_offset, next_base in zip(self._base_offsets, following, strict=False):
            stem = join(self._directory, segment_stem(base_offset))
            path = stem + TRANSACTION_INDEX_SUFFIX
            content = FileBytes.open(self._filesystem, stem + LOG_SUFFIX)
            end = len(content) & -8
            next_offset = (
                self._end_of(stem + LOG_SUFFIX, base_offset)[1] if next_base is None else next_base
            )
            if path in bad:
                self._remove(path)
                done.append(path)
                if next_base is not None:
                    index = TransactionIndex(self._filesystem, path)
                    index.find(
                        _NOTHING_IN_FILE, opened, content.mapping, end, base_offset, next_base
                    )
            for _ in walk_transactions(content.mapping, end, base_offset, opened, next_offset):
                pass  # for what is open where it ends
        return done

    def conservative_checkpoint(self) -> PartitionCheckpoint:
        """Return what STATE may say of the log when nothing is known: that none of it need be on the disk, from its first file on.

        Opening then reads all of it. What `delete_records` hid comes back with the rest of its file.
        """
        start = self._base_offsets[0] if self._base_offsets else 0
        epochs, flags, leader_epoch = LeaderEpochs(()), 0, 0
        for base_offset in self._base_offsets:
            path = join(self._directory, segment_stem(base_offset) + LOG_SUFFIX)
            for item in walk_batches(FileBytes.open(self._filesystem, path), base_offset):
                if isinstance(item, StoredBatch):
                    header = item.header
                    if header.leader_epoch > leader_epoch or not epochs.pack():
                        leader_epoch = header.leader_epoch
                        epochs.assign(leader_epoch, header.base_offset)
                    flags |= HAS_PRODUCERS if header.producer_id >= 0 else 0
                    flags |= HAS_TRANSACTIONS if header.attributes & TRANSACTIONAL_BIT else 0
        return PartitionCheckpoint(
            log_start_offset=start,
            recovery_offset=start,
            segment_base_offset=start,
            segment_position=0,
            leader_epoch=leader_epoch,
            first_timestamp_ms=NO_TIMESTAMP,
            max_timestamp_ms=NO_TIMESTAMP,
            max_timestamp_offset=start,
            flags=flags,
            epochs=tuple(epochs.pack()),
        )

    def _end_of(self, path: str, base_offset: int) -> tuple[int, int]:
        end, next_offset = 0, base_offset
        for item in walk_batches(FileBytes.open(self._filesystem, path), base_offset):
            if isinstance(item, StoredBatch):
                end, next_offset = item.position + item.header.aligned_size, item.header.next_offset
        return end, next_offset

    def _remove(self, path: str) -> None:
        if self._filesystem.exists(path):
            self._filesystem.unlink(path)

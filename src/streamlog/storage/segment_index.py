"""The two sparse indexes of a segment, kept in memory, appended to files now and then, rebuilt from the log when in doubt."""

from __future__ import annotations

import logging

from streamlog.record.layout import BatchHeader
from streamlog.runtime import FileSystem, Lock, Mapping, TokenLock
from streamlog.storage import index_file
from streamlog.storage.batch_scan import header_at, is_zero, resync
from streamlog.storage.file_names import LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX
from streamlog.storage.offset_index import ENTRY_BYTES as OFFSET_ENTRY_BYTES
from streamlog.storage.offset_index import MAX_RELATIVE_OFFSET, OffsetIndex
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.segment_file import SegmentFile
from streamlog.storage.time_index import ENTRY_BYTES as TIME_ENTRY_BYTES
from streamlog.storage.time_index import TimeIndex
from streamlog.structs import NO_TIMESTAMP

_logger = logging.getLogger("streamlog")


class IndexedSegmentFile(SegmentFile):
    """A segment file with its offset index, its time index and its greatest timestamp.

    Only the log is truth. Indexes are read on first use, not when the log is opened, which is what keeps opening independent of
    the size of the log. Whoever appends has them loaded first: no append can then fail half-way for want of an index file.

    Threads: adding entries by the holder of the log's lock; looking up by any thread. Lock order: log, index, file.
    """

    __slots__ = (
        "_covered",
        "_index_lock",
        "_last_indexed_position",
        "_rewrite_is_due",
        "first_timestamp_ms",
        "index_interval_bytes",
        "max_timestamp_ms",
        "max_timestamp_offset",
        "offset_index",
        "segment_index_bytes",
        "time_index",
    )

    def __init__(
        self,
        filesystem: FileSystem,
        directory: str,
        base_offset: int,
        open_segments: OpenSegments,
        owner_lock: TokenLock,
        index_interval_bytes: int,
        segment_index_bytes: int,
    ) -> None:
        super().__init__(filesystem, directory, base_offset, open_segments, owner_lock)
        self._index_lock = Lock()
        # Bytes of the log that the index files tell everything about; whether they hold something else and must go first.
        self._covered = 0
        self._rewrite_is_due = False
        self._last_indexed_position = 0
        self.index_interval_bytes = index_interval_bytes
        self.segment_index_bytes = segment_index_bytes
        #: Greatest timestamp of the first batch (LOG-2) and of the whole segment (RET-3).
        self.first_timestamp_ms = NO_TIMESTAMP
        self.max_timestamp_ms = NO_TIMESTAMP
        #: Base offset of the batch that brought ``max_timestamp_ms``.
        self.max_timestamp_offset = base_offset
        self.offset_index = OffsetIndex()
        self.time_index = TimeIndex()

    @property
    def offset_index_path(self) -> str:
        """Path of the offset index file."""
        return self.path.removesuffix(LOG_SUFFIX) + OFFSET_INDEX_SUFFIX

    @property
    def time_index_path(self) -> str:
        """Path of the time index file."""
        return self.path.removesuffix(LOG_SUFFIX) + TIME_INDEX_SUFFIX

    def abandon(self) -> None:
        """Drop the files and take no lock: for the child of a fork."""
        self._index_lock = Lock()
        super().abandon()

    def largest_timestamp_ms(self) -> int:
        """Return the greatest record timestamp, or the file's time of change when there is none (RET-3)."""
        self.ensure_indexes()
        if self.max_timestamp_ms != NO_TIMESTAMP:
            return self.max_timestamp_ms
        return self._filesystem.modified_ms(self.path)

    def time_floor(self, timestamp_ms: int) -> int:
        """Return the relative offset from which to look for the first record at or after *timestamp_ms*."""
        self.ensure_indexes()
        return self.time_index.floor(timestamp_ms)

    def add_index_entry(self, base_offset: int, position: int) -> None:
        """Index the batch at *position* (LOG-3). Kept in memory; :meth:`flush_indexes` writes it out. Indexes must be loaded."""
        self._index(base_offset, position)
        if self.index_is_full:
            self.limit = 0  # the next append goes the slow way, which rolls

    def _index(self, base_offset: int, position: int) -> None:
        self.offset_index.append(base_offset - self.base_offset, position)
        self._last_indexed_position = position
        self._index_greatest_timestamp()

    def _index_greatest_timestamp(self) -> None:
        if self.max_timestamp_ms != NO_TIMESTAMP:
            self.time_index.maybe_append(
                self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset
            )

    @property
    def index_is_full(self) -> bool:
        """Whether one of the two would exceed ``segment_index_bytes`` with one more entry and the closing one (LOG-2)."""
        return (
            self.offset_index.size_bytes + OFFSET_ENTRY_BYTES > self.segment_index_bytes
            or self.time_index.size_bytes + 2 * TIME_ENTRY_BYTES > self.segment_index_bytes
        )

    def load_indexes(self) -> None:
        """Read the index files and rebuild, from the log itself, what they lack. Threads: any; the first caller does it.

        Raises OSError or ClosedError when the log itself cannot be read.
        """
        with self._index_lock:
            if not self._index_loaded:
                self._load_indexes(self.position)
                self._index_loaded = True

    def _load_indexes(self, end: int) -> None:
        offsets, times = (
            self._read_entries(self.offset_index_path),
            self._read_entries(self.time_index_path),
        )
        taken = self.offset_index.load(offsets.entries, end)
        taken &= self.time_index.load(times.entries, self.next_offset - self.base_offset)
        covered = min(offsets.covers, times.covers)
        if max(offsets.covers, times.covers) > end:
            # Written for batches that were cut off since. An entry below the cut holds: go on behind the last one.
            last = self.offset_index.last()
            covered = min(covered, last[1] if last else 0)
        elif not taken:
            covered = 0  # good checksums and impossible entries: believe nothing
            self.offset_index.truncate(0)
            self.time_index.truncate(0)
        last = self.offset_index.last()
        self._last_indexed_position = last[1] if last else 0
        latest = self.time_index.last()
        if latest is not None and latest[0] > self.max_timestamp_ms:
            self.max_timestamp_ms = latest[0]
            self.max_timestamp_offset = latest[1] + self.base_offset
        if covered < end:
            self._index_tail(self.mapping_for_read(), covered, end)
        self._covered = covered
        self._rewrite_is_due = not (taken and offsets.is_whole and times.is_whole) or (
            max(offsets.covers, times.covers) > end
        )
        if self._rewrite_is_due:
            self._try_to_rewrite()

    def _read_entries(self, path: str) -> index_file.IndexContent:
        try:
            return index_file.read_entries(self._filesystem, path, self.position)
        except OSError as error:
            _logger.warning("%s: rebuilt from the log, it cannot be read: %s", path, error)
            return index_file.IndexContent(b"", 0, False)

    def _try_to_rewrite(self) -> None:
        try:
            self._rewrite_indexes()
        except OSError as error:  # a full disk must not keep anybody from reading
            _logger.warning("%s: index not written, it stays in memory: %s", self.path, error)
            for path in (self.offset_index_path, self.time_index_path):
                try:
                    if self._filesystem.exists(path):
                        self._filesystem.unlink(path)  # better none than a wrong one
                except OSError:
                    pass

    def load_cleaned(self, path: str, next_offset: int) -> None:
        """Take the file at *path*, which compaction wrote, synced and checked, and which ends with *next_offset*.

        Makes the indexes, by the headers of all batches. Raises OSError.
        """
        self.stored_at = path
        self.sealed = self.created_durably = self._index_loaded = True
        self.position = self.synced_position = self._filesystem.file_size(path)
        self.next_offset = next_offset
        self._index_tail(self.mapping_for_read(), 0, self.position)

    def ensure_indexes(self) -> None:
        """Load the indexes unless they are. Before the first append, and before any lookup."""
        if not self._index_loaded:
            self.load_indexes()

    def _index_tail(self, mapping: Mapping, start: int, end: int) -> None:
        position = start
        behind = self.base_offset
        while position < end:
            header = header_at(mapping, position, end)
            resynced = header is None
            if header is None:
                following = resync(mapping, position, end, self.base_offset)
                if following is None:
                    if self.sealed and is_zero(mapping, position, end):
                        # Preallocated room that was never given back.
                        self.position = self.synced_position = position
                    break
                position, header = following
            if behind <= header.base_offset < self.next_offset:  # not one that comes again
                # A lookup must not have to walk across damage.
                self._note_batch(position, header, always_index=resynced)
                behind = header.next_offset
            position += header.aligned_size
        if self.sealed:
            self._index_greatest_timestamp()

    def note_timestamp(self, position: int, header: BatchHeader) -> None:
        """Count the timestamps of a batch that was found in the file."""
        if position == 0:
            self.first_timestamp_ms = header.max_timestamp_ms
        if header.max_timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = header.max_timestamp_ms
            self.max_timestamp_offset = header.base_offset

    def _note_batch(self, position: int, header: BatchHeader, *, always_index: bool) -> None:
        self.note_timestamp(position, header)
        gap = position - self._last_indexed_position
        if gap > (0 if always_index else self.index_interval_bytes):
            last, relative_offset = self.offset_index.last(), header.base_offset - self.base_offset
            if (-1 if last is None else last[0]) < relative_offset <= MAX_RELATIVE_OFFSET:
                self._index(header.base_offset, position)

    def flush_indexes(self) -> None:
        """Append the index entries that are not in the files yet. Nothing is synced: indexes are derived data."""
        if not self._index_loaded:
            return
        if self._rewrite_is_due:
            self._rewrite_indexes()
            return
        # The files are about to claim that they tell everything up to here, so the greatest timestamp has to be in them.
        self._index_greatest_timestamp()
        covers = self.position
        if self._covered == covers and not (
            self.offset_index.has_unflushed or self.time_index.has_unflushed
        ):
            return
        index_file.append_entries(
            self._filesystem, self.offset_index_path, self.offset_index.unflushed(), covers
        )
        self.offset_index.mark_flushed()
        index_file.append_entries(
            self._filesystem, self.time_index_path, self.time_index.unflushed(), covers
        )
        self.time_index.mark_flushed()
        self._covered = covers

    def _rewrite_indexes(self) -> None:
        self._index_greatest_timestamp()
        covers = self.position
        index_file.replace_entries(
            self._filesystem, self.offset_index_path, self.offset_index.pack(), covers
        )
        self.offset_index.mark_flushed()
        index_file.replace_entries(
            self._filesystem, self.time_index_path, self.time_index.pack(), covers
        )
        self.time_index.mark_flushed()
        self._covered = covers
        self._rewrite_is_due = False

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        super()._check()
        self.offset_index._check()
        self.time_index._check()
        assert self._covered <= self.position
        last, latest = self.offset_index.last(), self.time_index.last()
        assert self._last_indexed_position == (last[1] if last else 0)
        if last is not None:
            assert last[1] < self.position
        if latest is not None:
            assert latest[0] <= self.max_timestamp_ms

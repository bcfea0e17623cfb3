"""The two sparse indexes of a segment, kept in memory, appended to files now and then, rebuilt from the log when in doubt."""

from __future__ import annotations

from streamlog.record.layout import BatchHeader
from streamlog.runtime import FileSystem, Mapping, TokenLock
from streamlog.storage import index_file
from streamlog.storage.batch_scan import find_next_batch, header_at, is_zero
from streamlog.storage.file_names import LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX
from streamlog.storage.offset_index import ENTRY_BYTES as OFFSET_ENTRY_BYTES
from streamlog.storage.offset_index import OffsetIndex
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.segment_file import SegmentFile
from streamlog.storage.time_index import TimeIndex
from streamlog.structs import NO_TIMESTAMP


class IndexedSegmentFile(SegmentFile):
    """A segment file with its offset index, its time index and its greatest timestamp.

    Only the log is truth. Indexes are read on first use, not when the log is opened, which is what keeps opening independent of
    the size of the log. Threads: adding entries by the holder of the log's lock; looking up by any thread.
    """

    __slots__ = (
        "_covered",
        "_last_indexed_position",
        "first_timestamp_ms",
        "index_interval_bytes",
        "max_timestamp_ms",
        "max_timestamp_offset",
        "offset_index",
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
    ) -> None:
        super().__init__(filesystem, directory, base_offset, open_segments, owner_lock)
        self._covered = 0
        self._last_indexed_position = 0
        self.index_interval_bytes = index_interval_bytes
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

    def largest_timestamp_ms(self) -> int:
        """Return the greatest record timestamp, or the file's time of change when there is none (RET-3)."""
        self._load_if_needed()
        if self.max_timestamp_ms != NO_TIMESTAMP:
            return self.max_timestamp_ms
        return self._filesystem.modified_ms(self.path)

    def time_floor(self, timestamp_ms: int) -> int:
        """Return the relative offset from which to look for the first record at or after *timestamp_ms*."""
        self._load_if_needed()
        return self.time_index.floor(timestamp_ms)

    def add_index_entry(self, base_offset: int, position: int) -> None:
        """Index the batch at *position* (LOG-3). Kept in memory; :meth:`flush_indexes` writes it out."""
        if not self._index_loaded:
            self.load_indexes()
            if position <= self._last_indexed_position:
                return
        self._index(base_offset, position)

    def _index(self, base_offset: int, position: int) -> None:
        self.offset_index.append(base_offset - self.base_offset, position)
        self._last_indexed_position = position
        if self.max_timestamp_ms != NO_TIMESTAMP:
            self.time_index.maybe_append(
                self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset
            )

    def index_is_full(self, segment_index_bytes: int) -> bool:
        """Whether one more entry would exceed *segment_index_bytes* (LOG-2)."""
        return self.offset_index.size_bytes + OFFSET_ENTRY_BYTES > segment_index_bytes

    def load_indexes(self) -> None:
        """Read the index files and rebuild, from the log itself, what they lack. Threads: any; the first caller does it."""
        with self._open_lock:
            if self._index_loaded:
                return
            end = self.position
            offsets, offsets_cover = index_file.read_entries(
                self._filesystem, self.offset_index_path
            )
            times, times_cover = index_file.read_entries(self._filesystem, self.time_index_path)
            whole = self.offset_index.load(offsets, end)
            whole &= self.time_index.load(times, self.next_offset - self.base_offset)
            covered = min(offsets_cover, times_cover)
            last = self.offset_index.last()
            self._last_indexed_position = last[1] if last else 0
            if covered > end or not whole:
                # Written for batches that are gone since. What an entry says holds up to its own batch, so go on from there.
                whole, covered = False, self._last_indexed_position
                if times_cover < covered:
                    covered = times_cover
            latest = self.time_index.last()
            if latest is not None and latest[0] > self.max_timestamp_ms:
                self.max_timestamp_ms, self.max_timestamp_offset = (
                    latest[0],
                    latest[1] + self.base_offset,
                )
            if covered < end and self._filesystem.exists(self.path):
                file = self._file or self._filesystem.open(self.path)
                self._index_tail(self._mapping or file.map(end, writable=False), covered, end)
                if self._file is None:
                    file.close()
            if whole:
                self._covered = covered
            else:
                self._rewrite_indexes()
            self._index_loaded = True

    def _load_if_needed(self) -> None:
        if not self._index_loaded:
            with self._open_lock:
                loaded = self._index_loaded
            if not loaded:
                self.load_indexes()

    def _index_tail(self, mapping: Mapping, start: int, end: int) -> None:
        position = start
        while position < end:
            header = header_at(mapping, position, end)
            if header is None:
                following = find_next_batch(mapping, position + 8, end, self.base_offset)
                if following is None:
                    if self.sealed and is_zero(mapping, position, end):
                        self.position = position  # preallocated room that was never given back
                    break
                position, header = following
                self.note_batch(
                    position, header, always_index=True
                )  # a lookup must not have to walk across damage
            else:
                self.note_batch(position, header)
            position += header.aligned_size
        if self.sealed and self.max_timestamp_ms != NO_TIMESTAMP:
            self.time_index.maybe_append(
                self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset
            )

    def note_batch(self, position: int, header: BatchHeader, always_index: bool = False) -> None:
        """Count a batch that was found in the file: its timestamps, and an index entry when one is due."""
        if position == 0:
            self.first_timestamp_ms = header.max_timestamp_ms
        if header.max_timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = header.max_timestamp_ms
            self.max_timestamp_offset = header.base_offset
        gap = position - self._last_indexed_position
        if gap > (0 if always_index else self.index_interval_bytes):
            self._index(header.base_offset, position)

    def flush_indexes(self) -> None:
        """Append the index entries that are not in the files yet. Nothing is synced: indexes are derived data."""
        if not self._index_loaded or self._covered == self.position:
            return
        covers = self.position
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

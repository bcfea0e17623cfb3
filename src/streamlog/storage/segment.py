"""One file of a partition log: record batches from a base offset on, mapped into memory."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamlog.errors import CorruptLogError
from streamlog.record.columns import encode_single_value
from streamlog.record.checksum import crc32c
from streamlog.record.layout import (
    COLUMNS_ENCODING,
    HEADER,
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    MAGIC,
    SINGLE_HEADER,
    SINGLE_PREFIX,
    BatchHeader,
    aligned,
)
from streamlog.record.pending_batch import PendingBatch
from streamlog.runtime import File, FileSystem, Lock, Mapping, Words
from streamlog.storage import index_file
from streamlog.storage.batch_scan import find_next_batch, header_at, headers_from, is_zero
from streamlog.storage.file_names import (
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    join,
    segment_stem,
)
from streamlog.storage.offset_index import ENTRY_BYTES as OFFSET_ENTRY_BYTES
from streamlog.storage.offset_index import OffsetIndex
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.time_index import TimeIndex

_logger = logging.getLogger("streamlog")

# Preallocation: small topics stay small, busy ones grow in steps whose cost (10-20 us) vanishes.
FIRST_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 8 * 1024 * 1024
_CHUNK_GROWTH = 4

# Segments that grew past this are busy: their pages are loaded for writing ahead of the stores, this much at a time, because one
# call for many pages costs a third of the page faults it saves. An idle partition never gets here and keeps its memory small.
_PREFAULT_BYTES = 256 * 1024

#: A batch larger than this is stored as header and body apart; below, joining them is cheaper than a second store.
_JOIN_BYTES = 16 * 1024

#: Where reads of a segment ended, so that whoever reads on starts without a lookup. Forgotten as a whole when full.
_MAX_HINTS = 64

_HEADER_PACK = HEADER.pack
_SINGLE_PACK = SINGLE_HEADER.pack
_UNCOMMITTED = 0

#: Timestamp of what has no record (Kafka ``RecordBatch.NO_TIMESTAMP``); producers cannot send a negative one (REC-2).
NO_TIMESTAMP = -1


def _no_check(_: int) -> None:
    """Let any allocation pass."""


class Segment:
    """One ``.log`` file with its two indexes. Knows bytes and positions; the log above it knows the rules.

    ``position`` is the end of the valid batches in bytes, ``next_offset`` the offset after the last one; both are published
    after the bytes, so a reader that saw them may read up to them without a lock.

    Threads: appending, sealing, truncating and closing by the holder of the log's lock; reading by any thread at any time.
    Source: Kafka ``LogSegment``.
    """

    __slots__ = (
        "_allocated",
        "_file",
        "_filesystem",
        "_hints",
        "_covered",
        "_index_loaded",
        "_last_indexed_position",
        "_mapping",
        "_open_lock",
        "_open_segments",
        "_owner_lock",
        "_populated",
        "_seen_position",
        "_sync_error",
        "_touched",
        "_words",
        "base_offset",
        "created_durably",
        "directory",
        "first_timestamp_ms",
        "index_interval_bytes",
        "limit",
        "max_timestamp_ms",
        "max_timestamp_offset",
        "next_offset",
        "offset_index",
        "path",
        "position",
        "sealed",
        "synced_position",
        "time_index",
    )

    def __init__(
        self,
        filesystem: FileSystem,
        directory: str,
        base_offset: int,
        open_segments: OpenSegments,
        owner_lock: Lock,
        index_interval_bytes: int,
    ) -> None:
        self._filesystem = filesystem
        self._open_segments = open_segments
        self._owner_lock = owner_lock
        self._open_lock = Lock()
        self._file: File | None = None
        self._mapping: Mapping | None = None
        self._words: Words | None = None
        self._hints: dict[int, int] = {}
        self._allocated = 0
        self._populated = 0
        self._touched = False
        self._seen_position = -1
        self._index_loaded = False
        self._last_indexed_position = 0
        self._covered = 0
        self._sync_error: OSError | None = None
        self.directory = directory
        self.base_offset = base_offset
        self.path = join(directory, segment_stem(base_offset) + LOG_SUFFIX)
        self.index_interval_bytes = index_interval_bytes
        #: End of the valid batches, in bytes, a multiple of 8.
        self.position = 0
        #: An append that ends behind this takes the slow path: room, files, state of the log. 0 = always.
        self.limit = 0
        self.next_offset = base_offset
        #: Greatest timestamp of the first batch (LOG-2) and of the whole segment (RET-3); -1 without records.
        self.first_timestamp_ms = NO_TIMESTAMP
        self.max_timestamp_ms = NO_TIMESTAMP
        #: Base offset of the batch that brought ``max_timestamp_ms``.
        self.max_timestamp_offset = base_offset
        self.sealed = False
        self.synced_position = 0
        #: Whether the file itself, its name included, is known to survive a power loss.
        self.created_durably = False
        self.offset_index = OffsetIndex()
        self.time_index = TimeIndex()

    def __repr__(self) -> str:
        return f"<Segment {self.path} offsets {self.base_offset}..{self.next_offset} bytes {self.position}>"

    @property
    def offset_index_path(self) -> str:
        """Path of the offset index file."""
        return self.path.removesuffix(LOG_SUFFIX) + OFFSET_INDEX_SUFFIX

    @property
    def time_index_path(self) -> str:
        """Path of the time index file."""
        return self.path.removesuffix(LOG_SUFFIX) + TIME_INDEX_SUFFIX

    # ------------------------------------------------------------------------------------------------------- append

    def append(self, batch: PendingBatch, base_offset: int, leader_epoch: int) -> None:
        """Store *batch* at the end; room for it was made by :meth:`reserve`. Cannot fail half-way."""
        body = batch.body
        body_size = len(body)
        length = HEADER_SIZE + body_size
        max_timestamp_ms = batch.max_timestamp_ms
        header = _HEADER_PACK(
            _UNCOMMITTED,
            0,
            MAGIC,
            body_size,
            base_offset,
            crc32c(body),
            leader_epoch,
            batch.attributes,
            batch.body_encoding,
            0,
            batch.record_count,
            batch.record_count - 1,
            batch.base_sequence,
            batch.producer_id,
            batch.producer_epoch,
            0,
            batch.uncompressed_size,
            batch.first_timestamp_ms,
            max_timestamp_ms,
        )
        position = self.position
        mapping, words = self._mapping, self._words
        assert mapping is not None and words is not None
        if length <= _JOIN_BYTES:
            mapping[position : position + length] = header + body
        else:
            mapping[position + HEADER_SIZE : position + length] = body
            mapping[position : position + HEADER_SIZE] = header
        word = position >> 2
        words[word + 1] = crc32c(header[8:])
        # The commit point: until this store the batch is not there, whoever looks and whenever the process dies.
        words[word] = length
        if max_timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = max_timestamp_ms
            self.max_timestamp_offset = base_offset
        if position - self._last_indexed_position > self.index_interval_bytes:
            self.add_index_entry(base_offset, position)
        self.next_offset = base_offset + batch.record_count
        self.position = position + aligned(length)

    def append_value(self, value: bytes, timestamp_ms: int, base_offset: int, middle: bytes) -> None:
        """Store one record that has a value and nothing else: :meth:`append` without the detour over a batch object.

        *middle* is ``layout.single_middle(leader_epoch)``. The caller made sure that *timestamp_ms* is not below
        ``max_timestamp_ms``, which is what the clock gives anyway.
        """
        body = encode_single_value(value)
        body_size = len(body)
        length = body_size + 80
        position = self.position
        header = _SINGLE_PACK(
            SINGLE_PREFIX, body_size, base_offset, crc32c(body), middle, timestamp_ms, timestamp_ms
        )
        self._mapping[position : position + length] = header + body  # type: ignore[index]
        words = self._words
        word = position >> 2
        words[word + 1] = crc32c(header[8:])  # type: ignore[index]
        words[word] = length  # type: ignore[index]  # the commit point, as in append()
        if timestamp_ms != self.max_timestamp_ms:
            self.max_timestamp_ms = timestamp_ms
            self.max_timestamp_offset = base_offset
        if position - self._last_indexed_position > self.index_interval_bytes:
            self.add_index_entry(base_offset, position)
        self.next_offset = base_offset + 1
        self.position = position + (length + 7 & -8)

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
            self.time_index.maybe_append(self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset)

    def index_is_full(self, segment_index_bytes: int) -> bool:
        """Whether one more entry would exceed *segment_index_bytes* (LOG-2)."""
        return self.offset_index.size_bytes + OFFSET_ENTRY_BYTES > segment_index_bytes

    # ------------------------------------------------------------------------------------------------------- files

    def create(self) -> None:
        """Make the (empty) file. The name is durable only after the next :meth:`sync`."""
        self._file = self._filesystem.open(self.path, create=True, exclusive=True)
        self._index_loaded = True
        self._open_segments.opened(self)

    def reserve(self, end: int, cap: int, check_free_bytes: Callable[[int], None] = _no_check) -> None:
        """Make sure that a batch ending at *end* can be stored; sets ``limit``. Raises DiskFullError having changed nothing.

        Stores go into a mapped file, where running out of space is not an error but SIGBUS: hence nothing is ever stored where
        ``posix_fallocate`` has not promised the room. *cap* is ``segment_bytes``: preallocation stops there.
        """
        file = self._file
        if file is None:
            if self._filesystem.exists(self.path):
                file = self._filesystem.open(self.path)
            else:
                file = self._filesystem.open(self.path, create=True, exclusive=True)
                self._index_loaded = True
            self._file = file
            self._allocated = file.size()
            self._open_segments.opened(self)
        if end > self._allocated:
            target = max(end, min(self._next_allocation(), aligned(cap)))
            check_free_bytes(target - self._allocated)
            file.allocate(self._allocated, target)
            self._allocated = target
            self._words = None
        if self._words is None:
            self._mapping = file.map(self._allocated, writable=True)
            self._words = self._filesystem.words(self._mapping)
        if self._allocated <= _PREFAULT_BYTES:
            self._populated = self._allocated
        elif end > self._populated:
            start = max(self._populated, self.position)
            self._populated = min(max(end, start + _PREFAULT_BYTES), self._allocated)
            self._filesystem.prefault(self._mapping, start, self._populated)
        self.limit = self._populated

    def _next_allocation(self) -> int:
        if self._allocated == 0:
            return FIRST_CHUNK_BYTES
        return self._allocated + min(self._allocated * (_CHUNK_GROWTH - 1), MAX_CHUNK_BYTES)

    def seal(self) -> None:
        """End this segment: no append will follow. Gives the preallocated rest back and writes the indexes out."""
        self.limit = 0
        self.sealed = True
        try:
            if self.position:
                self._load_if_needed()
                self.time_index.maybe_append(self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset)
            self.flush_indexes()
        except OSError as error:  # derived data: the next open rebuilds it
            _logger.warning("%s: index not written: %s", self.path, error)
        # Readers hold the old map at most for bytes below position; a new one of the right size is made on demand.
        self._mapping = self._words = None
        self._trim()

    def close(self) -> None:
        """Write the indexes out, give the preallocated rest back, let go of the file. Does not sync."""
        self.limit = 0
        try:
            self.flush_indexes()
        except OSError as error:  # derived data: the next open rebuilds it
            _logger.warning("%s: index not written: %s", self.path, error)
        self._mapping = self._words = None
        self._trim()
        self.release_files()

    def _trim(self) -> None:
        if self._allocated > self.position and self._file is not None:
            self._file.truncate(self.position)
            self._allocated = self.position

    def abandon(self) -> None:
        """Drop maps and descriptors and nothing else: what a forked child, or a log that failed, may do."""
        self.limit = 0
        self.release_files()

    def release_files(self) -> None:
        """Close the file and drop the map; both come back when needed."""
        self.limit = 0
        with self._open_lock:  # a sync under way uses the descriptor: closing it now could sync somebody else's file
            self._drop_files()
        self._open_segments.closed(self)

    def _drop_files(self) -> None:
        self._mapping = self._words = None
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def try_release_files(self) -> bool:
        """Give the descriptors back unless busy: what :class:`OpenSegments` calls, from any thread."""
        if self._touched or self.position != self._seen_position:
            self._touched, self._seen_position = False, self.position
            return False
        if not self._owner_lock.acquire(False):
            return False
        try:
            if not self._open_lock.acquire(False):
                return False
            try:
                if self._file is not None and self.synced_position < self.position:
                    # An error of writeback is reported to descriptors that were open when it happened: ours must not be gone.
                    try:
                        self._file.sync_data()
                    except OSError as error:
                        self._sync_error = error  # reported once by the system; the next sync() has to fail with it
                        return False
                self.limit = 0
                self._drop_files()
                return True
            finally:
                self._open_lock.release()
        finally:
            self._owner_lock.release()

    def sync(self) -> None:
        """Return once everything stored before the call survives a power loss. Any OSError means: unknown. Threads: one."""
        position = self.position
        with self._open_lock:
            if self._sync_error is not None:
                raise self._sync_error
            file = self._file
            opened = file is None
            if file is None:
                if not self._filesystem.exists(self.path):
                    return  # nothing was ever stored, or retention took the file meanwhile
                file = self._filesystem.open(self.path)
            try:
                if self.created_durably:
                    file.sync_data()
                else:
                    file.sync()
                    self._filesystem.sync_dir(self.directory)
                    self.created_durably = True
            finally:
                if opened:
                    file.close()
        self.synced_position = max(self.synced_position, position)

    # ------------------------------------------------------------------------------------------------------- read

    def mapping_for_read(self) -> Mapping:
        """Return a map that covers every byte below ``position``. Threads: any."""
        self._touched = True
        mapping = self._mapping
        if mapping is not None:
            return mapping
        with self._open_lock:
            if self._mapping is not None:
                return self._mapping
            opened_now = self._file is None
            file = self._file or self._filesystem.open(self.path)
            # Read-only even for the active segment: its writer makes the map that it stores through (see reserve).
            mapping = file.map(self.position, writable=False)
            self._file, self._mapping = file, mapping
            self._allocated = file.size()
        if opened_now:
            self._open_segments.opened(self)
        return mapping

    def read(self, offset: int, max_bytes: int, upper_bound_offset: int | None) -> bytes | None:
        """Return whole batches from the one that holds *offset* on; None when there are none.

        At least one batch, however large; otherwise up to *max_bytes*, softly: the end falls on an indexed batch. Batches that
        start at or above *upper_bound_offset* are left out (None = no bound). The first batch may begin below *offset*; where
        compaction removed *offset* it is the next one (LOG-8). Raises CorruptLogError when there is no good header there.
        """
        self._load_if_needed()
        # In this order: if an append comes in between, the hint below is wrong, which its use finds out.
        end, end_offset = self.position, self.next_offset
        if end == 0:
            return None
        mapping = self.mapping_for_read()
        start = self._hints.get(offset, end)
        hinted = header_at(mapping, start, end)
        if hinted is not None and hinted.base_offset == offset:
            header = hinted
        else:
            located = self.locate(offset, mapping, end)
            if located is None:
                return None
            start, header = located
        if upper_bound_offset is not None and header.base_offset >= upper_bound_offset:
            return None
        stop = start + header.aligned_size
        if start + max_bytes >= end and upper_bound_offset is None:
            stop = end
        else:
            wanted = min(start + max_bytes, end)
            if upper_bound_offset is not None:
                bound = self.offset_index.floor(upper_bound_offset - self.base_offset)
                wanted = min(wanted, max(bound, stop))
            stop = max(stop, min(self.offset_index.floor_position(wanted), end))
            for position, following in headers_from(mapping, stop, end):
                if position + following.aligned_size > start + max_bytes:
                    break
                if upper_bound_offset is not None and following.base_offset >= upper_bound_offset:
                    break
                stop = position + following.aligned_size
        if stop < end:
            following_header = header_at(mapping, stop, end)
            if following_header is not None:
                end_offset = following_header.base_offset
        if len(self._hints) >= _MAX_HINTS:
            self._hints.clear()
        self._hints[end_offset] = stop
        return mapping[start:stop]

    def time_floor(self, timestamp_ms: int) -> int:
        """Return the relative offset from which to look for the first record at or after *timestamp_ms*."""
        self._load_if_needed()
        return self.time_index.floor(timestamp_ms)

    def position_of(self, offset: int) -> tuple[int, int]:
        """Return position and base offset of the batch that holds *offset*; the end of the segment when none does."""
        self._load_if_needed()
        if self.position == 0:
            return 0, self.base_offset
        located = self.locate(offset, self.mapping_for_read(), self.position)
        return (self.position, self.next_offset) if located is None else (located[0], located[1].base_offset)

    def locate(self, offset: int, mapping: Mapping, end: int) -> tuple[int, BatchHeader] | None:
        """Return position and header of the batch that holds *offset*, or of the next one; None at the end.

        The index is never believed: what it points at must be a good header at or below *offset*, or the walk starts over at
        the beginning of the file. Raises CorruptLogError when the walk meets a bad batch that may hold *offset*.
        """
        position = self.offset_index.floor(offset - self.base_offset)
        header = header_at(mapping, position, end) if position < end else None
        if position and (header is None or header.base_offset > offset):
            position = 0
        while position < end:
            header = header_at(mapping, position, end)
            if header is None:
                following = find_next_batch(mapping, position + 8, end, self.base_offset)
                if following is None or following[1].base_offset > offset:
                    raise self._damage(mapping, position, end, offset)
                position, header = following
            if header.next_offset > offset:
                return position, header
            position += header.aligned_size
        return None

    def _damage(self, mapping: Mapping, position: int, end: int, offset: int) -> CorruptLogError:
        following = find_next_batch(mapping, position + 8, end, offset)
        next_good = following[1].base_offset if following else (self.next_offset if self.sealed else None)
        return CorruptLogError(
            f"{self.path}: byte {position}: expected the batch of offset {offset}, found no valid batch header; "
            + ("nothing readable follows" if next_good is None else f"readable again from offset {next_good}"),
            first_bad_offset=offset,
            next_good_offset=next_good,
            file=self.path,
            position=position,
        )

    def largest_timestamp_ms(self) -> int:
        """Return the greatest record timestamp, or the file's time of change when there is none (RET-3)."""
        self._load_if_needed()
        if self.max_timestamp_ms != NO_TIMESTAMP:
            return self.max_timestamp_ms
        return self._filesystem.modified_ms(self.path)

    # ------------------------------------------------------------------------------------------------------- indexes

    def _load_if_needed(self) -> None:
        if not self._index_loaded:
            with self._open_lock:
                loaded = self._index_loaded
            if not loaded:
                self.load_indexes()

    def load_sealed(self, next_offset: int) -> None:
        """Take an existing file whose content ends with *next_offset*, the base of the segment behind it.

        Costs one ``stat``: indexes and timestamps are read when somebody asks for them.
        """
        self.sealed = True
        self.position = self.synced_position = self._filesystem.file_size(self.path) & -8
        self.next_offset = next_offset
        self.created_durably = True

    def load_indexes(self) -> None:
        """Read the index files and rebuild, from the log itself, what they lack. Threads: any; the first caller does it."""
        with self._open_lock:
            if self._index_loaded:
                return
            end = self.position
            offsets, offsets_cover = index_file.read_entries(self._filesystem, self.offset_index_path)
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
                self.max_timestamp_ms, self.max_timestamp_offset = latest[0], latest[1] + self.base_offset
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
                self.note_batch(position, header, always_index=True)  # a lookup must not have to walk across damage
            else:
                self.note_batch(position, header)
            position += header.aligned_size
        if self.sealed and self.max_timestamp_ms != NO_TIMESTAMP:
            self.time_index.maybe_append(self.max_timestamp_ms, self.max_timestamp_offset - self.base_offset)

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
        index_file.append_entries(self._filesystem, self.offset_index_path, self.offset_index.unflushed(), covers)
        self.offset_index.mark_flushed()
        index_file.append_entries(self._filesystem, self.time_index_path, self.time_index.unflushed(), covers)
        self.time_index.mark_flushed()
        self._covered = covers

    def _rewrite_indexes(self) -> None:
        covers = self.position
        index_file.replace_entries(self._filesystem, self.offset_index_path, self.offset_index.pack(), covers)
        self.offset_index.mark_flushed()
        index_file.replace_entries(self._filesystem, self.time_index_path, self.time_index.pack(), covers)
        self.time_index.mark_flushed()
        self._covered = covers

    # ------------------------------------------------------------------------------------------------------- truncate

    def truncate(self, position: int, next_offset: int) -> None:
        """Cut every batch at or behind *position*; the segment is open for appends afterwards.

        The file keeps its size and the tail is overwritten with zeros: shrinking it under a map that a reader still holds would
        kill the process. Caller: the holder of the log's lock, with the cut recorded durably (a crash in between repeats it).
        """
        self._load_if_needed()
        end = self.position
        self.sealed = False
        self.next_offset = next_offset
        self.position = position
        self._hints.clear()
        self.reserve(end, end)
        assert self._mapping is not None
        for start in range(position, end, MAX_CHUNK_BYTES):
            stop = min(start + MAX_CHUNK_BYTES, end)
            self._mapping[start:stop] = bytes(stop - start)
        self.limit = 0
        self.synced_position = min(self.synced_position, position)
        self.offset_index.truncate(position)
        self.time_index.truncate(next_offset - self.base_offset)
        last, latest = self.offset_index.last(), self.time_index.last()
        self._last_indexed_position = last[1] if last else 0
        self.max_timestamp_ms = latest[0] if latest else NO_TIMESTAMP
        self.max_timestamp_offset = latest[1] + self.base_offset if latest else self.base_offset
        if position == 0:
            self.first_timestamp_ms = NO_TIMESTAMP
        self._index_tail(self._mapping, self._last_indexed_position, position)
        self._rewrite_indexes()

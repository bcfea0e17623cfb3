"""A file that is appended to through memory: room on the disk, maps, descriptors, syncs. Knows nothing of records."""

from __future__ import annotations

from streamlog.errors import ClosedError, DiskFullError
from streamlog.record.layout import aligned
from streamlog.runtime import TOKEN, File, FileSystem, Lock, Mapping, TokenLock, Words
from streamlog.storage.file_names import LOG_SUFFIX, join, segment_stem
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.room import Room

# Preallocation: small topics stay small, busy ones grow in steps whose cost (10-20 us) vanishes.
FIRST_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 8 * 1024 * 1024
_CHUNK_GROWTH = 4
_SMALL_CHUNK_BYTES = 4096

# Segments of this size are busy: the pages in front of their end are loaded for writing, so much at a time. One call for many
# pages costs a third to half of the page faults (3 to 6 us each) that it saves; a thread of its own for it does not pay, because
# it has to wait for the interpreter's lock. An idle partition never gets here and keeps its memory.
_BUSY_BYTES = 4 * 1024 * 1024
_AHEAD_BYTES = 1024 * 1024


class SegmentFile:
    """The ``.log`` file of a segment: what is stored goes into a private map of room that was promised before.

    Descriptors and maps come and go (see :class:`OpenSegments`); positions and offsets stay. The file and its maps are changed
    with `_open_lock` held, which is never held during a sync: appends and readers must not wait for the disk. A file that is
    dropped is not closed, it ends with the last reference: a sync or a reader may be in the middle of using it.

    Threads: `reserve`, `create`, `erase` and `release_files` by the holder of the log's lock; `sync` by one thread at a time;
    `mapping_for_read` and `try_release_files` by any.
    """

    __slots__ = (
        "_allocated",
        "_exposed_end",
        "_file",
        "_filesystem",
        "_index_loaded",
        "_loaded",
        "_mapping",
        "_open_lock",
        "_open_segments",
        "_owner_lock",
        "_released",
        "_seen_position",
        "_sync_error",
        "_touched",
        "_words",
        "base_offset",
        "created_durably",
        "directory",
        "keeps_tail",
        "limit",
        "next_offset",
        "path",
        "position",
        "sealed",
        "stored_at",
        "synced_position",
    )

    def __init__(
        self,
        filesystem: FileSystem,
        directory: str,
        base_offset: int,
        open_segments: OpenSegments,
        owner_lock: TokenLock,
    ) -> None:
        self._filesystem = filesystem
        self._open_segments = open_segments
        self._owner_lock = owner_lock
        self._open_lock = Lock()
        self._file: File | None = None
        self._mapping: Mapping | None = None
        self._words: Words | None = None
        # What posix_fallocate has promised, as far as this process knows. The size of a file that was found says nothing: a
        # copied one has holes where the zeros were, and a store into a hole kills the process when the disk is full.
        self._allocated = 0
        self._loaded = 0
        # Where readers may still be reading although the content ends earlier (see Segment.truncate).
        self._exposed_end = 0
        self._touched = False
        self._seen_position = -1
        self._index_loaded = False
        self._released = False
        self._sync_error: OSError | None = None
        self.directory = directory
        self.base_offset = base_offset
        self.path = join(directory, segment_stem(base_offset) + LOG_SUFFIX)
        #: Where the file is: ``path``, but for one that compaction made and that has not got its name yet.
        self.stored_at = self.path
        #: End of the valid batches, in bytes, a multiple of 8. Published after the bytes.
        self.position = 0
        #: The offset behind the last one. Published after the bytes.
        self.next_offset = base_offset
        #: An append that ends behind this takes the slow path: room, files, state of the log. 0 = always. Negative = always as
        #: well, but room and files are there up to the positive of it.
        self.limit = 0
        #: No append will follow.
        self.sealed = False
        #: What is behind ``position`` is damaged and not empty: nobody may cut it off.
        self.keeps_tail = False
        self.synced_position = 0
        #: Whether the file itself, its name included, is known to survive a power loss.
        self.created_durably = False

    def __repr__(self) -> str:
        return f"<Segment {self.path} offsets {self.base_offset}..{self.next_offset} bytes {self.position}>"

    def create(self) -> None:
        """Make the (empty) file. The name is durable only after the next :meth:`sync`. Raises FileExistsError if it holds anything."""
        with self._open_lock:
            # An empty one may be there already: a roll was interrupted (Ctrl-C), or ran out of descriptors half-way.
            file = self._filesystem.open(self.path, create=True)
            if file.size():
                raise FileExistsError(
                    f"{self.path}: expected no file yet, found {file.size()} bytes"
                )
            self._file = file
            self._index_loaded = True
        self._open_segments.opened(self)

    def reserve(self, end: int, cap: int, room: Room | None = None) -> Mapping:
        """Make sure that a batch ending at *end* can be stored; sets ``limit`` and returns the map to store into.

        Stores go into a mapped file, where running out of space is not an error but SIGBUS: hence nothing is ever stored where
        ``posix_fallocate`` has not promised the room. *cap* is ``segment_bytes``: preallocation stops there. Raises DiskFullError
        having changed nothing.
        """
        with self._open_lock:
            opened_now = self._file is None
            if self._file is None:
                self._file = self._open_for_append()
            mapping = self._reserve(self._file, end, cap, room)
        if opened_now:
            self._open_segments.opened(self)
        return mapping

    def _open_for_append(self) -> File:
        if self._filesystem.exists(self.path):
            return self._filesystem.open(self.path)
        file = self._filesystem.open(self.path, create=True, exclusive=True)
        self._index_loaded = True
        return file

    def _reserve(self, file: File, end: int, cap: int, room: Room | None) -> Mapping:
        self._allocated = max(self._allocated, self.position)  # what was stored has its room
        if end > self._allocated:
            cap = max(end, aligned(cap))
            try:
                self._allocate(file, min(max(end, self._next_allocation()), cap), room)
            except DiskFullError:
                # The last bytes of a disk serve as well, a few at a time.
                self._allocate(file, min(end + -end % _SMALL_CHUNK_BYTES, cap), room)
        mapping = self._mapping
        if self._words is None or mapping is None:
            self._mapping = mapping = file.map(self._allocated, writable=True)
            self._words = self._filesystem.words(mapping)
        if self._allocated < _BUSY_BYTES:
            self.limit = self._allocated
            return mapping
        if end > self._loaded:
            start, self._loaded = (
                max(self._loaded, self.position),
                min(end + _AHEAD_BYTES, self._allocated),
            )
            self._filesystem.prefault(mapping, start, self._loaded)
        self.limit = self._loaded
        return mapping

    def _allocate(self, file: File, end: int, room: Room | None) -> None:
        if room is not None:
            room.check(end - self._allocated)
        file.allocate(self._allocated, end)
        self._allocated = end
        # Until the new room is mapped, which can fail: nobody may store through a map that is not there.
        self.limit = 0
        self._words = None

    def _next_allocation(self) -> int:
        growth = min(self._allocated * (_CHUNK_GROWTH - 1), MAX_CHUNK_BYTES)
        return self._allocated + max(growth, FIRST_CHUNK_BYTES)

    def erase(self, size: int) -> None:
        """Zero the *size* bytes behind ``position``: an append was interrupted there, by Ctrl-C or for want of memory.

        What it left would look like damage once a shorter batch stands in its place.
        """
        with self._open_lock:
            end = min(self.position + aligned(size), self._allocated)
            if self._words is not None and self._mapping is not None and end > self.position:
                self._mapping[self.position : end] = bytes(end - self.position)

    def _trim(self) -> None:
        """Give the preallocated rest back. Readers hold maps at most for bytes that were content once."""
        # A file that compaction made has none, and before it has its name that is another one's.
        if self.keeps_tail or self.stored_at != self.path:
            return
        end = max(self.position, self._exposed_end)
        with self._open_lock:
            self._mapping = self._words = None
            file = self._file
            if file is None:
                if (
                    not self._filesystem.exists(self.path)
                    or self._filesystem.file_size(self.path) <= end
                ):
                    return
                file = self._filesystem.open(self.path)
            if file.size() > end:
                file.truncate(end)
            self._allocated = min(self._allocated, end)
            self._loaded = min(self._loaded, end)

    def move_into_place(self) -> None:
        """Give the file its name, in place of what has it. Readers may come at any time. Raises OSError."""
        with self._open_lock:
            if self.stored_at != self.path:
                self._notice_move()
                if self.stored_at != self.path:
                    self._filesystem.rename(self.stored_at, self.path)
                    self.stored_at = self.path

    def _notice_move(self) -> None:
        """Find out whether the file got its name by a call that was interrupted (Ctrl-C) right behind."""
        if not self._filesystem.exists(self.stored_at):
            self.stored_at = self.path

    def abandon(self) -> None:
        """Drop maps and descriptors and take no lock: for the child of a fork, where a lock may be held by nobody."""
        self._open_lock = Lock()
        self.limit = 0
        self._released = True
        self._drop_files()

    def release_files(self) -> None:
        """Drop file and map for good: the segment was closed or deleted. Readers that have the map already go on."""
        self.limit = 0
        with self._open_lock:
            self._released = True
            self._drop_files()
        self._open_segments.closed(self)

    def _drop_files(self) -> None:
        self._mapping = self._words = self._file = None

    def try_release_files(self) -> bool:
        """Give the descriptors back for now, unless busy: what :class:`OpenSegments` calls, from any thread."""
        if self._touched or self.position != self._seen_position:
            self._touched, self._seen_position = False, self.position
            return False
        if self.sealed:
            return self._release_idle_files(sealed=True)
        # Appends use the map with nothing but the log's lock held.
        if not self._owner_lock.acquire(False):
            return False
        try:
            return self._release_idle_files(sealed=False)
        finally:
            self._owner_lock.tokens += TOKEN
            if self._owner_lock.waiting:
                self._owner_lock.wake()

    def _release_idle_files(self, *, sealed: bool) -> bool:
        if not self._open_lock.acquire(False):
            return False
        try:
            if sealed and not self.sealed:
                return False  # truncation made it the active one, just now
            if self._file is not None and self.synced_position < self.position:
                # An error of writeback is reported to descriptors that were open when it happened: ours must not be gone.
                try:
                    self._file.sync_data()
                except OSError as error:
                    # Reported once by the system; the next sync() has to fail with it.
                    self._sync_error = error
                    return False
            self.limit = 0
            self._drop_files()
            return True
        finally:
            self._open_lock.release()

    def sync(self) -> None:
        """Return once everything stored before the call survives a power loss. Any OSError means: unknown. Threads: one."""
        position = self.position
        with self._open_lock:
            if self._released:
                return  # retention took the file meanwhile
            if self._sync_error is not None:
                raise self._sync_error
            file = self._file
            if file is None:
                if not self._filesystem.exists(self.path):
                    return  # nothing was ever stored
                file = self._filesystem.open(self.path)
        try:
            if self.created_durably:
                file.sync_data()
            else:
                file.sync()
                self._filesystem.sync_dir(self.directory)
                self.created_durably = True
        except OSError:
            if not self._released:
                raise
        self.synced_position = max(self.synced_position, position)

    def mapping_for_read(self) -> Mapping:
        """Return a map that covers every byte below ``position``. Threads: any.

        Raises ClosedError when the segment was closed or deleted, FileNotFoundError or ValueError when its file is missing or too
        short.
        """
        self._touched = True
        mapping = self._mapping
        if mapping is not None:
            return mapping
        with self._open_lock:
            if self._released:
                raise ClosedError(f"{self.path}: the segment was closed or deleted")
            mapping = self._mapping
            if mapping is not None:
                return mapping
            opened_now = self._file is None
            if self._file is None and self.stored_at != self.path:
                self._notice_move()
            file = self._filesystem.open(self.stored_at) if self._file is None else self._file
            # Read-only even for the active segment: its writer makes the map that it stores through (see reserve).
            mapping = file.map(self.position, writable=False)
            self._file, self._mapping = file, mapping
        if opened_now:
            self._open_segments.opened(self)
        return mapping

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert 0 <= self.synced_position <= self.position
        assert self.position % 8 == 0
        # Nothing is ever stored where no room was promised, and what is dropped stays dropped.
        assert abs(self.limit) <= self._allocated
        assert not self.limit or self._words is not None
        assert self._words is None or self._mapping is not None
        assert not (self.sealed and self.limit)
        assert not (self._released and self._file is not None)

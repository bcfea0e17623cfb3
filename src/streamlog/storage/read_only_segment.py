"""A segment that another process may be writing: the same lookups, and not a byte written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import ClosedError
from streamlog.storage.file_names import LOG_SUFFIX, TRANSACTION_INDEX_SUFFIX
from streamlog.storage.read_only_file import FileView
from streamlog.storage.segment import Segment
from streamlog.storage.transaction_index import KnownTransactions, TransactionIndex

if TYPE_CHECKING:
    from streamlog.record.layout import BatchHeader
    from streamlog.runtime import File, FileSystem, Mapping, TokenLock
    from streamlog.storage.open_segments import OpenSegments


class ReadOnlyTransactionIndex(TransactionIndex):
    """What is known of a segment's aborted transactions; what had to be found in the log stays in memory."""

    __slots__ = ()

    def _try_to_replace(self, known: KnownTransactions, next_offset: int) -> None:
        """Leave the file as it is."""


class ReadOnlySegment(Segment):
    """One ``.log`` file as a reader in another process sees it.

    Its file is opened for reading and read, never mapped (see `FileView`). Index files are read if they are good, and what they lack
    is found in the log, as everywhere; but nothing is written.

    Threads: `grow` and `end` by the holder of the log's refresh lock; reading by any.
    """

    __slots__ = ("_taken",)

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
        super().__init__(
            filesystem,
            directory,
            base_offset,
            open_segments,
            owner_lock,
            index_interval_bytes,
            segment_index_bytes,
        )
        # Size and time of change of the file when it was taken as a sealed one: another pair means another file.
        self._taken: tuple[int, int] | None = None
        self.transactions = ReadOnlyTransactionIndex(
            filesystem, self.path.removesuffix(LOG_SUFFIX) + TRANSACTION_INDEX_SUFFIX
        )

    def load_sealed(self, next_offset: int) -> None:
        """Take an existing file whose content ends with *next_offset*, as `Segment.load_sealed` does."""
        super().load_sealed(next_offset)
        self._taken = self._stamp()

    def is_still(self, next_offset: int) -> bool:
        """Whether the file is the one that was taken by `load_sealed` with *next_offset*. Raises FileNotFoundError."""
        return self.next_offset == next_offset and self._taken == self._stamp()

    def _stamp(self) -> tuple[int, int]:
        return self._filesystem.file_size(self.path), self._filesystem.modified_ms(self.path)

    def end(self) -> None:
        """No batch will follow: the next segment was begun."""
        self.sealed = True
        if self._index_loaded:
            self._index_greatest_timestamp()

    def grow(self, batches: list[tuple[int, BatchHeader]]) -> None:
        """Take *batches*, checked, each with its position: they follow what there was. Not empty."""
        self.ensure_indexes()
        for position, header in batches:
            self._note_batch(position, header, always_index=False)
        position, last = batches[-1]
        self.go_on_at(position + last.aligned_size, last.next_offset)

    def go_on_at(self, position: int, next_offset: int) -> None:
        """The content ends at *position*, with the offset before *next_offset*: not before what it was."""
        with self._open_lock:
            if self._file is not None:
                # First: who sees the new end reads through this.
                self._mapping = FileView(self._file, position)
            self.next_offset = next_offset
            self.position = self.synced_position = position

    def open_file(self) -> File:
        """Return the file, opened for reading. Raises ClosedError when the segment was closed, FileNotFoundError."""
        self._touched = True
        file = self._file
        if file is not None:
            return file
        with self._open_lock:
            if self._released:
                raise ClosedError(f"{self.path}: the segment was closed or deleted")
            if self._file is None:
                self._file = self._filesystem.open(self.path, read_only=True)
            file = self._file
        self._open_segments.opened(self)
        return file

    def mapping_for_read(self) -> Mapping:
        """Return a view that covers every byte below ``position``. Raises ClosedError, FileNotFoundError."""
        mapping = self._mapping
        if mapping is None:
            file = self.open_file()
            with self._open_lock:
                mapping = self._mapping
                if mapping is None:
                    self._mapping = mapping = FileView(file, self.position)
        self._touched = True
        return mapping

    def close(self) -> None:
        """Let go of the file."""
        self.release_files()

    def _try_to_rewrite(self) -> None:
        """Leave the index files as they are."""

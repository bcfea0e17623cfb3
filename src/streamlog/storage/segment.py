"""One file of a partition log: record batches from a base offset on, mapped into memory."""

from __future__ import annotations

import logging

from streamlog.errors import CorruptLogError
from streamlog.record.checksum import crc32c
from streamlog.record.columns import SINGLE_VALUE_PREFIXES, encode_single_value
from streamlog.record.layout import (
    HEADER,
    HEADER_SIZE,
    MAGIC,
    SINGLE_HEADER,
    SINGLE_PREFIX,
    STAMPED_HEADER,
    BatchHeader,
)
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.producer_stamp import ProducerStamp
from streamlog.runtime import FileSystem, Mapping, TokenLock
from streamlog.storage.batch_scan import (
    body_is_good,
    find_next_batch,
    header_at,
    headers_from,
    is_zero,
    resync,
)
from streamlog.storage.file_names import LOG_SUFFIX, TRANSACTION_INDEX_SUFFIX
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.segment_file import MAX_CHUNK_BYTES
from streamlog.storage.segment_index import IndexedSegmentFile
from streamlog.storage.transaction_index import KnownTransactions, TransactionIndex
from streamlog.structs import NO_TIMESTAMP

_logger = logging.getLogger("streamlog")

#: A batch larger than this is stored as header and body apart; below, joining them is cheaper than a second store.
_JOIN_BYTES = 16 * 1024

#: Where reads of a segment ended, so that whoever reads on starts without a lookup. Forgotten as a whole when full.
_MAX_HINTS = 64

_HEADER_PACK = HEADER.pack
_SINGLE_PACK = SINGLE_HEADER.pack
_STAMPED_PACK = STAMPED_HEADER.pack
_UNCOMMITTED = 0


class Segment(IndexedSegmentFile):
    """One ``.log`` file with its indexes. Knows bytes and positions; the log above it knows the rules.

    A reader that saw ``position`` and ``next_offset`` may read up to them without a lock: they are published after the bytes.

    Threads: appending, sealing, truncating and closing by the holder of the log's lock; reading by any thread at any time.
    Source: Kafka ``LogSegment``.
    """

    __slots__ = ("_hints", "transactions")

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
        self._hints: dict[int, int] = {}
        #: The aborted transactions. The log above looks after it, which knows what is open.
        self.transactions = TransactionIndex(
            filesystem, self.path.removesuffix(LOG_SUFFIX) + TRANSACTION_INDEX_SUFFIX
        )

    @property
    def file_paths(self) -> tuple[str, ...]:
        """Paths of the log file and of what is derived from it; not all of them need to exist."""
        return (self.path, *self.derived_paths)

    @property
    def derived_paths(self) -> tuple[str, ...]:
        """Paths of the files that can be made again from the log file."""
        return (self.offset_index_path, self.time_index_path, self.transactions.path)

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
            # The header first: recovery takes from it how far a batch reaches that was never committed.
            mapping[position : position + HEADER_SIZE] = header
            mapping[position + HEADER_SIZE : position + length] = body
        word = position >> 2
        words[word + 1] = crc32c(header)
        # The commit point: until this store the batch is not there, whoever looks and whenever the process dies.
        words[word] = length
        if max_timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = max_timestamp_ms
            self.max_timestamp_offset = base_offset
        if position - self._last_indexed_position > self.index_interval_bytes:
            self.add_index_entry(base_offset, position)
        self.next_offset = base_offset + batch.record_count
        # aligned() without a call, where Ctrl-C could come in between
        self.position = position + (length + 7 & -8)

    def append_value(
        self, value: bytes, timestamp_ms: int, base_offset: int, middle: bytes
    ) -> None:
        """Store one record that has a value and nothing else: :meth:`append` without the detour over a batch object.

        *middle* is ``layout.single_middle(leader_epoch)``.
        """
        size = len(value)
        # encode_single_value() without the call
        body = SINGLE_VALUE_PREFIXES[size] + value if size < 256 else encode_single_value(value)
        body_size = len(body)
        length = body_size + 80
        position = self.position
        header = _SINGLE_PACK(
            SINGLE_PREFIX, body_size, base_offset, crc32c(body), middle, timestamp_ms, timestamp_ms
        )
        self._mapping[position : position + length] = header + body  # type: ignore[index]
        words = self._words
        word = position >> 2
        words[word + 1] = crc32c(header)  # type: ignore[index]
        words[word] = length  # type: ignore[index]  # the commit point, as in append()
        if timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = timestamp_ms
            self.max_timestamp_offset = base_offset
        if position - self._last_indexed_position > self.index_interval_bytes:
            self.add_index_entry(base_offset, position)
        self.next_offset = base_offset + 1
        self.position = position + (length + 7 & -8)

    def append_stamped_value(
        self,
        value: bytes,
        timestamp_ms: int,
        base_offset: int,
        leader_epoch: int,
        stamp: ProducerStamp,
        sequence: int,
    ) -> None:
        """Store one record that has a value and nothing else, with id and epoch of *stamp*: :meth:`append_value` once more, because a
        test more on the way of each record would cost those who have no stamp.
        """
        size = len(value)
        body = SINGLE_VALUE_PREFIXES[size] + value if size < 256 else encode_single_value(value)
        body_size = len(body)
        length = body_size + 80
        position = self.position
        header = _STAMPED_PACK(
            SINGLE_PREFIX,
            body_size,
            base_offset,
            crc32c(body),
            leader_epoch,
            stamp.single_flags,
            sequence,
            stamp.producer_fields,
            timestamp_ms,
            timestamp_ms,
        )
        self._mapping[position : position + length] = header + body  # type: ignore[index]
        words = self._words
        word = position >> 2
        words[word + 1] = crc32c(header)  # type: ignore[index]
        words[word] = length  # type: ignore[index]  # the commit point, as in append()
        if timestamp_ms > self.max_timestamp_ms:
            self.max_timestamp_ms = timestamp_ms
            self.max_timestamp_offset = base_offset
        if position - self._last_indexed_position > self.index_interval_bytes:
            self.add_index_entry(base_offset, position)
        self.next_offset = base_offset + 1
        self.position = position + (length + 7 & -8)

    def load_sealed(self, next_offset: int) -> None:
        """Take an existing file whose content ends with *next_offset*, the base of the segment behind it.

        Costs one ``stat``: indexes and timestamps are read when somebody asks for them.
        """
        self.sealed = True
        self.position = self.synced_position = self._filesystem.file_size(self.path) & -8
        self.next_offset = next_offset
        self.created_durably = True

    def seal(self) -> None:
        """End this segment: no append will follow. Gives the preallocated rest back and writes the indexes out."""
        self.limit = 0
        self.sealed = True
        try:
            if self.position:
                self.ensure_indexes()
            self.flush_indexes()
            self._trim()
        except OSError as error:  # derived data and spare room: the next open sees to it
            _logger.warning("%s: not sealed properly: %s", self.path, error)

    def close(self) -> None:
        """Write the indexes out, give the preallocated rest back, let go of the file. Does not sync."""
        self.limit = 0
        try:
            self.flush_indexes()
        except OSError as error:  # derived data: the next open rebuilds it
            _logger.warning("%s: index not written: %s", self.path, error)
        try:
            self._trim()
        finally:
            self.release_files()

    def read_transactions(self) -> KnownTransactions:
        """Return what the file of aborted transactions tells of this segment as it was opened."""
        return self.transactions.read_file(self.base_offset, self.next_offset, self.position)

    def forget_transactions_ahead(self) -> None:
        """Delete the file of aborted transactions if it is ahead of this segment, the last one. Raises OSError."""
        self.transactions.forget_if_ahead(self.position)

    def flush_transactions(self, open_transactions: dict[int, tuple[int, int]]) -> None:
        """Write to their file the aborted transactions that are not in it, and those that are open now. Raises OSError.

        Not if that took a walk through the log: then the first reader who asks does it, and the next flush.
        """
        transactions = self.transactions
        if not transactions.is_known:
            transactions.take(self.read_transactions())
        transactions.flush(self.position, self.next_offset, open_transactions)

    def read(self, offset: int, max_bytes: int, upper_bound_offset: int | None) -> bytes | None:
        """Return whole batches from the one that holds *offset* on; None when there are none.

        At least one batch, however large; otherwise up to *max_bytes*, softly: the end falls on an indexed batch. Batches that
        start at or above *upper_bound_offset* are left out (None = no bound). The first batch may begin below *offset*. Raises
        CorruptLogError when there is no good header there, or not that of the batch which holds *offset*.
        """
        if not self._index_loaded:
            self.ensure_indexes()
        # In this order: if an append comes in between, the hint below is wrong, which its use finds out.
        end, end_offset = self.position, self.next_offset
        if end == 0:
            return None
        mapping = self.mapping_for_read()
        located = self._hinted(offset, mapping, end) or self.locate(offset, mapping, end)
        if located is None:
            return None
        start, header = located
        if upper_bound_offset is not None and header.base_offset >= upper_bound_offset:
            return None
        # Every header that is looked at costs as much as copying a batch: none is read twice, nor one more than needed.
        stop, next_offset = start + header.aligned_size, header.next_offset
        budget_end = start + max_bytes
        if budget_end >= end and upper_bound_offset is None:
            stop, next_offset = end, end_offset
        elif budget_end > stop:
            wanted = min(budget_end, end)
            if upper_bound_offset is not None:
                bound = self.offset_index.floor(upper_bound_offset - self.base_offset)
                wanted = min(wanted, max(bound, stop))
            stop = max(stop, min(self.offset_index.floor_position(wanted), end))
            for position, following in headers_from(mapping, stop, end):
                next_offset = following.base_offset
                if position + following.aligned_size > budget_end or (
                    upper_bound_offset is not None and next_offset >= upper_bound_offset
                ):
                    break
                stop, next_offset = position + following.aligned_size, following.next_offset
        if len(self._hints) >= _MAX_HINTS:
            self._hints.clear()
        self._hints[next_offset] = stop
        return mapping[start:stop]

    def _hinted(self, offset: int, mapping: Mapping, end: int) -> tuple[int, BatchHeader] | None:
        """Return position and header of the batch that starts with *offset*, when an earlier read ended there."""
        start = self._hints.get(offset)
        if start is None:
            return None
        header = header_at(mapping, start, end)
        return (start, header) if header is not None and header.base_offset == offset else None

    def position_of(self, offset: int) -> tuple[int, int]:
        """Return position and base offset of the batch that holds *offset*; the end of the segment when none does."""
        self.ensure_indexes()
        if self.position == 0:
            return 0, self.base_offset
        located = self.locate(offset, self.mapping_for_read(), self.position)
        return (
            (self.position, self.next_offset)
            if located is None
            else (located[0], located[1].base_offset)
        )

    def locate(self, offset: int, mapping: Mapping, end: int) -> tuple[int, BatchHeader] | None:
        """Return position and header of the batch that holds *offset*; None when the file ends before it.

        The index is never believed: what it points at must be a good header at or below *offset*, or the walk starts over at
        the beginning of the file. Raises CorruptLogError when the walk meets a bad batch that may hold *offset*, or a good one
        that begins behind it.
        """
        position = self.offset_index.floor(offset - self.base_offset)
        header = header_at(mapping, position, end)
        if position and (header is None or header.base_offset > offset):
            position = 0
            header = header_at(mapping, position, end)
        while position < end:
            if header is None:
                following = resync(mapping, position, end, self.base_offset)
                if following is None or following[1].base_offset > offset:
                    raise self._damage(position, offset)
                position, header = following
            if header.next_offset > offset:
                if header.base_offset > offset:
                    # A batch that is good by itself, in the place of another one (docs/decisions/0002).
                    raise self._damage(position, offset)
                return position, header
            position += header.aligned_size
            header = header_at(mapping, position, end)
        return None

    def damage_at(self, offset: int, reason: str) -> CorruptLogError:
        """Return the error to raise for the batch of *offset*, of which a reader found that its content is wrong: *reason*.

        It says where the batch is and from which offset on the log can be read again: the next wholly good batch, or the end of this
        segment. Raises as :meth:`read` does when that place cannot be read any more.
        """
        self.ensure_indexes()
        # In this order: what is appended in between begins at or behind this offset.
        next_good, end = self.next_offset, self.position
        mapping = self.mapping_for_read()
        located = self.locate(offset, mapping, end)
        position, first_bad = end, offset
        if located is not None:
            position, header = located
            first_bad = header.base_offset
            behind = position + header.aligned_size
            following = find_next_batch(mapping, behind, end, header.next_offset)
            if following is not None:
                next_good = min(following[1].base_offset, next_good)
        return CorruptLogError(
            f"{self.path}: byte {position}: {reason}; readable again from offset {next_good}",
            first_bad_offset=first_bad,
            next_good_offset=next_good,
            file=self.path,
            position=position,
        )

    def _damage(self, position: int, offset: int) -> CorruptLogError:
        # In this order: what is appended in between begins at or behind this offset.
        next_good, end = self.next_offset, self.position
        mapping = self.mapping_for_read()
        found = header_at(mapping, position, end)
        following = resync(mapping, position, end, offset + 1)
        if following is not None:
            next_good = min(following[1].base_offset, next_good)
        return CorruptLogError(
            f"{self.path}: byte {position}: expected the batch of offset {offset}, found "
            + (
                "no valid batch header; "
                if found is None
                else f"that of offset {found.base_offset}; "
            )
            + f"readable again from offset {next_good}",
            first_bad_offset=offset,
            next_good_offset=next_good,
            file=self.path,
            position=position,
        )

    def truncate(self, position: int, next_offset: int) -> None:
        """Cut every batch at or behind *position*; the segment is open for appends afterwards.

        The file keeps its size and the tail is overwritten with zeros: shrinking it under a map that a reader still holds would
        kill the process. Caller: the holder of the log's lock, with the cut recorded durably (a crash in between repeats it).
        """
        self.ensure_indexes()
        self.transactions.forget()
        end = self.position
        mapping = self.reserve(end, end)
        self.limit = 0
        with self._open_lock:
            # With the lock, or an eviction that found it sealed would drop the map under the writer.
            self.sealed = False
            self._exposed_end = max(self._exposed_end, end)
        self.next_offset = next_offset
        self.position = position
        self._hints.clear()
        for start in range(position, end, MAX_CHUNK_BYTES):
            stop = min(start + MAX_CHUNK_BYTES, end)
            mapping[start:stop] = bytes(stop - start)
        self.synced_position = min(self.synced_position, position)
        self._cut_indexes(mapping)
        self.transactions.begin(position, next_offset)
        self._rewrite_is_due = True
        self._try_to_rewrite()

    def erase(self, size: int) -> None:
        """Zero the *size* bytes behind ``position``, and forget what was noted of the batch there."""
        super().erase(size)
        last, has_greatest = self.offset_index.last(), self.max_timestamp_ms != NO_TIMESTAMP
        if (last is not None and last[1] >= self.position) or (
            has_greatest and self.max_timestamp_offset >= self.next_offset
        ):
            self._cut_indexes(self.mapping_for_read())

    def _cut_indexes(self, mapping: Mapping) -> None:
        """Forget what indexes and timestamps tell of batches at or behind the end."""
        self.offset_index.truncate(self.position)
        self.time_index.truncate(self.next_offset - self.base_offset)
        last, latest = self.offset_index.last(), self.time_index.last()
        self._last_indexed_position = last[1] if last else 0
        self.max_timestamp_ms = latest[0] if latest else NO_TIMESTAMP
        self.max_timestamp_offset = latest[1] + self.base_offset if latest else self.base_offset
        first = header_at(mapping, 0, self.position)
        self.first_timestamp_ms = NO_TIMESTAMP if first is None else first.max_timestamp_ms
        self._index_tail(mapping, self._last_indexed_position, self.position)

    def _check(self) -> None:
        """Assert what holds of an undamaged segment while no call is under way. For tests."""
        super()._check()
        starts: dict[int, int] = {}
        greatest: dict[int, int] = {}
        end, end_offset, greatest_ms = 0, self.base_offset, NO_TIMESTAMP
        size = self._filesystem.file_size(self.path) if self._filesystem.exists(self.path) else 0
        if size:
            # A map of its own: that of the segment would count as used, and not be given back when its turn comes.
            file = self._filesystem.open(self.path, read_only=True)
            mapping = file.map(size, writable=False)
            file.close()
            for position, header in headers_from(mapping, 0, self.position):
                assert body_is_good(mapping, position, header)
                assert header.base_offset >= end_offset
                starts[header.base_offset] = position
                if header.max_timestamp_ms > greatest_ms:
                    greatest[header.base_offset] = greatest_ms = header.max_timestamp_ms
                end, end_offset = position + header.aligned_size, header.next_offset
            # A batch that is stored behind the end must not look damaged, nor one that is shorter than what was there.
            assert self.keeps_tail or is_zero(mapping, end, size)
        assert end_offset == self.next_offset
        # A sealed one is taken as it is found, with room that was not given back, until somebody needs its indexes.
        assert end == self.position or not self._index_loaded
        assert all(starts.get(o, end) == position for o, position in self._hints.items())
        for relative_offset, position in self.offset_index.entries():
            assert starts[self.base_offset + relative_offset] == position
        for timestamp_ms, relative_offset in self.time_index.entries():
            assert greatest[self.base_offset + relative_offset] == timestamp_ms
        if self._index_loaded:
            assert self.max_timestamp_ms == greatest_ms

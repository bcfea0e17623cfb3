"""What a cleaned log consists of: batches as they were, batches with fewer records, and new ones in place of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress

from streamlog.config import TopicConfig
from streamlog.record.batch_view import BatchView
from streamlog.record.layout import (
    CONTROL_BIT,
    HEADER_SIZE,
    TRANSACTIONAL_BIT,
    BatchHeader,
    pack_batch,
)
from streamlog.storage.compaction.key_map import KeyMap
from streamlog.storage.compaction.rewriting import Rewriter, empty_batch, without_producer
from streamlog.storage.compaction.run import Columns, Run
from streamlog.storage.compaction.transaction_retention import AbortedData, MarkerRetention

#: Small batches are joined up to so many bytes, before compression.
JOINED_BYTES = 64 * 1024

#: A batch of this size that loses nothing is copied: joining it with others would save little, and cost what reading it costs.
LARGE_BYTES = 8 * 1024

#: A null in msgpack. Where a body has no such byte, no value in it is null.
_NIL = b"\xc0"

_PADDING = [bytes(n) for n in range(8)]


class Repacker:
    """Takes the batches of a log in order and hands out those that are to stand in their place, which tile the same offsets.

    A batch of a transaction, a marker, and the last batch of a producer that the log knows keep offsets, sequence and producer, whatever
    they lose. All other records go into new batches, with neighbours of the same leader epoch, codec, timestamp type and delete horizon.
    No record ever changes its offset, timestamp, key, value or headers, nor its place among those that stay (CMP-3).

    Threads: one. Source: Kafka ``Cleaner.cleanInto``, ``MemoryRecords.filterTo``.
    """

    def __init__(
        self,
        keys: KeyMap,
        first_dirty_offset: int,
        end_offset: int,
        *,
        log_start_offset: int,
        aborted: AbortedData,
        last_batches: set[int],
        now_ms: int,
        config: TopicConfig,
    ) -> None:
        """*keys* are those of the batches from the one that holds *first_dirty_offset* up to *end_offset*, but for markers and what was
        *aborted*. Of these the newest stays, and of the batches before them what has none of these keys; what is at or above
        *end_offset* stays as it is. *last_batches* are the base offsets of those that CMP-7 keeps.
        """
        self._keys = keys
        self._first_dirty_offset = first_dirty_offset
        # The number of the next record that is in `keys`.
        self._number = 0
        self._end_offset = end_offset
        self._log_start_offset = log_start_offset
        self._aborted = aborted
        self._last_batches = last_batches
        self._markers = MarkerRetention(last_batches, now_ms)
        self._now_ms = now_ms
        self._new_horizon_ms = now_ms + config.delete_retention_ms
        self._joined_bytes = min(JOINED_BYTES, config.max_message_bytes - HEADER_SIZE)
        self._rewriter = Rewriter(config)
        self._run: Run | None = None
        self._write: Callable[[bytes], None]
        self._leave_out: Callable[[int], None] | None = None
        # What came first and stays as it is, in bytes, while nothing was handed out.
        self._same_bytes = 0
        #: Whether anything that is handed out differs from what came.
        self.has_changes = False
        #: Records that came, and that were handed out.
        self.records_before = self.records_after = 0
        #: Offsets of the markers that were removed.
        self.removed_markers: set[int] = set()

    def begin(
        self, write: Callable[[bytes], None], leave_out: Callable[[int], None] | None = None
    ) -> None:
        """Hand whole batches out to *write*, in order, from now on. To be called before the first one is added.

        With *leave_out* none of those that come first and stay as they are: it is told how many bytes that is, before the first change,
        and never where there is none.
        """
        self._write, self._leave_out = write, leave_out
        self._same_bytes = 0
        self.has_changes = False

    def add(self, batch: BatchView) -> None:
        """Take the next batch. Raises RecordDecodeError when its body cannot be read, and what `write` raises."""
        record_count, attributes = batch.record_count, batch.attributes
        self.records_before += record_count
        if batch.base_offset >= self._end_offset:
            self._copy(batch)
            return
        if attributes & CONTROL_BIT:
            self._add_marker(batch)
            return
        is_transactional = bool(attributes & TRANSACTIONAL_BIT)
        if is_transactional:
            self._markers.saw_data(batch.producer_id)
        is_last = batch.base_offset in self._last_batches
        kept: Sequence[int] = ()
        if record_count and not (is_transactional and self._aborted.has(batch.header)):
            kept = self._staying(batch)
        if kept:
            self._add_records(batch, kept, is_exact=is_transactional or is_last)
        elif not is_last:
            self._pass_over(batch)
        elif record_count:
            self._put_changed(empty_batch(batch.header), b"")
        else:
            self._copy(batch)

    def flush(self) -> None:
        """Hand out what is still being joined: the segment ends here."""
        run, self._run = self._run, None
        if run is None:
            return
        if run.source is not None:
            self._put_same(run.source)
        else:
            self._put(*self._rewriter.join(run))

    def _staying(self, batch: BatchView) -> Sequence[int]:
        """Return which records of the batch stay, by their number in it."""
        count = batch.record_count
        kept: Sequence[int]
        if batch.next_offset > self._first_dirty_offset:
            start = self._number
            self._number = stop = start + count
            kept = list(compress(range(count), self._keys.is_newest[start:stop]))
        else:
            newest, keys = self._keys.newest, batch.keys() or ()
            if keys and all(keys) and newest.keys().isdisjoint(keys):
                # Most batches of a large log that changes in few places: a third of what asking for each key costs.
                kept = range(count)
            else:
                kept = [
                    number
                    for number, key in enumerate(keys)
                    if key not in newest and key is not None
                ]
        horizon_ms = batch.delete_horizon_ms
        if horizon_ms is not None and horizon_ms <= self._now_ms:
            values = batch.values()
            kept = [number for number in kept if values[number] is not None]
        if batch.base_offset < self._log_start_offset:
            offsets = batch.offsets()
            kept = [number for number in kept if offsets[number] >= self._log_start_offset]
        return kept

    def _add_records(self, batch: BatchView, kept: Sequence[int], *, is_exact: bool) -> None:
        header = batch.header
        keeps_all = len(kept) == batch.record_count
        old_horizon_ms = batch.delete_horizon_ms
        horizon_ms = None
        if _has_null(batch, kept):
            horizon_ms = self._new_horizon_ms if old_horizon_ms is None else old_horizon_ms
        is_same = keeps_all and horizon_ms == old_horizon_ms
        if is_exact:
            if is_same:
                self._copy(batch)
            else:
                self._put_changed(*self._rewriter.reduce(batch, kept, horizon_ms))
            return
        has_producer = header.producer_id >= 0
        if is_same and (header.uncompressed_size or header.body_size) >= LARGE_BYTES:
            if has_producer:
                self._put_changed(*without_producer(header, batch.body))
            else:
                self._copy(batch)
            return
        columns = Columns.of(batch, kept)
        size_bytes = columns.size_bytes(batch)
        self.records_after += len(kept)
        run = self._run
        if run is not None and run.can_take(batch, size_bytes, horizon_ms, self._joined_bytes):
            run.take(batch, columns, size_bytes, horizon_ms)
            return
        self.flush()
        self._run = run = Run(batch.base_offset, batch.leader_epoch)
        run.take(batch, columns, size_bytes, horizon_ms)
        if is_same and not has_producer:
            run.source = batch

    def _add_marker(self, batch: BatchView) -> None:
        goes = self._markers.may_go(batch.header)
        if goes:
            self.removed_markers.add(batch.base_offset)
            self._pass_over(batch)
        elif goes is None:
            self._put_changed(*self._rewriter.reduce(batch, (0,), self._new_horizon_ms))
        else:
            self._copy(batch)

    def _pass_over(self, batch: BatchView) -> None:
        """Nothing of the batch stays: a neighbour takes over its offsets, or an empty batch."""
        run = self._run
        if run is not None and run.leader_epoch == batch.leader_epoch:
            run.cover(batch)
            return
        self.flush()
        self._run = run = Run(batch.base_offset, batch.leader_epoch)
        run.cover(batch)
        if not batch.record_count and batch.producer_id < 0:
            run.source = batch  # an empty one of an earlier pass

    def _copy(self, batch: BatchView) -> None:
        self.flush()
        self.records_after += batch.record_count
        self._put_same(batch)

    def _put_changed(self, header: BatchHeader, body: bytes) -> None:
        self.flush()
        self.records_after += header.record_count
        self._put(header, body)

    def _put_same(self, batch: BatchView) -> None:
        if self.has_changes or self._leave_out is None:
            self._hand_out(batch.header, batch.body)
        else:
            self._same_bytes += batch.header.aligned_size

    def _put(self, header: BatchHeader, body: bytes) -> None:
        if not self.has_changes:
            self.has_changes = True
            if self._leave_out is not None:
                self._leave_out(self._same_bytes)
        self._hand_out(header, body)

    def _hand_out(self, header: BatchHeader, body: bytes) -> None:
        data = pack_batch(header, body)
        self._write(data + _PADDING[-len(data) % 8])


def _has_null(batch: BatchView, kept: Sequence[int]) -> bool:
    """Whether one of the values that stay is null."""
    if batch.is_plain and _NIL not in batch.body:
        return False
    values = batch.values()
    if all(values):  # what is null is false, and this is by far the fastest to find out
        return False
    if len(kept) == len(values):
        return None in values
    return any(values[number] is None for number in kept)

"""The log of one partition: a directory of segments that behaves like one endless file of records."""

from __future__ import annotations

from collections.abc import Callable

from streamlog.config import TopicConfig
from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    RecordBatchTooLargeError,
    StorageError,
    StreamlogError,
)
from streamlog.record.columns import single_value_size
from streamlog.record.layout import HEADER_SIZE, MAX_BATCH_BYTES, aligned, single_middle
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.producer_stamp import ProducerStamp
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.runtime import TOKEN, FileSystem, Lock, Runtime, TokenLock, locked
from streamlog.storage.group_commit import GroupCommit
from streamlog.storage.log_cleaning import CleanableLog
from streamlog.storage.log_producers import MAX_RELATIVE_OFFSET
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.quarantine import Quarantine
from streamlog.storage.recovery import LogRecovery
from streamlog.storage.recovery_report import PartitionRecovery
from streamlog.storage.room import Room
from streamlog.storage.segment import Segment
from streamlog.storage.segment_release import released_on_error
from streamlog.structs import TopicPartition

#: What a record of n bytes takes at most in a batch of its own: header, directory, array and bin markers, padding.
_SINGLE_OVERHEAD = aligned(HEADER_SIZE + 12 + 1 + 5 + 7)

#: When no time was chosen yet at which the active segment is too old.
_ROLL_NOT_CHOSEN_MS = 2**62


class PartitionLog(CleanableLog):
    """Append at the end, read anywhere, drop the beginning.

    At all times ``log_start_offset <= durable_end_offset <= log_end_offset``, the last but for truncation only ever growing
    (LOG-6; the high watermark belongs to the partition above). One lock, taken by whoever changes the log; readers take none on
    the active segment: they trust offsets that were published after the bytes.

    Threads: any. Lock order: log lock, then a segment's own lock. Nothing is called back with the log lock held, except
    ``on_dirty``. Source: Kafka ``UnifiedLog``, ``LocalLog``.
    """

    def __init__(
        self,
        runtime: Runtime,
        directory: str,
        topic_partition: TopicPartition,
        config: TopicConfig,
        open_segments: OpenSegments,
        *,
        checkpoint: PartitionCheckpoint | None,
        clean: bool,
        power_failed: bool,
        quarantine: Quarantine,
        persist: Callable[[], None],
        room: Room,
        recovery: PartitionRecovery,
    ) -> None:
        """Open the log in *directory*, recovering it as need be. Raises DataLossError when durable records are missing.

        *persist* makes the checkpoints of all logs durable; *room* says how much of the disk may be taken.
        """
        super().__init__(directory, topic_partition)
        self._runtime = runtime
        self._filesystem: FileSystem = runtime.filesystem
        self._open_segments = open_segments
        self._persist = persist
        self._room = room
        self.lock = TokenLock()
        self._tokens = self.lock.tokens
        self._config = config
        self._append_refused = ""
        self._closing = self.is_closed = False
        self._dirty = False
        self._truncating_to_offset = -1
        self._on_dirty: Callable[[PartitionLog], None] | None = None
        self.on_rolled: Callable[[], None] | None = None
        """Called after a segment was closed, with the log's lock held: it may take a note and nothing else."""
        #: What opening found.
        self.recovery = recovery
        made: list[Segment] = []

        def make_segment(base_offset: int) -> Segment:
            made.append(segment := self._make_segment(base_offset))
            return segment

        with released_on_error(made):
            recovered = LogRecovery(
                runtime.filesystem,
                directory,
                checkpoint,
                make_segment,
                recovery,
                quarantine,
                clean=clean,
                power_failed=power_failed,
            ).run()
            self._segments = LogSegments(recovered.segments)
            self._active: Segment = recovered.segments[-1]
            self._active.transactions.begin(self._active.position, self._active.next_offset)
            self._next_offset = self._active.next_offset
            self._snapshots = ProducerSnapshots(runtime.filesystem, directory, recovered.snapshots)
            self.has_transactions = recovered.has_transactions or (
                checkpoint is not None and checkpoint.has_transactions
            )
            self._has_producers = (
                self.has_transactions
                or recovered.greatest_producer_id >= 0
                or bool(recovered.snapshots)
                or (checkpoint is not None and checkpoint.has_producers)
            )
            #: The greatest producer id that opening came across, which is that of all producers where STATE was lost; -1 without any.
            self.greatest_producer_id = recovered.greatest_producer_id
            self._log_start_offset = min(recovered.log_start_offset, self._next_offset)
            self._recorded_log_start = self._log_start_offset
            if checkpoint is not None:
                self._first_dirty_offset = min(checkpoint.first_dirty_offset, self._next_offset)
            self._append_refused = recovered.append_refused
            self._leader_epoch = recovered.leader_epoch
            self._epochs = recovered.epochs
            self._single_middle = single_middle(self._leader_epoch)
            self._roll_after_ms = _ROLL_NOT_CHOSEN_MS
            self._group_commit = GroupCommit(self._sync_segments, lambda: str(topic_partition))
            # Recovery starts here next time, until a sync moves it: what was only scanned is in the page cache, not on the disk.
            first_offset = recovered.segments[0].base_offset
            self._recovery_point = checkpoint or PartitionCheckpoint(
                self._log_start_offset, first_offset, first_offset, 0, 0, -1, -1, 0
            )
            self._group_commit.durable_end_offset = min(
                self._recovery_point.recovery_offset, self._next_offset
            )
            self._dirty = self._group_commit.durable_end_offset < self._next_offset
            if self.has_transactions or (checkpoint is None and self._has_producers):
                self._producers = producers = self._find_producers()
                self.greatest_producer_id = max([self.greatest_producer_id, *producers.entries])

    def __repr__(self) -> str:
        return f"<PartitionLog {self.topic_partition} offsets {self._log_start_offset}..{self._next_offset}>"

    @property
    def append_refusal(self) -> StreamlogError | None:
        """Why nothing can be appended until the directory is opened again: CorruptLogError where the end of the log is damaged,
        DurabilityError after a sync that failed. None while neither is so.
        """
        if self._append_refused:
            return self._corrupt_end()
        return None if self._group_commit.failure is None else self._group_commit.error()

    @property
    def on_dirty(self) -> Callable[[PartitionLog], None] | None:
        """Called each time the log comes to have bytes that are not on the disk yet, and at once when it has some already.

        The caller holds the log's lock: the callback may arm a timer and nothing else.
        """
        return self._on_dirty

    @on_dirty.setter
    @locked
    def on_dirty(self, callback: Callable[[PartitionLog], None] | None) -> None:
        self._on_dirty = callback
        if self._dirty and callback is not None:
            callback(self)

    @property
    def leader_epoch(self) -> int:
        """Stamped on every batch. It grows when records may have been lost and their offsets are given again: when the log is opened
        after a power failure, or after a sync that failed. Assigning another one lets it begin at the log end.
        """
        return self._leader_epoch

    @leader_epoch.setter
    @locked
    def leader_epoch(self, epoch: int) -> None:
        self._leader_epoch = epoch
        self._single_middle = single_middle(epoch)
        self._epochs.assign(epoch, self._next_offset)

    @property
    def config(self) -> TopicConfig:
        """The topic's configuration; assign a new one to change it. It holds from the next append on."""
        return self._config

    @config.setter
    @locked
    def config(self, config: TopicConfig) -> None:
        self._config = config
        self._active.index_interval_bytes = config.index_interval_bytes
        self._active.segment_index_bytes = config.segment_index_bytes
        self._active.limit = 0
        self._roll_after_ms = _ROLL_NOT_CHOSEN_MS

    def append(self, batch: PendingBatch) -> int:
        """Append *batch* and return the offset of its first record; the others follow without a gap (REC-8).

        When it returns the records survive ``kill -9`` and can be read. A batch with a stamp gets its sequence in here, and loses it
        again when it is refused; one that has a sequence and is in the log already is not stored again, and what comes back is the
        offset that it has (IDM-2), as is ``batch.max_timestamp_ms``. Markers are appended like any other batch.

        Raises, with nothing appended and no offset used: RecordBatchTooLargeError (larger than a segment), DiskFullError
        (retriable), CorruptLogError (the end of the log is damaged), DurabilityError (an earlier sync failed), ClosedError,
        ForkedError, and what `ProducerStates.check` raises for the batch of a producer with an id.
        """
        size = HEADER_SIZE + len(batch.body)
        max_timestamp_ms = batch.max_timestamp_ms
        tokens = self._tokens
        try:
            del tokens[0]
        except IndexError:
            self.lock.wait()
        try:
            if batch.producer_id >= 0 or batch.stamp is not None:
                return self._append_of_producer(batch)
            segment = self._active
            offset = self._next_offset
            if (
                segment.position + size + 7 > segment.limit
                or max_timestamp_ms > self._roll_after_ms
                or offset + batch.record_count - segment.base_offset > MAX_RELATIVE_OFFSET
            ):
                segment = self._prepare(size, max_timestamp_ms, batch.record_count)
            segment.append(batch, offset, self._leader_epoch)
            # Published last: a reader that sees this offset finds everything below it in place.
            self._next_offset = segment.next_offset
        except BaseException:
            self._after_interruption(size)
            raise
        finally:
            tokens += TOKEN
            if self.lock.waiting:
                self.lock.wake()
        return offset

    def append_may_wait(self, size_bytes: int, max_timestamp_ms: int, producer_id: int) -> bool:
        """Return whether an append of so many bytes may wait for a disk now: for a file or room in it, to read what its producer sent
        (-1: none), or for the lock, whose owner may be waiting for that. Threads: any; by the time of the append it may be otherwise.
        """
        segment = self._active
        end = segment.position + HEADER_SIZE + size_bytes + 7
        return (
            not self._tokens
            or end > abs(segment.limit)  # below 0 as long as nobody knows that the log is dirty
            or max_timestamp_ms > self._roll_after_ms
            or (producer_id >= 0 and self._producers is None and self._has_producers)
        )

    def append_value(
        self, value: bytes, timestamp_ms: int, stamp: ProducerStamp | None = None
    ) -> int:
        """Append one record that has a value and nothing else: what :meth:`append` does, in half the time.

        Whether it was stored is told by ``stamp.next_sequence`` when this raises (Ctrl-C). Does not open a transaction: a transactional
        *stamp* without one gets InvalidTxnStateError.
        """
        tokens = self._tokens
        try:
            del tokens[0]
        except IndexError:
            self.lock.wait()
        try:
            segment = self._active
            offset = self._next_offset
            end = segment.position + len(value) + _SINGLE_OVERHEAD
            if end > segment.limit or timestamp_ms > self._roll_after_ms:
                size = HEADER_SIZE + single_value_size(len(value))
                segment = self._prepare(size, timestamp_ms, 1)
            if stamp is None:
                segment.append_value(value, timestamp_ms, offset, self._single_middle)
            else:
                remember = stamp.remember
                if remember is None:
                    return self._append_unlinked(value, timestamp_ms, stamp)
                # Linked: all that _append_of_producer would check is known to be so.
                sequence = stamp.next_sequence
                segment.append_stamped_value(
                    value, timestamp_ms, offset, self._leader_epoch, stamp, sequence
                )
                remember((sequence, sequence, offset, timestamp_ms))
                stamp.next_sequence = sequence + 1 & MAX_SEQUENCE
            self._next_offset = offset + 1
        except BaseException:
            self._after_interruption(len(value) + _SINGLE_OVERHEAD, stamp, timestamp_ms)
            raise
        finally:
            tokens += TOKEN
            if self.lock.waiting:
                self.lock.wake()
        return offset

    def _prepare(self, size: int, max_timestamp_ms: int, record_count: int) -> Segment:
        """Do what an append needs done first: refuse, roll, announce, make room. Returns the segment to append to."""
        segment = self._active
        if (
            segment.position + size + 7 <= -segment.limit
            and max_timestamp_ms <= self._roll_after_ms
            and self._next_offset + record_count - segment.base_offset <= MAX_RELATIVE_OFFSET
        ):
            # With flush_messages=1 every append comes by here, to say no more than this.
            segment.limit = -segment.limit
            self._announce()
            return segment
        self._check_usable()
        if self._closing:
            raise ClosedError(f"{self.topic_partition}: the log is closing")
        if (refusal := self.append_refusal) is not None:
            raise refusal from self._group_commit.failure
        if self._truncating_to_offset >= 0:
            raise StorageError(
                f"{self.topic_partition}: a truncation to offset {self._truncating_to_offset} has not ended"
            )
        config = self._config
        largest = min(config.segment_bytes, MAX_BATCH_BYTES)
        if size > largest:
            raise RecordBatchTooLargeError(
                f"{self.topic_partition}: batch of {size} bytes: expected at most {largest} "
                f"(segment_bytes={config.segment_bytes})"
            )
        # Now, for later is too late: once its bytes are stored an append must not fail.
        segment.ensure_indexes()
        if segment.position:
            self._choose_roll_time(segment)
            if (
                segment.position > config.segment_bytes - size
                or max_timestamp_ms > self._roll_after_ms
                or segment.index_is_full
                or self._next_offset + record_count - segment.base_offset > MAX_RELATIVE_OFFSET
            ):
                segment = self._roll()
        segment.reserve(segment.position + aligned(size), config.segment_bytes, self._room)
        if not segment.position:
            segment.first_timestamp_ms = max_timestamp_ms
            self._roll_after_ms = _ROLL_NOT_CHOSEN_MS
            self._choose_roll_time(segment)
        # No append may pass segment_bytes without coming by here (LOG-2).
        segment.limit = min(segment.limit, aligned(config.segment_bytes))
        self._announce()
        return segment

    def _announce(self) -> None:
        if not self._dirty:
            self._dirty = True
            if self._on_dirty is not None:
                self._on_dirty(self)

    def _choose_roll_time(self, segment: Segment) -> None:
        """Choose when *segment* is too old (LOG-2). Once a segment, or those created together would all roll together after all."""
        if self._roll_after_ms == _ROLL_NOT_CHOSEN_MS:
            config = self._config
            jitter_ms = 0
            if config.segment_jitter_ms:
                # Another generator each time, made when there is need: making one for each log would show when many are opened.
                chance = self._runtime.random.stream(f"segment-jitter-{self.topic_partition}")
                jitter_ms = chance.randint(0, min(config.segment_jitter_ms, config.max_segment_ms))
            self._roll_after_ms = segment.first_timestamp_ms + config.max_segment_ms - jitter_ms

    def _after_interruption(
        self, size: int, stamp: ProducerStamp | None = None, timestamp_ms: int = 0
    ) -> None:
        """Put the log right after an append that was interrupted (Ctrl-C, want of memory): all of it is there, or nothing."""
        segment = self._active
        if segment.next_offset > self._next_offset:
            if stamp is not None:
                self._note_value(stamp, self._next_offset, timestamp_ms)
            self._next_offset = segment.next_offset
        else:
            segment.erase(size)

    @locked
    def roll(self) -> None:
        """Close the active segment and start a new one; nothing happens while the active one is empty."""
        self._check_usable()
        if self._active.position:
            self._roll()

    def _roll(self) -> Segment:
        """Start a new segment. Its file comes first: when that fails the old segment is still the active one."""
        old, new = self._active, self._make_segment(self._next_offset)
        try:
            new.create()
            self._take_over(old, new)
        except BaseException:
            # Interrupted (Ctrl-C) half-way: a file that is there has to be in use, or recovery would miss what comes before it.
            if self._filesystem.exists(new.path) and not self._filesystem.file_size(new.path):
                self._take_over(old, new)
            raise
        # Where this segment begins: once those before it have gone, nothing else tells of their producers.
        self._snapshot_position = 0
        self._take_snapshot()
        if self.on_rolled is not None:
            self.on_rolled()
        return new

    def _take_over(self, old: Segment, new: Segment) -> None:
        old.transactions.end(self._open_transactions())
        new.transactions.begin(0, new.base_offset)
        self._segments.add(new)
        self._activate(new, self._next_offset)
        old.seal()
        self._flush_transactions(old)

    def _activate(self, segment: Segment, next_offset: int) -> None:
        self._active = segment
        self._next_offset = next_offset
        self._roll_after_ms = _ROLL_NOT_CHOSEN_MS

    def close(self) -> None:
        """Sync, write the indexes out and let go of the files. Closing again changes nothing.

        Raises DurabilityError or OSError when the end of the log did not reach the disk; it is closed all the same, and the next
        open recovers it.
        """
        with self._files_lock:
            if self._begin_close():
                self._close()

    def _close(self) -> None:
        try:
            if self._dirty or self._group_commit.durable_end_offset < self._next_offset:
                self.sync()
            self._take_last_snapshot()
        finally:
            self._flush_transactions(self._active)
            self._refuse(ClosedError(f"{self.topic_partition}: the log is closed"))
            self._release_swap()
            self._segments.close_all()
            self.is_closed = True

    @locked
    def _take_last_snapshot(self) -> None:
        if self._producers is not None:
            self._take_snapshot()

    @locked
    def _begin_close(self) -> bool:
        if self._closing or self._closed is not None:
            return False
        self._closing = True
        self._active.limit = 0  # nothing is appended behind the last sync
        return True

    @locked
    def _refuse(self, reason: Exception) -> None:
        """Let any use raise *reason* from now on."""
        self._closed = reason
        if self._producers is not None:
            self._producers.unlink_all()
        for segment in self._segments.in_order():
            segment.limit = 0

    def discard(self, reason: Exception) -> None:
        """Let go of the files as they are: the topic was deleted. Any use raises *reason* from now on."""
        with self._files_lock:
            self._refuse(reason)
            self._release_swap()
            for segment in self._segments.in_order():
                segment.release_files()
            self.is_closed = True

    def abandon(self, reason: Exception) -> None:
        """Drop every file and take no lock: for the child of a fork. Any use raises *reason* from now on."""
        # New locks: the old ones may be held by threads that only the parent has.
        self.lock = TokenLock()
        self._tokens = self.lock.tokens
        self._files_lock = Lock()
        self._group_commit = GroupCommit(self._sync_segments, lambda: str(self.topic_partition))
        self._closed = reason
        if self._swap is not None:
            self._swap[0].abandon()
        self._segments.abandon()

    def _make_segment(self, base_offset: int) -> Segment:
        return Segment(
            self._filesystem,
            self.directory,
            base_offset,
            self._open_segments,
            self.lock,
            self._config.index_interval_bytes,
            self._config.segment_index_bytes,
        )

    def _corrupt_end(self) -> CorruptLogError:
        return CorruptLogError(
            f"{self.topic_partition}: nothing can be appended: {self._append_refused}",
            topic_partition=self.topic_partition,
            first_bad_offset=self._next_offset,
            next_good_offset=None,
            file=self._active.path,
            position=self._active.position,
        )

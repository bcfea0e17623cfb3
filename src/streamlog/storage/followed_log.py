"""A log that another process writes: where its segments are, and where it ends by now."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise

from streamlog.config import TopicConfig
from streamlog.errors import DataLossError, StorageError
from streamlog.record.layout import HEADER_SIZE, TRANSACTIONAL_BIT, BatchHeader, read_header
from streamlog.runtime import Lock, Runtime, TokenLock
from streamlog.storage.batch_scan import body_is_good, headers_from
from streamlog.storage.file_names import LOG_SUFFIX, join, segment_stem
from streamlog.storage.leader_epochs import LeaderEpochs
from streamlog.storage.log_reader import ReadableLog
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.log_state import LogState
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.read_only_file import FileView
from streamlog.storage.read_only_layout import SegmentLayout, list_layout
from streamlog.storage.read_only_segment import ReadOnlySegment
from streamlog.structs import TopicPartition

_logger = logging.getLogger("streamlog")

#: So much is checked before it is published.
_STEP_BYTES = 1024 * 1024


class FollowedLog(ReadableLog):
    """The part of a read-only log that keeps up with its files.

    What ends a log is the first batch that is not whole: nobody can tell one that is being stored from one that never will be. So
    that is "not yet", never damage; and each batch counts once both its checksums are right. What STATE calls durable is there, or
    it is damage.

    `refresh` costs two reads of 80 bytes and a look for the next file where nothing was appended. Threads: any; changes are made one
    at a time, under a lock that readers do not take.
    """

    def __init__(
        self,
        runtime: Runtime,
        directory: str,
        topic_partition: TopicPartition,
        config: TopicConfig,
        open_segments: OpenSegments,
        *,
        look: Callable[[], LogState],
        look_again: Callable[[], LogState],
    ) -> None:
        """*look* returns what STATE said when it was read last, *look_again* reads it. Raises DataLossError as for a writer."""
        super().__init__(directory, topic_partition)
        self.config = config
        self._filesystem = runtime.filesystem
        self._open_segments = open_segments
        self._look = look
        self._look_again = look_again
        self._owner_lock = TokenLock()
        self._refresh_lock = Lock()
        self._segments = LogSegments()
        self._epochs = LeaderEpochs()
        self._leader_epoch = -1
        self._epochs_are_settled = False
        #: Whether a batch of a transaction was ever stored, as far as was looked.
        self.has_transactions = False
        # Grows whenever a segment comes, goes or is another file.
        self._version = 0
        # The last batch that was checked, position and header: others in its place mean that the log was cut.
        self._last_batch: tuple[int, bytes] | None = None
        self._state = look()

    @property
    def leader_epoch(self) -> int:
        """That of the next batch, as far as is known."""
        return self._leader_epoch

    @abstractmethod
    def _activated(self, segment: ReadOnlySegment, *, is_next: bool) -> None:
        """*segment* is the last one now; *is_next*: behind the one that was, which has ended."""

    @abstractmethod
    def _grown(
        self, segment: ReadOnlySegment, start_offset: int, batches: list[tuple[int, BatchHeader]]
    ) -> None:
        """*batches* from *start_offset* on are in *segment*, the last one, and not published yet."""

    def refresh(self) -> bool:
        """Take what was stored, deleted, merged or cut since the last look; return whether bounds or segments have changed.

        Raises as opening does: DataLossError, StorageError when the directory has gone, OSError, ClosedError.
        """
        with self._refresh_lock:
            self._check_usable()
            before = self._version, self._log_start_offset, self._next_offset
            self._take_state(self._look())
            self._catch_up()
            return before != (self._version, self._log_start_offset, self._next_offset)

    def _changed_since(self, version: int) -> bool:
        """Look at the files once more unless that was done since *version*; return whether anything is different."""
        with self._refresh_lock:
            self._check_usable()
            if self._version == version:
                before = self._segments.in_order()
                self._look_again()
                self._rebuild()
                self._catch_up()
                if before == self._segments.in_order():
                    self._version = version
            return self._version != version

    def _take_state(self, state: LogState) -> None:
        known = self._state
        if state != known:
            if state.was_cut_since(known) or state.was_cleaned_since(known):
                self._rebuild()
            else:
                self._state = state

    def _catch_up(self) -> None:
        self._grow_on()
        if self._is_left_behind():
            self._rebuild(was_cut=True)
            self._grow_on()
        if not self._epochs_are_settled:
            # As recovery does it, and not before the end is known: the checkpoint may tell of epochs that begin behind it.
            self._epochs.truncate_from_end(self._next_offset)
            self._epochs.assign(self._leader_epoch, self._next_offset)
            self._epochs_are_settled = True
        # Last: what is deleted may have been stored a moment ago.
        point = self._state.checkpoint
        if point is not None and point.log_start_offset > self._log_start_offset:
            self._log_start_offset = point.log_start_offset
            self._next_offset = max(self._next_offset, point.log_start_offset)
            self._drop_below(point.log_start_offset)

    def _grow_on(self) -> None:
        while True:
            try:
                self._grow()
                return
            except FileNotFoundError:
                self._rebuild()  # it was renamed, to be deleted; this raises if it should be there

    def _is_left_behind(self) -> bool:
        """Whether what follows the last segment here was deleted before it was seen."""
        point = self._state.checkpoint
        return point is not None and point.log_start_offset > self._active.next_offset

    def _drop_below(self, offset: int) -> None:
        segments = self._segments.in_order()
        for segment, following in pairwise(segments):
            if following.base_offset > offset:
                break
            self._segments.remove(segment)
            segment.release_files()
            self._version += 1

    # ---- the files

    def _rebuild(self, *, was_cut: bool = False) -> None:
        """Take the segments as they are now, and what was found at the end of the last one if that holds still.

        What STATE records is recorded before files change. So where the two contradict each other they are read again, until they
        agree, or twice say the same.
        """
        state, failed = self._look(), None
        while True:
            layout = None
            try:
                layout = list_layout(
                    self._filesystem,
                    self.directory,
                    self.topic_partition,
                    state.checkpoint,
                    power_failed=state.power_failed,
                )
                keep_end = not was_cut and not state.was_cut_since(self._state)
                self._take(layout, state, keep_end=keep_end)
                return
            except (FileNotFoundError, DataLossError) as error:
                seen = state, layout, str(error)
                if seen == failed:
                    if isinstance(error, FileNotFoundError):
                        raise StorageError(
                            f"{self.topic_partition}: {self.directory}: expected the files of a log, found: {error}",
                            errno=error.errno,
                        ) from error
                    raise
                failed = seen
                state = self._look_again()

    def _take(self, layout: SegmentLayout, state: LogState, *, keep_end: bool) -> None:
        made: list[ReadOnlySegment] = []
        try:
            self._take_all(layout, state, made, keep_end=keep_end)
        finally:
            # `OpenSegments` would keep them otherwise.
            kept = set(map(id, self._segments.in_order()))
            for segment in made:
                if id(segment) not in kept:
                    segment.release_files()

    def _take_all(
        self,
        layout: SegmentLayout,
        state: LogState,
        made: list[ReadOnlySegment],
        *,
        keep_end: bool,
    ) -> None:
        """Take them, and add to *made* the segments that are made for it."""
        known = {segment.base_offset: segment for segment in self._segments.in_order()}
        segments: list[ReadOnlySegment] = []
        for base_offset, next_base_offset in pairwise(layout.base_offsets):
            segment = known.get(base_offset)
            if not isinstance(segment, ReadOnlySegment) or not segment.is_still(next_base_offset):
                made.append(segment := self._make_segment(base_offset))
                segment.load_sealed(next_base_offset)
            segments.append(segment)
        active = known.get(layout.base_offsets[-1])
        keep_end = keep_end and isinstance(active, ReadOnlySegment) and not active.sealed
        if not keep_end or not isinstance(active, ReadOnlySegment):
            made.append(active := self._make_segment(layout.base_offsets[-1]))
            _start_at(active, state.checkpoint)
        segments.append(active)
        if state.power_failed:
            segments = self._whole_ones(segments, state.checkpoint, made)
            keep_end = keep_end and segments[-1] is active
            active = segments[-1]
        start_offset = max(layout.log_start_offset, segments[0].base_offset)
        self._publish(segments, start_offset, state, keep_end=keep_end)
        if not keep_end:
            self._last_batch = None
            self._activated(active, is_next=False)

    def _publish(
        self,
        segments: list[ReadOnlySegment],
        log_start_offset: int,
        state: LogState,
        *,
        keep_end: bool,
    ) -> None:
        # First what may find a file gone: nothing has changed then.
        active, point = segments[-1], state.checkpoint
        epochs = LeaderEpochs(point.epochs if point else ())
        has_transactions = point is None or point.has_transactions
        for header in _headers_behind(point, segments[:-1]):
            epochs.assign_all([(header.leader_epoch, header.base_offset)])
            has_transactions |= bool(header.attributes & TRANSACTIONAL_BIT)
        if keep_end:
            found = self._epochs.pack()
            epochs.assign_all(zip(found[::2], found[1::2], strict=True))
        self._leader_epoch = max(point.leader_epoch if point else 0, epochs.latest)
        self._epochs = epochs
        self._epochs_are_settled = False
        self.has_transactions |= has_transactions
        before, self._segments = self._segments, LogSegments(segments)
        self._active = active
        self._next_offset = max(active.next_offset, log_start_offset)
        self._log_start_offset = log_start_offset
        self._version += 1
        self._state = state
        kept = set(map(id, segments))
        for segment in before.in_order():
            if id(segment) not in kept:
                segment.release_files()

    def _whole_ones(
        self,
        segments: list[ReadOnlySegment],
        point: PartitionCheckpoint | None,
        made: list[ReadOnlySegment],
    ) -> list[ReadOnlySegment]:
        """Return *segments* up to the first one behind the recovery point that does not reach the next: nothing behind it counts."""
        for number, (segment, following) in enumerate(pairwise(segments)):
            if point is not None and segment.base_offset < point.segment_base_offset:
                continue
            made.append(cut := self._make_segment(segment.base_offset))
            _start_at(cut, point)
            while batches := self._next_batches(cut):
                cut.grow(batches)
            if cut.next_offset != following.base_offset:
                return [*segments[:number], cut]
        return segments

    def _make_segment(self, base_offset: int) -> ReadOnlySegment:
        return ReadOnlySegment(
            self._filesystem,
            self.directory,
            base_offset,
            self._open_segments,
            self._owner_lock,
            self.config.index_interval_bytes,
            self.config.segment_index_bytes,
        )

    # ---- growth

    def _grow(self) -> None:
        point = self._state.checkpoint
        if point is not None and point.truncating_to_offset >= 0:
            return  # half overwritten
        if self._was_cut():
            self._rebuild(was_cut=True)
        while True:
            segment = self._active
            assert isinstance(segment, ReadOnlySegment)
            if batches := self._next_batches(segment):
                self._append(segment, batches)
            elif segment.position and self._filesystem.exists(self._path_behind(segment)):
                self._roll(segment)
            elif not self._pass_over_damage(segment):
                return

    def _was_cut(self) -> bool:
        if self._last_batch is None:
            return False
        segment = self._active
        assert isinstance(segment, ReadOnlySegment)
        position, header = self._last_batch
        return segment.open_file().read_at(position, HEADER_SIZE) != header

    def _next_batches(self, segment: ReadOnlySegment) -> list[tuple[int, BatchHeader]]:
        """Return the whole batches behind the end of *segment*, about 1 MiB of them, each with its position."""
        start, expected = segment.position, segment.next_offset
        try:
            file = segment.open_file()
        except FileNotFoundError:
            if start:
                raise
            return []  # nothing was ever stored
        if read_header(file.read_at(start, HEADER_SIZE)) is None:
            return []
        end = file.size()
        view = FileView(file, end)
        batches = []
        for position, header in headers_from(view, start, end):
            if header.base_offset != expected or not body_is_good(view, position, header):
                break
            batches.append((position, header))
            expected = header.next_offset
            if position - start > _STEP_BYTES:
                break
        return batches

    def _append(self, segment: ReadOnlySegment, batches: list[tuple[int, BatchHeader]]) -> None:
        start_offset = segment.next_offset
        segment.grow(batches)
        position = batches[-1][0]
        self._last_batch = position, segment.open_file().read_at(position, HEADER_SIZE)
        self._epochs.assign_all((header.leader_epoch, header.base_offset) for _, header in batches)
        self._leader_epoch = max(self._leader_epoch, self._epochs.latest)
        self._grown(segment, start_offset, batches)
        # Published last: a reader that sees this offset finds everything below it in place.
        self._next_offset = max(segment.next_offset, self._log_start_offset)

    def _path_behind(self, segment: ReadOnlySegment) -> str:
        return join(self.directory, segment_stem(segment.next_offset) + LOG_SUFFIX)

    def _roll(self, segment: ReadOnlySegment) -> None:
        following = self._make_segment(segment.next_offset)
        segment.end()
        self._segments.add(following)
        self._active = following
        self._last_batch = None
        self._version += 1
        self._activated(following, is_next=True)

    def _pass_over_damage(self, segment: ReadOnlySegment) -> bool:
        """Go on behind bytes that were durable and are no batches; return whether there were any."""
        point = self._state.checkpoint
        if point is None or point.recovery_offset <= self._next_offset:
            return False
        if point.segment_base_offset != segment.base_offset:
            self._rebuild(was_cut=True)
            return True
        segment.open_file()  # raises if it was deleted since STATE told of it
        _logger.error(
            "%s: %s: byte %d: expected the batch of offset %d, found none; the log goes on at offset %d",
            self.topic_partition,
            segment.path,
            segment.position,
            segment.next_offset,
            point.recovery_offset,
        )
        segment.go_on_at(point.segment_position, point.recovery_offset)
        self._last_batch = None
        self._next_offset = point.recovery_offset
        return True


def _start_at(segment: ReadOnlySegment, point: PartitionCheckpoint | None) -> None:
    """Let *segment* begin where STATE says that everything before is on the disk; at its start if that is elsewhere."""
    if point is not None and point.segment_base_offset == segment.base_offset:
        segment.position = segment.synced_position = point.segment_position
        segment.next_offset = point.recovery_offset
        segment.first_timestamp_ms = point.first_timestamp_ms
        segment.max_timestamp_ms = point.max_timestamp_ms
        segment.max_timestamp_offset = point.max_timestamp_offset


def _headers_behind(
    point: PartitionCheckpoint | None, segments: list[ReadOnlySegment]
) -> Iterator[BatchHeader]:
    """Yield the header of each batch in those of the sealed *segments* that *point* knows nothing of."""
    for segment in segments:
        if segment.position and (point is None or segment.base_offset >= point.segment_base_offset):
            for _, header in headers_from(segment.mapping_for_read(), 0, segment.position):
                yield header

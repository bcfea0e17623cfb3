"""Compacting a log: what may be, a pass, and how its results take the place of segments that others may be reading."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Generator
from weakref import ref

from streamlog.errors import ClosedError, IllegalStateError
from streamlog.runtime import locked
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.compaction.cleanable_range import CleanableRange, cleanable_range
from streamlog.storage.compaction.cleaned_file import CleanedFile
from streamlog.storage.compaction.cleaning import Cleaning, CleaningResult
from streamlog.storage.log_producers import ProducerLog
from streamlog.storage.room import Room
from streamlog.storage.segment import Segment
from streamlog.storage.segment_release import released_on_error
from streamlog.storage.transaction_lookup import all_aborted
from streamlog.structs import TopicPartition

_logger = logging.getLogger("streamlog")


class _Turn:
    """That of a pass, which holds it."""

    __slots__ = ("__weakref__",)


class CleanableLog(ProducerLog):
    """The part of a log that compaction sees.

    A pass reads and writes without a lock. It takes the one for files to put a new segment in the place of old ones, with what
    retention, truncation and closing do in between looked at first.
    """

    _closing: bool
    _room: Room

    def __init__(self, directory: str, topic_partition: TopicPartition) -> None:
        super().__init__(directory, topic_partition)
        # Of the pass under way. Weak: one that was interrupted before it could say that it is over is over all the same.
        self._turn: ref[_Turn] | None = None
        # The new segment, and those in whose place it comes, until STATE says that it is done.
        self._swap: tuple[Segment, list[Segment]] | None = None

    @abstractmethod
    def _make_segment(self, base_offset: int) -> Segment:
        """Return a segment of this log without making its file."""

    @property
    def first_dirty_offset(self) -> int:
        """Up to here compaction has been: all below is compacted with what was there then. At least the log start. Threads: any."""
        return max(self._first_dirty_offset, self._log_start_offset)

    def cleanable(self, now_ms: int, high_watermark: int | None = None) -> CleanableRange:
        """Return what :meth:`clean` would go through now, and how much of it no pass has seen.

        *high_watermark* None is the log end. Cost: O(segments); segments that nobody has open are opened. Raises OSError, ClosedError.
        Threads: any.
        """
        self._check_usable()
        while True:
            segments = self._segments.in_order()
            stable_offset = self.last_stable_offset
            try:
                return cleanable_range(
                    segments,
                    log_start_offset=self._log_start_offset,
                    first_dirty_offset=self._first_dirty_offset,
                    stable_offset=stable_offset
                    if high_watermark is None
                    else min(stable_offset, high_watermark),
                    now_ms=now_ms,
                    min_compaction_lag_ms=self._config.min_compaction_lag_ms,
                )
            except (ClosedError, FileNotFoundError):
                self._check_usable()
                if self._segments.in_order() == segments:
                    raise  # otherwise it was deleted between finding and reading it

    def clean(
        self, now_ms: int, dedupe_buffer_bytes: int, high_watermark: int | None = None
    ) -> Generator[int, None, CleaningResult]:
        """Compact the log once, whatever its dirty ratio: a generator that does the work of about 1 MiB at each step.

        ``for`` it, or ``result = yield from log.clean(...)``. Yields how many bytes were read and written since the last step, for
        whoever wants to slow it down; its value (``StopIteration.value``) is a `CleaningResult`. No lock is held in between, and it may be left
        at any point (``close()``): what was replaced until then stays, nothing else changes, and the next pass goes on. Where nothing is new it goes through the
        log all the same, for the tombstones and markers whose time is over.

        *now_ms* is what delete horizons and lags are measured with, *dedupe_buffer_bytes* the memory for keys: where it ends, the pass
        ends, and the result has ``is_complete`` False. *high_watermark* None is the log end.

        Raises IllegalStateError when another pass of this log is under way; DurabilityError when the log cannot be synced; DiskFullError or
        another OSError, with the segments at hand as they were: try again later; CorruptLogError for damage and RecordDecodeError for
        what cannot be decoded here: it will be there again; ClosedError when the log was closed or deleted meanwhile. Threads: one at a time, any.
        """
        turn = _Turn()
        try:
            self._start_cleaning(turn)
            with self._files_lock:
                self._finish_swap()
            return (
                yield from Cleaning(
                    self, self._config, now_ms, dedupe_buffer_bytes, high_watermark
                ).run()
            )
        finally:
            if self._turn is not None and self._turn() is turn:
                self._turn = None

    @locked
    def _start_cleaning(self, turn: _Turn) -> None:
        self._check_usable()
        if self._turn is not None and self._turn() is not None:
            raise IllegalStateError(f"{self.topic_partition}: is being cleaned already")
        self._turn = ref(turn)

    # ---- what a pass needs

    @property
    def cuts(self) -> int:
        """How often the log was truncated."""
        return self._cuts

    @property
    def may_delete_files(self) -> bool:
        """Whether files of a pass are its own to delete: not those of a swap under way, nor any once the log is closing."""
        return self._swap is None and not self._closing and self._closed is None

    def check_usable(self) -> None:
        """Raise what any use of the log raises, if it was closed."""
        self._check_usable()

    def sync_below(self, end_offset: int) -> None:
        """Have recovery start at or behind *end_offset*, where a segment begins. Raises DurabilityError."""
        self.sync(end_offset)
        if self._recovery_point.segment_base_offset < end_offset:
            # Nothing was appended since the segment behind was begun: syncing all of the log would not come to it.
            with self._group_commit.paused():
                try:
                    reached = self._sync_segments()
                except OSError as error:
                    raise self._group_commit.error() from error
                self._group_commit.durable_end_offset = reached

    @locked
    def last_batches(self) -> set[int]:
        """Return the base offsets of the batches that tell what each known producer wrote last (CMP-7)."""
        if not self._has_producers:
            return set()
        return {
            entry.recent[-1][2] if entry.recent else entry.marker_offset
            for entry in self._known_producers().entries.values()
        }

    def all_aborted(self) -> list[AbortedTransaction]:
        """Return the aborted transactions of all segments, by marker."""
        return all_aborted(self._segments)

    def new_cleaned_file(self, base_offset: int) -> CleanedFile:
        """Make the file that is to become the segment at *base_offset*."""
        self._check_usable()
        return CleanedFile(self._filesystem, self.directory, base_offset, self._room)

    def load_cleaned(self, file: CleanedFile, base_offset: int, end_offset: int) -> Segment:
        """Return the segment that *file* is to become."""
        segment = self._make_segment(base_offset)
        with released_on_error([segment]):
            segment.load_cleaned(file.path, end_offset)
        return segment

    def swap_segments(self, new: Segment, old: list[Segment], cuts: int) -> bool:
        """Put *new* in the place of *old*, durably; False, with nothing changed, when these are not all as they were found.

        Readers see the old or the new ones. Raises OSError when that could not be finished: then it will be, before the next pass or
        truncation, or when the log is opened.
        """
        with self._files_lock:
            is_announced = False
            try:
                is_announced = self._announce_swap(new, old, cuts)
            finally:
                # By what is noted, not by what came back: Ctrl-C may have come in between.
                if self._swap is None or self._swap[0] is not new:
                    new.release_files()
            self._finish_swap()
            return is_announced

    @locked
    def _announce_swap(self, new: Segment, old: list[Segment], cuts: int) -> bool:
        self._check_usable()
        known = set(map(id, self._segments.in_order()))
        if self._cuts != cuts or not known.issuperset(map(id, old)):
            return False
        self._swap = new, old
        return True

    def _finish_swap(self) -> None:
        if self._swap is None:
            return
        new, old = self._swap
        # All of it may be for the second time.
        self._swapping = new.base_offset, new.next_offset
        old[0].transactions.let_go()
        for path in old[0].derived_paths:
            if self._filesystem.exists(path):
                self._filesystem.unlink(path)
        self._filesystem.sync_dir(self.directory)
        self._persist()
        # Readers first: whoever comes to an old one from now on looks again, and finds the new one, whatever name its file has.
        self._put_in_place(new)
        for segment in old:
            segment.release_files()
        new.move_into_place()
        self._retire(old[1:])
        self._filesystem.sync_dir(self.directory)
        self._swapping = None
        self._persist()
        self._swap = None

    def _release_swap(self) -> None:
        """Let go of a segment that was to be put in place and was not: no log closes it. Whoever opens the log finishes the swap."""
        if self._swap is not None:
            self._swap[0].release_files()

    @locked
    def _put_in_place(self, new: Segment) -> None:
        self._check_usable()
        self._segments.swap(new)

    def write_indexes(self, new: Segment, found: list[AbortedTransaction]) -> None:
        """Write the index files of a segment that came by compaction; *found* are the aborted transactions of which it has data."""
        with self._files_lock:
            if self._segments.floor(new.base_offset) is not new or self._closing:
                return
            try:
                new.flush_indexes()
            except OSError as error:  # derived data
                _logger.warning("%s: index not written: %s", new.path, error)
            if self.has_transactions:
                new.transactions.rewrite(found, new.next_offset)

    @locked
    def end_pass(self, end_offset: int, cuts: int) -> bool:
        """Note that compaction came up to *end_offset*; False when the log was cut meanwhile."""
        if self._cuts != cuts:
            return False
        self._first_dirty_offset = max(self._first_dirty_offset, end_offset)
        return True

    def persist(self) -> None:
        """Write STATE: how far compaction came is in it."""
        self._persist()

"""Reading a log: by offset, by timestamp. What changes the log is in ``partition_log.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from streamlog.errors import ClosedError, CorruptLogError, OffsetOutOfRangeError, StorageError
from streamlog.record.batch_view import BatchView
from streamlog.storage import time_lookup
from streamlog.storage.batch_reader import read_batches
from streamlog.storage.leader_epochs import EpochEndOffset, LeaderEpochs
from streamlog.storage.log_segments import LogSegments
from streamlog.storage.segment import Segment
from streamlog.structs import OffsetAndTimestamp, TopicPartition

_Read = TypeVar("_Read", bytes, list[BatchView])


class ReadableLog:
    """The part of a log that readers use, without a lock on the active segment.

    They trust ``log_end_offset``, which is published after the bytes, the indexes and the segment it belongs to.
    """

    topic_partition: TopicPartition
    directory: str
    _active: Segment
    _epochs: LeaderEpochs
    _segments: LogSegments
    _next_offset: int
    _log_start_offset: int
    _closed: Exception | None

    def __init__(self, directory: str, topic_partition: TopicPartition) -> None:
        self.topic_partition = topic_partition
        self.directory = directory
        self._closed = None

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""
        return self._log_start_offset

    @property
    def log_end_offset(self) -> int:
        """The offset that the next record gets."""
        return self._next_offset

    @property
    def size_bytes(self) -> int:
        """Bytes of all batches in all segments, preallocated room not counted."""
        return sum(segment.position for segment in self._segments.in_order())

    @property
    def segments(self) -> list[Segment]:
        """The segments, oldest first; the last one is the active one. For retention, tools and tests."""
        return self._segments.in_order()

    def read(self, offset: int, max_bytes: int, upper_bound_offset: int | None = None) -> bytes:
        """Return the batches from *offset* on, as stored: whole ones, in offset order, from one segment.

        At least one batch, however large, then up to *max_bytes*, softly; only batches that start below *upper_bound_offset*
        (None = log end). The first may begin before *offset*: the caller skips. ``b""`` at the bound (LOG-7). Headers are checked
        where the read starts, bodies are the caller's to check (``BatchView.check``).

        Raises OffsetOutOfRangeError below the log start or above the log end, CorruptLogError when the batch of *offset* is
        damaged. Cost: one copy of the bytes; to find them, O(log segments + log index entries), or nothing when an earlier read
        ended there. Threads: any.
        """
        return self._read(
            offset,
            upper_bound_offset,
            lambda segment, start, bound: segment.read(start, max_bytes, bound),
            b"",
        )

    def read_batches(
        self, offset: int, max_bytes: int, upper_bound_offset: int | None = None
    ) -> list[BatchView]:
        """Return what :meth:`read` would, batch by batch, each with bytes of its own; an empty list at the bound."""
        segment = self._active
        if (
            segment.base_offset <= offset < self._next_offset
            and self._log_start_offset <= offset
            # The bound may be inside of a batch, which begins below it: where records of an open transaction were deleted.
            and (upper_bound_offset is None or offset < upper_bound_offset)
        ):
            # Where consumers read most: without the detour. Whatever goes wrong here is named below.
            try:
                # The bound is also that of what is appended from now on: it may belong to an open transaction.
                found = read_batches(segment, offset, max_bytes, upper_bound_offset)
                if found is not None:
                    return found
            except (CorruptLogError, FileNotFoundError, StorageError, ValueError):
                pass
        return self._read(
            offset,
            upper_bound_offset,
            lambda segment, start, bound: read_batches(segment, start, max_bytes, bound),
            [],
        )

    def _read(
        self,
        offset: int,
        upper_bound_offset: int | None,
        read: Callable[[Segment, int, int | None], _Read | None],
        nothing: _Read,
    ) -> _Read:
        while True:
            end = self._next_offset
            bound = end if upper_bound_offset is None else min(upper_bound_offset, end)
            if not self._log_start_offset <= offset <= end:
                # A batch can be seen in its segment a moment before its log publishes the end.
                if end < offset <= self._active.next_offset:
                    return nothing
                raise self._out_of_range(offset)
            if offset >= bound:
                return nothing
            segment = self._active
            if offset < segment.base_offset:
                floor = self._segments.floor(offset)
                if floor is None:
                    raise self._out_of_range(offset)
                segment = floor
            try:
                found = read(segment, offset, upper_bound_offset)
            except CorruptLogError as error:
                if offset >= self._next_offset:
                    continue  # not damage: it was cut off meanwhile
                error.topic_partition = self.topic_partition
                raise
            except (FileNotFoundError, StorageError, ValueError, ClosedError) as error:
                self._check_usable()
                if self._segments.floor(offset) is not segment:
                    continue  # deleted between finding it and reading it
                raise self._unreadable(segment, offset, error) from error
            if found is not None:
                return found
            following = self._segments.higher(segment.base_offset)
            if following is None:
                if offset < segment.next_offset:
                    raise self._missing(segment, offset, segment.next_offset)
                return nothing
            raise self._missing(segment, offset, following.base_offset)

    def offset_for_timestamp(
        self, timestamp_ms: int, upper_bound_offset: int | None = None
    ) -> OffsetAndTimestamp | None:
        """Return the first record, by offset, whose timestamp is at least *timestamp_ms*, or None (TIM-1).

        Timestamps need not be sorted. Only records below *upper_bound_offset* count (None = log end).
        """
        self._check_usable()
        return time_lookup.first_from(self, timestamp_ms, self._bound(upper_bound_offset))

    def offset_of_max_timestamp(
        self, upper_bound_offset: int | None = None
    ) -> OffsetAndTimestamp | None:
        """Return the first record that has the greatest timestamp of all (TIM-2, KIP-734), or None in an empty log."""
        self._check_usable()
        return time_lookup.greatest(self, self._bound(upper_bound_offset))

    def damage_at(self, offset: int, reason: str) -> CorruptLogError:
        """Return the error to raise for the batch of *offset*, whose content a reader found to be wrong: *reason*.

        It says in which file and where that batch is, and from which offset on the log can be read again. Raises ClosedError, and
        CorruptLogError when the file is gone. Cost: reading on to the next good batch. Threads: any.
        """
        while True:
            start = self._log_start_offset
            segment = self._segments.floor(offset)
            if segment is None:  # retention took it since it was read
                self._check_usable()
                return CorruptLogError(
                    f"{self.topic_partition}: {reason}; readable again from offset {start}",
                    topic_partition=self.topic_partition,
                    first_bad_offset=offset,
                    next_good_offset=start,
                    file=self.directory,
                )
            try:
                error = segment.damage_at(offset, reason)
            except CorruptLogError as damage:
                error = damage
            except (FileNotFoundError, ValueError, ClosedError) as failure:
                self._check_usable()
                if self._segments.floor(offset) is not segment:
                    continue  # deleted between finding it and reading it
                raise self._unreadable(segment, offset, failure) from failure
            error.args = (f"{self.topic_partition}: {error}",)
            error.topic_partition = self.topic_partition
            first, after = error.first_bad_offset, error.next_good_offset
            if first is not None and first < start and (after is None or start < after):
                error.first_bad_offset = start  # the batch begins before the log does
            return error

    def end_offset_for_epoch(self, leader_epoch: int) -> EpochEndOffset | None:
        """Return where the records of *leader_epoch* end: a reader that was behind that has read what is not in this log (REP-4).

        The log end for the latest epoch; the start of the next greater one for an older epoch; None for one that is newer than this
        log. Source: Kafka ``LeaderEpochFileCache.endOffsetFor``, KIP-320. Threads: any.
        """
        self._check_usable()
        return self._epochs.end_offset_for(leader_epoch, self._next_offset)

    def epoch_at(self, offset: int) -> int | None:
        """Return the leader epoch that *offset* was given out in, None before all that is known. Threads: any.

        Source: Kafka ``LeaderEpochFileCache.epochForOffset``.
        """
        self._check_usable()
        return self._epochs.at(offset)

    def _bound(self, upper_bound_offset: int | None) -> int:
        end = self._next_offset
        return end if upper_bound_offset is None else min(upper_bound_offset, end)

    def _check_usable(self) -> None:
        if self._closed is not None:
            raise type(self._closed)(str(self._closed))

    def _out_of_range(self, offset: int) -> OffsetOutOfRangeError:
        self._check_usable()
        return OffsetOutOfRangeError(
            f"{self.topic_partition}: offset {offset}: expected {self._log_start_offset} to {self._next_offset}",
            offsets={self.topic_partition: offset},
        )

    def _unreadable(self, segment: Segment, offset: int, error: Exception) -> CorruptLogError:
        following = self._segments.higher(segment.base_offset)
        return CorruptLogError(
            f"{self.topic_partition}: {segment.path}: expected a file of {segment.position} bytes, found: {error}",
            topic_partition=self.topic_partition,
            first_bad_offset=offset,
            next_good_offset=following.base_offset if following else None,
            file=segment.path,
            position=0,
        )

    def _missing(self, segment: Segment, offset: int, next_good_offset: int) -> CorruptLogError:
        return CorruptLogError(
            f"{self.topic_partition}: {segment.path}: expected batches up to offset {next_good_offset - 1}, "
            f"found the end of the file before offset {offset}",
            topic_partition=self.topic_partition,
            first_bad_offset=offset,
            next_good_offset=next_good_offset,
            file=segment.path,
            position=segment.position,
        )

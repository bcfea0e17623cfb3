"""One pass of compaction through a log (CMP-1 to CMP-9)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

from streamlog.config import TopicConfig
from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    CorruptRecordError,
    RecordDecodeError,
)
from streamlog.record.batch_view import BatchView
from streamlog.record.control import ControlType, read_marker
from streamlog.record.layout import CONTROL_BIT, TRANSACTIONAL_BIT
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.compaction.batch_source import batches_of
from streamlog.storage.compaction.key_map import KeyMap
from streamlog.storage.compaction.repacker import Repacker
from streamlog.storage.compaction.segment_group import group_segments
from streamlog.storage.compaction.transaction_retention import AbortedData
from streamlog.storage.segment import Segment
from streamlog.storage.transaction_walk import walk_transactions
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.storage.compaction.cleaned_file import CleanedFile
    from streamlog.storage.log_cleaning import CleanableLog

#: A pass stops for others after so much was read or written.
_STEP_BYTES = 1024 * 1024

#: So much is copied at once.
_COPIED_BYTES = _STEP_BYTES // 2


class CleaningResult(NamedTuple):
    """What a pass did. Source: Kafka ``CleanerStats``."""

    topic_partition: TopicPartition
    #: The pass went from here (the log start) ...
    start_offset: int
    #: ... up to here, which is where the next one begins to look for keys. At most where the range ended, less when the memory for
    #: keys was full, or when the log was cut or lost segments meanwhile: then another pass finds more to do.
    end_offset: int
    #: Whether it came to the end of the range.
    is_complete: bool
    #: Of the segments that the pass went through.
    records_before: int
    records_after: int
    bytes_before: int
    bytes_after: int
    segments_before: int
    segments_after: int


class Cleaning:
    """A pass: which keys are new, then group after group of segments. Used once, by one thread.

    What others do to the log meanwhile it finds out before each change: it goes on, or ends early.
    """

    def __init__(
        self,
        log: CleanableLog,
        config: TopicConfig,
        now_ms: int,
        dedupe_buffer_bytes: int,
        high_watermark: int | None,
    ) -> None:
        self._log = log
        self._config = config
        self._now_ms = now_ms
        self._high_watermark = high_watermark
        self._keys = KeyMap(dedupe_buffer_bytes)
        self._open_transactions: dict[int, tuple[int, int]] = {}
        self._step_bytes = 0
        self._bytes_before = self._bytes_after = 0
        self._segments_before = self._segments_after = 0

    def run(self) -> Generator[int, None, CleaningResult]:
        """Do it. Yields the number of bytes read and written since the last time; raises as `CleanableLog.clean` does."""
        log = self._log
        chosen = log.cleanable(self._now_ms, self._high_watermark)
        cuts = log.cuts
        log.sync_below(chosen.end_offset)
        last_batches = log.last_batches()
        segments = [
            segment
            for segment in log.segments[:-1]
            if chosen.start_offset < segment.next_offset <= chosen.end_offset
        ]
        repacker: Repacker | None = None
        end_offset, is_complete = chosen.first_dirty_offset, False
        try:
            entries = self._aborted(chosen.end_offset)
            aborted = AbortedData(entries)
            map_end_offset = yield from self._find_keys(
                segments, chosen.first_dirty_offset, chosen.end_offset, aborted
            )
            repacker = Repacker(
                self._keys,
                chosen.first_dirty_offset,
                map_end_offset,
                log_start_offset=chosen.start_offset,
                aborted=aborted,
                last_batches=last_batches,
                now_ms=self._now_ms,
                config=self._config,
            )
            is_whole = yield from self._replace_segments(segments, map_end_offset, repacker, cuts)
            if is_whole and log.end_pass(map_end_offset, cuts):
                log.persist()
                end_offset, is_complete = map_end_offset, map_end_offset == chosen.end_offset
        except CorruptLogError as error:
            if log.cuts == cuts:
                error.topic_partition = log.topic_partition
                raise
        except (ClosedError, FileNotFoundError, ValueError):
            log.check_usable()
            known = set(map(id, log.segments))
            if known.issuperset(map(id, segments)):
                raise  # nobody took a segment away
        if self._step_bytes:
            yield self._step_bytes
        return CleaningResult(
            log.topic_partition,
            chosen.start_offset,
            end_offset,
            is_complete,
            repacker.records_before if repacker is not None else 0,
            repacker.records_after if repacker is not None else 0,
            self._bytes_before,
            self._bytes_after,
            self._segments_before,
            self._segments_after,
        )

    # ---- which keys are new

    def _find_keys(
        self,
        segments: list[Segment],
        first_dirty_offset: int,
        end_offset: int,
        aborted: AbortedData,
    ) -> Generator[int, None, int]:
        """Fill the map of keys with what no pass has seen, and return where that ended."""
        for segment in segments:
            if segment.next_offset <= first_dirty_offset:
                continue
            for batch in batches_of(segment, max(first_dirty_offset, segment.base_offset)):
                attributes = batch.attributes
                is_aborted = attributes & TRANSACTIONAL_BIT and aborted.has(batch.header)
                count = batch.record_count
                counts = count and not attributes & CONTROL_BIT and not is_aborted
                if counts and not self._keys.add(batch.keys(), count):
                    return batch.base_offset
                self._step_bytes += batch.size_bytes
                if self._step_bytes >= _STEP_BYTES:
                    yield self._take_step()
        return end_offset

    def _take_step(self) -> int:
        step_bytes, self._step_bytes = self._step_bytes, 0
        return step_bytes

    def _aborted(self, end_offset: int) -> list[AbortedTransaction]:
        """Return the aborted transactions that begin below *end_offset*, each with a marker that says so."""
        log = self._log
        if not log.has_transactions:
            return []
        # All there are: what they tell of a segment that is replaced is not to be found any more then.
        found = log.all_aborted()
        entries = [entry for entry in found if entry.first_offset < end_offset]
        for entry in entries:
            if entry.last_offset >= log.log_start_offset and not self._is_abort(entry):
                # Nobody knows how it ended: neither may its records go nor may they win a key.
                raise log.damage_at(
                    entry.last_offset,
                    f"expected the marker of an aborted transaction of producer {entry.producer_id}",
                )
        return entries

    def _is_abort(self, entry: AbortedTransaction) -> bool:
        (batch,) = self._log.read_batches(entry.last_offset, 1)
        if not batch.is_control or batch.producer_id != entry.producer_id:
            return False
        try:
            batch.check()
            return read_marker(batch)[0] is ControlType.ABORT
        except (CorruptRecordError, RecordDecodeError):
            return False

    # ---- group after group

    def _replace_segments(
        self, segments: list[Segment], end_offset: int, repacker: Repacker, cuts: int
    ) -> Generator[int, None, bool]:
        """Replace what begins below *end_offset*; return whether all of it was."""
        config = self._config
        in_range = [segment for segment in segments if segment.base_offset < end_offset]
        for group in group_segments(in_range, config.segment_bytes, config.segment_index_bytes):
            self._segments_before += len(group)
            self._bytes_before += sum(segment.position for segment in group)
            if not (yield from self._replace_group(group, repacker, cuts)):
                return False
        return True

    def _replace_group(
        self, group: list[Segment], repacker: Repacker, cuts: int
    ) -> Generator[int, None, bool]:
        log = self._log
        file = log.new_cleaned_file(group[0].base_offset)
        end_offset = group[-1].next_offset
        try:
            may_stay = len(group) == 1 and not log.has_transactions
            # What stays as it is need not be written twice, least of all where nothing changes.
            repacker.begin(file.put, file.leave_out if may_stay else None)
            yield from self._repack(group, repacker, file)
            repacker.flush()
            if may_stay and not repacker.has_changes:
                self._segments_after += 1
                self._bytes_after += group[0].position
                return True
            yield from self._fill(file, group[0])
            if log.cuts != cuts:
                return False  # so what was copied may be zeros
            file.finish(end_offset)
            new = log.load_cleaned(file, group[0].base_offset, end_offset)
            found = self._take_transactions(new, group, repacker)
            if not log.swap_segments(new, group, cuts):
                return False
            self._segments_after += 1
            self._bytes_after += new.position
            log.write_indexes(new, found)
            return True
        finally:
            file.close(unlink=log.may_delete_files)

    def _fill(self, file: CleanedFile, segment: Segment) -> Generator[int, None, None]:
        """Copy what was left out of *file*, which comes first in *segment*."""
        while file.left_out_bytes:
            end = file.left_out_bytes
            start = max(end - _COPIED_BYTES, 0)
            file.fill(start, segment.mapping_for_read()[start:end])
            self._step_bytes += 2 * (end - start)
            if self._step_bytes >= _STEP_BYTES:
                yield self._take_step()

    def _repack(
        self, group: list[Segment], repacker: Repacker, file: CleanedFile
    ) -> Generator[int, None, None]:
        for batch in self._batches_of(group):
            size_before = file.size_bytes
            repacker.add(batch)
            self._step_bytes += batch.size_bytes + file.size_bytes - size_before
            if self._step_bytes >= _STEP_BYTES:
                yield self._take_step()

    def _batches_of(self, group: list[Segment]) -> Iterator[BatchView]:
        for segment in group:
            yield from batches_of(segment, segment.base_offset)

    def _take_transactions(
        self, new: Segment, group: list[Segment], repacker: Repacker
    ) -> list[AbortedTransaction]:
        """Tell *new* what is known of its transactions, and return those of which it has data still."""
        if not self._log.has_transactions:
            return []
        before = [
            entry
            for segment in group
            for entry in segment.transactions.ended_from(segment.base_offset)
            if entry.last_offset not in repacker.removed_markers
        ]
        walk = walk_transactions(
            new.mapping_for_read(),
            new.position,
            new.base_offset,
            self._open_transactions,
            new.next_offset,
        )
        found = list(walk)
        new.transactions.take_over(before, dict(self._open_transactions), new.position)
        return found

"""The log of one partition as another process sees it: everything that reads, nothing that writes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from streamlog.config import TopicConfig
from streamlog.errors import ClosedError, CorruptLogError, StorageError
from streamlog.record.batch_view import BatchView
from streamlog.record.layout import NO_SEQUENCE, TRANSACTIONAL_BIT, BatchHeader
from streamlog.runtime import Lock, Runtime
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.file_names import snapshot_offset_of
from streamlog.storage.followed_log import FollowedLog
from streamlog.storage.log_state import LogState
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.producer_replay import replay_all
from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.producer_state import ProducerStates
from streamlog.storage.read_only_segment import ReadOnlySegment
from streamlog.storage.transaction_lookup import aborted_between
from streamlog.structs import OffsetAndTimestamp, ProducerStateInfo, TopicPartition

_logger = logging.getLogger("streamlog")

_Found = TypeVar("_Found")


class ReadOnlyLog(FollowedLog):
    """Read anywhere, up to what the writing process has stored by the last `refresh`.

    A file that was deleted, replaced or cut meanwhile is found out by reading it; then the files are looked at again, and only what
    they still say is raised. Open transactions are found in the log itself, as a writer finds them when it opens.

    Threads: any.
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
        super().__init__(
            runtime,
            directory,
            topic_partition,
            config,
            open_segments,
            look=look,
            look_again=look_again,
        )
        # Always known where there are transactions; elsewhere once somebody has asked.
        self._producers: ProducerStates | None = None
        try:
            with self._refresh_lock:
                self._rebuild(was_cut=True)
                self._catch_up()
        except BaseException:
            self._segments.close_all()
            raise

    def __repr__(self) -> str:
        return f"<ReadOnlyLog {self.topic_partition} offsets {self._log_start_offset}..{self._next_offset}>"

    # ---- reading: what is not there any more is looked for again

    def read(self, offset: int, max_bytes: int, upper_bound_offset: int | None = None) -> bytes:
        """As `ReadableLog.read`."""
        read = super().read
        return self._patiently(lambda: read(offset, max_bytes, upper_bound_offset))

    def read_batches(
        self, offset: int, max_bytes: int, upper_bound_offset: int | None = None
    ) -> list[BatchView]:
        """As `ReadableLog.read_batches`."""
        read_batches = super().read_batches
        return self._patiently(lambda: read_batches(offset, max_bytes, upper_bound_offset))

    def offset_for_timestamp(
        self, timestamp_ms: int, upper_bound_offset: int | None = None
    ) -> OffsetAndTimestamp | None:
        """As `ReadableLog.offset_for_timestamp`."""
        look_up = super().offset_for_timestamp
        return self._patiently(lambda: look_up(timestamp_ms, upper_bound_offset))

    def offset_of_max_timestamp(
        self, upper_bound_offset: int | None = None
    ) -> OffsetAndTimestamp | None:
        """As `ReadableLog.offset_of_max_timestamp`."""
        look_up = super().offset_of_max_timestamp
        return self._patiently(lambda: look_up(upper_bound_offset))

    def damage_at(self, offset: int, reason: str) -> CorruptLogError:
        """As `ReadableLog.damage_at`."""
        damage_at = super().damage_at
        return self._patiently(lambda: damage_at(offset, reason))

    def aborted_transactions(self, start_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """Return the aborted transactions with an offset from *start_offset* up to, not including, *end_offset*, by marker.

        *end_offset* at most `last_stable_offset`. The first one who asks walks what index files do not tell. Raises OSError,
        ClosedError.
        """
        if not self.has_transactions:
            return []
        self._check_usable()
        return self._patiently(lambda: aborted_between(self._segments, start_offset, end_offset))

    def _patiently(self, call: Callable[[], _Found]) -> _Found:
        while True:
            version = self._version
            try:
                return call()
            except (CorruptLogError, FileNotFoundError, StorageError, ClosedError):
                if not self._changed_since(version):
                    raise

    # ---- transactions

    @property
    def last_stable_offset(self) -> int:
        """The end of what belongs to no open transaction (TXN-13); the log end when none is open."""
        with (
            self._refresh_lock
        ):  # while files are looked at again, end and transactions may be of different moments
            end_offset, producers = self._next_offset, self._producers
        unstable = None if producers is None else producers.first_unstable_offset
        if not self.has_transactions or unstable is None or unstable >= end_offset:
            return end_offset
        return max(unstable, self._log_start_offset)

    def has_open_transaction(self, producer_id: int, producer_epoch: int) -> bool:
        """Whether this producer, in this epoch, has a transaction open here."""
        producers = self._producers
        return (
            self.has_transactions
            and producers is not None
            and producers.is_open(producer_id, producer_epoch)
        )

    def open_transactions(self) -> dict[int, tuple[int, int]]:
        """Return epoch and first offset of each transaction that is open here, by producer id, the oldest first."""
        with self._refresh_lock:
            producers = self._producers
            return {} if producers is None else producers.open_transactions()

    def describe_producers(self) -> list[ProducerStateInfo]:
        """Return what the log tells of each producer, by producer id."""
        with self._refresh_lock:
            self._check_usable()
            if self._producers is None:
                self._producers = self._find_producers()
            entries = sorted(self._producers.entries.items())
        return [
            ProducerStateInfo(
                producer_id,
                entry.producer_epoch,
                entry.recent[-1][1] if entry.recent else NO_SEQUENCE,
                entry.last_timestamp_ms,
                entry.coordinator_epoch if entry.coordinator_epoch >= 0 else None,
                entry.first_open_offset if entry.first_open_offset >= 0 else None,
            )
            for producer_id, entry in entries
        ]

    def _activated(self, segment: ReadOnlySegment, *, is_next: bool) -> None:
        producers = self._producers
        if is_next:
            before = self._segments.lower(segment.base_offset)
            if before is not None and producers is not None and self.has_transactions:
                before.transactions.end(producers.open_transactions())
        segment.transactions.begin(segment.position, segment.next_offset)
        if is_next:
            return
        if self.has_transactions or producers is not None:
            self._producers = self._find_producers()

    def _grown(
        self, segment: ReadOnlySegment, start_offset: int, batches: list[tuple[int, BatchHeader]]
    ) -> None:
        if not self.has_transactions and any(
            header.attributes & TRANSACTIONAL_BIT for _, header in batches
        ):
            # The first one of the log: nobody has to search what was there before.
            for one in self._segments.in_order():
                one.transactions.begin_without(batches[0][0] if one is segment else one.position)
            self._producers = self._find_producers(start_offset, self._note_aborted)
            self.has_transactions = True
        elif self._producers is not None:
            replay_all([segment], start_offset, self._producers)

    def _note_aborted(self, aborted: AbortedTransaction) -> None:
        self._active.transactions.add(aborted)

    def _find_producers(
        self,
        newest_snapshot: int | None = None,
        on_aborted: Callable[[AbortedTransaction], None] | None = None,
    ) -> ProducerStates:
        """Return the producers as they are at the end of the last segment, from the last good snapshot on."""
        states = ProducerStates(self.topic_partition)
        states.on_aborted = on_aborted
        segments = self._segments.in_order()
        # The writer may be further already: what its snapshot tells is not in the log that is seen here.
        newest = segments[-1].next_offset if newest_snapshot is None else newest_snapshot
        names = self._filesystem.list_dir(self.directory)
        offsets = [at for name in names if (at := snapshot_offset_of(name)) is not None]
        snapshots = ProducerSnapshots(
            self._filesystem, self.directory, sorted(at for at in offsets if at <= newest)
        )
        # Not worth a warning: it may be half written.
        replay_all(segments, snapshots.load(states, logging.DEBUG), states)
        states.on_aborted = self._note_aborted
        return states

    # ---- the end

    def close(self, error: Exception | None = None) -> None:
        """Let go of the files; every later call raises *error*, or ClosedError."""
        self._closed = error or ClosedError(f"{self.topic_partition}: the log is closed")
        self._segments.close_all()

    def abandon(self, reason: Exception) -> None:
        """In the child of a fork: take no lock, let go of the files; every later call raises *reason*."""
        self._refresh_lock = Lock()
        self._closed = reason
        self._segments.abandon()

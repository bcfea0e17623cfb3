"""Which leader epoch began at which offset: how a position from before a cut is told from one in today's log (KIP-101, KIP-320)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple


class EpochEndOffset(NamedTuple):
    """Where an epoch ends. Source: Kafka ``EpochEndOffset``."""

    #: The epoch asked for, or the greatest below it that has records here.
    leader_epoch: int
    #: The offset behind its last record. A position above it belongs to records that this log does not have.
    end_offset: int


class LeaderEpochs:
    """Epochs with the offset of their first record, both rising; an epoch without a record gives way to the next one.

    There is one entry for each power failure (or change of leader, in a cluster) between the log start and the log end: a handful.

    Threads: changed by the holder of the log's lock, looked up by any; the list is replaced, never changed in place.
    Source: Kafka ``LeaderEpochFileCache``.
    """

    __slots__ = ("_entries",)

    def __init__(self, packed: Sequence[int] = ()) -> None:
        """*packed* as from :meth:`pack`."""
        self._entries = list(zip(packed[::2], packed[1::2], strict=True))

    def __repr__(self) -> str:
        return f"<LeaderEpochs {self._entries}>"

    def pack(self) -> tuple[int, ...]:
        """Return epoch and start offset of each entry, in order."""
        return tuple(chain.from_iterable(self._entries))

    @property
    def latest(self) -> int:
        """The last epoch, -1 when there is none."""
        entries = self._entries
        return entries[-1][0] if entries else -1

    def assign(self, epoch: int, start_offset: int) -> None:
        """Let *epoch* begin at *start_offset*; nothing happens when it is the last one and began there or before.

        Entries that this contradicts go: the same epoch or a later one, and those that would begin there or behind.
        """
        entries = self._entries
        if entries and entries[-1][0] == epoch and entries[-1][1] <= start_offset:
            return
        kept = [entry for entry in entries if entry[0] < epoch and entry[1] < start_offset]
        self._entries = [*kept, (epoch, start_offset)]

    def assign_all(self, found: Iterable[tuple[int, int]]) -> None:
        """:meth:`assign` for each (epoch, offset) of batches in offset order, as far as the epoch is a new one."""
        for epoch, offset in found:
            if epoch > self.latest:
                self.assign(epoch, offset)

    def truncate_from_end(self, end_offset: int) -> None:
        """Forget the epochs that begin at or behind *end_offset*: their records were cut off."""
        self._entries = [entry for entry in self._entries if entry[1] < end_offset]

    def truncate_from_start(self, start_offset: int) -> None:
        """Forget the epochs that end at or below *start_offset*; the one that goes on there begins there now."""
        entries = self._entries
        at = bisect_right(entries, start_offset, key=_start_offset) - 1
        if at >= 0:
            self._entries = [(entries[at][0], start_offset), *entries[at + 1 :]]

    def end_offset_for(self, epoch: int, log_end_offset: int) -> EpochEndOffset | None:
        """Return where *epoch* ends in a log that ends at *log_end_offset* (REP-4).

        The last epoch ends with the log; another one where the next greater epoch begins, also when it has no record here itself.
        None for an epoch that is greater than all of this log.
        """
        entries = self._entries
        if not entries or epoch > entries[-1][0]:
            return None
        if epoch == entries[-1][0]:
            return EpochEndOffset(epoch, log_end_offset)
        following = bisect_right(entries, epoch, key=_epoch)
        known = entries[following - 1][0] if following else epoch
        return EpochEndOffset(known, entries[following][1])

    def at(self, offset: int) -> int | None:
        """Return the epoch of the record at *offset*, or of the one that comes there next; None before all that is known."""
        entries = self._entries
        at = bisect_right(entries, offset, key=_start_offset) - 1
        return entries[at][0] if at >= 0 else None


def _epoch(entry: tuple[int, int]) -> int:
    return entry[0]


def _start_offset(entry: tuple[int, int]) -> int:
    return entry[1]

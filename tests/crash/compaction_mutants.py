"""Broken compaction, by name: what a pass keeps, and in which order it puts it in place. Registered with the others in `mutants`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from streamlog.storage import log_syncing
from streamlog.storage.compaction import repacker
from streamlog.storage.compaction.cleaned_file import CleanedFile
from streamlog.storage.compaction.key_map import KeyMap
from streamlog.storage.compaction.repacker import Repacker
from streamlog.storage.compaction.rewriting import Rewriter
from streamlog.storage.compaction.transaction_retention import AbortedData, MarkerRetention
from streamlog.storage.log_cleaning import CleanableLog
from streamlog.storage.segment_file import SegmentFile
from streamlog.storage.transaction_index import TransactionIndex
from tests.crash.mutants import mutant
from tests.support.patching import patched

# ---- what stays


@mutant("compaction closes the gaps between offsets")
def offsets_moved() -> Iterator[None]:
    filled = Rewriter._filled

    def dense(self: Rewriter, header: Any, offsets: list[int], *rest: Any) -> Any:
        start = header.base_offset
        return filled(self, header, list(range(start, start + len(offsets))), *rest)

    with patched(Rewriter, "_filled", dense):
        yield


@mutant("the oldest record of a key wins")
def oldest_wins() -> Iterator[None]:
    add = KeyMap.add

    def first(self: KeyMap, keys: Sequence[bytes | None] | None, count: int) -> bool:
        known = dict(self.newest)
        fits = add(self, keys, count)
        self.newest.update((key, known[key]) for key in keys or () if key in known)
        return fits

    with patched(KeyMap, "add", first):
        yield


@mutant("a tombstone goes in the first pass that sees it")
def tombstones_at_once() -> Iterator[None]:
    staying = Repacker._staying

    def without_nulls(self: Repacker, batch: Any) -> Sequence[int]:
        values = batch.values()
        return [number for number in staying(self, batch) if values[number] is not None]

    with patched(Repacker, "_staying", without_nulls):
        yield


@mutant("tombstones without a horizon")
def no_horizon() -> Iterator[None]:
    """They never go."""
    with patched(repacker, "_has_null", lambda batch, kept: False):
        yield


@mutant("an aborted record wins its key")
def aborted_wins() -> Iterator[None]:
    with patched(AbortedData, "has", lambda self, header: False):
        yield


@mutant("records behind the end of the map go")
def above_the_map() -> Iterator[None]:
    """Where the memory for keys ends in a segment, the rest of it is taken for old."""
    init = Repacker.__init__

    def endless(self: Repacker, keys: Any, first: int, end: int, **rest: Any) -> None:
        init(self, keys, first, 1 << 62, **rest)

    with patched(Repacker, "__init__", endless):
        yield


@mutant("markers go before the data of their transaction")
def markers_go() -> Iterator[None]:
    with patched(MarkerRetention, "may_go", lambda self, header: True):
        yield


@mutant("the last batch of a producer is nobody's")
def last_batches_lost() -> Iterator[None]:
    with patched(CleanableLog, "last_batches", lambda self: set()):
        yield


@mutant("compaction moves the log start")
def start_moved() -> Iterator[None]:
    end_pass = CleanableLog.end_pass

    def moving(self: CleanableLog, end_offset: int, cuts: int) -> bool:
        self._log_start_offset = max(self._log_start_offset, 1)
        return end_pass(self, end_offset, cuts)

    with patched(CleanableLog, "end_pass", moving):
        yield


@mutant("a pass forgets how far it came")
def end_forgotten() -> Iterator[None]:
    with patched(CleanableLog, "end_pass", lambda self, end_offset, cuts: True):
        yield


@mutant("a cleaned segment without its aborted transactions")
def aborted_forgotten() -> Iterator[None]:
    take_over = TransactionIndex.take_over

    def empty(self: TransactionIndex, aborted: Any, *rest: Any) -> None:
        take_over(self, [], *rest)

    with patched(TransactionIndex, "take_over", empty):
        yield


# ---- how it comes into place


@mutant("a cleaned file is not synced")
def cleaned_not_synced() -> Iterator[None]:
    with patched(CleanedFile, "finish", lambda self, end_offset: self._write()):
        yield


@mutant("segments swapped before STATE says so")
def swap_unannounced() -> Iterator[None]:
    finish = CleanableLog._finish_swap

    def late(self: CleanableLog) -> None:
        persist = self._persist
        self._persist = lambda: None if self._swapping is not None else persist()
        try:
            finish(self)
        finally:
            self._persist = persist

    with patched(CleanableLog, "_finish_swap", late):
        yield


@mutant("old segments deleted before the new one is in place")
def old_first() -> Iterator[None]:
    finish = CleanableLog._finish_swap

    def eager(self: CleanableLog) -> None:
        if self._swap is not None:
            self._retire(self._swap[1][1:])
            self._filesystem.sync_dir(self.directory)
        finish(self)

    with patched(CleanableLog, "_finish_swap", eager):
        yield


@mutant("STATE counts the segments from before a swap")
def old_fingerprint() -> Iterator[None]:
    with patched(log_syncing, "swapped", lambda offsets, start, end: offsets):
        yield


@mutant("a cleaned file renamed and the directory not synced")
def swap_not_synced() -> Iterator[None]:
    """STATE says that the swap is over, and the next boot finds the old segment, or parts of both."""
    move = SegmentFile.move_into_place
    finish = CleanableLog._finish_swap

    def unsynced(self: CleanableLog) -> None:
        moved: list[bool] = []
        filesystem = self._filesystem
        sync_dir = type(filesystem).sync_dir

        def note(segment: SegmentFile) -> None:
            moved.append(True)
            move(segment)

        def skip(disk: Any, path: str) -> None:
            if not moved or path != self.directory:
                sync_dir(disk, path)

        with patched(SegmentFile, "move_into_place", note):
            with patched(type(filesystem), "sync_dir", skip):
                finish(self)

    with patched(CleanableLog, "_finish_swap", unsynced):
        yield


#: For each of them a program in which the explorer meets it soon.
CAUGHT_BY = {
    "compaction closes the gaps between offsets": "compaction/asked/compact",
    "the oldest record of a key wins": "compaction/asked/compact",
    "a tombstone goes in the first pass that sees it": "compaction/asked/compact",
    "tombstones without a horizon": "compaction/asked/compact,later,compact",
    "an aborted record wins its key": "compaction/asked/fill,compact",
    "records behind the end of the map go": "compaction/asked/compact",
    "markers go before the data of their transaction": "compaction/asked/compact",
    "the last batch of a producer is nobody's": "compaction/asked/compact",
    "compaction moves the log start": "compaction/asked/compact",
    "a pass forgets how far it came": "compaction/asked/compact,later,compact",
    "a cleaned segment without its aborted transactions": "compaction/asked/fill,compact",
    "a cleaned file is not synced": "compaction/asked/compact",
    "segments swapped before STATE says so": "compaction/asked/fill,compact",
    "old segments deleted before the new one is in place": "compaction/asked/compact",
    "STATE counts the segments from before a swap": "compaction/asked/compact",
    "a cleaned file renamed and the directory not synced": "compaction/asked/compact",
}

"""The aborted transactions of a segment, kept in memory, appended to a file now and then, found again by walking headers."""

from __future__ import annotations

import logging
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from streamlog.runtime import FileSystem, Lock, Mapping
from streamlog.storage import index_file
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.transaction_walk import walk_transactions

_logger = logging.getLogger("streamlog")

#: producer_id, first_offset, last_offset, last_stable_offset.
_ENTRY = struct.Struct("<qqqq")

#: In place of a last offset, less the producer's epoch: the transaction was open where the block ends, at the byte named in place of
#: the last stable offset.
_STILL_OPEN = -1
_MAX_EPOCH = 2**15 - 1

#: In place of a last offset, behind those: the first offset is the next one of the segment where the block ends, at the byte named
#: in place of the last stable offset.
_END = _STILL_OPEN - _MAX_EPOCH - 1
_NOBODY = -1

_last_offset = attrgetter("last_offset")


class KnownTransactions(NamedTuple):
    """What is known of a segment up to a place in its file."""

    #: In the order of their markers.
    aborted: list[AbortedTransaction]
    #: Epochs and first offsets, in this segment or an earlier one, of those that are open at ``position``, by producer id.
    open_transactions: dict[int, tuple[int, int]]
    position: int
    #: Whether the index file says just that, so that another block may follow.
    is_in_file: bool


_NOTHING_YET = KnownTransactions([], {}, 0, True)
_UNKNOWN = KnownTransactions([], {}, 0, False)


class TransactionIndex:
    """The transactions whose abort marker is in one segment, in the order of the markers (TXN-15).

    What was in the segment when it was opened is found when somebody asks; what is aborted since then comes from whoever appends
    the marker. So the two never meet, and no reader keeps an append waiting. The file is derived data and never synced: one that
    is missing, short, torn or ahead of the log is made again from the log, all of it. Besides entries each block holds the
    transactions that were open where it ends, so that whoever has to go on in the next segment needs nothing else, and the offset
    that followed there: a log that lost batches before it, just as many bytes as came since, ends with another one.

    Threads: `begin`, `add`, `end`, `flush` and `forget` by the holder of the log's lock; the others by any. Source: Kafka
    ``TransactionIndex``.
    """

    __slots__ = (
        "_added",
        "_end_offset",
        "_end_position",
        "_filesystem",
        "_flushed_count",
        "_file_lock",
        "_flushed_position",
        "_is_replaced",
        "_found",
        "_open_at_end",
        "path",
    )

    def __init__(self, filesystem: FileSystem, path: str) -> None:
        self._filesystem = filesystem
        # The file is the reader's to write who finds what it lacks, until compaction puts another segment in the place of this one.
        self._file_lock = Lock()
        self._is_replaced = False
        #: Path of the index file.
        self.path = path
        # What was there when the segment was opened; None until somebody asks.
        self._found: KnownTransactions | None = None
        # Where that ends; None for a segment that is sealed since before.
        self._end_position: int | None = None
        self._end_offset = -1
        self._added: list[AbortedTransaction] = []
        self._open_at_end: dict[int, tuple[int, int]] | None = None
        # How many entries are in the file, and up to where it tells everything; -1 when its content does not count.
        self._flushed_count = 0
        self._flushed_position = -1

    # ---- the appending side

    def begin(self, position: int, next_offset: int) -> None:
        """From *position*, where *next_offset* goes to, on every aborted transaction is going to be added."""
        self._end_position, self._end_offset = position, next_offset
        self._added = []
        self._open_at_end = None
        self._flushed_count, self._flushed_position = 0, -1 if position else 0
        self._found = None if position else _NOTHING_YET

    def add(self, aborted: AbortedTransaction) -> None:
        """Note a transaction whose abort marker was appended; being told twice, after Ctrl-C, does no harm."""
        if not self._added or self._added[-1].last_offset < aborted.last_offset:
            self._added.append(aborted)

    def begin_without(self, size: int) -> None:
        """Nothing up to *size*, the end of the segment, is part of a transaction: the first one in the log is about to be noted.

        So nobody has to walk what was there before, neither now nor to know what was open.
        """
        end = size if self._end_position is None else self._end_position
        self._found = KnownTransactions([], {}, end, False)

    def end(self, open_transactions: dict[int, tuple[int, int]]) -> None:
        """The segment was sealed with *open_transactions* (epochs and first offsets by producer id) going on behind it."""
        self._open_at_end = open_transactions

    def forget(self) -> None:
        """Delete the file, which may tell of what is cut off. Raises OSError."""
        # Not a directory that took its name: nobody believes that.
        if self._filesystem.exists(self.path) and not self._filesystem.is_dir(self.path):
            self._filesystem.unlink(self.path)

    def forget_if_ahead(self, size: int) -> None:
        """Delete the file if it may tell of more than the *size* bytes of the segment. Raises OSError.

        It would be believed once the log has come as far again.
        """
        try:
            content = index_file.read_entries(self._filesystem, self.path, size)
        except OSError:
            return  # nobody believes what cannot be read
        if content.covers > size or not content.is_whole:
            self.forget()

    def flush(
        self, position: int, next_offset: int, open_transactions: dict[int, tuple[int, int]]
    ) -> None:
        """Write what is not in the file yet, which then tells everything up to *position*, the end, where *next_offset* goes to.

        Nothing is written while what was found in the segment is not known: that may take a walk, for which readers may wait and
        appends may not. Raises OSError; a later flush catches up.
        """
        found = self._found
        if found is None:
            return
        if self._flushed_position < 0 and found.is_in_file:
            self._flushed_count, self._flushed_position = len(found.aborted), found.position
        if self._flushed_position == position:
            return
        entries = [*found.aborted, *self._added]
        block = _pack(entries[self._flushed_count :], open_transactions, position, next_offset)
        size = self._filesystem.file_size(self.path) if self._filesystem.exists(self.path) else 0
        largest = position + index_file.SLACK_BYTES - index_file.BLOCK_HEADER_BYTES
        if self._flushed_position < 0 or size + len(block) > largest:
            # It holds something else, or too many of those that were open at earlier flushes.
            block = _pack(entries, open_transactions, position, next_offset)
            if len(block) > largest:
                return  # more are open than this segment has batches for: the one before it tells of them
            index_file.replace_entries(self._filesystem, self.path, block, position)
        else:
            index_file.append_entries(self._filesystem, self.path, block, position)
        self._flushed_count, self._flushed_position = len(entries), position

    # ---- the reading side

    @property
    def is_known(self) -> bool:
        """Whether `ended_from` can be asked without `find` before."""
        return self._found is not None

    @property
    def open_at_end(self) -> dict[int, tuple[int, int]] | None:
        """Epochs and first offsets, by producer id, of the transactions that go on behind this segment; None when that is not known yet."""
        if self._open_at_end is None and self._end_position is None and self._found is not None:
            return self._found.open_transactions
        return self._open_at_end

    def read_file(self, base_offset: int, next_offset: int, size: int) -> KnownTransactions:
        """Return what the file tells of the segment from *base_offset* up to *next_offset*, whose log has *size* bytes.

        Nothing, at position 0, when there is no file, it does not tell just what was there when the segment was opened, or it
        cannot be this segment's. Nobody goes on where a short one ends: a log that lost or got whole batches since has those behind
        them in other places. Never raises for what is in the file.
        """
        end, end_offset = size, next_offset
        if self._end_position is not None:
            end, end_offset = self._end_position, self._end_offset
        try:
            content = index_file.read_entries(self._filesystem, self.path, size)
        except OSError as error:
            _logger.warning("%s: made again from the log, it cannot be read: %s", self.path, error)
            return _UNKNOWN
        if content.covers != end or len(content.entries) % _ENTRY.size:
            return _UNKNOWN
        aborted: list[AbortedTransaction] = []
        open_transactions: dict[int, tuple[int, int]] = {}
        behind, offset_behind = base_offset, -1
        for entry in map(AbortedTransaction._make, _ENTRY.iter_unpack(content.entries)):
            if _STILL_OPEN - _MAX_EPOCH <= entry.last_offset <= _STILL_OPEN:
                if entry.last_stable_offset == content.covers:
                    epoch = _STILL_OPEN - entry.last_offset
                    open_transactions[entry.producer_id] = epoch, entry.first_offset
            elif entry.last_offset == _END:
                if entry.last_stable_offset == content.covers:
                    offset_behind = entry.first_offset
            elif (
                entry.first_offset <= entry.last_offset and behind <= entry.last_offset < end_offset
            ):
                aborted.append(entry)
                behind = entry.last_offset + 1
            else:
                return _UNKNOWN  # good checksums and impossible entries: believe nothing
        if offset_behind != end_offset:
            return _UNKNOWN  # or written before there were such entries
        return KnownTransactions(aborted, open_transactions, content.covers, content.is_whole)

    def take(self, in_file: KnownTransactions) -> None:
        """Take what is *in_file* if that is all there was when the segment was opened. For a segment that was not sealed."""
        if in_file.position == self._end_position:
            self._found = in_file

    def find(
        self,
        in_file: KnownTransactions,
        open_before: dict[int, tuple[int, int]],
        mapping: Mapping | None,
        size: int,
        base_offset: int,
        next_offset: int,
    ) -> None:
        """Take what is *in_file*, or else what walking the log finds; *open_before* are open where the segment begins.

        *mapping* is that of the log, *size* bytes long (None: it is empty). The file of a sealed segment is written again if it
        did not tell just that. Threads: any; whoever comes second finds the same.
        """
        is_sealed = self._end_position is None
        end = size if self._end_position is None else self._end_position
        known = in_file
        if not in_file.position:
            open_transactions = dict(open_before)
            end_offset = next_offset if is_sealed else self._end_offset
            walk = walk_transactions(mapping, end, base_offset, open_transactions, end_offset)
            known = KnownTransactions(list(walk), open_transactions, end, False)
        if is_sealed and not known.is_in_file:
            known = known._replace(is_in_file=True)
            if end:
                self._try_to_replace(known, next_offset)
        self._found = known

    def let_go(self) -> None:
        """Never write the file again: it belongs to the segment that compaction puts in the place of this one. Raises OSError."""
        with self._file_lock:
            self._is_replaced = True
        self.forget()

    def take_over(
        self,
        aborted: list[AbortedTransaction],
        open_transactions: dict[int, tuple[int, int]],
        position: int,
    ) -> None:
        """Take what is known of a segment of *position* bytes that compaction made.

        *aborted* are those of which the segments that it replaces had data, and of which it need not have any: readers may have read that
        before, and do not know yet that it does not count.
        """
        self._found = KnownTransactions(aborted, open_transactions, position, True)

    def rewrite(self, found: list[AbortedTransaction], next_offset: int) -> None:
        """Write the file of such a segment, which ends with *next_offset*, with what is *found* in it and nothing else.

        Nothing is written where the first transaction of the log began while the segment was made: whoever asks finds it then.
        """
        if self._found is not None:
            self._try_to_replace(self._found._replace(aborted=found), next_offset)

    def ended_from(self, offset: int) -> Iterator[AbortedTransaction]:
        """Yield those whose marker is at *offset* or behind, in that order. Cost: O(log entries) to find the first."""
        found = self._found
        for entries in ([] if found is None else found.aborted, self._added):
            for number in range(bisect_left(entries, offset, key=_last_offset), len(entries)):
                yield entries[number]

    def _try_to_replace(self, known: KnownTransactions, next_offset: int) -> None:
        block = _pack(known.aborted, known.open_transactions, known.position, next_offset)
        with self._file_lock:
            if self._is_replaced:
                return
            try:
                index_file.replace_entries(self._filesystem, self.path, block, known.position)
            except OSError as error:  # a full disk must not keep anybody from reading
                _logger.warning("%s: not written, it stays in memory: %s", self.path, error)


def is_of_before(entries: bytes) -> bool:
    """Whether *entries*, those of a whole file, were written before blocks told which offset follows them. Nobody uses such a file."""
    start = len(entries) - _ENTRY.size
    return (
        start < 0
        or AbortedTransaction._make(_ENTRY.unpack_from(entries, start)).last_offset != _END
    )


def _pack(
    aborted: Iterable[AbortedTransaction],
    open_transactions: dict[int, tuple[int, int]],
    position: int,
    next_offset: int,
) -> bytes:
    packed = [_ENTRY.pack(*entry) for entry in aborted]
    packed += [
        _ENTRY.pack(producer_id, first_offset, _STILL_OPEN - epoch, position)
        for producer_id, (epoch, first_offset) in open_transactions.items()
    ]
    packed.append(_ENTRY.pack(_NOBODY, next_offset, _END, position))
    return b"".join(packed)

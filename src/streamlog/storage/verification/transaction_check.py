"""Holding the files of aborted transactions against the markers in the log (TXN-15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlog.runtime import FileSystem
from streamlog.storage import index_file
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.file_names import TRANSACTION_INDEX_SUFFIX
from streamlog.storage.transaction_index import TransactionIndex, is_of_before
from streamlog.storage.transaction_walk import walk_transactions
from streamlog.storage.verification.file_bytes import FileBytes


class TransactionCheck:
    """Goes through the segments of a log in order. What is open where one ends goes on in the next."""

    def __init__(self, filesystem: FileSystem, log_start: int, *, may_have_gaps: bool) -> None:
        """*log_start*: transactions that began below it cannot be told whole. *may_have_gaps*: compaction may have taken batches."""
        self._filesystem = filesystem
        self._log_start = log_start
        self._may_have_gaps = may_have_gaps
        self._open: dict[int, tuple[int, int]] = {}

    def problem(
        self, stem: str, content: FileBytes, end: int, offsets: tuple[int, int]
    ) -> str | None:
        """Return what is wrong with the file of the segment that holds *offsets* (the first, and the one behind the last) in *end* bytes."""
        path = stem + TRANSACTION_INDEX_SUFFIX
        base_offset, next_offset = offsets
        found = list(walk_transactions(content.mapping, end, base_offset, self._open, next_offset))
        if not self._filesystem.exists(path) or not self._filesystem.file_size(path):
            return None
        content_of_file = index_file.read_entries(self._filesystem, path, end)
        if content_of_file.is_whole and (
            content_of_file.covers < end or is_of_before(content_of_file.entries)
        ):
            return None  # it does not tell everything yet, or not where it ends, and is not used
        in_file = TransactionIndex(self._filesystem, path).read_file(base_offset, next_offset, end)
        if not in_file.position or not in_file.is_in_file:
            return (
                f"expected whole blocks that tell of {end} bytes of this segment, found other bytes"
            )
        # Of one that began before the log does, the log tells less or nothing.
        older = {e.producer_id for e in in_file.aborted if e.first_offset < self._log_start}
        older |= {
            i for i, (_, first) in in_file.open_transactions.items() if first < self._log_start
        }
        aborted = [e for e in in_file.aborted if e.first_offset >= self._log_start]
        told = {_key(e) for e in aborted}
        found = [e for e in found if e.producer_id not in older or _key(e) in told]
        for what, expected, indexed in (
            (
                "aborted transactions",
                {_key(e): e.first_offset for e in found},
                {_key(e): e.first_offset for e in aborted},
            ),
            (
                "open transactions",
                {i: first for i, (_, first) in self._open.items() if i not in older},
                {i: first for i, (_, first) in in_file.open_transactions.items() if i not in older},
            ),
        ):
            if not self._agree(expected, indexed):
                return (
                    f"up to byte {end}: expected {what} {expected!r:.200}, found {indexed!r:.200}"
                )
        return None

    def _agree(self, expected: Mapping[Any, int], indexed: Mapping[Any, int]) -> bool:
        """Whether both tell of the same transactions with the same first offsets.

        Compaction takes the records of aborted transactions, before an index is made again as well: that may tell of more.
        """
        if not self._may_have_gaps:
            return expected == indexed
        return all(indexed.get(key, first + 1) <= first for key, first in expected.items())


def _key(entry: AbortedTransaction) -> tuple[int, int]:
    return entry.producer_id, entry.last_offset

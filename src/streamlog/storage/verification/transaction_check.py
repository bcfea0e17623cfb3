"""Holding the files of aborted transactions against the markers in the log (TXN-15)."""

from __future__ import annotations

from streamlog.runtime import FileSystem
from streamlog.storage import index_file
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.file_names import TRANSACTION_INDEX_SUFFIX
from streamlog.storage.transaction_index import TransactionIndex
from streamlog.storage.transaction_walk import walk_transactions
from streamlog.storage.verification.file_bytes import FileBytes


class TransactionCheck:
    """Goes through the segments of a log in order. What is open where one ends goes on in the next."""

    def __init__(self, filesystem: FileSystem, log_start: int) -> None:
        """*log_start*: transactions that began below it cannot be told whole."""
        self._filesystem = filesystem
        self._log_start = log_start
        self._open: dict[int, tuple[int, int]] = {}

    def problem(
        self, stem: str, content: FileBytes, end: int, offsets: tuple[int, int]
    ) -> str | None:
        """Return what is wrong with the file of the segment that holds *offsets* (the first, and the one behind the last) in *end* bytes."""
        path = stem + TRANSACTION_INDEX_SUFFIX
        base_offset, next_offset = offsets
        walk = walk_transactions(content.mapping, end, base_offset, self._open, next_offset)
        in_log = self._told(list(walk)), self._whole(self._open)
        if not self._filesystem.exists(path) or not self._filesystem.file_size(path):
            return None
        content_of_file = index_file.read_entries(self._filesystem, path, end)
        if content_of_file.is_whole and content_of_file.covers < end:
            return None  # it does not tell everything yet, and is not used
        in_file = TransactionIndex(self._filesystem, path).read_file(base_offset, next_offset, end)
        if not in_file.position or not in_file.is_in_file:
            return (
                f"expected whole blocks that tell of {end} bytes of this segment, found other bytes"
            )
        in_index = self._told(in_file.aborted), self._whole(in_file.open_transactions)
        for what, expected, told in zip(
            ("aborted transactions", "open transactions"), in_log, in_index, strict=True
        ):
            if expected != told:
                return f"up to byte {in_file.position}: expected {what} {expected!r:.200}, found {told!r:.200}"
        return None

    def _told(self, aborted: list[AbortedTransaction]) -> list[tuple[int, int, int]]:
        return [
            (entry.producer_id, max(entry.first_offset, self._log_start), entry.last_offset)
            for entry in aborted
        ]

    def _whole(self, opened: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        # One that began before the log does is seen from the log start on; what is left of it may be nothing.
        return {
            i: (epoch, first) for i, (epoch, first) in opened.items() if first > self._log_start
        }

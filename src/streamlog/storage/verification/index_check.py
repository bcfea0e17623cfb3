"""Holding the two sparse indexes of a segment against the batches of its log."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from streamlog.record.layout import BatchHeader
from streamlog.runtime import FileSystem
from streamlog.storage import index_file
from streamlog.storage.file_names import OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX
from streamlog.structs import NO_TIMESTAMP

_OFFSET_ENTRY = struct.Struct("<II")
_TIME_ENTRY = struct.Struct("<qq")


class IndexCheck:
    """Reads the index files of one segment, is told of its batches in order, and then says what does not agree.

    Made before the log is read: what an index tells of is then in the log, also where somebody is appending.
    """

    def __init__(self, filesystem: FileSystem, stem: str, base_offset: int, log_bytes: int) -> None:
        """*stem* is the path of the log file without ``.log``."""
        self.offset_path, self.time_path = stem + OFFSET_INDEX_SUFFIX, stem + TIME_INDEX_SUFFIX
        self._base_offset = base_offset
        self._offsets = index_file.read_entries(filesystem, self.offset_path, log_bytes)
        self._times = index_file.read_entries(filesystem, self.time_path, log_bytes)
        self._problems: list[tuple[str, str]] = []
        offsets = self._entries(self.offset_path, self._offsets.entries, _OFFSET_ENTRY)
        self._positions = {position: relative for relative, position in offsets}
        times = list(self._entries(self.time_path, self._times.entries, _TIME_ENTRY))
        if [entry[0] for entry in times] != sorted({entry[0] for entry in times}):
            self._problem(self.time_path, "expected rising timestamps")
        self._last_indexed_ms = times[-1][0] if times else NO_TIMESTAMP
        self._timestamps = {relative: timestamp_ms for timestamp_ms, relative in times}
        self._greatest_ms = NO_TIMESTAMP

    def _entries(self, path: str, data: bytes, layout: struct.Struct) -> Iterator[tuple[int, int]]:
        whole = len(data) - len(data) % layout.size
        if whole != len(data):
            self._problem(path, f"expected entries of {layout.size} bytes, found {len(data)} bytes")
        yield from layout.iter_unpack(data[:whole])

    def _problem(self, path: str, message: str) -> None:
        self._problems.append((path, message))

    def see(self, position: int, header: BatchHeader) -> None:
        """Take the batch at *position*."""
        self._see_end(position)
        relative = header.base_offset - self._base_offset
        indexed = self._positions.pop(position, relative)
        if indexed != relative:
            self._problem(
                self.offset_path,
                f"entry of byte {position}: expected offset {header.base_offset}, found {indexed + self._base_offset}",
            )
        timestamp_ms = self._timestamps.pop(relative, None)
        if timestamp_ms is not None and not (
            timestamp_ms == header.max_timestamp_ms > self._greatest_ms
        ):
            self._problem(
                self.time_path,
                f"entry of offset {header.base_offset}: expected the greatest timestamp so far, "
                f"{max(header.max_timestamp_ms, self._greatest_ms)}, found {timestamp_ms}",
            )
        self._greatest_ms = max(self._greatest_ms, header.max_timestamp_ms)

    def _see_end(self, position: int) -> None:
        """The time index tells everything up to there, so the greatest timestamp until then has to be its last."""
        if position == self._times.covers and self._greatest_ms != self._last_indexed_ms:
            self._problem(
                self.time_path,
                f"up to byte {position}: expected the greatest timestamp {self._greatest_ms}, found {self._last_indexed_ms}",
            )

    def problems(
        self, end: int, *, is_closed: bool, has_damage: bool = False
    ) -> list[tuple[str, str]]:
        """Return (path, message) of everything that does not agree, the log ending at byte *end*.

        Unless *is_closed* the indexes may be torn, or tell of what was lost; opening the log sees to that. What they say of a log that
        *has_damage* may be right, and cannot be held against anything.
        """
        both = (self.offset_path, self._offsets), (self.time_path, self._times)
        for path, content in both if is_closed else ():
            if not content.is_whole:
                self._problem(
                    path, "expected whole blocks with the right checksums, found other bytes"
                )
            elif content.covers > end and not has_damage:
                self._problem(path, f"expected to tell of {end} bytes, found {content.covers}")
        if has_damage:
            return self._problems
        if end:
            self._see_end(end)
        for position, relative in self._positions.items():
            if position < end or is_closed:
                self._problem(
                    self.offset_path,
                    f"expected the batch of offset {relative + self._base_offset} at byte {position}, found none",
                )
        for relative in self._timestamps if is_closed else ():
            self._problem(
                self.time_path,
                f"expected a batch at offset {relative + self._base_offset}, found none",
            )
        return self._problems

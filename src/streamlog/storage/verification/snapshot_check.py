"""Holding the snapshots of producers against the batches of the log (IDM-7)."""

from __future__ import annotations

from typing import NamedTuple

from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.record.layout import BatchHeader
from streamlog.record.sequence import advance
from streamlog.runtime import FileSystem
from streamlog.storage.checkpoint_file import decode_checkpoint
from streamlog.storage.file_names import join, snapshot_offset_of
from streamlog.storage.producer_state import ProducerStates
from streamlog.structs import TopicPartition

SNAPSHOT_KIND = "SNAPSHOT"
MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024


class _Told(NamedTuple):
    first_sequence: int
    last_sequence: int
    timestamp_ms: int


class SnapshotCheck:
    """Reads the snapshots of one log, is told of its batches in order, and then says what does not agree."""

    def __init__(self, filesystem: FileSystem, directory: str, names: list[str]) -> None:
        """Raises PermissionError."""
        self._directory = directory
        self._problems: list[tuple[str, str]] = []
        # What the snapshots tell of a batch, by producer id and base offset.
        self._told: dict[tuple[int, int], list[tuple[str, _Told]]] = {}
        self.offsets: dict[str, int] = {}
        for name in names:
            offset = snapshot_offset_of(name)
            path = join(directory, name)
            if offset is not None and filesystem.exists(path):
                self.offsets[path] = offset
                try:
                    self._read(filesystem, path)
                except PermissionError:
                    raise  # which says nothing of the file
                except (OSError, ValueError, CorruptLogError, UnsupportedFormatError) as error:
                    self._problems.append((path, str(error).removeprefix(f"{path}: ")))

    def _read(self, filesystem: FileSystem, path: str) -> None:
        for producer_id, entry in read_snapshot(filesystem, path).entries.items():
            for first, last, base_offset, timestamp_ms in entry.recent:
                told = _Told(first, last, timestamp_ms)
                self._told.setdefault((producer_id, base_offset), []).append((path, told))

    def see(self, header: BatchHeader) -> None:
        """Take a batch of the log."""
        told_by = self._told.pop((header.producer_id, header.base_offset), None)
        if told_by is None:
            return
        found = _Told(
            header.base_sequence,
            advance(header.base_sequence, header.last_offset_delta),
            header.max_timestamp_ms,
        )
        for path, told in told_by:
            if told != found:
                message = (
                    f"batch at offset {header.base_offset} of producer {header.producer_id}: "
                    f"expected sequences and timestamp {tuple(found)}, found {tuple(told)}"
                )
                self._problems.append((path, message))

    def problems(
        self, log_start: int, log_end: int, *, may_have_gaps: bool, may_be_ahead: bool
    ) -> list[tuple[str, str]]:
        """Return (path, message) of everything that does not agree with a log of these bounds.

        *may_have_gaps*: compaction may have taken batches; *may_be_ahead*: the log was not closed.
        """
        for (producer_id, base_offset), told_by in self._told.items():
            if (
                may_have_gaps
                or base_offset < log_start
                or (may_be_ahead and base_offset >= log_end)
            ):
                continue
            for path, _ in told_by:
                message = f"expected a batch of producer {producer_id} at offset {base_offset}, found none"
                self._problems.append((path, message))
        for path, offset in self.offsets.items():
            if offset > log_end and not may_be_ahead:
                self._problems.append((path, f"expected an offset up to the end, {log_end}"))
        return self._problems


def read_snapshot(filesystem: FileSystem, path: str) -> ProducerStates:
    """Return what the snapshot at *path* says. Raises OSError, ValueError, CorruptLogError or UnsupportedFormatError when it cannot
    be used.
    """
    data = filesystem.read_file(path, MAX_SNAPSHOT_BYTES)
    content = decode_checkpoint(data, SNAPSHOT_KIND, path)
    place = "/".join(path.split("/")[-2:])
    if content.get("place") != place:
        raise ValueError(
            f"expected the snapshot of {place}, found that of {content.get('place')!r:.100}"
        )
    states = ProducerStates(TopicPartition(place.split("/", maxsplit=1)[0], 0))
    states.unpack(content.get("producers"))
    return states

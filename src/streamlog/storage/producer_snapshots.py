"""Snapshots of the producers of a log: where finding them again starts, so that it need not start at the log's beginning.

``<offset>.snap``, 20 digits like a segment's name, holds what was known of every producer when the log ended at that offset: an
envelope as in ``checkpoint_file.py`` of kind ``SNAPSHOT``, never synced. Its payload:

========= ==========================================================================================================
place     ``orders-0/00000000000000000042.snap``: what tells it from the snapshot of another log, or of another offset
producers a list of lists of integers: producer id, epoch, first offset of the open transaction (-1 = none), epoch of the coordinator,
          offset and timestamp of the last marker (-1 = none); then first sequence, last sequence, base offset and greatest timestamp
          of each of the last batches, oldest first
========= ==========================================================================================================

Only the log is truth: a snapshot that is missing or damaged costs reading more headers, and nothing else.
"""

from __future__ import annotations

import logging

from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.runtime import FileSystem
from streamlog.storage.checkpoint_file import decode_checkpoint, encode_checkpoint
from streamlog.storage.file_names import SNAPSHOT_SUFFIX, join, segment_stem
from streamlog.storage.producer_state import ProducerStates

_logger = logging.getLogger("streamlog")

_KIND = "SNAPSHOT"

#: A million producers.
_MAX_BYTES = 256 * 1024 * 1024

#: So many are kept besides those that stand where a segment begins: the latest one may be torn, or ahead of what a power loss leaves.
_KEPT = 2


class ProducerSnapshots:
    """The snapshot files of one log.

    Threads: the holder of the log's lock. Source: Kafka ``SnapshotFile`` and ``ProducerStateManager``.
    """

    def __init__(self, filesystem: FileSystem, directory: str, offsets: list[int]) -> None:
        """*offsets* of the files that are in *directory*, in order."""
        self._filesystem = filesystem
        self._directory = directory
        self.offsets = offsets

    @property
    def latest_offset(self) -> int:
        """The offset of the last snapshot; -1 without one."""
        return self.offsets[-1] if self.offsets else -1

    def write(self, offset: int, states: ProducerStates, base_offsets: list[int]) -> None:
        """Write what *states* hold at *offset*, which is behind all other snapshots, and delete those that nobody will need.

        *base_offsets* of the segments: what stands there stays. Raises OSError.
        """
        path = self._path(offset)
        content = {"place": _place(path), "producers": states.pack()}
        data = encode_checkpoint(_KIND, content)
        # First: whatever is left of it after Ctrl-C or on a full disk has to be found when the log is cut.
        self.offsets.append(offset)
        file = self._filesystem.open(path, create=True)
        try:
            if file.size():
                file.truncate(0)
            file.write_at(0, data)
        finally:
            file.close()
        spared = {*base_offsets, *self.offsets[-_KEPT:]}
        self._delete([offset for offset in self.offsets if offset not in spared])

    def load(self, states: ProducerStates, log_level: int = logging.WARNING) -> int | None:
        """Put the last snapshot that is good into *states*, and return its offset; None when none is. Never raises for what it finds,
        but logs it.
        """
        for offset in reversed(self.offsets):
            path = self._path(offset)
            try:
                content = decode_checkpoint(
                    self._filesystem.read_file(path, _MAX_BYTES), _KIND, path
                )
                if content.get("place") != _place(path):
                    raise ValueError(f"expected that of {_place(path)}")
                states.unpack(content.get("producers"))
            except (OSError, ValueError, CorruptLogError, UnsupportedFormatError) as error:
                _logger.log(log_level, "%s: not used, the log is read instead: %s", path, error)
                continue
            return offset
        return None

    def delete_above(self, end_offset: int) -> bool:
        """Delete those of offsets above *end_offset*, where the log ends now; return whether there were any. Raises OSError."""
        return self._delete([offset for offset in self.offsets if offset > end_offset])

    def delete_below(self, offset: int) -> bool:
        """Delete those of lesser offsets than *offset*, where the first segment begins. Raises OSError."""
        return self._delete([known for known in self.offsets if known < offset])

    def _delete(self, offsets: list[int]) -> bool:
        for offset in offsets:
            path = self._path(offset)
            if self._filesystem.exists(path):
                self._filesystem.unlink(path)
            self.offsets.remove(offset)
        return bool(offsets)

    def _path(self, offset: int) -> str:
        return join(self._directory, segment_stem(offset) + SNAPSHOT_SUFFIX)


def _place(path: str) -> str:
    return "/".join(path.split("/")[-2:])

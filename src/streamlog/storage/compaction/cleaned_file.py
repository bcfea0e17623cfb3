"""The file that a pass writes in place of a few segments, until it is one of them."""

from __future__ import annotations

import logging

from streamlog.errors import StorageError
from streamlog.runtime import FileSystem
from streamlog.storage.batch_scan import body_is_good, headers_from
from streamlog.storage.file_names import CLEANED_SUFFIX, LOG_SUFFIX, join, segment_stem
from streamlog.storage.room import Room

_logger = logging.getLogger("streamlog")

#: So much is collected before it is written.
_CHUNK_BYTES = 256 * 1024


def cleaned_path(directory: str, base_offset: int) -> str:
    """Return the path of the file that is to become the segment at *base_offset*."""
    return join(directory, segment_stem(base_offset) + LOG_SUFFIX + CLEANED_SUFFIX)


class CleanedFile:
    """Written from front to back, synced, read once more, and then somebody else's. Threads: one."""

    def __init__(
        self, filesystem: FileSystem, directory: str, base_offset: int, room: Room
    ) -> None:
        """Make the file, in place of one that an earlier pass may have left. Raises OSError."""
        self._filesystem = filesystem
        self._room = room
        self._base_offset = base_offset
        self.path = cleaned_path(directory, base_offset)
        if filesystem.exists(self.path):
            filesystem.unlink(self.path)
        self._file = filesystem.open(self.path, create=True, exclusive=True)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._written_bytes = 0
        #: How many bytes at the front are still to be filled in.
        self.left_out_bytes = 0

    @property
    def size_bytes(self) -> int:
        """How much was put into it."""
        return self._written_bytes + self._waiting_bytes - self.left_out_bytes

    def leave_out(self, size: int) -> None:
        """Leave *size* bytes out, which are to come before what is put. For a file into which nothing was put yet."""
        self.left_out_bytes = self._written_bytes = size

    def fill(self, position: int, data: bytes) -> None:
        """Write *data*, which is what was left out from *position* on, the last part of it first. Raises as `put` does."""
        self._room.check(len(data))
        self._file.write_at(position, data)
        self.left_out_bytes = position

    def put(self, data: bytes) -> None:
        """Append *data*. Raises DiskFullError, or another OSError."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _CHUNK_BYTES:
            self._write()

    def _write(self) -> None:
        self._room.check(self._waiting_bytes)
        self._file.write_at(self._written_bytes, b"".join(self._waiting))
        self._written_bytes += self._waiting_bytes
        self._waiting, self._waiting_bytes = [], 0

    def finish(self, end_offset: int) -> None:
        """Write and sync what there is, and make sure that it is good batches which tile the offsets up to *end_offset*.

        Raises OSError. Cost: reads all of it once.
        """
        self._write()
        self._file.sync()
        size, offset, position = self._written_bytes, self._base_offset, 0
        mapping = self._file.map(size, writable=False)
        for position, header in headers_from(mapping, 0, size):
            if header.base_offset != offset or not body_is_good(mapping, position, header):
                break
            offset = header.next_offset
            position += header.aligned_size
        if (position, offset) != (size, end_offset):
            raise StorageError(
                f"{self.path}: expected good batches up to offset {end_offset} in {size} bytes, found {offset} in {position}"
            )

    def close(self, *, unlink: bool) -> None:
        """Let go of the file, and delete it if it still has its name. Never raises OSError: opening the directory sees to what is left."""
        self._file.close()
        try:
            if unlink and self._filesystem.exists(self.path):
                self._filesystem.unlink(self.path)
        except OSError as error:
            _logger.warning("%s: not deleted: %s", self.path, error)

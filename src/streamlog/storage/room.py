"""Room to write into: how much of the disk may be taken."""

from __future__ import annotations

from streamlog.errors import DiskFullError
from streamlog.runtime import FileSystem

#: Preallocation of records stops while this much of the disk is left, so that checkpoints, committed offsets (whose topic is not
#: held to it) and a clean close find room.
DEFAULT_MIN_FREE_BYTES = 16 * 1024 * 1024


class Room:
    """The disk below one data directory, as its segments may use it. Threads: any."""

    def __init__(self, filesystem: FileSystem, path: str, min_free_bytes: int | None) -> None:
        self._filesystem = filesystem
        self._path = path
        self._min_free_bytes = DEFAULT_MIN_FREE_BYTES if min_free_bytes is None else min_free_bytes

    def check(self, wanted_bytes: int) -> None:
        """Raise DiskFullError when *wanted_bytes* more would not leave the reserve."""
        if not self._min_free_bytes:
            return
        free_bytes = self._filesystem.free_bytes(self._path)
        if free_bytes - wanted_bytes < self._min_free_bytes:
            raise DiskFullError(
                f"{self._path}: expected {wanted_bytes} bytes and {self._min_free_bytes} in reserve, "
                f"found {free_bytes} bytes free"
            )

"""Where recovery puts bytes before it cuts them off: nothing that might be somebody's data is destroyed."""

from __future__ import annotations

import json

from streamlog.runtime import Clock, FileSystem
from streamlog.storage.file_names import join

_COPY_BYTES = 1 << 20


class Quarantine:
    """``<data>/quarantine/<time>-<log>/``: the bytes, and a ``reason.json`` that says where they come from."""

    def __init__(self, filesystem: FileSystem, clock: Clock, root: str) -> None:
        self._filesystem = filesystem
        self._clock = clock
        self._root = root

    def keep(self, log_name: str, pieces: list[tuple[str, int, int]], reason: str) -> str:
        """Copy each (path, start, end) and return the directory that holds the copies, once they are on the disk.

        *log_name* is the name of the log's directory. Raises OSError when the copy cannot be made: then nothing may be cut.
        """
        filesystem = self._filesystem
        directory = self._new_directory(log_name)
        filesystem.make_dir(directory)
        for path, start, end in pieces:
            source = filesystem.open(path, read_only=True)
            target = filesystem.open(
                join(directory, f"{path.rsplit('/', 1)[-1]}.{start}"), create=True, exclusive=True
            )
            try:
                for position in range(start, end, _COPY_BYTES):
                    data = source.read_at(position, min(_COPY_BYTES, end - position))
                    target.write_at(position - start, data)
                target.sync()
            finally:
                source.close()
                target.close()
        listing = [
            {"file": path, "from_byte": start, "to_byte": end} for path, start, end in pieces
        ]
        self._say_why(directory, {"log": log_name, "reason": reason, "pieces": listing})
        return directory

    def adopt(self, path: str, reason: str) -> str:
        """Move the whole log directory at *path* here, and return where it is now."""
        directory = self._new_directory(path.rsplit("/", 1)[-1])
        self._filesystem.rename(path, directory)
        self._say_why(directory, {"directory": path, "reason": reason})
        return directory

    def _new_directory(self, log_name: str) -> str:
        number, stem = 0, f"{self._clock.time_ms()}-{log_name[:200]}"
        while self._filesystem.exists(directory := join(self._root, f"{stem}-{number}")):
            number += 1
        return directory

    def _say_why(self, directory: str, record: dict[str, object]) -> None:
        text = json.dumps(record, indent=2).encode()
        self._filesystem.write_atomically(join(directory, "reason.json"), text)
        self._filesystem.sync_dir(self._root)

"""Storing once more what recovery found, so that the next sync means what it says."""

from __future__ import annotations

from streamlog.runtime import FileSystem
from streamlog.storage.segment import Segment

_COPY_BYTES = 1 << 20


def store_again(filesystem: FileSystem, segments: list[Segment], position: int) -> None:
    """Write what was scanned, from *position* of the first of *segments* on, once more to the same place.

    The kernel may have failed to write these pages and have told the process that died, or nobody. Then it takes them for
    written, and the next sync would report success for what is only in its cache (fsyncgate). Storing them makes them dirty.
    """
    for segment in segments:
        if segment.position > position:
            file = filesystem.open(segment.path)
            for start in range(position, segment.position, _COPY_BYTES):
                data = file.read_at(start, min(_COPY_BYTES, segment.position - start))
                file.write_at(start, data)
            file.close()
        position = 0

"""CRC-32C (Castagnoli), the one checksum of the format.

The C implementation is required: a pure-Python CRC-32C runs at about 16 MB/s, so reopening after a crash would take minutes where
the wheel takes milliseconds. A second algorithm for machines without the wheel would put two formats on disk.
"""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c

if google_crc32c.implementation != "c":  # pragma: no cover - depends on the installed wheel
    raise ImportError(
        "streamlog needs the C implementation of google-crc32c, found the "
        f"{google_crc32c.implementation!r} one; install a binary wheel of google-crc32c for this platform"
    )

#: ``crc32c(data) -> int`` of bytes. Threads: any.
crc32c: Callable[[bytes], int] = google_crc32c.value

#: ``extend_crc32c(crc, data) -> int``: of what *crc* is the checksum of, followed by *data*. Threads: any.
extend_crc32c: Callable[[int, bytes], int] = google_crc32c.extend

_PIECE_BYTES = 32 * 1024


def crc32c_from(data: bytes, start: int) -> int:
    """Return the checksum of what *data* has from *start* on. Threads: any.

    Copied piece by piece, for a sum takes bytes alone: a large copy would be memory fresh from the system each time, whose page
    faults cost several times as much as summing it.
    """
    stop = start + _PIECE_BYTES
    crc = crc32c(data[start:stop])
    size = len(data)
    while stop < size:
        crc = extend_crc32c(crc, data[stop : stop + _PIECE_BYTES])
        stop += _PIECE_BYTES
    return crc

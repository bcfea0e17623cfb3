"""How many bytes of a batch a record will take, before it is packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.record_future import RecordFuture
from streamlog.record.columns import DIRECTORY_SIZE
from streamlog.record.layout import HEADER_SIZE

if TYPE_CHECKING:
    from streamlog.client.producer_batch import Row
    from streamlog.record import Headers

BATCH_OVERHEAD_BYTES = HEADER_SIZE + DIRECTORY_SIZE + 4 * 5
"""What a batch takes besides its records: header, directory, and the length of each column."""
ROW_OVERHEAD_BYTES = 6
"""What a record takes besides its value: at most five bytes for its length, and a small timestamp."""
KEY_OVERHEAD_BYTES = 3


def row_bytes(row: Row) -> int:
    """Return what a row will take in a batch, or a little more."""
    if isinstance(row, bytes):
        return len(row) + ROW_OVERHEAD_BYTES
    if isinstance(row, RecordFuture):
        key_size = row.key_size
        return (
            row._size + ROW_OVERHEAD_BYTES + (key_size + KEY_OVERHEAD_BYTES if key_size >= 0 else 0)
        )
    value, key, timestamp_ms, headers, _, _ = row
    return record_bytes(value, key, timestamp_ms, headers)


def record_bytes(
    value: bytes | None, key: bytes | None, timestamp_ms: int | None, headers: Headers
) -> int:
    """Return what a record will take in a batch, or a little more."""
    size = ROW_OVERHEAD_BYTES
    if value is not None:
        size += len(value)
    if key is not None:
        size += len(key) + (KEY_OVERHEAD_BYTES if len(key) < 1 << 16 else 5)
    if timestamp_ms is not None:
        size += 8  # it may be far from the others
    for name, content in headers:
        size += 4 * len(name) + 10 + (0 if content is None else len(content))
    return size

"""Building batches: from whole columns at once (the producer's path) or record by record."""

from __future__ import annotations

from collections.abc import Sequence

from streamlog.record.columns import Headers, encode_columns, encode_single_value
from streamlog.record.pending_batch import PendingBatch


def build_batch(
    values: Sequence[bytes | None],
    timestamps_ms: int | Sequence[int],
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Headers] | None = None,
) -> PendingBatch:
    """Return a batch of these records, in this order.

    *values* must not be empty. *timestamps_ms* is one timestamp for all records, or one for each. *keys* None means that every
    key is null; *headers* None means that no record has headers. Columns must have equal lengths and hold exactly ``bytes`` or
    ``None`` (``str`` for header names): the caller checked them, nothing here looks at a single record.
    """
    count = len(values)
    if isinstance(timestamps_ms, int):
        first = lowest = greatest = timestamps_ms
        deltas = None
    else:
        first, lowest, greatest = timestamps_ms[0], min(timestamps_ms), max(timestamps_ms)
        deltas = None if lowest == greatest else [timestamp - first for timestamp in timestamps_ms]
    if keys is not None:
        null_keys = keys.count(None)
        if null_keys == count:
            keys = None
    else:
        null_keys = count
    if headers is not None and not any(headers):
        headers = None
    body = encode_columns(values, keys, deltas, headers)
    return PendingBatch(body, count, first, greatest, lowest, null_keys > 0)


def build_single_value_batch(value: bytes, timestamp_ms: int) -> PendingBatch:
    """Return a batch of one record that has a value and nothing else: the hot path of ``linger_ms=0``."""
    return PendingBatch(encode_single_value(value), 1, timestamp_ms, timestamp_ms)


class BatchBuilder:
    """Collects records one by one into columns; for callers off the hot path (coordinators, tests, tools).

    >>> builder = BatchBuilder()
    >>> builder.append(b"value", key=b"key", timestamp_ms=1_700_000_000_000)
    >>> builder.build().record_count
    1
    """

    def __init__(self) -> None:
        self._values: list[bytes | None] = []
        self._keys: list[bytes | None] = []
        self._timestamps_ms: list[int] = []
        self._headers: list[Headers] = []

    def __len__(self) -> int:
        return len(self._values)

    def append(
        self,
        value: bytes | None,
        key: bytes | None = None,
        *,
        timestamp_ms: int,
        headers: Headers = (),
    ) -> None:
        """Add one record after those added before."""
        self._values.append(value)
        self._keys.append(key)
        self._timestamps_ms.append(timestamp_ms)
        self._headers.append(headers)

    def build(self) -> PendingBatch:
        """Return the batch of everything added so far. Raises ValueError when that is nothing."""
        if not self._values:
            raise ValueError("a batch has at least one record")
        return build_batch(self._values, self._timestamps_ms, self._keys, self._headers)

"""What a record is taken to need in a batch."""

from __future__ import annotations

import pytest

from streamlog.client.record_future import RecordFuture
from streamlog.client.row_sizes import BATCH_OVERHEAD_BYTES, record_bytes, row_bytes
from streamlog.record import build_batch


@pytest.mark.parametrize("size", [0, 1, 100, 255, 256, 65_535, 65_536, 300_000])
def test_the_estimate_of_a_batch_is_never_below_its_size(size: int) -> None:
    """REC-6: it is compared with ``max_request_size`` before anything is packed."""
    headers = (("name", bytes(size)), ("ü" * 20, None))
    for value, key, timestamps, row_headers in (
        (bytes(size), None, None, ()),
        (bytes(size), bytes(size), None, ()),
        (None, bytes(size), 2**62, ()),
        (bytes(size), None, 2**62, headers),
    ):
        rows = 20
        times = [0] * rows if timestamps is None else [0] + [timestamps] * (rows - 1)
        batch = build_batch(
            [value] * rows,
            times,
            None if key is None else [key] * rows,
            [row_headers] * rows if row_headers else None,
        )
        estimate = record_bytes(value, key, timestamps, row_headers) * rows + BATCH_OVERHEAD_BYTES
        assert batch.size_bytes <= estimate
        assert estimate <= batch.size_bytes * 2 + 25 * rows + BATCH_OVERHEAD_BYTES


def future_of(value: bytes) -> RecordFuture:
    future = RecordFuture()
    future._slot, future._size = value, len(value)
    return future


def test_rows_of_every_kind_have_the_size_of_their_record() -> None:
    value, key = bytes(50), bytes(7)
    keyed = future_of(value)
    keyed._key = key
    assert row_bytes(value) == row_bytes(future_of(value)) == record_bytes(value, None, None, ())
    assert row_bytes(keyed) == record_bytes(value, key, None, ())
    assert row_bytes((value, key, 5, (), None, None)) == record_bytes(value, key, 5, ())

"""What must hold of one batch by itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from streamlog.errors import RecordDecodeError, StreamlogError
from streamlog.record.batch_view import BatchView
from streamlog.record.codec import load_library
from streamlog.record.control import read_marker
from streamlog.record.layout import KAFKA_V2_ENCODING

#: What the records of one of the broker's own topics are held against: raises ValueError or a StreamlogError.
DecodeRecord = Callable[[bytes | None, bytes | None], object]


def can_decompress() -> bool:
    """Return whether compressed batches can be looked into here."""
    try:
        load_library()
    except ImportError:
        return False
    return True


def batch_problem(batch: BatchView, decode: DecodeRecord | None) -> str | None:
    """Return what is wrong with the records of *batch*, whose checksums are right; None when nothing is.

    Decodes everything, which is what tells bytes that were damaged from bytes that were written wrong.
    """
    if not batch.record_count:
        return (
            f"expected no body without records, found {len(batch.body)} bytes"
            if batch.body
            else None
        )
    # One record and nothing but its value: there is nothing else to look at, and most small batches are like that.
    is_single_value = not batch.attributes and batch.plain_value is not None
    if is_single_value and decode is None and batch.first_timestamp_ms <= batch.max_timestamp_ms:
        return None
    try:
        batch.columns.check()
        offsets, timestamps = list(batch.offsets()), batch.timestamps_ms()
        if len(offsets) != batch.record_count or len(timestamps) != batch.record_count:
            return f"expected {batch.record_count} offsets and timestamps, found {len(offsets)} and {len(timestamps)}"
        inside = all(batch.base_offset <= offset < batch.next_offset for offset in offsets)
        if not inside or not all(before < after for before, after in pairwise(offsets)):
            return f"expected rising offsets from {batch.base_offset} to {batch.last_offset}, found {offsets!r:.100}"
        if (
            timestamps
            and max(timestamps) > batch.max_timestamp_ms
            and batch.body_encoding != KAFKA_V2_ENCODING  # the word of a client
        ):
            return f"expected timestamps up to {batch.max_timestamp_ms}, found {max(timestamps)}"
        if batch.is_control:
            read_marker(batch)
        elif decode is not None:
            keys = batch.keys() or [None] * batch.record_count
            for key, value in zip(keys, batch.values(), strict=True):
                decode(key, value)
    except (RecordDecodeError, StreamlogError, ValueError) as error:
        return str(error)
    return None

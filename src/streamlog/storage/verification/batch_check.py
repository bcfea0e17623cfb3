"""What must hold of one batch by itself."""

from __future__ import annotations

from collections.abc import Callable

from streamlog.errors import StreamlogError
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
        # Counts and offsets are held against the header as well: the columns are not made otherwise.
        batch.columns.check()
        latest_ms = max(batch.timestamps_ms())
        # In a client's batch it is the client's word, which nobody checked.
        if latest_ms > batch.max_timestamp_ms and batch.body_encoding != KAFKA_V2_ENCODING:
            return f"expected timestamps up to {batch.max_timestamp_ms}, found {latest_ms}"
        if batch.is_control:
            read_marker(batch)
        elif decode is not None:
            keys = batch.keys() or [None] * batch.record_count
            for key, value in zip(keys, batch.values(), strict=True):
                decode(key, value)
    except (StreamlogError, ValueError) as error:
        return str(error)
    return None

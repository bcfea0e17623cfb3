"""Finding aborted transactions in a log by its headers and markers alone."""

from __future__ import annotations

from collections.abc import Iterator

from streamlog.errors import RecordDecodeError
from streamlog.record.batch_view import BatchView
from streamlog.record.control import ControlType, read_marker
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE, TRANSACTIONAL_BIT, BatchHeader
from streamlog.runtime import Mapping
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.batch_scan import header_at, resync


def walk_transactions(
    mapping: Mapping, position: int, end: int, base_offset: int, open_transactions: dict[int, int]
) -> Iterator[AbortedTransaction]:
    """Yield each transaction that is aborted between *position* and *end* of the segment from *base_offset* on.

    *open_transactions*, first offsets by producer id, is brought up to date on the way: give those that are open at *position*.
    Damage is stepped over, and so is a batch that comes again.
    """
    behind = base_offset
    while position < end:
        header = header_at(mapping, position, end)
        if header is None:
            following = resync(mapping, position, end, behind)
            if following is None:
                return
            position, header = following
        if header.base_offset >= behind and header.attributes & TRANSACTIONAL_BIT:
            producer_id = header.producer_id
            if not header.attributes & CONTROL_BIT:
                open_transactions.setdefault(producer_id, header.base_offset)
            else:
                first_offset = open_transactions.pop(producer_id, None)
                if first_offset is not None and _is_abort(mapping, position, header):
                    last_stable_offset = min(open_transactions.values(), default=header.next_offset)
                    yield AbortedTransaction(
                        producer_id, first_offset, header.base_offset, last_stable_offset
                    )
        behind = max(behind, header.next_offset)
        position += header.aligned_size


def _is_abort(mapping: Mapping, position: int, header: BatchHeader) -> bool:
    marker = BatchView(header, mapping[position + HEADER_SIZE : position + header.length])
    try:
        control_type, _ = read_marker(marker)
    except (RecordDecodeError, ValueError):
        return False  # a marker that nobody can read: its reader meets it, and says where it is
    return control_type is ControlType.ABORT

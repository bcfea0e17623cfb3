"""Finding aborted transactions in a log by its headers and markers alone."""

from __future__ import annotations

from collections.abc import Iterator

from streamlog.errors import RecordDecodeError
from streamlog.record.batch_view import BatchView
from streamlog.record.control import ControlType, read_marker
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE, TRANSACTIONAL_BIT, BatchHeader
from streamlog.runtime import Mapping
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.batch_scan import body_is_good, header_at, resync


def walk_transactions(
    mapping: Mapping | None,
    end: int,
    base_offset: int,
    open_transactions: dict[int, tuple[int, int]],
    next_offset: int,
) -> Iterator[AbortedTransaction]:
    """Yield each transaction that is aborted in the segment from *base_offset* up to *next_offset*, which ends at the position *end*.

    *open_transactions*, epochs and first offsets by producer id, is brought up to date on the way: give those that are open where
    the segment begins. Damage is stepped over, and so is a batch that comes again, or is of a later segment. Where a producer is
    found in a later transaction, the marker of the one before is gone: nobody knows how that ended, so that it ends there and
    counts as aborted. So do those that are last seen before offsets that are gone: what comes behind *next_offset* may say nothing
    of them.
    """
    position, behind = 0, base_offset
    doubtful: set[int] = set()
    while mapping is not None and position < end:
        header = header_at(mapping, position, end)
        if header is None:
            following = resync(mapping, position, end, behind)
            if following is None:
                break
            position, header = following
        if header.next_offset > next_offset:
            position += header.aligned_size
            continue
        if header.base_offset > behind:
            # Also with good batches before and behind: nothing takes whole ones out of a log but damage.
            doubtful.update(open_transactions)
        if header.base_offset >= behind and header.attributes & TRANSACTIONAL_BIT:
            producer_id, epoch = header.producer_id, header.producer_epoch
            known = open_transactions.get(producer_id)
            doubtful.discard(producer_id)
            is_aborted = False
            if not header.attributes & CONTROL_BIT:
                is_aborted = known is not None and epoch > known[0]
                if known is None or is_aborted:
                    open_transactions[producer_id] = epoch, header.base_offset
            elif known is not None and body_is_good(mapping, position, header):
                # A marker raises the epoch by one (KIP-890): one that raises it by more is of a later transaction.
                is_aborted = epoch > known[0] + 1 or _is_abort(mapping, position, header)
                del open_transactions[producer_id]
            elif known is not None:
                doubtful.add(producer_id)
            if known is not None and is_aborted:
                offsets = (first_offset for _, first_offset in open_transactions.values())
                yield AbortedTransaction(
                    producer_id,
                    known[1],
                    header.base_offset,
                    min(offsets, default=header.next_offset),
                )
        behind = max(behind, header.next_offset)
        position += header.aligned_size
    if behind < next_offset:
        doubtful.update(open_transactions)
    # Below what any of these begins with, so that whoever looks for one does not stop at another.
    stable = min((first_offset for _, first_offset in open_transactions.values()), default=0)
    for producer_id in sorted(doubtful & open_transactions.keys()):
        _, first_offset = open_transactions.pop(producer_id)
        yield AbortedTransaction(producer_id, first_offset, next_offset - 1, stable)


def _is_abort(mapping: Mapping, position: int, header: BatchHeader) -> bool:
    marker = BatchView(header, mapping[position + HEADER_SIZE : position + header.length])
    try:
        control_type, _ = read_marker(marker)
    except (RecordDecodeError, ValueError):
        return False  # a marker that nobody can read: its reader meets it, and says where it is
    return control_type is ControlType.ABORT

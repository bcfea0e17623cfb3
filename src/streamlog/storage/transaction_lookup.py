"""Which transactions of a log were aborted: asked segment by segment, found first where nobody asked before (TXN-14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import ClosedError
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.segment import Segment
from streamlog.storage.transaction_index import KnownTransactions

if TYPE_CHECKING:
    from streamlog.storage.log_segments import LogSegments


def aborted_between(
    segments: LogSegments, start_offset: int, end_offset: int
) -> list[AbortedTransaction]:
    """Return the aborted transactions with an offset from *start_offset* up to, not including, *end_offset*, by marker.

    *end_offset* is at or below the last stable offset: what is open is nobody's to return. Markers may lie far behind; the walk ends
    at the first entry which tells that all later ones begin behind *end_offset*. Raises OSError, and ClosedError when the log is.
    """
    found: list[AbortedTransaction] = []
    offset = start_offset
    segment = segments.floor(offset)
    while segment is not None:
        if _is_known(segments, segment):
            for entry in segment.transactions.ended_from(offset):
                if entry.first_offset < end_offset:
                    found.append(entry)
                if entry.last_stable_offset >= end_offset:
                    return found
            offset = max(offset, segment.next_offset)
        segment = segments.at_or_behind(offset, segment)
    return found


def all_aborted(segments: LogSegments) -> list[AbortedTransaction]:
    """Return the aborted transactions of all segments, by marker, for who is about to change some. Raises as above."""
    found: list[AbortedTransaction] = []
    for segment in segments.in_order():
        if _is_known(segments, segment):
            found.extend(segment.transactions.ended_from(segment.base_offset))
    return found


def _is_known(segments: LogSegments, segment: Segment) -> bool:
    """Return True once it is known what was aborted in *segment*; False if that went while it was looked at."""
    if not segment.transactions.is_known:
        try:
            _find(segments, segment)
        except (ClosedError, FileNotFoundError):
            if segments.floor(segment.base_offset) is segment:
                raise
            # Retention took it, or compaction put another one in its place.
            return False
    return True


def _find(segments: LogSegments, segment: Segment) -> None:
    """Find what was in *segment* when it was opened, and in those before it as far back as it takes to know what was open."""
    waiting: list[tuple[Segment, KnownTransactions]] = []
    open_before: dict[int, tuple[int, int]] | None = None
    current: Segment | None = segment
    while current is not None and open_before is None:
        in_file = current.read_transactions()
        waiting.append((current, in_file))
        if in_file.position:
            break  # it says what was open there
        current = segments.lower(current.base_offset)
        if current is not None:
            open_before = current.transactions.open_at_end
    for current, in_file in reversed(waiting):
        try:
            current.ensure_indexes()
            mapping = current.mapping_for_read() if current.position else None
        except ValueError:
            mapping = None  # the file is shorter than it was: who reads there gets an error
        current.transactions.find(
            in_file,
            open_before or {},
            mapping,
            current.position,
            current.base_offset,
            current.next_offset,
        )
        open_before = current.transactions.open_at_end

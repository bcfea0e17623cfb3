"""What a log knows of one idempotent producer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from streamlog.record.producer_stamp import ProducerStamp, RecentBatch
from streamlog.record.sequence import advance

#: So many batches of a producer are known again when they come twice (IDM-2).
KEPT_BATCHES = 5


class ProducerEntry:
    """Epoch, last batches and open transaction of one producer in one log. Source: Kafka ``ProducerStateEntry``.

    Threads: the holder of the log's lock.
    """

    __slots__ = (
        "coordinator_epoch",
        "first_open_offset",
        "marker_offset",
        "marker_timestamp_ms",
        "producer_epoch",
        "producer_id",
        "recent",
        "stamp",
    )

    def __init__(
        self, producer_id: int, producer_epoch: int, recent: Iterable[RecentBatch] = ()
    ) -> None:
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        #: The last batches of this epoch, oldest first.
        self.recent: deque[RecentBatch] = deque(recent, KEPT_BATCHES)
        #: The offset of the first record of the transaction that is open here, -1 without.
        self.first_open_offset = -1
        #: The last marker: epoch of the coordinator that wrote it, offset, time. -1 without.
        self.coordinator_epoch = -1
        self.marker_offset = -1
        self.marker_timestamp_ms = -1
        #: The stamp that may append without being checked: whatever was appended since its last check was its own.
        self.stamp: ProducerStamp | None = None

    def __repr__(self) -> str:
        return (
            f"<ProducerEntry {self.producer_id} epoch {self.producer_epoch} next {self.next_sequence} "
            f"open from {self.first_open_offset} recent {list(self.recent)}>"
        )

    @property
    def next_sequence(self) -> int:
        """The sequence number that the next batch of this epoch has to begin with."""
        recent = self.recent
        return advance(recent[-1][1], 1) if recent else 0

    @property
    def last_timestamp_ms(self) -> int:
        """The greatest timestamp of the last batch, or that of the marker behind it: what expiry goes by (IDM-5)."""
        recent = self.recent
        if recent and recent[-1][2] > self.marker_offset:
            return recent[-1][3]
        return self.marker_timestamp_ms

    def link(self, stamp: ProducerStamp) -> None:
        """Let *stamp* append unchecked from now on, and no other."""
        if self.stamp is not stamp:
            self.unlink()
            self.stamp = stamp
        stamp.remember = self.recent.append

    def unlink(self) -> None:
        """Have whoever appends next for this producer be checked."""
        stamp = self.stamp
        if stamp is not None:
            stamp.remember = None
            self.stamp = None

    def pack(self) -> list[int]:
        """Return everything but the link: six integers, and four for each batch."""
        return [
            self.producer_id,
            self.producer_epoch,
            self.first_open_offset,
            self.coordinator_epoch,
            self.marker_offset,
            self.marker_timestamp_ms,
            *(number for batch in self.recent for number in batch),
        ]

    @classmethod
    def unpack(cls, fields: list[int]) -> ProducerEntry:
        """Return the entry that :meth:`pack` gave *fields* for. Raises ValueError when no entry did."""
        if len(fields) < _FIXED or (len(fields) - _FIXED) % 4 or set(map(type, fields)) != {int}:
            raise ValueError(f"expected {_FIXED} integers and fours of them, found {fields!r:.100}")
        numbers = fields[_FIXED:]
        recent = zip(numbers[::4], numbers[1::4], numbers[2::4], numbers[3::4], strict=True)
        entry = cls(fields[0], fields[1], recent)
        entry.first_open_offset, entry.coordinator_epoch = fields[2], fields[3]
        entry.marker_offset, entry.marker_timestamp_ms = fields[4], fields[5]
        return entry


_FIXED = 6

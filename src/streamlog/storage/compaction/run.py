"""Records of neighbouring batches on their way into one new batch, with the offsets around them that have no record any more."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from streamlog.record.batch_view import BatchView
from streamlog.record.columns import Headers
from streamlog.record.layout import COMPRESSION_MASK, KAFKA_V2_ENCODING, LOG_APPEND_TIME_BIT
from streamlog.structs import NO_TIMESTAMP

_KIND_MASK = COMPRESSION_MASK | LOG_APPEND_TIME_BIT

#: What offset and timestamp of a record take at most, and what stands in front of key and value, or of the two parts of a header.
_DELTAS_BYTES = 14
_MARKERS_BYTES = 10


class Columns(NamedTuple):
    """Records of one batch."""

    offsets: Sequence[int]
    values: list[bytes | None]
    keys: list[bytes | None]
    timestamps_ms: list[int]
    #: None where none of the batch has any.
    headers: list[Headers] | None

    @classmethod
    def of(cls, batch: BatchView, kept: Sequence[int]) -> Columns:
        """Return the records of *batch* with the numbers *kept*, one of which has a key. Raises RecordDecodeError."""
        found = cls(
            batch.offsets(),
            batch.values(),
            batch.keys() or [],
            batch.timestamps_ms(),
            batch.headers(),
        )
        if len(kept) == batch.record_count:
            return found
        if len(kept) == 1:
            number = kept[0]
            return cls._make(None if column is None else [column[number]] for column in found)
        pick = itemgetter(*kept)
        return cls._make(None if column is None else list(pick(column)) for column in found)

    def size_bytes(self, batch: BatchView) -> int:
        """Return what they take in a batch, at most; *batch* is the one that they are from."""
        count = len(self.offsets)
        header = batch.header
        is_kafka = header.body_encoding == KAFKA_V2_ENCODING
        size = header.uncompressed_size or header.body_size
        if is_kafka or (count < batch.record_count and self.headers is None):
            size = sum(map(len, filter(None, self.values))) + sum(map(len, filter(None, self.keys)))
            size += _MARKERS_BYTES * count
        if is_kafka and self.headers is not None:
            size += sum(map(_headers_bytes, self.headers))
        return size + _DELTAS_BYTES * count


def _headers_bytes(headers: Headers) -> int:
    """Return what the headers of one record take at most."""
    return _MARKERS_BYTES + sum(
        len(name.encode()) + len(value or b"") + _MARKERS_BYTES for name, value in headers
    )


class Run:
    """Offsets from *base_offset* up to `next_offset`, all of one leader epoch, and the records among them, in columns.

    Threads: one.
    """

    __slots__ = (
        "_kind",
        "base_offset",
        "headers",
        "horizon_ms",
        "keys",
        "leader_epoch",
        "max_timestamp_ms",
        "next_offset",
        "offsets",
        "size_bytes",
        "source",
        "timestamps_ms",
        "values",
    )

    def __init__(self, base_offset: int, leader_epoch: int) -> None:
        self.base_offset = self.next_offset = base_offset
        self.leader_epoch = leader_epoch
        #: The batch that the run is equal to, as long as there is one.
        self.source: BatchView | None = None
        self.offsets: list[int] = []
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.timestamps_ms: list[int] = []
        #: None while no record has any.
        self.headers: list[Headers] | None = None
        #: That of the null values in it, None without any.
        self.horizon_ms: int | None = None
        #: The greatest of the batches that were taken, whether their records stayed or not.
        self.max_timestamp_ms = NO_TIMESTAMP
        #: Of all records, and never less than what they take.
        self.size_bytes = 0
        # What records of one batch have in common: codec and timestamp type, and under LogAppendTime the timestamp.
        self._kind = (0, NO_TIMESTAMP)

    @property
    def attributes(self) -> int:
        """Codec and timestamp type."""
        return self._kind[0]

    def can_take(
        self, batch: BatchView, size_bytes: int, horizon_ms: int | None, limit_bytes: int
    ) -> bool:
        """Whether records of *batch*, the next one, may be in one batch with those that are here."""
        return self.leader_epoch == batch.leader_epoch and (
            not self.offsets
            or (
                self.size_bytes + size_bytes <= limit_bytes
                and self._kind == _kind_of(batch)
                and (None in (self.horizon_ms, horizon_ms) or self.horizon_ms == horizon_ms)
            )
        )

    def take(
        self, batch: BatchView, columns: Columns, size_bytes: int, horizon_ms: int | None
    ) -> None:
        """Add *columns*, records of *batch*, the next one."""
        self._kind = _kind_of(batch)
        self.size_bytes += size_bytes
        if horizon_ms is not None:
            self.horizon_ms = horizon_ms
        if columns.headers is not None and self.headers is None:
            self.headers = [()] * len(self.offsets)
        if self.headers is not None:
            self.headers += columns.headers or [()] * len(columns.offsets)
        self.offsets += columns.offsets
        self.values += columns.values
        self.keys += columns.keys
        self.timestamps_ms += columns.timestamps_ms
        self.cover(batch)

    def cover(self, batch: BatchView) -> None:
        """Take over the offsets of *batch*, the next one."""
        self.source = None
        self.next_offset = batch.next_offset
        self.max_timestamp_ms = max(self.max_timestamp_ms, batch.max_timestamp_ms)


def _kind_of(batch: BatchView) -> tuple[int, int]:
    attributes = batch.attributes & _KIND_MASK
    return attributes, (
        batch.max_timestamp_ms if attributes & LOG_APPEND_TIME_BIT else NO_TIMESTAMP
    )

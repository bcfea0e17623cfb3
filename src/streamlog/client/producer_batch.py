"""Records of one partition on their way into the log together."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from streamlog.client.record_future import RecordFuture
from streamlog.record import PendingBatch, build_batch
from streamlog.record.columns import ColumnReader, encode_columns
from streamlog.record.decompression import decompress
from streamlog.record.layout import COMPRESSION_MASK, LOG_APPEND_TIME_BIT
from streamlog.structs import Durability, RecordMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.record import Headers

    DeliveryCallback = Callable[[RecordMetadata, "BaseException | None"], object]
    DetailedRow = tuple[
        "bytes | None",
        "bytes | None",
        "int | None",
        Headers,
        "RecordFuture | None",
        "DeliveryCallback | None",
    ]
    Row = RecordFuture | bytes | DetailedRow
    """A record that waits, in the least form that can hold it: a future that carries value and key, from
    `send`; a value, from a writer; a tuple for everything else, with a future if it has a callback."""
    Columns = tuple[
        Sequence[bytes | None],
        "Sequence[bytes | None] | None",
        "Sequence[Headers] | None",
        dict[int, int],
    ]
    """Values, keys, headers, and the timestamps that were given, by index."""

_NONE_GIVEN: dict[int, int] = {}


class ProducerBatch:
    """A sealed batch: rows until it is packed, then a `PendingBatch`, then a result.

    Whoever seals it gives it to its queue; one thread at a time, the one that drains the queue, packs
    and appends it; once ``done`` is true nothing changes any more and any thread may read it. Source:
    Kafka ``ProducerBatch``.
    """

    # Attributes that most batches never set have their default in the class: making a batch is part
    # of what each of its records costs.
    reserved_bytes = 0
    """What it holds of ``buffer_memory``."""
    rows_differ = False
    """Whether the rows may be of more than one kind."""
    stamps: Sequence[tuple[int, int]] = ()
    """(index, timestamp) of each row from which on another timestamp holds."""
    pending: PendingBatch | None = None
    """The packed batch, from when it is packed until it is done."""
    futures: list[RecordFuture | None] | None = None
    callbacks: Iterable[tuple[RecordFuture, DeliveryCallback]] = ()
    """Those still to be called; without any it is an empty tuple."""
    future_callbacks: Iterable[tuple[RecordFuture, Callable[[RecordFuture], object]]] = ()
    run: list[RecordFuture] | None = None
    """The futures of the run's batches, if the batch is part of a ``send_many``."""
    run_part: RecordFuture | None = None
    """The one of this batch, in ``run``."""
    unclaimed = 0
    """Records whose failure nobody would hear of: no future, no callback."""
    is_being_split = False
    """Whether its records are on their way into two halves."""
    size_bytes = 0
    """What it takes in the log, once it is there."""
    content_bytes = 0
    """What it would take without compression."""
    attempts = 0
    retry_at_ms: float | None = None
    last_error: BaseException | None = None
    outcome: tuple[int, BaseException | None] | None = None
    """Base offset and error, as soon as they are known and before anybody is told."""
    done = False
    error: BaseException | None = None
    base_offset = -1
    timestamps_ms: int | list[int] | None = None
    """One of all records, or one of each; None: see ``stamps``."""

    def __init__(
        self, queue: PartitionQueue, number: int, created_ms: float, rows: Sequence[Row] = ()
    ) -> None:
        self.queue = queue
        self.number = number
        """Counts the batches of the queue, so that a flush knows which came before it."""
        self.created_ms = created_ms
        """Monotonic; ``delivery_timeout_ms`` counts from here (PRD-7)."""
        self.rows = rows
        self.record_count = len(rows)

    # ---- before: rows to bytes

    def pack(self) -> PendingBatch:
        """Turn the rows into bytes, once, and return them. After Ctrl-C it can be done again: the futures
        let go of their values only when those are in the bytes.
        """
        pending = self.pending
        if pending is None:
            if self.rows_differ and len(set(map(type, self.rows))) > 1:
                self.rows = [_as_tuple(row) for row in self.rows]
            self.rows_differ = False
            values, keys, headers, given = self._columns()
            stamps = self.stamps
            if given:
                times = _spread(stamps, len(values))
                for index, timestamp_ms in given.items():
                    times[index] = timestamp_ms
                self.timestamps_ms = times
                pending = build_batch(values, times, keys, headers)
            elif len(stamps) == 1:
                self.timestamps_ms = stamps[0][1]
                pending = build_batch(values, stamps[0][1], keys, headers)
            else:
                pending = _build_stamped(values, stamps, keys, headers)
            self.compress(pending)
            self.pending = pending
        if self.rows:
            self.claim()
            self.rows = ()
        return pending

    def compress(self, pending: PendingBatch) -> None:
        """Compress what is packed now, if the producer wants that; once for each batch."""
        compressor = self.queue.compressor
        if compressor is not None:
            compressor.apply(pending)

    def _columns(self) -> Columns:
        """Return the rows, which are of one kind, as columns."""
        rows: Any = self.rows
        kind = type(rows[0])
        if kind is bytes:
            return rows, None, None, _NONE_GIVEN
        if kind is tuple:
            values, some_keys, times, headers, _, _ = zip(*rows, strict=True)
            given = {index: time for index, time in enumerate(times) if time is not None}
            return values, some_keys, headers, given
        keys: list[bytes | None] | None = None
        if self.queue.has_keys:
            try:
                keys = [future._key for future in rows]
            except AttributeError:  # one was sent without a key
                keys = [getattr(future, "_key", None) for future in rows]
        return [future._slot for future in rows], keys, None, _NONE_GIVEN

    def claim(self) -> None:
        """Tell the futures of the rows where they are."""
        rows: Any = self.rows
        if self.rows_differ and len(set(map(type, rows))) > 1:
            rows = [_as_tuple(row) for row in rows]
        kind = type(rows[0])
        if kind is bytes:
            self.unclaimed = len(rows)
        elif kind is tuple:
            self._claim_tuples(rows)
        else:
            self._claim_futures(rows)

    def _claim_futures(self, futures: list[RecordFuture | None]) -> None:
        """The rows are futures."""
        self.futures = futures
        # The loop stores the index by itself: a third faster than to count.
        future: RecordFuture
        for future, future._slot in zip(futures, range(len(futures)), strict=True):  # type: ignore[assignment]
            future._owner = self

    def _claim_tuples(self, rows: Sequence[DetailedRow]) -> None:
        """The rows are tuples, some of them with a future."""
        _, _, _, _, futures, callbacks = zip(*rows, strict=True)
        self.unclaimed = futures.count(None)
        if self.unclaimed < len(rows):
            self.futures = list(futures)
            for index, future in enumerate(futures):
                if future is not None:
                    future._slot = index
                    future._owner = self
            self.callbacks = [
                (future, callback)
                for future, callback in zip(futures, callbacks, strict=True)
                if callback is not None
            ]

    def halves(self) -> tuple[ProducerBatch, ProducerBatch]:
        """Return two packed batches of this one's records, the first half first (REC-6).

        They take over the reservation, the futures and the callbacks; attempts so far still count.
        """
        pending = self.pending
        assert pending is not None
        assert self.record_count > 1
        body = memoryview(pending.body)
        codec = pending.attributes & COMPRESSION_MASK
        if codec:
            body = decompress(pending.body, codec, pending.uncompressed_size)
        reader = ColumnReader(body, self.record_count)
        columns = (reader.values(), reader.keys(), reader.headers())
        middle = self.record_count // 2
        first = self._part(columns, 0, middle)
        second = self._part(columns, middle, self.record_count)
        first.reserved_bytes = self.reserved_bytes
        for part in (first, second):
            part.callbacks = [pair for pair in self.callbacks if pair[0]._owner is part]
        if self.run is not None and self.run_part is not None:
            # The run's future for this batch now stands for the second half; the first gets its own.
            second.run = first.run = self.run
            whole = self.run_part
            first.run_part = part_future(first, -1, None)
            second.run_part = whole
            whole._slot = second.record_count - 1
            whole._owner = second
            self.run.insert(self.run.index(whole), first.run_part)
        return first, second

    def _part(self, columns: tuple[Any, Any, Any], start: int, end: int) -> ProducerBatch:
        values, keys, headers = (column and column[start:end] for column in columns)
        part = ProducerBatch(self.queue, self.number, self.created_ms)
        part.attempts = self.attempts
        part.record_count = end - start
        timestamps_ms = self.timestamps_ms
        if timestamps_ms is None:
            timestamps_ms = _spread(self.stamps, self.record_count)
        if isinstance(timestamps_ms, list):
            timestamps_ms = timestamps_ms[start:end]
        part.timestamps_ms = timestamps_ms
        part.pending = build_batch(values, timestamps_ms, keys, headers)
        self.compress(part.pending)
        if self.futures is None:
            part.unclaimed = part.record_count if self.unclaimed else 0
            return part
        part.futures = self.futures[start:end]
        part.unclaimed = part.futures.count(None)
        for index, future in enumerate(part.futures):
            if future is not None:
                future._slot = index
                future._owner = part
        return part

    # ---- after: the result

    def finish(self, base_offset: int, error: BaseException | None) -> None:
        """Make the result known. What only the way to it needed is let go, the values first of all."""
        pending = self.pending
        if pending is not None and pending.attributes & LOG_APPEND_TIME_BIT:
            self.timestamps_ms = pending.max_timestamp_ms
        self.base_offset = base_offset
        self.error = error
        self.pending = None
        self.rows = ()
        self.done = True  # last: who sees it may read the rest
        self.futures = None

    def metadata(self, index: int, key_size: int, value_size: int) -> RecordMetadata:
        """Return the metadata of the record at *index*; without an offset under ``acks=0`` (PRD-10)."""
        timestamps_ms = self.timestamps_ms
        if timestamps_ms is None:
            stamps = self.stamps
            timestamps_ms = stamps[bisect_right(stamps, index, key=itemgetter(0)) - 1][1]
        elif isinstance(timestamps_ms, list):
            timestamps_ms = timestamps_ms[index]
        queue, offset, durability = self.queue, -1, Durability.NONE
        if self.base_offset >= 0:
            offset = self.base_offset + index
            durability = queue.partition.ack_durability()
        return RecordMetadata(
            queue.topic, queue.number, offset, timestamps_ms, key_size, value_size, durability
        )


def part_future(batch: ProducerBatch, value_size: int, key: bytes | None) -> RecordFuture:
    """Return a future of the last record of *batch*, which is done when the batch is."""
    future = RecordFuture()
    future._owner = batch
    future._slot = batch.record_count - 1
    future._size = value_size
    future._key = key
    return future


def _as_tuple(row: Row) -> DetailedRow:
    if isinstance(row, RecordFuture):
        return row._slot, getattr(row, "_key", None), None, (), row, None
    if isinstance(row, bytes):
        return row, None, None, (), None, None
    return row


def _build_stamped(
    values: Sequence[bytes | None],
    stamps: Sequence[tuple[int, int]],
    keys: Sequence[bytes | None] | None,
    headers: Sequence[Headers] | None,
) -> PendingBatch:
    """Return what `build_batch` does for timestamps that come in runs, without looking at each."""
    times = [timestamp_ms for _, timestamp_ms in stamps]
    deltas = _spread([(start, time - times[0]) for start, time in stamps], len(values))
    has_null_keys = keys is None or None in keys
    if has_null_keys and keys is not None and not any(key is not None for key in keys):
        keys = None
    if headers is not None and not any(headers):
        headers = None
    body = encode_columns(values, keys, deltas, headers)
    return PendingBatch(body, len(values), times[0], max(times), min(times), has_null_keys)


def _spread(stamps: Sequence[tuple[int, int]], count: int) -> list[int]:
    """Return one timestamp for each of *count* rows."""
    timestamps_ms: list[int] = []
    for (start, timestamp_ms), (end, _) in zip(stamps, [*stamps[1:], (count, 0)], strict=True):
        timestamps_ms += [timestamp_ms] * (end - start)
    return timestamps_ms

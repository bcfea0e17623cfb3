"""``send_many``: a whole run of records, with next to nothing done per record in Python."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sized
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from streamlog.client.producer_batch import ProducerBatch, part_future
from streamlog.client.record_checks import check_partition, check_timestamp, check_topic
from streamlog.client.record_future import RunFuture
from streamlog.client.record_path import RAISED_BY_SEND
from streamlog.client.row_sizes import BATCH_OVERHEAD_BYTES
from streamlog.errors import RecordTooLargeError, SerializationError, StreamlogError
from streamlog.record import build_batch
from streamlog.record.serialization import check_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.client.accumulator import RecordAccumulator
    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.client.record_future import RecordFuture
    from streamlog.client.record_path import RecordPath
    from streamlog.client.topic_route import TopicRoute
    from streamlog.client.topic_routes import TopicRoutes
    from streamlog.config import ProducerConfig
    from streamlog.runtime import Clock

BULK_BATCH_BYTES = 112 * 1024
"""How large the batches of a run get: large enough that a batch costs next to nothing beside its
records, and below the 128 KiB from which the C library gets its memory from the system and gives it
back each time; first touching fresh pages takes longer than packing the records does.
"""

_BLOB_BYTES = 5
"""What a value or a key takes besides its bytes, at most."""
_TIMESTAMP_BYTES = 9
_SAMPLE = 64


class BulkPath:
    """Cuts runs of records into batches and hands them to their queues.

    A run is checked and cut as a whole before the first batch goes, so that a wrong element means
    that nothing was sent. Threads: any.
    """

    def __init__(
        self,
        config: ProducerConfig,
        clock: Clock,
        routes: TopicRoutes,
        accumulator: RecordAccumulator,
        path: RecordPath,
    ) -> None:
        self._clock = clock
        self._routes = routes
        self._accumulator = accumulator
        self._path = path
        self._max_block_ms = float(config.max_block_ms)
        self._limit_bytes = min(config.max_request_size, config.buffer_memory)
        self._goes_one_by_one = bool(config.interceptors)

    def send_many(
        self,
        topic: str,
        values: Iterable[Any],
        keys: Sequence[Any] | None,
        partition: int | None,
        timestamps_ms: Sequence[int] | None,
    ) -> RunFuture:
        """Send a run, as `Producer.send_many` says."""
        check_topic(topic)
        if partition is not None:
            check_partition(topic, partition)
        # Text taken letter by letter is what nobody means.
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise TypeError(
                f"topic {topic!r}: values: expected a list of values, found {values!r:.80}"
            )
        run = values if type(values) is list else list(values)
        for name, column in (("keys", keys), ("timestamps_ms", timestamps_ms)):
            if column is not None and not isinstance(column, Sized):
                raise TypeError(
                    f"topic {topic!r}: {name}: expected a list, found {type(column).__name__}"
                )
            if column is not None and len(column) != len(run):
                raise ValueError(
                    f"topic {topic!r}: {name}: expected {len(run)} elements, one for each value,"
                    f" found {len(column)}"
                )
        if timestamps_ms is not None:
            timestamps_ms = _checked_timestamps(topic, timestamps_ms)
        if not run:
            return RunFuture.of(topic, [])
        if self._goes_one_by_one:
            return self._one_by_one(topic, run, keys, partition, timestamps_ms)
        try:
            route = self._routes.route(topic)
            lanes = self._lanes(route, run, keys, partition, timestamps_ms)
            cuts = [lane.cut(self._limit_bytes, route.batch_limit_bytes) for lane in lanes]
        except StreamlogError as error:
            if isinstance(error, RAISED_BY_SEND):
                raise
            return RunFuture.of(topic, [self._path.failed(topic, partition, error, None)])
        return self._send(route, lanes, cuts)

    def _one_by_one(
        self,
        topic: str,
        values: list[Any],
        keys: Sequence[Any] | None,
        partition: int | None,
        timestamps_ms: Sequence[int] | None,
    ) -> RunFuture:
        """Send each record by itself: interceptors want to see it."""
        send = self._path.send
        return RunFuture.of(
            topic,
            [
                send(
                    topic,
                    value,
                    None if keys is None else keys[index],
                    (),
                    partition,
                    None if timestamps_ms is None else timestamps_ms[index],
                    None,
                )
                for index, value in enumerate(values)
            ],
        )

    # ---- which records go where

    def _lanes(
        self,
        route: TopicRoute,
        values: list[Any],
        keys: Sequence[Any] | None,
        partition: int | None,
        timestamps_ms: Sequence[int] | None,
    ) -> list[_Lane]:
        """Return the run's records by partition, in the order in which partitions first occur."""
        if not route.values_are_plain:
            values = _each("values", values, route.serialize)
        if keys is not None:
            keys = keys if type(keys) is list else list(keys)
            if not route.keys_are_plain:
                keys = _each("keys", keys, route.serialize_key)
        if partition is not None:
            queue = self._routes.queue(route, partition)
            return [_Lane(route.topic, queue, values, keys, timestamps_ms)]
        if len(route.queues) == 1 and not route.partitioner_is_custom:
            return [_Lane(route.topic, route.queues[0], values, keys, timestamps_ms)]
        if keys is None and self._routes.plain_is_used:
            return [_Lane(route.topic, None, values, None, timestamps_ms)]
        return self._spread(route, values, keys, timestamps_ms)

    def _spread(
        self,
        route: TopicRoute,
        values: list[Any],
        keys: Sequence[Any] | None,
        timestamps_ms: Sequence[int] | None,
    ) -> list[_Lane]:
        """Ask the partitioner for each record, or only for each key when that is the same."""
        topic, queue_for = route.topic, route.queue_for
        is_memoisable = self._routes.partitioner.memoisable
        lanes: dict[PartitionQueue, _Lane] = {}
        known: dict[Any, _Lane] = {}
        for index, value in enumerate(values):
            key = None if keys is None else keys[index]
            lane = known.get(key) if type(key) is bytes else None
            if lane is None:
                key = _blob(topic, "keys", index, key)
                queue = queue_for(key, _blob(topic, "values", index, value))
                lane = lanes.get(queue)
                if lane is None:
                    lane = lanes[queue] = _Lane(
                        topic, queue, [], None if keys is None else [], timestamps_ms and []
                    )
                    lane.indexes = []
                if is_memoisable and key:
                    known[key] = lane
            lane.add(index, value, key, timestamps_ms)
        return list(lanes.values())

    # ---- and off they go

    def _send(self, route: TopicRoute, lanes: list[_Lane], cuts: list[list[int]]) -> RunFuture:
        parts: list[RecordFuture] = []
        future = RunFuture.of(route.topic, parts)
        now_ms = self._clock.time_ms()
        greatest = -1
        for lane, ends in zip(lanes, cuts, strict=True):
            start = 0
            for end in ends:
                batch = self._batch(route, lane, start, end, now_ms)
                part = part_future(batch, lane.value_size(end - 1), lane.key(end - 1))
                parts.append(part)
                batch.run = parts
                batch.run_part = part
                pending = batch.pack()
                try:
                    self._accumulator.append_batch(batch, pending.size_bytes, self._max_block_ms)
                except StreamlogError as error:
                    if isinstance(error, RAISED_BY_SEND):
                        raise
                    number = batch.queue.number
                    parts[-1] = self._path.failed(route.topic, number, error, None)
                    return future
                start = end
            if lane.index(start - 1) > greatest:
                greatest = lane.index(start - 1)
                future._slot = parts[-1]
        return future

    def _batch(
        self, route: TopicRoute, lane: _Lane, start: int, end: int, now_ms: int
    ) -> ProducerBatch:
        timestamps_ms = lane.timestamps_ms
        times = now_ms if timestamps_ms is None else list(timestamps_ms[start:end])
        batch = ProducerBatch(lane.queue or route.current(), 0, self._clock.monotonic_ms())
        batch.record_count = end - start
        batch.timestamps_ms = times
        keys = lane.keys
        batch.pending = build_batch(
            lane.values[start:end], times, None if keys is None else keys[start:end]
        )
        batch.compress(batch.pending)
        return batch


class _Lane:
    """The records of a run that go to one partition, as columns; ``queue`` None is the current one."""

    __slots__ = ("indexes", "keys", "queue", "timestamps_ms", "topic", "values")

    def __init__(
        self,
        topic: str,
        queue: PartitionQueue | None,
        values: list[Any],
        keys: Any,
        timestamps_ms: Any,
    ) -> None:
        self.topic = topic
        self.queue = queue
        self.values = values
        self.keys: list[Any] | None = keys
        self.timestamps_ms: list[int] | None = timestamps_ms
        self.indexes: list[int] | None = None
        """Where in the run each record was; None when the lane is the run."""

    def add(self, index: int, value: Any, key: Any, timestamps_ms: Sequence[int] | None) -> None:
        """Add a record of the run."""
        assert self.indexes is not None
        self.indexes.append(index)
        self.values.append(value)
        if self.keys is not None:
            self.keys.append(key)
        if timestamps_ms is not None and self.timestamps_ms is not None:
            self.timestamps_ms.append(timestamps_ms[index])

    def index(self, row: int) -> int:
        """Return where in the run the record in *row* was."""
        return row if self.indexes is None else self.indexes[row]

    def key(self, row: int) -> bytes | None:
        """Return the key in *row*."""
        return None if self.keys is None else self.keys[row]

    def value_size(self, row: int) -> int:
        """Return the bytes of the value in *row*, -1 for null."""
        value = self.values[row]
        return -1 if value is None else len(value)

    def cut(self, record_limit_bytes: int, batch_limit_bytes: int) -> list[int]:
        """Return where each batch ends, after checking every element.

        Raises SerializationError for what is not bytes, RecordTooLargeError for a record that takes
        more than *record_limit_bytes* in a batch of its own; both name the index in the run.
        """
        count = len(self.values)
        room_bytes = (
            min(BULK_BATCH_BYTES, record_limit_bytes, batch_limit_bytes) - BATCH_OVERHEAD_BYTES
        )
        ends: list[int] = []
        start = 0
        average = (self._size(0, _SAMPLE) or 1024 * _SAMPLE) / min(count, _SAMPLE)
        while start < count:
            # A little less than should fit: batches of nearly the same size, and hardly ever a count.
            end = min(count, start + max(1, int(room_bytes * 0.97 / average)))
            size = self._size(start, end)
            if size is None or size > room_bytes:
                end = self._fitting_end(start, end, room_bytes, record_limit_bytes)
            else:
                average = size / (end - start)
            ends.append(end)
            start = end
        return ends

    def _size(self, start: int, end: int) -> int | None:
        """Return what the records take; None when one is null or wrong, for someone to look closer.

        Joining is the fastest check there is: it looks at every element's type and adds the sizes.
        """
        extra = _BLOB_BYTES + (_TIMESTAMP_BYTES if self.timestamps_ms is not None else 0)
        try:
            values = self.values[start:end]
            size = len(b"".join(values)) + extra * len(values)
            if self.keys is not None:
                size += len(b"".join(self.keys[start:end])) + _BLOB_BYTES * len(values)
        except TypeError:
            return None
        return size

    def _fitting_end(self, start: int, end: int, room_bytes: int, record_limit_bytes: int) -> int:
        """Return up to where records fit into *room_bytes*, one at least; look at each of them."""
        extra = _BLOB_BYTES + (_TIMESTAMP_BYTES if self.timestamps_ms is not None else 0)
        sizes = []
        for row in range(start, end):
            index = self.index(row)
            value = self.values[row] = _blob(self.topic, "values", index, self.values[row])
            size = extra + (0 if value is None else len(value))
            if self.keys is not None:
                key = self.keys[row] = _blob(self.topic, "keys", index, self.keys[row])
                size += _BLOB_BYTES + (0 if key is None else len(key))
            if size + BATCH_OVERHEAD_BYTES > record_limit_bytes:
                raise RecordTooLargeError(
                    f"topic {self.topic!r}: values[{index}]: expected a record that takes at most"
                    f" {record_limit_bytes} bytes (max_request_size, buffer_memory) in a batch of its"
                    f" own, found one of {size + BATCH_OVERHEAD_BYTES}"
                )
            sizes.append(size)
        return start + max(1, bisect_right(list(accumulate(sizes)), room_bytes))


def _blob(topic: str, name: str, index: int, value: Any) -> bytes | None:
    """Return an element of a column as bytes or None; the error names its index."""
    if type(value) is bytes:
        return value
    return check_bytes(value, topic, name.removesuffix("s"), where=f"{name}[{index}]")


def _each(
    name: str, column: Sequence[Any], serialize: Callable[[Any], bytes | None]
) -> list[bytes | None]:
    """Return *column* serialized; the error names the index."""
    done: list[bytes | None] = []
    for index, value in enumerate(column):
        try:
            done.append(serialize(value))
        except SerializationError as error:
            raise SerializationError(f"{name}[{index}]: {error}") from error
    return done


def _checked_timestamps(topic: str, timestamps_ms: Sequence[int]) -> list[int]:
    """Return the timestamps as a list of ints, 0 or later (REC-2); the error names the index."""
    times = list(timestamps_ms)
    if times and (set(map(type, times)) != {int} or not 0 <= min(times) <= max(times) < 1 << 63):
        for index, timestamp_ms in enumerate(times):
            try:
                check_timestamp(topic, timestamp_ms)
            except (TypeError, ValueError) as error:
                raise type(error)(f"timestamps_ms[{index}]: {error}") from None
        times = [int(timestamp_ms) for timestamp_ms in times]
    return times

"""``write(value)``: the shortest way into a partition, for hot loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from streamlog.client.record_checks import check_partition, check_timestamp, check_topic
from streamlog.client.record_path import RAISED_BY_SEND, TRY_AGAIN_ERRORS
from streamlog.client.row_sizes import ROW_OVERHEAD_BYTES
from streamlog.client.topic_route import MAX_MEMO_KEY_BYTES, MAX_MEMO_KEYS
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.client.accumulator import RecordAccumulator
    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.client.producer_batch import DeliveryCallback
    from streamlog.client.record_path import RecordPath
    from streamlog.client.sender import Sender
    from streamlog.client.topic_route import TopicRoute
    from streamlog.client.topic_routes import TopicRoutes
    from streamlog.config import ProducerConfig
    from streamlog.record import ProducerStamp
    from streamlog.runtime import Clock
    from streamlog.structs import RecordMetadata


class Writer(Protocol):
    """What `Producer.writer` returns. Threads: any."""

    def __call__(self, value: Any, key: Any = None, timestamp_ms: int | None = None) -> None:
        """Send one record; see `Producer.writer`."""


class WriterFactory:
    """Makes the writers of one producer."""

    def __init__(
        self,
        config: ProducerConfig,
        clock: Clock,
        path: RecordPath,
        routes: TopicRoutes,
        accumulator: RecordAccumulator,
        sender: Sender,
    ) -> None:
        self._max_block_ms = float(config.max_block_ms)
        self._has_interceptors = bool(config.interceptors)
        self._values_are_plain = config.value_serializer in (None, "bytes")
        self._keys_are_plain = config.key_serializer in (None, "bytes")
        self._largest_value = path.largest_value
        self._clock = clock
        self._path = path
        self._routes = routes
        self._accumulator = accumulator
        self._sender = sender

    def make(
        self, topic: str, partition: int | None, on_delivery: DeliveryCallback | None
    ) -> Writer:
        """Return a writer; create the topic as `send` does, and raise what it would deliver."""
        check_topic(topic)
        if partition is not None:
            check_partition(topic, partition)
        route = self._routes.route(topic)
        if partition is None:
            queue = route.current()
        else:
            queue = self._routes.queue(route, partition)
        if on_delivery is not None or self._has_interceptors:
            return self._told_writer(topic, partition, on_delivery or self._claim_failure)
        if self._values_are_plain and (partition is not None or self._routes.plain_is_used):
            queue.has_writers = True
            return self._plain_writer(topic, partition, queue)
        return self._any_writer(topic, partition, queue)

    def _told_writer(
        self, topic: str, partition: int | None, on_delivery: DeliveryCallback
    ) -> Writer:
        """Return a writer that is told of every record; nothing is gained over `send`."""
        send = self._path.send

        def write(value: Any, key: Any = None, timestamp_ms: int | None = None) -> None:
            send(topic, value, key, (), partition, timestamp_ms, on_delivery)

        return write

    def _claim_failure(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        if error is not None:
            self._sender.add_unclaimed_error(error)

    def _any_writer(self, topic: str, partition: int | None, queue: PartitionQueue) -> Writer:
        """Return a writer whose records all have to be serialized, or given a partition."""
        place = self._place

        def write(value: Any, key: Any = None, timestamp_ms: int | None = None) -> None:
            place(topic, partition, value, key, timestamp_ms, queue, {})

        return write

    def _plain_writer(self, topic: str, partition: int | None, queue: PartitionQueue) -> Writer:
        """Return a writer of which nobody hears but `flush` and `close`, starting at *queue*.

        Its first lines are the way of a plain record; `PartitionQueue` says why it needs no lock.
        """
        time_s, time_ns = self._clock.time_s, self._clock.time_ns
        look_again = self._accumulator.look_again
        place, submit, open_batch = self._place, self._submit, self._open_batch
        largest_value = self._largest_value
        routes = self._routes
        generation = routes.generation
        memo: dict[bytes, PartitionQueue] = {}

        def write(value: Any, key: Any = None, timestamp_ms: int | None = None) -> None:
            nonlocal queue, memo, generation
            if type(value) is bytes:
                if key is None and timestamp_ms is None:
                    if len(value) <= queue.largest and (
                        queue.low_s <= time_s() < queue.high_s
                        or (queue.is_open and queue.restamp())
                    ):
                        tail = queue.tail
                        tail.append(value)
                        if len(tail) >= queue.limit:
                            look_again(queue)
                        return
                    append_value = queue.append_value
                    if append_value is not None and len(value) <= largest_value:
                        submit(queue, append_value, value, time_ns() // 1_000_000)
                        return
                    if routes.generation == generation and len(value) <= largest_value:
                        queue = open_batch(queue, value, partition is None)
                        return
                elif timestamp_ms is None or (type(timestamp_ms) is int and timestamp_ms >= 0):
                    target = queue if key is None else memo.get(key)
                    if (
                        target is not None
                        and target.has_tuples
                        and len(value) <= target.largest
                        and (
                            target.low_s <= time_s() < target.high_s
                            or (target.is_open and target.restamp())
                        )
                    ):
                        tail = target.tail
                        tail.append((value, key, timestamp_ms, (), None, None))
                        if len(tail) >= target.limit:
                            look_again(target)
                        return
            current = routes.generation
            queue, memo = place(topic, partition, value, key, timestamp_ms, queue, memo)
            generation = current  # not when it raised: the next record has to come this way as well

        return write

    def _open_batch(self, queue: PartitionQueue, value: bytes, moves: bool) -> PartitionQueue:
        """Send a plain value that found no batch open, or the clock moved on. Returns the queue for the
        next one, which is another when *moves* and the present one was filled.
        """
        if moves and queue.route is not None:
            queue = queue.route.current()
            queue.has_writers = True
        size = len(value)
        try:
            self._accumulator.append_locked(
                queue, value, size + ROW_OVERHEAD_BYTES, size, self._max_block_ms
            )
        except StreamlogError as error:
            if isinstance(error, RAISED_BY_SEND):
                raise
            self._path.failed_unclaimed(error)
        return queue

    def _submit(
        self,
        queue: PartitionQueue,
        append_value: Callable[[bytes, int, ProducerStamp | None], int],
        value: bytes,
        now_ms: int,
    ) -> None:
        """Append a plain value at once (``linger_ms=0``)."""
        try:
            append_value(value, now_ms, queue.stamp)
        except TRY_AGAIN_ERRORS:
            self._append(queue, value, None, None, was_tried=True)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the next flush
            self._path.failed_unclaimed(error)
        else:
            queue.count_single(len(value))

    def _place(
        self,
        topic: str,
        partition: int | None,
        value: Any,
        key: Any,
        timestamp_ms: int | None,
        queue: PartitionQueue,
        memo: dict[bytes, PartitionQueue],
    ) -> tuple[PartitionQueue, dict[bytes, PartitionQueue]]:
        """Send any record. Return the queue for the next plain one, and where keys are known to go."""
        self._path.check_usable()
        if timestamp_ms is not None:
            check_timestamp(topic, timestamp_ms)
        try:
            route = self._routes.route(topic)
            value_bytes, key_bytes = route.serialize(value), route.serialize_key(key)
            if partition is None:
                target = route.queue_for(key_bytes, value_bytes)
            else:
                target = self._routes.queue(route, partition)
        except StreamlogError as error:
            if isinstance(error, RAISED_BY_SEND):
                raise
            self._path.failed_unclaimed(error)
            return queue, memo
        target.has_writers = True
        if key is not None or timestamp_ms is not None:
            target.has_tuples = True
            if key_bytes is not None:
                memo = self._remember(
                    route, memo, key_bytes, target, is_fixed=partition is not None
                )
        self._append(target, value_bytes, key_bytes, timestamp_ms)
        if partition is None:
            target = route.current()
            target.has_writers = True
        return target, memo

    def _remember(
        self,
        route: TopicRoute,
        memo: dict[bytes, PartitionQueue],
        key: bytes,
        queue: PartitionQueue,
        *,
        is_fixed: bool,
    ) -> dict[bytes, PartitionQueue]:
        """Return the table in which *key* is found next time, if it can be."""
        if not self._keys_are_plain or (not is_fixed and not self._routes.keyed_is_used):
            return memo
        if not is_fixed:
            route.remember(key)
            return route.memo
        if len(key) <= MAX_MEMO_KEY_BYTES:
            queue.make_room_for_keys(len(key))
            if len(memo) >= MAX_MEMO_KEYS:
                memo.clear()
            memo[key] = queue
        return memo

    def _append(
        self,
        queue: PartitionQueue,
        value: bytes | None,
        key: bytes | None,
        timestamp_ms: int | None,
        *,
        was_tried: bool = False,
    ) -> None:
        try:
            self._path.append_unclaimed(queue, value, key, timestamp_ms, was_tried=was_tried)
        except StreamlogError as error:
            if isinstance(error, RAISED_BY_SEND):
                raise
            self._path.failed_unclaimed(error)

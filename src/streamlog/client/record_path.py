"""The way of one record from ``send`` into its partition's queue, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.client.argument_checks import check_callback
from streamlog.client.producer_batch import ProducerBatch
from streamlog.client.record_checks import (
    check_partition,
    check_timestamp,
    check_topic,
    checked_headers,
)
from streamlog.client.record_future import (
    AppendedRecordFuture,
    FailedRecordFuture,
    RecordFuture,
)
from streamlog.client.row_sizes import (
    BATCH_OVERHEAD_BYTES,
    KEY_OVERHEAD_BYTES,
    ROW_OVERHEAD_BYTES,
    record_bytes,
)
from streamlog.errors import (
    DeadlockError,
    ForkedError,
    IllegalStateError,
    InvalidProducerEpochError,
    OutOfOrderSequenceError,
    ProducerFencedError,
    RecordTooLargeError,
    RetriableError,
    SerializationError,
    StreamlogError,
    TransactionAbortableError,
)
from streamlog.record import build_batch
from streamlog.structs import ProducerRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.client.accumulator import RecordAccumulator
    from streamlog.client.interceptors import ProducerInterceptors
    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.client.producer_batch import DeliveryCallback
    from streamlog.client.sender import Sender
    from streamlog.client.topic_routes import TopicRoutes
    from streamlog.config import ProducerConfig
    from streamlog.record import Headers, PendingBatch
    from streamlog.runtime import Clock
    from streamlog.structs import RecordMetadata

RAISED_BY_SEND = (
    SerializationError,
    IllegalStateError,
    ForkedError,
    DeadlockError,
    TransactionAbortableError,
    ProducerFencedError,
)
"""Wrong use: raised where it happens. All other errors of ours come by the future (PRD-4)."""

TRY_AGAIN_ERRORS = (RetriableError, OutOfOrderSequenceError, InvalidProducerEpochError)
"""What a record that could not be appended by itself leaves to its queue, which tries again or says why not."""


class RecordPath:
    """Everything `Producer.send` does that is not plain: any record, any error, in Kafka's order.

    interceptors, topic metadata, serializers, partitioner, size, append (PRD-4). Threads: any.
    Source: Kafka ``KafkaProducer.doSend``.
    """

    def __init__(
        self,
        config: ProducerConfig,
        clock: Clock,
        interceptors: ProducerInterceptors,
        routes: TopicRoutes,
        accumulator: RecordAccumulator,
        sender: Sender,
        check_usable: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._interceptors = interceptors
        self._routes = routes
        self._accumulator = accumulator
        self._sender = sender
        self.check_usable = check_usable
        self._max_block_ms = float(config.max_block_ms)
        self._max_request_size = config.max_request_size
        self._buffer_memory = config.buffer_memory
        self._limit_bytes = (
            min(config.max_request_size, config.buffer_memory) - BATCH_OVERHEAD_BYTES
        )
        self.largest_value = self._limit_bytes - ROW_OVERHEAD_BYTES
        """A record with a value of at most so many bytes and nothing else is not too large."""

    def send(
        self,
        topic: str | ProducerRecord,
        value: Any,
        key: Any,
        headers: Any,
        partition: int | None,
        timestamp_ms: int | None,
        on_delivery: DeliveryCallback | None,
    ) -> RecordFuture:
        """Send any record, as `Producer.send` says."""
        self.check_usable()
        if isinstance(topic, ProducerRecord):
            if (value, key, partition, timestamp_ms) != (None, None, None, None) or headers:
                raise TypeError(
                    "send: with a ProducerRecord, give on_delivery=... and nothing else: the rest is"
                    " in the record"
                )
            record = topic
            topic, value, key = record.topic, record.value, record.key
            headers, partition, timestamp_ms = record.headers, record.partition, record.timestamp_ms
        check_topic(topic, "a str or a ProducerRecord")
        if partition is not None:
            check_partition(topic, partition)
        if timestamp_ms is not None:
            check_timestamp(topic, timestamp_ms)
        if on_delivery is not None:
            check_callback("send", "on_delivery", on_delivery)
        if not self._interceptors:
            return self._send(topic, value, key, headers, partition, timestamp_ms, on_delivery)
        record = self._interceptors.on_send(
            ProducerRecord(
                topic,
                value,
                key=key,
                headers=checked_headers(topic, headers),
                partition=partition,
                timestamp_ms=timestamp_ms,
            )
        )
        return self._send(
            record.topic,
            record.value,
            record.key,
            record.headers,
            record.partition,
            record.timestamp_ms,
            self._observed(on_delivery),
        )

    def _send(
        self,
        topic: str,
        value: Any,
        key: Any,
        headers: Any,
        partition: int | None,
        timestamp_ms: int | None,
        callback: DeliveryCallback | None,
    ) -> RecordFuture:
        try:
            route = self._routes.route(topic)
            key_bytes = route.serialize_key(key)
            value_bytes = route.serialize(value)
            if partition is not None:
                queue = self._routes.queue(route, partition)
            else:
                queue = route.queue_for(key_bytes, value_bytes)
            if not route.is_used:
                self._routes.use(route)
            record_headers = checked_headers(topic, headers) if headers else ()
            return self.append(
                queue, value_bytes, key_bytes, record_headers, timestamp_ms, callback
            )
        except Exception as error:
            if isinstance(error, StreamlogError) and not isinstance(error, RAISED_BY_SEND):
                return self.failed(topic, partition, error, callback)
            if self._interceptors:
                observe = self._interceptors.on_acknowledgement
                self.failed(topic, partition, error, observe, is_raised=True)
            raise

    def send_plain(
        self, queue: PartitionQueue, value: bytes, key: bytes | None, *, was_tried: bool = False
    ) -> RecordFuture:
        """Send a record whose queue is known already and that has nothing but value and key.

        With *was_tried* its append by itself just failed, and the queue is to see to it.
        """
        try:
            if queue.append_value is not None and not was_tried:
                return self.append(queue, value, key, (), None, None)
            size = len(value)
            size_bytes = size + ROW_OVERHEAD_BYTES
            future = RecordFuture()
            future._owner = queue
            future._slot = value
            future._size = size
            if key is not None:
                future._key = key
                size_bytes += len(key) + KEY_OVERHEAD_BYTES
            if size_bytes > self._limit_bytes:
                self._refuse_size(queue, size_bytes)
            self._accumulator.append_locked(queue, future, size_bytes, size, self._max_block_ms)
        except StreamlogError as error:
            if isinstance(error, RAISED_BY_SEND):
                raise
            return self.failed(queue.topic, queue.number, error, None)
        return future

    def append(
        self,
        queue: PartitionQueue,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        timestamp_ms: int | None,
        callback: DeliveryCallback | None,
    ) -> RecordFuture:
        """Add a serialized record to *queue*, or to its partition if it may go at once.

        Raises RecordTooLargeError, BufferExhaustedError and what the partition refuses.
        """
        value_bytes = -1 if value is None else len(value)
        size_bytes = record_bytes(value, key, timestamp_ms, headers)
        if size_bytes > self._limit_bytes:
            self._refuse_size(queue, size_bytes)
        if queue.append_value is not None:
            try:
                appended = self._append_now(
                    queue, value, key, headers, timestamp_ms, size_bytes, callback
                )
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to the future
                return self.failed(queue.topic, queue.number, error, callback)
            if appended is not None:
                return appended
        future = RecordFuture()
        future._owner = queue
        future._slot = value
        future._size = value_bytes
        future._key = key
        if timestamp_ms is None and callback is None and not headers:
            queue.has_senders = True
            if key is not None:
                queue.has_keys = True
            self._accumulator.append(queue, future, size_bytes, value_bytes, self._max_block_ms)
        else:
            queue.has_tuples = True
            row = (value, key, timestamp_ms, headers, future, callback)
            self._accumulator.append(queue, row, size_bytes, value_bytes, self._max_block_ms)
        return future

    def append_unclaimed(
        self,
        queue: PartitionQueue,
        value: bytes | None,
        key: bytes | None,
        timestamp_ms: int | None,
        *,
        was_tried: bool = False,
    ) -> None:
        """Add a record that nobody holds a future of; `append` and `send_plain` otherwise."""
        size_bytes = record_bytes(value, key, timestamp_ms, ())
        if size_bytes > self._limit_bytes:
            self._refuse_size(queue, size_bytes)
        if queue.append_value is not None and not was_tried:
            try:
                if self._append_now(queue, value, key, (), timestamp_ms, size_bytes, None):
                    return
            except Exception as error:  # noqa: BLE001 - and this to the next flush
                self.failed_unclaimed(error)
                return
        if value is not None and key is None and timestamp_ms is None:
            queue.has_writers = True
            self._accumulator.append(queue, value, size_bytes, len(value), self._max_block_ms)
        else:
            queue.has_tuples = True
            row = (value, key, timestamp_ms, (), None, None)
            self._accumulator.append(
                queue, row, size_bytes, 0 if value is None else len(value), self._max_block_ms
            )

    def _append_now(
        self,
        queue: PartitionQueue,
        value: bytes | None,
        key: bytes | None,
        headers: Headers,
        timestamp_ms: int | None,
        size_bytes: int,
        callback: DeliveryCallback | None,
    ) -> AppendedRecordFuture | None:
        """Append a record by itself, in this thread, past a queue in which nothing waits; None when
        something does, or when it has to be tried again: then the queue sees to that.
        """
        if timestamp_ms is None:
            timestamp_ms = self._clock.time_ns() // 1_000_000
        batch = build_batch(
            (value,), timestamp_ms, None if key is None else (key,), (headers,) if headers else None
        )
        future = AppendedRecordFuture()
        future._owner = queue
        future._size = -1 if value is None else len(value)
        future._key = key
        future._timestamp_ms = timestamp_ms
        if callback is None:
            try:
                partition = queue.partition
                batch.stamp = queue.stamp
                future._slot = partition.append(batch)
            except TRY_AGAIN_ERRORS:
                return None
            queue.count_single(size_bytes)
        elif not self._append_told(queue, batch, future, callback, size_bytes):
            return None
        return future

    def _append_told(
        self,
        queue: PartitionQueue,
        batch: PendingBatch,
        future: AppendedRecordFuture,
        callback: DeliveryCallback,
        size_bytes: int,
    ) -> bool:
        """Append *batch* and call *callback* in its turn; False when it has to wait in the queue.

        Nobody else appends meanwhile, so that callbacks come in the order of offsets (PRD-9).
        """
        told = ProducerBatch(queue, 0, 0.0)
        told.done = True
        told.callbacks = ((future, callback),)
        has_turn = is_appended = False
        try:
            with queue.lock:
                if queue.draining or queue.sealed or queue.tail:
                    return False
                has_turn = queue.draining = True
            partition = queue.partition
            batch.stamp = queue.stamp
            future._slot = partition.append(batch)
            is_appended = True
            queue.count_single(size_bytes)
        except TRY_AGAIN_ERRORS:
            return False
        finally:
            if has_turn:
                with queue.lock:
                    queue.draining = False
                    if is_appended:
                        # Behind those that are due already; not a new number: the open batch will get that.
                        told.number = queue.last_number
                        queue.settling.append(told)
                # Others may have left their records to this thread.
                if queue.sealed or queue.tail:
                    self._accumulator.drain(queue)
                elif is_appended:
                    self._sender.settle(queue)
        return True

    def _refuse_size(self, queue: PartitionQueue, size_bytes: int) -> None:
        """Raise RecordTooLargeError: a record of that size can never be sent (REC-6)."""
        name = (
            "max_request_size" if self._max_request_size <= self._buffer_memory else "buffer_memory"
        )
        raise RecordTooLargeError(
            f"{queue.topic_partition}: expected a record that takes at most {name}="
            f"{self._limit_bytes + BATCH_OVERHEAD_BYTES} bytes in a batch of its own, found one of"
            f" {size_bytes + BATCH_OVERHEAD_BYTES}"
        )

    def failed(
        self,
        topic: str,
        partition: int | None,
        error: BaseException,
        callback: Any,
        *,
        is_raised: bool = False,
    ) -> FailedRecordFuture:
        """Return the future of a record that never came into a queue; its callback has been called."""
        self._sender.count_failed(1, error, is_raised=is_raised)
        future = FailedRecordFuture()
        future._error = error
        future._topic = topic
        future._number = -1 if partition is None else partition
        if callback is not None:
            self._sender.call_now(callback, future, error)
        return future

    def failed_unclaimed(self, error: BaseException) -> None:
        """Leave *error*, which concerns a record that nobody holds a future of, to the next flush."""
        self._sender.count_failed(1, error)
        self._sender.add_unclaimed_error(error)

    # ---- interceptors

    def _observed(self, on_delivery: DeliveryCallback | None) -> DeliveryCallback:
        """Return a callback that tells the interceptors first (PRD-12)."""
        on_acknowledgement = self._interceptors.on_acknowledgement
        if on_delivery is None:
            return on_acknowledgement

        def observed(metadata: RecordMetadata, error: BaseException | None) -> None:
            on_acknowledgement(metadata, error)
            on_delivery(metadata, error)

        return observed

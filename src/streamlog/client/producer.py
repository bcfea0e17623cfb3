"""The producer: records in, futures out."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, overload

from streamlog.client.accumulator import RecordAccumulator
from streamlog.client.argument_checks import check_broker, check_callback, check_timeout
from streamlog.client.buffer_pool import BufferPool
from streamlog.client.bulk import BulkPath
from streamlog.client.interceptors import ProducerInterceptors
from streamlog.client.keyword_guard import keywords_after_guard, refuse_positional
from streamlog.client.producer_identity import ProducerIdentity
from streamlog.client.producer_metrics import ProducerMetrics
from streamlog.client.producer_transactions import TransactionCalls
from streamlog.client.record_future import AppendedRecordFuture, RecordFuture
from streamlog.client.record_path import TRY_AGAIN_ERRORS, RecordPath
from streamlog.client.sender import Sender
from streamlog.client.topic_routes import TopicRoutes
from streamlog.client.transactional_identity import TransactionalIdentity
from streamlog.client.writer import WriterFactory
from streamlog.config import ProducerConfig
from streamlog.errors import (
    ClosedError,
    ForkedError,
    IllegalStateError,
    StreamlogError,
    StreamlogTimeoutError,
)
from streamlog.record import require_codec
from streamlog.runtime import Lock, on_fork_in_child
from streamlog.structs import PartitionInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.client.producer_batch import DeliveryCallback
    from streamlog.client.record_future import RunFuture
    from streamlog.client.writer import Writer
    from streamlog.config.options import ProducerOptions
    from streamlog.structs import Header, ProducerRecord

_logger = logging.getLogger("streamlog")


class Producer(TransactionCalls):
    """Sends records to the topics of *broker*.

    >>> from streamlog import Broker
    >>> with Broker() as broker, Producer(broker, value_serializer="str") as producer:
    ...     producer.send("greetings", "hello").result().offset
    0

    * one record, with a future: `send`; a hot loop: `writer`; many at once: `send_many`
    * wait: `flush`, `close`
    * transactions, with a ``transactional_id``: `init_transactions` once, then `transaction`, or
      `begin_transaction`, `send_offsets_to_transaction`, `commit_transaction`, `abort_transaction`
    * look: `partitions_for`, `metrics`

    With ``linger_ms=0``, the default, `send` appends the record before it returns, in the caller's
    thread: from then on it can be read and survives ``kill -9``. With ``linger_ms`` above 0 records
    are collected into batches of up to ``batch_size`` bytes, and a batch goes when it is full or
    ``linger_ms`` old: fewer bytes on disk, faster to write and to read, and a record is safe when its
    future is done. Either way the records of one thread to one partition keep their order, retries
    included.

    Configuration keys are `ProducerConfig`'s, as keyword arguments or in the mapping *config*
    (``{"linger.ms": 5}``). Raises InvalidConfigurationError.

    Threads: any, for every method, of those about transactions one at a time; one producer for the whole program is best. After `close` every
    call raises ClosedError, in the child of a fork ForkedError. The broker closes its producers
    before itself. Source: Kafka ``KafkaProducer``.
    """

    __slots__ = (
        "__weakref__",
        "_accumulator",
        "_broker",
        "_bulk",
        "_close_lock",
        "_config",
        "_identity",
        "_is_closed",
        "_is_closing",
        "_keyed",
        "_largest_value",
        "_metrics",
        "_path",
        "_plain",
        "_refusal",
        "_routes",
        "_sender",
        "_time_ns",
        "_time_s",
        "_transactions",
    )

    def __init__(
        self,
        broker: Broker,
        *,
        config: Mapping[str, object] | None = None,
        **producer_config: Unpack[ProducerOptions],
    ) -> None:
        check_broker("Producer", broker)
        broker.check_writable("Producer")
        self._config = config_ = ProducerConfig.from_options(config, **producer_config)
        require_codec(config_.compression_type)
        self._broker = broker
        self._refusal: StreamlogError | None = None
        self._is_closing = self._is_closed = False
        self._close_lock = Lock()
        clock = broker.runtime.clock
        pool = BufferPool(config_.buffer_memory, clock)
        self._metrics = ProducerMetrics()
        identity: ProducerIdentity | None = None
        if config_.transactional_id is not None:
            identity = self._identity = TransactionalIdentity()
        elif config_.enable_idempotence:
            # Not a method of the broker: timers hold this, and must not keep a broker that was dropped.
            identity = ProducerIdentity(broker.producer_ids.take)
        self._sender = Sender(config_, clock, pool, self._metrics, identity)
        self._accumulator = RecordAccumulator(
            config_, clock, broker.scheduler, pool, self._sender, identity
        )
        self._routes = TopicRoutes(broker, config_, self._accumulator)
        self._path = RecordPath(
            config_,
            clock,
            ProducerInterceptors(config_.interceptors),
            self._routes,
            self._accumulator,
            self._sender,
            self._check_sendable,
        )
        self._bulk = BulkPath(config_, clock, self._routes, self._accumulator, self._path)
        self._transactions = self._make_manager()
        # What `send` reads for each record.
        self._plain = self._routes.plain
        self._keyed = self._routes.keyed
        self._time_ns = clock.time_ns
        self._time_s = clock.time_s
        self._largest_value = self._path.largest_value
        broker.register_client(self)
        on_fork_in_child(self)

    def __repr__(self) -> str:
        state = "" if self._refusal is None else ", closed"
        name = f" {self._name!r}" if self._name else ""
        return f"<Producer{name} of {self._broker!r}{state}>"

    @property
    def _name(self) -> str:
        return self._config.client_id or self._config.transactional_id or ""

    # ---- records

    @overload
    def send(
        self,
        topic: str,
        value: Any = None,
        *,
        key: Any = None,
        headers: Iterable[Header] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> RecordFuture: ...

    @overload
    def send(
        self, topic: ProducerRecord, *, on_delivery: DeliveryCallback | None = None
    ) -> RecordFuture: ...

    @keywords_after_guard
    def send(
        self,
        topic: str | ProducerRecord,
        value: Any = None,
        _keywords_follow: object = ...,
        key: Any = None,
        headers: Iterable[Header] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> RecordFuture:
        """Send one record; return the future of its metadata.

        *value* and *key* go through the configured serializers; None stays null (REC-1). *headers* are
        (str, bytes or None) pairs in order. The partition is *partition*, or the partitioner's choice
        (PRD-11). *timestamp_ms* None means now. *on_delivery* is called as ``(metadata, error)`` when
        the record was appended, error None, or failed for good, metadata then with offset -1; in
        order per partition, by whichever thread appended the batch, with no lock held. A
        `ProducerRecord` may stand for *topic* and all else but *on_delivery*.

        Raises SerializationError for what is not bytes and has no serializer, ValueError for a
        negative partition or timestamp (REC-2), TypeError for other wrong arguments and for more than
        topic and value by position, ClosedError, ForkedError; with a ``transactional_id``
        IllegalStateError outside of a transaction, `TransactionAbortableError` after something of it
        failed, `ProducerFencedError` (TXN-5). Everything else comes by the
        future and *on_delivery*: unknown topic, too large, no room or time left, refused by the
        partition (PRD-4).

        Blocks up to ``max_block_ms`` for room in ``buffer_memory``. A topic or partition that does not
        exist and may not be created fails the record at once. Source: Kafka ``KafkaProducer.send``.
        """
        if (
            type(value) is bytes
            and _keywords_follow is ...
            and partition is None
            and timestamp_ms is None
            and on_delivery is None
            and not headers
        ):
            # The way of a plain record; `PartitionQueue` says why it needs no lock.
            try:
                if key is None:
                    queue = self._plain[topic]  # type: ignore[index]
                else:
                    queue = self._keyed[topic][key]  # type: ignore[index]
            except (KeyError, TypeError):  # topic or key not seen yet, or no plain record after all
                found = self._routes.remember(topic, key)
                if found is None:
                    return self._path.send(topic, value, key, headers, None, None, None)
                queue = found
            size = len(value)
            append_value = queue.append_value
            if append_value is None:
                time_s = self._time_s
                if size <= queue.largest and (
                    queue.low_s <= time_s() < queue.high_s or (queue.is_open and queue.restamp())
                ):
                    future = RecordFuture()
                    future._owner = queue
                    future._slot = value
                    future._size = size
                    if key is not None:
                        future._key = key
                    tail = queue.tail
                    tail.append(future)
                    if len(tail) < queue.limit:
                        return future
                    self._accumulator.look_again(queue)
                    return future
            elif key is None and size <= self._largest_value:
                time_ns = self._time_ns
                now_ms = time_ns() // 1_000_000
                try:
                    offset = append_value(value, now_ms, queue.stamp)
                except TRY_AGAIN_ERRORS:
                    return self._path.send_plain(queue, value, None, was_tried=True)
                except Exception as error:  # noqa: BLE001 - whatever it is belongs to the future
                    return self._path.failed(queue.topic, queue.number, error, None)
                appended = AppendedRecordFuture()
                appended._owner = queue
                appended._slot = offset
                appended._size = size
                appended._timestamp_ms = now_ms
                queue.single_count += 1
                single_bytes = queue.single_bytes + size
                queue.single_bytes = single_bytes
                if single_bytes >= queue.switch_at_bytes and queue.route is not None:
                    queue.route.single_produced(queue)
                return appended
            return self._path.send_plain(queue, value, key)
        if _keywords_follow is not ...:
            refuse_positional("send", _keywords_follow)
        return self._path.send(topic, value, key, headers, partition, timestamp_ms, on_delivery)

    def send_many(
        self,
        topic: str,
        values: Iterable[Any],
        *,
        keys: Sequence[Any] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> RunFuture:
        """Send all *values*, in order; return one future of the whole run.

        *keys* and *timestamps_ms* have one element for each value; without *timestamps_ms* all get the
        time of the call. Serializers, interceptors and partitioner apply as in `send`. The records go
        in batches larger than ``batch_size``, as large as the topic takes up to 112 KiB, without
        waiting for ``linger_ms`` and behind whatever was sent before.

        The future's ``result()`` is the metadata of the last record; its ``metadata()`` has one for
        each batch. Nothing is sent when an element is wrong: SerializationError, TypeError or
        ValueError names its index. What `send` would deliver by its future comes by this one, naming
        the index of a record that is too large.
        """
        self._check_sendable()
        return self._bulk.send_many(topic, values, keys, partition, timestamps_ms)

    def writer(
        self,
        topic: str,
        partition: int | None = None,
        *,
        on_delivery: DeliveryCallback | None = None,
    ) -> Writer:
        """Return ``write(value, key=None, timestamp_ms=None)`` for hot loops: `send` without a future.

        ``write`` raises what `send` raises. A record that fails otherwise is told to *on_delivery*;
        without one, the next `flush` or `close` raises the first such error. *partition* None means
        the partitioner's choice for each record. Records keep their order among those of `send`, and
        ``write`` may be called from any thread.
        """
        self._check_usable()
        check_callback("writer", "on_delivery", on_delivery)
        factory = WriterFactory(
            self._config,
            self._broker.runtime.clock,
            self._path,
            self._routes,
            self._accumulator,
            self._sender,
        )
        return factory.make(topic, partition, on_delivery)

    # ---- wait

    def flush(self, timeout_ms: float | None = None) -> None:
        """Return when everything sent before the call is appended or failed, callbacks included.

        Nothing lingers for that, but a batch that waits for its retry goes on waiting. Raises
        StreamlogTimeoutError after *timeout_ms*; IllegalStateError inside a callback, which would wait
        for itself (PRD-9); the first error of a record that a writer took and that failed since the
        last flush. Errors of `send` come by its futures.
        """
        if timeout_ms is not None:
            check_timeout("flush", timeout_ms)
        if self._sender.is_calling_back():
            raise IllegalStateError("flush inside a callback would wait for that callback")
        self._check_usable()
        if not self._flush(timeout_ms):
            raise StreamlogTimeoutError(
                f"flush: not everything was appended within {timeout_ms} ms"
            )
        error = self._sender.take_unclaimed_error()
        if error is not None:
            raise error

    def _flush(self, timeout_ms: float | None) -> bool:
        """Wait for what was sent until now; return whether there was time enough."""
        accumulator = self._accumulator
        clock = self._broker.runtime.clock
        deadline_ms = None if timeout_ms is None else clock.monotonic_ms() + timeout_ms
        marks = [(queue, accumulator.seal(queue)) for queue in accumulator.queues()]
        for queue, _ in marks:
            accumulator.drain(queue)
        for queue, number in marks:
            if queue.is_settled(number):
                continue
            left_ms = None if deadline_ms is None else deadline_ms - clock.monotonic_ms()
            if not queue.wait_until(lambda q=queue, n=number: q.is_settled(n), left_ms):  # type: ignore[misc]
                return False
        return True

    def close(self, timeout_ms: float | None = None) -> None:
        """Refuse new records, wait for those sent, and give everything back.

        What is not appended after *timeout_ms*, None without a limit, fails with ClosedError; with 0
        it fails at once (PRD-9). Raises as `flush` does for records of a writer, after all is closed.
        Closing again changes nothing. Inside a callback it acts as with 0.

        An open transaction is aborted, and an end that timed out is gone on with; what goes wrong there
        is logged. With 0 both are left to ``transaction_timeout_ms`` and to the next owner of the id.
        """
        if timeout_ms is not None:
            check_timeout("close", timeout_ms)
        has_turn = False
        try:
            with self._close_lock:
                if self._refusal is not None and (self._is_closing or self._is_closed):
                    return
                closed = ClosedError(f"producer {self._name!r} is closed")
                has_turn = self._is_closing = True
                self._refusal = closed
            if self._sender.is_calling_back():
                _logger.warning("close inside a callback: what was not appended yet fails")
                timeout_ms = 0
            self._close(closed, timeout_ms)
            self._is_closed = True
        finally:  # after Ctrl-C the next one, the broker's at the latest, does the rest
            if has_turn:
                self._is_closing = False
        error = self._sender.take_unclaimed_error()
        if error is not None:
            raise error

    def _close(self, closed: ClosedError, timeout_ms: float | None) -> None:
        everything_went = False
        try:
            if timeout_ms != 0:
                self._leave_transaction(timeout_ms)
            self._routes.close()
            self._accumulator.refuse(closed)
            if timeout_ms != 0:
                everything_went = self._flush(timeout_ms)
        finally:
            # A record whose send was under way meanwhile goes on by itself, in its own thread.
            self._accumulator.abort(
                ClosedError(
                    f"producer {self._config.client_id!r} was closed before this was appended"
                ),
                only_retries=everything_went,
            )
            self._accumulator.stop()
            self._broker.unregister_client(self)

    def __enter__(self) -> Producer:
        self._check_usable()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except StreamlogError:
            if error is None:
                raise
            _logger.exception("Closing %r after %r", self, error)

    # ---- look

    def partitions_for(self, topic: str) -> list[PartitionInfo]:
        """Return the topic's partitions in order; create the topic as `send` does.

        Raises InvalidTopicError, UnknownTopicOrPartitionError.
        """
        self._check_usable()
        self._routes.route(topic)
        broker = self._broker
        return broker.topic(topic).describe(broker.config.broker_id).partitions

    def metrics(self) -> dict[str, float]:
        """Return what was counted since the producer was made, by Kafka's names with underscores.

        Totals of records and requests (batches), averages, ``buffer_available_bytes``.
        """
        return self._metrics.as_dict(self._accumulator.pool, self._accumulator.queues())

    # ---- the end

    def _check_usable(self) -> None:
        """Raise ClosedError or ForkedError when the producer, or its broker, cannot be used."""
        if self._refusal is not None:
            raise copy.copy(self._refusal)
        self._broker.check_open()

    def _check_sendable(self) -> None:
        """Raise as well when records are not taken now, because no transaction is open."""
        self._check_usable()
        if self._transactions is not None:
            self._transactions.check_can_send()

    def _forked(self) -> None:
        forked = ForkedError(
            "the producer was made before a fork and belongs to the parent process: make one in the"
            " process that uses it"
        )
        self._refusal = forked
        self._is_closed = True
        self._close_lock = Lock()
        self._plain.clear()
        self._keyed.clear()
        self._accumulator.forked(forked)
        self._sender.forked(forked)

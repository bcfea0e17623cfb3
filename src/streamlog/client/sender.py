"""Brings sealed batches into the log: attempts, retries, splits, results, callbacks."""

from __future__ import annotations

import copy
import logging
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from streamlog.client.record_future import call_back
from streamlog.errors import (
    DuplicateSequenceError,
    InvalidProducerEpochError,
    MessageTooLargeError,
    OutOfOrderSequenceError,
    RecordBatchTooLargeError,
    RetriableError,
    StreamlogError,
    StreamlogTimeoutError,
    TransactionAbortedError,
    UnknownTopicOrPartitionError,
)
from streamlog.record.layout import HEADER_SIZE
from streamlog.runtime import Lock, get_ident

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.client.buffer_pool import BufferPool
    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.client.producer_batch import DeliveryCallback, ProducerBatch
    from streamlog.client.producer_identity import ProducerIdentity
    from streamlog.client.producer_metrics import ProducerMetrics
    from streamlog.client.record_future import RecordFuture
    from streamlog.config import ProducerConfig
    from streamlog.runtime import Clock

_logger = logging.getLogger("streamlog")

_MAX_DOUBLINGS = 31


class Sender:
    """Appends batches for the accumulator and makes their results known.

    * `deliver` one batch, `settle` a queue's callbacks, `abort` a queue
    * `is_calling_back`, `take_unclaimed_error`

    Nothing is sent anywhere: an attempt is a call of ``Partition.append`` in the present thread. There
    is no thread of its own either. Threads: any, `deliver` one at a time for each queue, which the
    accumulator sees to. Source: Kafka ``Sender``.
    """

    def __init__(
        self,
        config: ProducerConfig,
        clock: Clock,
        pool: BufferPool,
        metrics: ProducerMetrics,
        identity: ProducerIdentity | None,
    ) -> None:
        """*identity* None: without idempotence."""
        self._identity = identity
        self._acks = config.acks
        self._retries = config.retries if config.acks != 0 else 0
        self._delivery_timeout_ms = config.delivery_timeout_ms
        self._backoff_ms = config.retry_backoff_ms
        self._backoff_max_ms = config.retry_backoff_max_ms
        self._monotonic_ms = clock.monotonic_ms
        self._pool = pool
        self._metrics = metrics
        self._lock = Lock()
        self._aborted: StreamlogError | None = None
        self.on_failure: Callable[[BaseException], None] | None = None
        """Told of each record that failed for good, with no lock held: what a transaction loses."""
        self._unclaimed_error: BaseException | None = None
        self._unclaimed_count = 0
        self._calling_threads: set[int] = set()

    # ---- one batch

    def deliver(self, batch: ProducerBatch) -> float | None:
        """Append *batch*, the first of its queue. Return when to go on with the queue: None when
        nothing more is sealed, 0 for at once, or when to try the batch again (PRD-8).
        """
        queue = batch.queue
        failure: BaseException
        try:
            if queue.is_late and self._is_expired(batch):
                raise self._expiry(batch)
            pending = batch.pack()
            partition = queue.partition
            if pending.base_sequence < 0:
                pending.stamp = queue.stamp
            batch.outcome = (partition.append(pending), None)
        except (MessageTooLargeError, RecordBatchTooLargeError) as error:
            if _has_sequence(batch):
                return self._finish_stored(batch)
            if batch.record_count > 1:
                self._split(batch)
                return 0
            failure = error
        except (
            OutOfOrderSequenceError,
            InvalidProducerEpochError,
            DuplicateSequenceError,
        ) as error:
            # In a transaction it may also be over, and what was stored for it lost: that has to be told.
            is_told = batch.pending is not None and batch.pending.is_transactional
            if _has_sequence(batch) and not (
                is_told and not isinstance(error, DuplicateSequenceError)
            ):
                return self._finish_stored(batch)
            retry_at_ms = self._retry_with_new_epoch_at_ms(batch, error)
            if retry_at_ms is not None:
                return retry_at_ms
            failure = error
        except RetriableError as error:
            retry_at_ms = self._retry_at_ms(batch, error)
            if retry_at_ms is not None and self._wait_for_retry(batch, error, retry_at_ms):
                return retry_at_ms
            failure = error
            if self._is_expired(batch) and not isinstance(error, StreamlogTimeoutError):
                failure = self._expiry(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the futures
            failure = error
        else:
            return self._finish(batch)
        batch.outcome = (-1, failure)
        return self._finish(batch)

    def _finish_stored(self, batch: ProducerBatch) -> float | None:
        """Finish a batch that is refused because it was stored before, and the topic changed since or has
        forgotten where (IDM-3). Returns what `deliver` does.
        """
        batch.outcome = (-1, None)
        return self._finish(batch)

    def let_go(self, batch: ProducerBatch, interruption: BaseException) -> None:
        """After Ctrl-C in or around `deliver`, which had the turn to append: let the next one have it.

        Nothing is appended twice. With idempotence the batch has a sequence if it was stored, and is tried
        again. Without, one of which it is not known whether it was stored fails.
        """
        queue = batch.queue
        with queue.lock:
            if batch.outcome is None:
                if batch not in queue.sealed or not queue.draining:
                    return  # two halves have taken its place, or it was put aside to be tried again
                is_begun = batch.pending is not None and not batch.rows
                if (
                    (self._identity is not None or not is_begun)
                    and not batch.is_being_split
                    and self._aborted is None
                ):
                    self._put_aside(batch, self._monotonic_ms())
                    return
        if batch.outcome is None:
            for index, future in enumerate(batch.futures or ()):
                if future is not None:  # it may be half a batch's already
                    future._slot = index
                    future._owner = batch
            error = StreamlogError(
                f"{queue.topic_partition}: interrupted while {batch.record_count} record(s) were"
                " being appended: whether they were is not known"
            )
            error.__cause__ = interruption
            batch.outcome = (-1, error)
        self._finish(batch)

    def _retry_at_ms(self, batch: ProducerBatch, error: StreamlogError) -> float | None:
        """Return when to try again, None when *error* is final."""
        if (
            isinstance(error, UnknownTopicOrPartitionError)  # no stale metadata here: it is gone
            or batch.attempts >= self._retries
            or self._aborted is not None
        ):
            return None
        now_ms = self._monotonic_ms()
        deadline_ms = batch.created_ms + self._delivery_timeout_ms
        if now_ms >= deadline_ms:
            return None
        pause_ms = self._backoff_ms << min(batch.attempts, _MAX_DOUBLINGS)
        return min(now_ms + min(pause_ms, self._backoff_max_ms), deadline_ms)

    def _wait_for_retry(
        self, batch: ProducerBatch, error: StreamlogError, retry_at_ms: float
    ) -> bool:
        """Leave *batch* where it is until then; False when nobody would come back to it."""
        queue = batch.queue
        with queue.lock:
            if self._aborted is not None:  # by now, and this queue may have been seen to already
                return False
            batch.attempts += 1
            batch.last_error = error
            self._put_aside(batch, retry_at_ms)
        self._metrics.retried(batch.record_count)
        queue.wake()
        if batch.attempts == 1:  # it may go on so for minutes
            _logger.warning(
                "%s: %d record(s) not appended, to be tried again: %s",
                queue.topic_partition,
                batch.record_count,
                error,
            )
        return True

    def _put_aside(self, batch: ProducerBatch, retry_at_ms: float) -> None:
        """Let nobody append to the queue until then. The caller holds its lock."""
        queue = batch.queue
        batch.retry_at_ms = retry_at_ms
        queue.draining = False
        queue.is_late = True
        queue.append_value = None  # nobody overtakes

    def _retry_with_new_epoch_at_ms(
        self, batch: ProducerBatch, error: StreamlogError
    ) -> float | None:
        """Begin the queue's sequence anew, for the partition knows another one (IDM-6). Return when to try
        *batch* again, None when *error* is final, as it always is in a transaction.
        """
        identity, stamp = self._identity, batch.pending and batch.pending.stamp
        if identity is None or not stamp or stamp.is_transactional:
            return None
        retry_at_ms = self._retry_at_ms(batch, error)
        if retry_at_ms is None:
            return None
        # Of this queue nothing else is under way but what senders append by themselves. What carries the
        # old stamp and comes later is refused, and comes here as well.
        try:
            batch.queue.renew_stamp(identity, stamp)
        except Exception as refused:  # noqa: BLE001 - whatever it is, the future hears of it
            error.__cause__ = refused
            return None
        return retry_at_ms if self._wait_for_retry(batch, error, retry_at_ms) else None

    def _split(self, batch: ProducerBatch) -> None:
        """Put two halves in the place of *batch*, which its topic finds too large (REC-6)."""
        batch.is_being_split = True
        first, second = batch.halves()
        self._metrics.split()
        queue = batch.queue
        with queue.lock:
            # One step, lest Ctrl-C lose them: the deque is replaced.
            parts = deque((first, second))
            parts.extend(islice(queue.sealed, 1, None))
            queue.draining = False
            queue.sealed = parts

    def _is_expired(self, batch: ProducerBatch) -> bool:
        return self._monotonic_ms() >= batch.created_ms + self._delivery_timeout_ms

    def _expiry(
        self, batch: ProducerBatch, error: RetriableError | None = None
    ) -> StreamlogTimeoutError:
        """Return the error of a batch that took longer than ``delivery_timeout_ms`` (PRD-7)."""
        cause = error or batch.last_error
        reason = "an earlier batch was in the way" if cause is None else str(cause)
        expiry = StreamlogTimeoutError(
            f"{batch.queue.topic_partition}: {batch.record_count} record(s) not appended within"
            f" delivery_timeout_ms={self._delivery_timeout_ms}, after {batch.attempts + (error is not None)}"
            f" attempt(s): {reason}"
        )
        expiry.__cause__ = cause
        return expiry

    def _finish(self, batch: ProducerBatch) -> float | None:
        """Make the outcome known, to the callbacks by way of `settle`, and take the batch away. Returns
        what `deliver` does.

        Can be done again when Ctrl-C cut it short, and must be then: what is not to be done twice is
        followed by the note that it was, with no call in between.
        """
        queue = batch.queue
        assert batch.outcome is not None
        base_offset, error = batch.outcome
        if self._acks == 0:
            base_offset = -1  # nobody asked where (PRD-10)
        size_bytes = 0
        if not batch.done:
            if error is not None and self._identity is not None and _has_sequence(batch):
                self._leave_unresolved(batch, self._identity)
            if error is None:
                assert batch.pending is not None
                batch.size_bytes = len(batch.pending.body) + HEADER_SIZE
                batch.content_bytes = batch.pending.uncompressed_size or batch.size_bytes
            else:
                self._count_failure(batch, error)
            batch.finish(base_offset, error)
        # Before the queue counts as settled: who flushed finds all of it free.
        if batch.reserved_bytes:
            self._pool.give_back_of(batch)
        with queue.lock:
            sealed = queue.sealed
            if queue.has_done_callbacks and not batch.future_callbacks:
                batch.future_callbacks = queue.take_done_callbacks()
            if (batch.callbacks or batch.future_callbacks) and batch not in queue.settling:
                queue.settling.append(batch)
            if sealed and sealed[0] is batch:
                if error is None:
                    size_bytes = batch.size_bytes
                    queue.batch_count += 1
                    queue.batch_records += batch.record_count
                    queue.batch_bytes += size_bytes
                    queue.average_bytes = batch.content_bytes // batch.record_count
                queue.draining = False
                sealed.popleft()
            again_at_ms = None
            if sealed:
                again_at_ms = 0.0
            elif not queue.tail:
                queue.append_value = queue.idle_append_value
                queue.is_late = False
        if size_bytes and queue.route is not None:
            queue.route.produced(queue, batch.content_bytes)
        if queue.waiters:
            queue.wake()
        return again_at_ms

    def _leave_unresolved(self, batch: ProducerBatch, identity: ProducerIdentity) -> None:
        """*batch* was stored, and fails all the same: let nothing after it depend on its sequence (PRD-7)."""
        assert batch.pending is not None
        stamp = batch.pending.stamp
        if stamp is not None and not stamp.is_transactional:
            try:
                batch.queue.renew_stamp(identity, stamp)
            except Exception as error:  # noqa: BLE001 - that of the batch says more
                _logger.warning("%s: keeps its epoch: %s", batch.queue.topic_partition, error)

    def _count_failure(self, batch: ProducerBatch, error: BaseException) -> None:
        if batch.rows:
            batch.claim()
        self.count_failed(batch.record_count, error)
        if batch.unclaimed and not isinstance(error, TransactionAbortedError):
            with self._lock:
                self._unclaimed_count += batch.unclaimed
                if self._unclaimed_error is None:
                    self._unclaimed_error = error

    def count_failed(self, count: int, error: BaseException, *, is_raised: bool = False) -> None:
        """Count *count* records that are not sent, because of *error*; if that is raised where they
        were to be sent, they never were any for a transaction to lose.
        """
        self._metrics.failed(count)
        if self.on_failure is not None and not is_raised:
            self.on_failure(error)

    def resume(self, error: StreamlogError | None) -> None:
        """Try again what fails, after an `abort` with *error*, unless there was another one since."""
        if self._aborted is error:
            self._aborted = None

    def abort(self, queue: PartitionQueue, error: StreamlogError, *, only_retries: bool) -> None:
        """Fail what is sealed in *queue*, except a batch that is being appended at this moment; that
        one will not be tried again. With *only_retries*, only if the first one waits for its retry:
        otherwise a thread is about to append it.
        """
        self._aborted = error
        aborted: list[ProducerBatch] = []
        try:
            with queue.lock:
                sealed = list(queue.sealed)
                kept = 0
                if only_retries and not (sealed and sealed[0].retry_at_ms is not None):
                    kept = len(sealed)
                elif queue.draining:
                    kept = 1
                rest = deque(sealed[:kept])
                aborted = sealed[kept:]
                queue.sealed = rest
            self._fail(aborted, error)
        except BaseException:  # Ctrl-C: no future may wait for ever
            self._fail(aborted, error)
            raise
        if queue.settling:
            self.settle(queue)

    def _fail(self, batches: list[ProducerBatch], error: StreamlogError) -> None:
        for batch in batches:
            batch.outcome = (-1, error)
            self._finish(batch)

    # ---- callbacks

    def settle(self, queue: PartitionQueue) -> None:
        """Call the callbacks of done batches, in the order of the batches and with no lock held.

        Returns at once when another thread is at it, or this one further up the stack: that one goes
        on until there is no more (PRD-9).
        """
        thread = get_ident()
        is_nested = thread in self._calling_threads
        while True:
            has_turn = False
            try:
                with queue.lock:
                    if queue.calling or not queue.settling:
                        return
                    batch = queue.settling[0]
                    has_turn = queue.calling = True
                self._calling_threads.add(thread)
                self._call_back(batch)
            finally:
                if has_turn:
                    with queue.lock:  # the first thing of all: Ctrl-C may come after any other call
                        queue.calling = False
                        if not batch.callbacks and not batch.future_callbacks:
                            queue.settling.popleft()
                    if not is_nested:
                        self._calling_threads.discard(thread)
                    queue.wake()

    def _call_back(self, batch: ProducerBatch) -> None:
        error = batch.error
        # As iterators they know which of them were called, whatever comes out of one.
        batch.callbacks = iter(batch.callbacks)
        for future, callback in batch.callbacks:
            self.call_delivery(callback, future, error)
        batch.future_callbacks = iter(batch.future_callbacks)
        for future, fn in batch.future_callbacks:
            call_back(fn, future)
        batch.callbacks = batch.future_callbacks = ()

    def call_delivery(
        self, callback: DeliveryCallback, future: RecordFuture, error: BaseException | None
    ) -> None:
        """Call an ``on_delivery`` with what became of its record; log what it raises (PRD-9)."""
        metadata = future.result() if error is None else future.placeholder()
        try:
            callback(metadata, error)
        except Exception:
            _logger.exception("on_delivery %r failed for %s", callback, metadata.topic_partition)

    def call_now(
        self, callback: DeliveryCallback, future: RecordFuture, error: BaseException
    ) -> None:
        """Call the ``on_delivery`` of a record that never came into a queue."""
        thread = get_ident()
        is_nested = thread in self._calling_threads
        self._calling_threads.add(thread)
        try:
            self.call_delivery(callback, future, error)
        finally:
            if not is_nested:
                self._calling_threads.discard(thread)

    def is_calling_back(self) -> bool:
        """Return whether the present thread is inside a callback of this producer."""
        return get_ident() in self._calling_threads

    # ---- failures nobody else hears of

    def take_unclaimed_error(self) -> BaseException | None:
        """Return the first error of a record that has neither future nor callback, None without one;
        each is returned once.
        """
        with self._lock:
            error, self._unclaimed_error = self._unclaimed_error, None
            count, self._unclaimed_count = self._unclaimed_count, 0
        if error is None:
            return None
        _logger.warning("%d record(s) of a writer were not appended, first: %s", count, error)
        fresh = copy.copy(error)
        fresh.__cause__ = error.__cause__
        return fresh

    def add_unclaimed_error(self, error: BaseException) -> None:
        """Count a record of a writer that did not even get into a queue."""
        with self._lock:
            self._unclaimed_count += 1
            if self._unclaimed_error is None:
                self._unclaimed_error = error

    def forked(self, error: StreamlogError) -> None:
        """Refuse everything, in the child of a fork."""
        self._lock = Lock()
        self._aborted = error
        self._calling_threads = set()


def _has_sequence(batch: ProducerBatch) -> bool:
    """Return whether the log gave *batch* a sequence, which it does in the moment when it stores it."""
    return batch.pending is not None and batch.pending.base_sequence >= 0

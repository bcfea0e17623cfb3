"""Collects records into batches, and says when a batch goes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from streamlog.client.partition_queue import PartitionQueue
from streamlog.client.row_sizes import BATCH_OVERHEAD_BYTES
from streamlog.errors import BufferExhaustedError
from streamlog.record import compressor_for
from streamlog.runtime import Lock

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.client.buffer_pool import BufferPool
    from streamlog.client.producer_batch import ProducerBatch, Row
    from streamlog.client.producer_identity import ProducerIdentity
    from streamlog.client.sender import Sender
    from streamlog.client.transactional_identity import TransactionalIdentity
    from streamlog.config import ProducerConfig
    from streamlog.errors import StreamlogError
    from streamlog.runtime import Clock, Scheduler, Timer

_MAX_PER_DRAIN = 64
"""So many batches a thread appends for others before it goes on with its own work."""


class RecordAccumulator:
    """All queues of one producer, the memory they share, and the timer that empties them.

    * `append` a record; `look_again` after an append without the lock
    * `drain` a queue, `drain_all`; `wake_at` a time

    A batch goes when it is full, when it has lingered for ``linger_ms``, when memory is short, and
    on `drain_all` (PRD-5); never while the one before it waits for its retry. It goes in the thread
    that finds it due, a sender's or the timer's, one thread at a time for each partition, so that
    order is kept. One timer serves all queues: armed by the first open batch, armed again while there
    are any. Threads: any. Source: Kafka ``RecordAccumulator``.
    """

    def __init__(
        self,
        config: ProducerConfig,
        clock: Clock,
        scheduler: Scheduler,
        pool: BufferPool,
        sender: Sender,
        identity: ProducerIdentity | None,
    ) -> None:
        """*identity* None: without idempotence."""
        self.pool = pool
        self._identity = identity
        self.lingers = config.linger_ms > 0
        self._linger_ms = config.linger_ms
        self._compressor = compressor_for(config)
        self._batch_bytes = max(config.batch_size, BATCH_OVERHEAD_BYTES)
        self._clock = clock
        self._time_s = clock.time_s
        self._monotonic_ms = clock.monotonic_ms
        self._scheduler = scheduler
        self._sender = sender
        self._lock = Lock()
        self._queues: dict[tuple[str, int], PartitionQueue] = {}
        self._wakeups: dict[PartitionQueue, float] = {}
        self._timer: Timer | None = None
        self._is_stopped = False
        self.refusal: BaseException | None = None
        """Why no more records are taken, while that is so."""
        self._bar: BaseException | None = None
        self._are_queues_barred = False
        self._discarded: StreamlogError | None = None

    def queue(self, partition: Partition) -> PartitionQueue:
        """Return the queue of a partition, always the same one for the same name and number."""
        key = (partition.topic, partition.number)
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = PartitionQueue(
                    *key, partition, self._clock, lingers=self.lingers
                )
                queue.compressor = self._compressor
        queue.point_at(partition, self._identity)
        return queue

    def queues(self) -> list[PartitionQueue]:
        """Return all queues, in the order in which they were first used."""
        with self._lock:
            return list(self._queues.values())

    # ---- records in

    def append(
        self,
        queue: PartitionQueue,
        row: Row,
        size_bytes: int,
        value_bytes: int,
        max_block_ms: float,
    ) -> None:
        """Add a record of *size_bytes* (`row_bytes`), and append its batch if that is due.

        Waits up to *max_block_ms* for memory, then raises BufferExhaustedError: the record was not
        added. Raises `refusal` once that is set. With ``linger_ms=0`` the record has been
        appended on return, unless an earlier one waits for its retry.
        """
        if size_bytes <= queue.ticket_bytes and (
            queue.low_s <= self._time_s() < queue.high_s or (queue.is_open and queue.restamp())
        ):
            tail = queue.tail  # without the lock, as the class of the queue describes
            tail.append(row)
            if len(tail) >= queue.limit:
                self.look_again(queue)
        else:
            self.append_locked(queue, row, size_bytes, value_bytes, max_block_ms)

    def append_locked(
        self,
        queue: PartitionQueue,
        row: Row,
        size_bytes: int,
        value_bytes: int,
        max_block_ms: float,
    ) -> None:
        """`append` for a record that could not be added without the lock."""
        number, taken = 0, [0]
        wanted_bytes = size_bytes + BATCH_OVERHEAD_BYTES
        if wanted_bytes < self._batch_bytes:
            wanted_bytes = self._batch_bytes
        try:
            while True:
                is_added = is_sealed = False
                with queue.lock:
                    if self.refusal is not None:
                        raise _fresh(self.refusal)
                    if queue.is_open:
                        if queue.has_room_for(size_bytes):
                            is_added = True
                    elif taken[0] or self.pool.try_take(wanted_bytes, taken):
                        now_ms = self._monotonic_ms()
                        due_ms = now_ms + self._linger_ms
                        wake_at_ms = queue.wake_at_ms
                        if self.lingers and (wake_at_ms is None or wake_at_ms > due_ms):
                            self.wake_at(queue, due_ms)
                        queue.open(wanted_bytes, taken, now_ms, due_ms)
                        is_added = True
                    if not is_added:
                        is_sealed = queue.seal() is not None
                    elif not queue.push(row, size_bytes, value_bytes):
                        queue.seal()
                        is_sealed = True
                    number = queue.last_number + (not is_sealed)
                if is_sealed or not self.lingers:
                    self.drain(queue)
                if is_added:
                    break
                if not is_sealed:
                    wanted = min(wanted_bytes, self.pool.total_bytes)
                    self._take_memory(queue, wanted, taken, max_block_ms)
        except BaseException:
            with queue.lock:
                if queue.is_open and not queue.tail:  # Ctrl-C before the record was in it
                    taken[0] += queue.close_empty()
            self._give_back(taken[0])
            raise
        if taken[0]:
            self._give_back(taken[0])  # another thread opened the batch meanwhile
        if not self.lingers and not queue.is_passed(number):
            # Another thread is appending: it takes this record along.
            queue.wait_until(lambda: queue.is_passed(number), None)

    def append_batch(self, batch: ProducerBatch, size_bytes: int, max_block_ms: float) -> None:
        """Add a whole batch of *size_bytes* behind what is there; errors as `append`."""
        queue = batch.queue
        if self.seal(queue):
            self.drain(queue)
        taken = [0]
        try:
            wanted = min(size_bytes, self.pool.total_bytes)
            self._take_memory(queue, wanted, taken, max_block_ms)
            batch.reserved_bytes, taken[0] = taken[0], 0
            with queue.lock:
                if self.refusal is not None:
                    raise _fresh(self.refusal)
                if queue.tail:
                    queue.seal()
                queue.add_sealed(batch)
            number = batch.number
        except BaseException:
            with queue.lock:
                if batch not in queue.sealed and not batch.done:
                    self.pool.give_back_of(batch)
            self._give_back(taken[0])
            raise
        self.drain(queue)
        if not self.lingers and not queue.is_passed(number):
            queue.wait_until(lambda: queue.is_passed(number), None)

    def look_again(self, queue: PartitionQueue) -> None:
        """Do what is due after an append without the lock found ``limit`` reached."""
        mine: ProducerBatch | None = None
        try:
            with queue.lock:
                if queue.is_open and not queue.is_full():
                    return
                # Full, or the row came too late for a batch that was sealed just then: it goes by itself.
                batch = queue.seal()
                if batch is not None and not queue.draining and queue.sealed[0] is batch:
                    mine = batch
                    queue.draining = True
            # As a rule nothing else waits, and what `drain` does comes down to this.
            is_settled = mine is not None and self._sender.deliver(mine) is None
        except BaseException as error:  # as in `drain`
            if mine is not None:
                self._sender.let_go(mine, error)
                self._wake_for_the_rest(queue)
            raise
        if not is_settled or queue.is_looked_for or queue.settling:
            self.drain(queue)

    def _take_memory(
        self, queue: PartitionQueue, size_bytes: int, taken: list[int], max_block_ms: float
    ) -> None:
        pool = self.pool
        if pool.try_take(size_bytes, taken):
            return
        deadline_ms = self._monotonic_ms() + max_block_ms
        self.drain_all()  # whatever may go, goes now (PRD-5)
        if not pool.take(size_bytes, taken, deadline_ms - self._monotonic_ms()):
            raise BufferExhaustedError(
                f"{queue.topic_partition}: expected {size_bytes} bytes of"
                f" buffer_memory={pool.total_bytes} within max_block_ms={max_block_ms:g}, found"
                f" {pool.available_bytes} free and {pool.waiting} thread(s) waiting"
            )

    def _give_back(self, size_bytes: int) -> None:
        if size_bytes:
            self.pool.give_back(size_bytes)

    # ---- batches out

    def drain(self, queue: PartitionQueue) -> None:
        """Append what is sealed or due, in order.

        Returns when there is no more, when the first batch waits for its retry, or when another
        thread is at it already: that one goes on until there is no more.
        """
        sender = self._sender
        for _ in range(_MAX_PER_DRAIN):
            mine: ProducerBatch | None = None
            try:
                with queue.lock:
                    if queue.draining:
                        break
                    batch = self._next(queue)
                    if batch is None:
                        break
                    mine = batch
                    queue.draining = True
                again_at_ms = sender.deliver(batch)
            except BaseException as error:  # Ctrl-C: nobody would drain the queue again
                if mine is not None:
                    sender.let_go(mine, error)
                    self._wake_for_the_rest(queue)
                raise
            if again_at_ms is None:
                if self.lingers or not queue.tail:
                    break
            elif again_at_ms > 0:
                break
        else:
            self.wake_at(queue, self._monotonic_ms())
        if queue.is_looked_for or queue.is_late:
            queue.is_looked_for = False
            self._wake_for_the_rest(queue)
        if queue.settling:
            sender.settle(queue)

    def _next(self, queue: PartitionQueue) -> ProducerBatch | None:
        """Return the batch to append now, None when none is due. The caller holds the queue's lock."""
        sealed = queue.sealed
        if not sealed:
            if not queue.is_open or (self.lingers and queue.due_ms > self._monotonic_ms()):
                return None
            queue.seal()
            if not sealed:
                return None
        batch = sealed[0]
        if batch.retry_at_ms is not None and batch.retry_at_ms > self._monotonic_ms():
            return None
        return batch

    def drain_all(self) -> None:
        """Seal every open batch and append what may go."""
        for queue in self.queues():
            self.seal(queue)
            self.drain(queue)

    def seal(self, queue: PartitionQueue) -> int:
        """Seal the open batch; return the number of the queue's last batch."""
        with queue.lock:
            if queue.tail:
                queue.seal()
            return queue.last_number

    # ---- the timer

    def wake_at(self, queue: PartitionQueue, when_ms: float) -> None:
        """Look at *queue* at *when_ms* or before. Cheap when it will be looked at by then anyway."""
        wake_at_ms = queue.wake_at_ms
        if wake_at_ms is not None and wake_at_ms <= when_ms:
            return
        with self._lock:
            self._wakeups[queue] = when_ms
            self._arm(when_ms)
            queue.wake_at_ms = when_ms  # last: whoever reads it arms no timer

    def _arm(self, when_ms: float) -> None:
        """Have the timer go off at *when_ms* or before. The caller holds the lock."""
        if self._is_stopped:
            return
        timer = self._timer
        if timer is not None:
            if timer.when_ms <= when_ms:
                return
            self._timer = None  # first: one that was cancelled must not pass for one that will come
            timer.cancel()
        self._timer = self._scheduler.call_at(when_ms, self._look)

    def _look(self) -> None:
        """Drain the queues that have something due; the timer calls this."""
        now_ms = self._monotonic_ms()
        with self._lock:
            self._timer = None
            due = self._due(now_ms)
            for queue in due:
                del self._wakeups[queue]
                queue.wake_at_ms = None
            if self._wakeups:
                self._arm(min(self._wakeups.values()))
        for queue in due:
            self.drain(queue)
            self._wake_for_the_rest(queue)

    def _due(self, now_ms: float) -> list[PartitionQueue]:
        return [queue for queue, when_ms in self._wakeups.items() if when_ms <= now_ms]

    def _wake_for_the_rest(self, queue: PartitionQueue) -> None:
        """Look again when the queue's next batch is due, if there is one. While another thread is
        appending, leave that to it: nobody can say yet what will be next.
        """
        with queue.lock:
            retry_at_ms = queue.sealed[0].retry_at_ms if queue.sealed else None
            if queue.draining:
                queue.is_looked_for = True
            elif retry_at_ms is not None:
                self.wake_at(queue, retry_at_ms)
            elif queue.is_open:
                self.wake_at(queue, queue.due_ms)

    # ---- the end

    def refuse(self, error: BaseException) -> None:
        """Take no more records: `append` raises *error* from now on. What waits here still goes."""
        self.refusal = error
        for queue in self.queues():
            with queue.lock:
                queue.idle_append_value = queue.append_value = None
                queue.high_s = 0.0

    def bar(self, error: BaseException) -> None:
        """`refuse` with *error* until `admit`; without effect once records are refused for good."""
        if self.refusal is self._bar:
            self._bar = self.refusal = error  # one step, lest Ctrl-C part them
            if not self._are_queues_barred:
                self.refuse(error)
                self._are_queues_barred = True

    def admit(self, identity: TransactionalIdentity) -> None:
        """Take records again, for the transaction of *identity*."""
        if self.refusal is not self._bar:
            return  # closed
        self._are_queues_barred = False
        self._sender.resume(self._discarded)
        for queue in self.queues():
            queue.admit(identity)
        self._bar = self.refusal = None

    def discard(self, error: StreamlogError) -> None:
        """Fail everything that waits here with *error*, but not a batch that is being appended right now.
        Nothing is tried again until `admit`.
        """
        self._discarded = error
        self.abort(error, only_retries=False)

    def stop(self) -> None:
        """Stop the timer: what waits for it waits for ever."""
        with self._lock:
            self._is_stopped = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def abort(self, error: StreamlogError, *, only_retries: bool) -> None:
        """Fail everything that waits here, or only what waits to be tried again; but not a batch that
        is being appended right now. Nothing is tried again from now on.
        """
        for queue in self.queues():
            if not only_retries:
                self.seal(queue)
            self._sender.abort(queue, error, only_retries=only_retries)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        self.pool._check()
        queues = self.queues()
        for queue in queues:
            queue._check()
        reserved_bytes = sum(queue._reserved_bytes for queue in queues)
        reserved_bytes += sum(batch.reserved_bytes for queue in queues for batch in queue.sealed)
        assert reserved_bytes == self.pool.total_bytes - self.pool.available_bytes
        assert self._wakeups == {
            queue: queue.wake_at_ms for queue in queues if queue.wake_at_ms is not None
        }
        if self._wakeups and not self._is_stopped:
            assert self._timer is not None
            assert self._timer.when_ms <= min(self._wakeups.values())

    def forked(self, error: StreamlogError) -> None:
        """Refuse everything, in the child of a fork: the locks may be held by threads not here."""
        self.refusal = error
        self._lock = Lock()
        self._is_stopped = True
        self._timer = None
        self._wakeups = {}
        for queue in self._queues.values():
            queue.forked(error)


def _fresh(error: BaseException) -> BaseException:
    """Return a copy to raise: each has a traceback of its own."""
    fresh = copy.copy(error)
    fresh.__cause__ = error.__cause__
    return fresh

"""Where records of one producer wait for one partition: an open batch, and sealed ones behind it."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING

from streamlog.client.producer_batch import ProducerBatch
from streamlog.client.row_sizes import (
    BATCH_OVERHEAD_BYTES,
    KEY_OVERHEAD_BYTES,
    ROW_OVERHEAD_BYTES,
    row_bytes,
)
from streamlog.runtime import Lock, Signal
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.partition import Partition
    from streamlog.client.producer_batch import Row
    from streamlog.client.producer_identity import ProducerIdentity
    from streamlog.client.record_future import RecordFuture
    from streamlog.client.topic_route import TopicRoute
    from streamlog.client.transactional_identity import TransactionalIdentity
    from streamlog.errors import StreamlogError
    from streamlog.record import Compressor, ProducerStamp
    from streamlog.runtime import Clock

NEVER = 1 << 62
"""More bytes than there will be."""

_WINDOW_S = 0.001 - 5e-7
"""A millisecond, less what a clock may be off as a float of seconds."""


class PartitionQueue:
    """The records that wait for one partition, in order.

    **Without a lock.** `send` and writers add a record by one ``tail.append(row)``, which the
    interpreter makes a single step, so the order of the list is the order of the records::

        if queue.low_s <= time_s() < queue.high_s or queue.restamp():
            if len(value) <= queue.largest:
                tail = queue.tail
                tail.append(row)
                if len(tail) < queue.limit: return
                look again, with the lock
        otherwise append with the lock

    Why nothing is lost: sealing first stores ``limit = 0`` and then takes what is in the list. A
    thread that still saw the old limit after its append had appended before that store, so its row
    was taken. A thread that appended too late sees 0, or the limit of a batch that was opened since
    and has a timer of its own; with 0 it looks again and finds its row in the tail.

    Why the batch never outgrows ``capacity_bytes`` (but for a row of each thread that races with a
    seal): ``limit`` counts rows as if all were of size ``largest``, and larger ones come by the lock.

    Why timestamps are true: ``low_s <= now < high_s`` is the millisecond of the last stamp, less half a
    microsecond that the clock may be off as a float. Whoever finds the clock outside of it takes the
    lock, reads the clock again and stamps from the present end of the list on. A thread whose row
    slips in behind a newer stamp read the clock before that stamp was taken and appended after it:
    the stamp is a time during its call.

    **With the lock** is everything else; methods whose name begins with an underscore or that say so
    want it held. Lock order: a queue's lock, then the accumulator's or the identity's. Nothing of the
    broker, but for a new producer id, and no callback is called with it held. Source: Kafka ``RecordAccumulator``'s deque.
    """

    __slots__ = (
        # read by the hot path
        "append_value",
        "high_s",
        "largest",
        "limit",
        "low_s",
        "single_bytes",
        "single_count",
        "stamp",
        "tail",
        "ticket_bytes",
        # what and where
        "_clock",
        "_time_ns",
        "lock",
        "number",
        "partition",
        "route",
        "switch_at_bytes",
        "compressor",
        "topic",
        "topic_partition",
        # the open batch
        "_capacity_bytes",
        "_counted_bytes",
        "_counted_rows",
        "_created_ms",
        "_key_room",
        "_reserved_bytes",
        "_stamps",
        "average_bytes",
        "due_ms",
        "idle_append_value",
        "own_append_value",
        "has_keys",
        "has_senders",
        "has_tuples",
        "has_writers",
        "is_open",
        "lingers",
        # behind it
        "batch_bytes",
        "batch_count",
        "batch_records",
        "_done_callbacks",
        "last_number",
        "waiters",
        "calling",
        "has_done_callbacks",
        "is_late",
        "is_looked_for",
        "draining",
        "sealed",
        "settling",
        "wake_at_ms",
        "_forked_error",
    )

    done = False
    """A record that is still here is not done. Internal: `RecordFuture` asks."""

    def __init__(
        self, topic: str, number: int, partition: Partition, clock: Clock, *, lingers: bool
    ) -> None:
        self.topic = topic
        self.number = number
        self.topic_partition = TopicPartition(topic, number)
        self.partition = partition
        """Replaced when the topic was deleted and created again, see `point_at`."""
        self.stamp: ProducerStamp | None = None
        """What an idempotent producer puts on what it appends here, None without idempotence. Whoever
        wants both reads the partition, or its `append_value`, first: a later stamp does no harm."""
        self.lingers = lingers
        """Whether records may be added without the lock while a batch is open (``linger_ms`` > 0)."""
        self.route: TopicRoute | None = None
        """The topic's partitions, where one of them is current for records without a key."""
        self.lock = Lock()
        """Always taken by ``with``: between a call of ``acquire`` and the ``try`` behind it Ctrl-C would
        keep it for ever.
        """
        self._clock = clock
        self._time_ns = clock.time_ns
        self.tail: list[Row] = []
        """The rows of the open batch. Always the same list."""
        self.limit = 0
        self.largest = 0
        self.ticket_bytes = 0
        """What ``limit`` counts for each row: value, key and what they take besides."""
        self.low_s = 0.0
        self.high_s = 0.0
        self.append_value: Callable[[bytes, int, ProducerStamp | None], int] | None = None
        """With ``linger_ms=0``: appends one plain value to the partition; None while that would
        overtake records that wait here."""
        self.idle_append_value: Callable[[bytes, int, ProducerStamp | None], int] | None = None
        """What `append_value` is while nothing waits here."""
        self.own_append_value: Callable[[bytes, int, ProducerStamp | None], int] | None = None
        """What `idle_append_value` is while records are taken."""
        self.single_count = 0
        self.single_bytes = 0
        """What `append_value` appended. Counted without a lock, by whichever threads append: between the
        load and the store of ``+=`` there is neither a call nor a jump back, and nowhere else does the
        interpreter give another thread its turn. A test races threads to see it.
        """
        self.batch_count = self.batch_records = self.batch_bytes = 0
        """What was appended by the batch."""
        self.switch_at_bytes = NEVER
        """At so many `single_bytes` the route chooses another current partition."""
        self.compressor: Compressor | None = None
        """What compresses the batches of the queue; set once."""
        self.is_open = False
        """Whether there is an open batch, which has a timer and holds a reservation."""
        self.due_ms = 0.0
        """Monotonic; when the open batch has lingered long enough."""
        self.average_bytes = 0
        """Bytes of a record in the batch packed last."""
        self.has_senders = False
        self.has_writers = False
        self.has_tuples = False
        """Which kinds of rows there may be: futures, values, tuples. Set before the first of a kind is
        added, and once true true for good."""
        self.has_keys = False
        """Whether futures in it may have a key; once true, for good."""
        self._key_room = 0
        self._capacity_bytes = 0
        self._reserved_bytes = 0
        self._created_ms = 0.0
        self._counted_rows = 0
        self._counted_bytes = 0
        self._stamps: list[tuple[int, int]] = []
        self.sealed: deque[ProducerBatch] = deque()
        """Batches in order; the first may be on its way, and leaves when it is done."""
        self.settling: deque[ProducerBatch] = deque()
        """Batches whose callbacks are still to be called, in order."""
        self.draining = False
        """Whether a thread is appending the first sealed batch."""
        self.is_late = False
        """Whether a batch had to be tried again, or those behind it still wait."""
        self.is_looked_for = False
        """Whether the timer came while a thread was appending: that one must see to the rest."""
        self.calling = False
        """Whether a thread is calling callbacks."""
        self.wake_at_ms: float | None = None
        """When the producer's timer will look at this queue."""
        self.last_number = 0
        """The number of the batch sealed last."""
        self._forked_error: StreamlogError | None = None
        self.waiters: tuple[Signal, ...] = ()
        """Set whenever a batch is done or settled, see `wake`."""
        self.has_done_callbacks = False
        """Whether `take_done_callbacks` has anything to look at."""
        self._done_callbacks: list[tuple[RecordFuture, Callable[[RecordFuture], object]]] = []

    def __repr__(self) -> str:
        return (
            f"<PartitionQueue {self.topic_partition}: {len(self.tail)} records open,"
            f" {len(self.sealed)} batches sealed>"
        )

    @property
    def queue(self) -> PartitionQueue:
        """Itself: the owner of a future is a queue or a batch, and both know their queue."""
        return self

    # ---- where it leads

    def point_at(self, partition: Partition, identity: ProducerIdentity | None) -> None:
        """Lead to *partition* from now on, with a stamp that it has not seen yet."""
        with self.lock:
            if self.partition is partition and (self.stamp is not None or identity is None):
                return
            if identity is not None:
                self.stamp = (
                    identity.stamp() if self.stamp is None else identity.renewed(self.stamp)
                )
            self.partition = partition  # after the stamp, see there

    def admit(self, identity: TransactionalIdentity) -> None:
        """Take the records of another transaction, with a stamp of its own unless nothing was written with
        that of the last one.
        """
        with self.lock:
            if self.stamp is None or not identity.is_of(self.stamp):
                self.stamp = identity.stamp()
            self.idle_append_value = self.own_append_value
            self.append_value = None if self.sealed or self.tail else self.own_append_value

    def renew_stamp(self, identity: ProducerIdentity, stamp: ProducerStamp) -> None:
        """Put another one in the place of *stamp*, unless that was done already."""
        with self.lock:
            if self.stamp is stamp:
                self.stamp = identity.renewed(stamp)

    # ---- the open batch; the caller holds the lock

    def open(self, capacity_bytes: int, taken: list[int], now_ms: float, due_ms: float) -> None:
        """Open a batch of up to *capacity_bytes*, which takes over what was *taken* of the memory.

        The caller has made sure that a timer will look at the queue at *due_ms*. Rows whose thread
        raced with the last seal may be here already, and belong to it, as what a seal that Ctrl-C cut short had reserved.
        """
        self._capacity_bytes = capacity_bytes - BATCH_OVERHEAD_BYTES
        self._reserved_bytes, taken[0] = self._reserved_bytes + taken[0], 0
        self._created_ms = now_ms
        self.due_ms = due_ms
        self.is_open = True

    def close_empty(self) -> int:
        """Take back that the batch was opened, before there is a record in it; return what it reserved."""
        self.is_open = False
        self.high_s = 0.0
        self.limit = 0
        reserved_bytes, self._reserved_bytes = self._reserved_bytes, 0
        return reserved_bytes

    def has_room_for(self, size_bytes: int) -> bool:
        """Return whether a record of *size_bytes* (`row_bytes`) fits; the first one always does."""
        tail = self.tail
        return (
            (len(tail) < self.limit and size_bytes <= self.ticket_bytes)
            or not tail
            or self._used_bytes() + size_bytes <= self._capacity_bytes
        )

    def push(self, row: Row, size_bytes: int, value_bytes: int) -> bool:
        """Add a record to the open batch; return whether there is room for another one like it.

        If the queue lingers, others like it may be added without the lock until the millisecond ends.
        """
        self._stamp()
        tail = self.tail
        tail.append(row)
        if len(tail) == 1:
            self._counted_rows = 1
            self._counted_bytes = size_bytes
        if self.largest < value_bytes <= self._capacity_bytes >> 3:
            self.largest = value_bytes
        elif len(tail) < self.limit and size_bytes <= self.ticket_bytes:
            return True
        return self._let_in() and size_bytes <= self._capacity_bytes - self._counted_bytes

    def is_full(self) -> bool:
        """Return whether the open batch should go; if not, more rows are let in."""
        if len(self.tail) * self.average_bytes * 4 >= self._capacity_bytes * 3:
            return True  # so many like the last ones are nearly as much as fits: not worth a count
        return not self._let_in()

    def seal(self) -> ProducerBatch | None:
        """Close the open batch and put it behind the sealed ones; return it, None if there was none.

        Also takes rows that were added while no batch was open.
        """
        self.is_open = False
        self.high_s = 0.0
        self.limit = 0  # before the rows are taken, see the class
        tail = self.tail
        rows = tail[:]
        if not rows:
            return None
        number = self.last_number + 1
        if self._stamps:
            batch = ProducerBatch(self, number, self._created_ms, rows)
            batch.stamps = self._stamps
        else:
            batch = ProducerBatch(self, number, self._clock.monotonic_ms(), rows)
            batch.stamps = ((0, self._clock.time_ms()),)
        if self.has_senders + self.has_writers + self.has_tuples > 1:
            batch.rows_differ = True
        count = len(rows)
        # From here on no call until the rows are in their new place: Ctrl-C would lose them.
        batch.reserved_bytes = self._reserved_bytes
        self._stamps = []
        self._reserved_bytes = self._counted_rows = self._counted_bytes = 0
        self.last_number = number
        del tail[:count]
        self.sealed.append(batch)
        if self.average_bytes * 4 < self.largest:
            self.largest = 0  # there was one large record: find out anew what is usual
        return batch

    def add_sealed(self, batch: ProducerBatch) -> None:
        """Put a batch that was made elsewhere behind the sealed ones."""
        self.last_number += 1
        batch.number = self.last_number
        self.sealed.append(batch)

    def _stamp(self) -> None:
        """Let the rows from here on have the present time."""
        now_ns = self._time_ns()
        now_ms = now_ns // 1_000_000
        stamps = self._stamps
        if not stamps:
            stamps.append((0, now_ms))
        elif stamps[-1][1] != now_ms:
            stamps.append((len(self.tail), now_ms))
        if self.lingers:
            self.high_s = 0.0  # while the two do not match, nobody is in the window
            self.low_s = low_s = now_ms / 1000
            self.high_s = low_s + _WINDOW_S

    def _let_in(self) -> bool:
        """Set how many rows may be there before somebody has to look; False when it is full."""
        self.ticket_bytes = self.largest + self._key_room + ROW_OVERHEAD_BYTES
        rows = (self._capacity_bytes - self._used_bytes()) // self.ticket_bytes
        self.limit = self._counted_rows + rows
        return rows > 0

    def _used_bytes(self) -> int:
        """Return the bytes of the rows of the open batch; each is counted once."""
        rows = self.tail[self._counted_rows :]
        if rows:
            if self.has_senders or self.has_tuples:
                self._counted_bytes += sum(map(row_bytes, rows))
            else:
                self._counted_bytes += sum(map(len, rows)) + len(rows) * ROW_OVERHEAD_BYTES  # type: ignore[arg-type]
            self._counted_rows += len(rows)
        return self._counted_bytes

    # ---- without the lock

    def restamp(self) -> bool:
        """Let the rows from here on have the present time; False when none may be added that way."""
        if not self.lingers:
            return False
        with self.lock:
            if not self.is_open:
                return False
            self._stamp()
            return True

    def count_single(self, size_bytes: int) -> None:
        """Count a record that was appended by itself."""
        self.single_count += 1
        self.single_bytes += size_bytes
        if self.single_bytes >= self.switch_at_bytes and self.route is not None:
            self.route.single_produced(self)

    def make_room_for_keys(self, key_bytes: int) -> None:
        """From now on rows with a key of up to *key_bytes* may be added without the lock."""
        self.has_keys = True
        if key_bytes + KEY_OVERHEAD_BYTES > self._key_room:
            with self.lock:
                self._key_room = max(self._key_room, key_bytes + KEY_OVERHEAD_BYTES)
                if self.is_open:
                    self._let_in()

    def monotonic_ms(self) -> float:
        """Return the clock that deadlines of this queue are measured with."""
        return self._clock.monotonic_ms()

    def wait_until(self, predicate: Callable[[], bool], timeout_ms: float | None) -> bool:
        """Wait until *predicate* is true, which is asked whenever a batch is done or settled; return
        its last answer.
        """
        if self._forked_error is not None:
            raise copy.copy(self._forked_error)
        signal = Signal()
        try:
            with self.lock:
                self.waiters = (*self.waiters, signal)
            return self._clock.wait_until(predicate, signal, timeout_ms)
        finally:
            with self.lock:
                self.waiters = tuple(s for s in self.waiters if s is not signal)

    def wake(self) -> None:
        """Make whoever waits ask again."""
        for signal in self.waiters:
            signal.set()

    def is_passed(self, number: int) -> bool:
        """Return whether batch *number* is done, or has to wait for a retry."""
        with self.lock:
            sealed = self.sealed
            if not sealed:
                return self.last_number >= number
            return sealed[0].retry_at_ms is not None or sealed[0].number > number

    def is_settled(self, number: int) -> bool:
        """Return whether all batches up to *number* are done and their callbacks have run."""
        with self.lock:
            return not any(
                batches and batches[0].number <= number for batches in (self.sealed, self.settling)
            )

    def add_done_callback(self, future: RecordFuture, fn: Callable[[RecordFuture], object]) -> bool:
        """Keep *fn* to be called with *future* when that is done; False when it is done already."""
        with self.lock:
            if future.done():
                return False
            self._done_callbacks.append((future, fn))
            self.has_done_callbacks = True
            return True

    def take_done_callbacks(self) -> list[tuple[RecordFuture, Callable[[RecordFuture], object]]]:
        """Return the callbacks of futures that are done by now. The caller holds the lock."""
        waiting = self._done_callbacks
        done: list[tuple[RecordFuture, Callable[[RecordFuture], object]]] = []
        left: list[tuple[RecordFuture, Callable[[RecordFuture], object]]] = []
        for pair in waiting:
            (done if pair[0].done() else left).append(pair)
        self._done_callbacks = left
        self.has_done_callbacks = left != []
        return done

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self.lock.locked()
        assert not (self.draining or self.calling or self.settling or self.waiters)
        assert self.is_open or not (self.tail or self._stamps or self._reserved_bytes)
        assert self.is_open or self.limit == self.high_s == 0
        assert not self.is_open or (self.tail and self._used_bytes() <= self._capacity_bytes)
        numbers = [batch.number for batch in self.sealed]
        assert numbers == sorted(numbers)
        assert all(number <= self.last_number for number in numbers)
        assert not any(batch.done for batch in self.sealed)
        # What waits is waited for, and nothing overtakes it.
        assert not (self.is_open or self.sealed) or self.wake_at_ms is not None
        assert self.append_value is None or not (self.is_open or self.sealed)

    def forked(self, error: StreamlogError) -> None:
        """Give up what threads of the parent may hold. Called in the child of a fork."""
        self._forked_error = error
        self.lock = Lock()
        self.waiters = ()
        self.is_open = False
        self.high_s = 0.0
        self.limit = 0
        self.idle_append_value = self.append_value = None

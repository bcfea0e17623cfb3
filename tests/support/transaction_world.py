"""Producers with and without transactions on one topic, each call of which is told to a model before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from streamlog import Broker, Durability, OffsetAndMetadata, Producer, TopicPartition
from streamlog.errors import (
    OutOfOrderSequenceError,
    StreamlogError,
    TransactionAbortedError,
)
from streamlog.record import PendingBatch, ProducerStamp, build_batch
from streamlog.runtime import VirtualClock
from streamlog.structs import ConsumerGroupMetadata
from tests.support.announcing_producer import AnnouncingProducer
from tests.support.transaction_model import (
    OffsetCommit,
    Outcome,
    Transaction,
    TransactionModel,
)
from tests.support.transaction_view import GROUP, Shown, ShownLog, show

TOPIC = "t"
READ = TopicPartition(TOPIC, 0)
"""What the group reads."""

ACTORS = ("x1", "x2", "y1", "y2")
"""Producers; those that begin with the same letter share a transactional id, and the one that came last has it."""

TIMEOUT_MS = 60_000
EXPIRY_MS = TIMEOUT_MS + 10_000
"""After so long nothing of a transaction is open any more (TXN-12)."""

KEPT_BATCHES = 5
"""Of each producer, which a resent one is compared with (IDM-2)."""


@contextmanager
def refused(error: type[Exception]) -> Iterator[None]:
    """Assert that what is inside raises *error*. (An AssertionError when not, which the crash explorer understands.)"""
    try:
        yield
    except error:
        return
    raise AssertionError(f"expected {error.__name__}, and nothing was raised")


@attrs.define(eq=False)
class Actor:
    """One producer with a transactional id."""

    name: str
    producer: Producer | AnnouncingProducer
    transaction: Transaction | None = None
    #: Whether the coordinator has been told anything of the transaction.
    has_sent: bool = False
    #: Fenced, or timed out: nothing it does may have an effect.
    is_over: bool = False


@attrs.define(eq=False)
class Written:
    """A batch that was appended with a sequence of its own."""

    batch: PendingBatch
    offset: int
    values: list[bytes]


class World:
    """A broker, those who write to it, and what should be there."""

    def __init__(
        self,
        model: TransactionModel,
        configs: dict[str, Any],
        clock: VirtualClock,
        *,
        announcing: frozenset[str] = frozenset(),
    ) -> None:
        """*announcing*: the actors that are in other processes, and keep their epoch."""
        self.announcing = announcing
        self.partitions = len(model.logs)
        self.configs = configs
        self.clock = clock
        self.model = model
        self.broker: Broker
        self.actors: dict[str, Actor] = {}
        self.plain: Producer
        #: A producer id that outlives its process, and what was written with it, by partition.
        self.writer_id = -1
        self.written: list[list[Written]] = [[] for _ in model.logs]
        #: Of each producer with an id, so many are known when they come again.
        self.kept_batches = KEPT_BATCHES
        self._number = 0

    def create(self, broker: Broker) -> None:
        """Begin in *broker*, which has no topic yet."""
        self.broker = broker
        broker.create_topic(TOPIC, partitions=self.partitions, configs=self.configs)
        self.writer_id = broker.new_producer_id()
        self.plain = Producer(broker)

    def reopened(self, broker: Broker) -> None:
        """Go on in another broker on the same disk: all producers are gone with the last one."""
        self.broker = broker
        self.actors.clear()
        self.plain = Producer(broker)
        self.model.is_closed = False

    def crashed(self, broker: Broker, *, power_failed: bool) -> None:
        """Go on in *broker*, opened on what a crash left. Raises AssertionError when that is not right."""
        self.reopened(broker)
        shown = self.show()
        found = list(self.model.differences(shown, crashed=True, power_failed=power_failed))
        assert not found, found
        self.model.recovered(shown)
        for number, log in enumerate(shown.logs):
            self.written[number] = [w for w in self.written[number] if self._is_left(w, log)]

    def _is_left(self, written: Written, log: ShownLog) -> bool:
        return {value for _, value in log.uncommitted} >= set(written.values)

    def show(self) -> Shown:
        return show(self.broker, TOPIC)

    def check(self) -> None:
        """Assert that the broker shows what it should."""
        found = list(self.model.differences(self.show()))
        assert not found, found

    # ---- transactions

    def join(self, name: str, linger_ms: int = 0) -> None:
        """A producer begins; whoever had its transactional id is fenced (TXN-3, I10)."""
        producer: Producer | AnnouncingProducer
        if name in self.announcing and not linger_ms:
            producer = AnnouncingProducer(self.broker, name[0], TIMEOUT_MS)
        else:
            producer = Producer(
                self.broker,
                transactional_id=name[0],
                transaction_timeout_ms=TIMEOUT_MS,
                linger_ms=linger_ms,
            )
        producer.init_transactions()
        for other in self.actors.values():
            if other.name[0] == name[0]:
                self._is_over(other)
        if name in self.actors:
            self.forget(name)
        self.actors[name] = Actor(name, producer)

    def begin(self, name: str) -> None:
        actor = self.actors[name]
        self._number += 1
        actor.transaction = Transaction(f"{name}-{self._number}")
        if actor.is_over:
            actor.transaction.outcome = Outcome.ABORTED
        actor.has_sent = False
        actor.producer.begin_transaction()

    def can_begin(self, name: str) -> bool:
        return name in self.actors and self.actors[name].transaction is None

    def in_transaction(self, name: str) -> bool:
        return name in self.actors and self.actors[name].transaction is not None

    def send(self, name: str, partition: int, count: int) -> None:
        """Send records in the transaction; nothing of one who is fenced gets into the log."""
        actor = self.actors[name]
        values = self.values(count)
        transaction = self._takes_part(actor)
        if actor.is_over:
            with refused(StreamlogError):
                self._store(actor.producer, partition, values)
            return
        self._stored(actor.producer, partition, values, transaction)

    def send_offset(self, name: str) -> None:
        """Send an offset of the group, which counts when the transaction is committed (TXN-7)."""
        actor = self.actors[name]
        transaction = self._takes_part(actor)
        self._number += 1
        offset = self._number
        call = actor.producer.send_offsets_to_transaction
        arguments = {READ: OffsetAndMetadata(offset)}, ConsumerGroupMetadata(GROUP)
        if actor.is_over:
            with refused(StreamlogError):
                call(*arguments)
            return
        self.model.commits.append(OffsetCommit(offset, transaction))
        call(*arguments)
        self.model.offset_stored()

    def _takes_part(self, actor: Actor) -> Transaction:
        assert actor.transaction is not None
        if actor.transaction.began_ms is None:
            actor.transaction.began_ms = self.clock.time_ms()
        actor.has_sent = True
        return actor.transaction

    def commit(self, name: str) -> None:
        """Commit; of one who is fenced, or too late, that fails, unless there is nothing to commit."""
        actor = self.actors[name]
        transaction = actor.transaction
        assert transaction is not None
        if not actor.is_over:
            self.model.ending(transaction)
            actor.producer.commit_transaction()
            self.model.committed(transaction)
        elif actor.has_sent:
            with refused(StreamlogError):
                actor.producer.commit_transaction()
        else:
            with suppress(StreamlogError):
                actor.producer.commit_transaction()
        self._ended(actor)

    def abort(self, name: str) -> None:
        actor = self.actors[name]
        transaction = actor.transaction
        assert transaction is not None
        if actor.is_over:
            with suppress(StreamlogError):
                actor.producer.abort_transaction()
        else:
            actor.producer.abort_transaction()
        transaction.outcome = Outcome.ABORTED
        self._ended(actor)

    def abort_unsent(self, name: str, partition: int, count: int) -> None:
        """Abort while records wait in the producer: they are never sent (TXN-6). Somebody new under *name* does it."""
        self.join(name, linger_ms=1_000)
        self.begin(name)
        producer = self.actors[name].producer
        assert isinstance(producer, Producer)
        values = self.values(count)
        futures = [producer.send(TOPIC, value, partition=partition) for value in values]
        self.abort(name)
        for future in futures:
            with refused(TransactionAbortedError):
                future.result(timeout=0)
        self.leave(name)

    def leave(self, name: str) -> None:
        """Close a producer, which aborts what it has begun."""
        actor = self.actors.pop(name)
        actor.producer.close()
        if actor.transaction is not None and not actor.is_over:
            actor.transaction.outcome = Outcome.ABORTED

    def forget(self, name: str) -> None:
        """Drop a producer as if its process had died: what it began stays open until it times out."""
        actor = self.actors.pop(name)
        self._number += 1
        self.actors[f"{name} until {self._number}"] = actor

    def _ended(self, actor: Actor) -> None:
        actor.transaction = None
        if actor.is_over:
            self.actors.pop(actor.name, None)

    def _is_over(self, actor: Actor) -> None:
        actor.is_over = True
        if actor.transaction is not None:
            actor.transaction.outcome = Outcome.ABORTED

    def advance(self, milliseconds: int) -> None:
        """Let time pass; transactions that take too long are aborted, and their producers fenced (TXN-12)."""
        self.clock.advance(milliseconds)
        for actor in self.actors.values():
            transaction = actor.transaction
            if transaction is not None and transaction.began_ms is not None:
                age_ms = self.clock.time_ms() - transaction.began_ms
                assert age_ms < TIMEOUT_MS or age_ms >= EXPIRY_MS, "nobody knows what it should be"
                if age_ms >= EXPIRY_MS:
                    self._is_over(actor)

    # ---- without transactions

    def send_plain(self, partition: int, count: int) -> None:
        self._stored(self.plain, partition, self.values(count), None)

    def commit_plain(self) -> None:
        """Commit an offset of the group by itself."""
        self._number += 1
        self.model.commits.append(OffsetCommit(self._number, None))
        self.broker.group_coordinator.commit_offsets(
            GROUP, "", -1, {READ: OffsetAndMetadata(self._number)}
        )
        self.model.offset_stored()

    def write(self, partition: int, count: int) -> None:
        """Append a batch with the next sequence of a producer id that was there before."""
        values, written = self.values(count), self.written[partition]
        batch = self._batch(values)
        batch.stamp = stamp = ProducerStamp(self.writer_id, 0, is_transactional=False)
        stamp.next_sequence = self.next_sequence(partition)
        log = self.model.logs[partition]
        log.sent(values, None)
        target = self.broker.partition(TOPIC, partition)
        offset = target.append(batch)
        on_disk = target.ack_durability() is Durability.DISK
        log.acknowledged(last_offset=offset + count - 1, on_disk=on_disk)
        written.append(Written(batch, offset, values))

    def next_sequence(self, partition: int) -> int:
        written = self.written[partition]
        if not written:
            return 0
        return written[-1].batch.base_sequence + written[-1].batch.record_count

    def rewrite(self, partition: int, pick: int) -> None:
        """Append one of the last batches again: the answer is where it was stored (IDM-2, IDM-7)."""
        kept = self.written[partition][-self.kept_batches :]
        if kept:
            again = kept[pick % len(kept)]
            assert self.broker.partition(TOPIC, partition).append(again.batch) == again.offset

    def write_with_gap(self, partition: int) -> None:
        """Append a batch that leaves out a sequence: it is refused (IDM-3)."""
        if self.written[partition]:
            batch = self._batch(self.values(1))
            batch.producer_id, batch.producer_epoch = self.writer_id, 0
            batch.base_sequence = self.next_sequence(partition) + 1
            with refused(OutOfOrderSequenceError):
                self.broker.partition(TOPIC, partition).append(batch)

    # ---- the rest

    def values(self, count: int) -> list[bytes]:
        """Return values that were never sent before."""
        self._number += 1
        return [b"%d.%d" % (self._number, n) + b"." * (self._number % 7 * 9) for n in range(count)]

    def _stored(
        self,
        producer: Producer | AnnouncingProducer,
        partition: int,
        values: list[bytes],
        transaction: Transaction | None,
    ) -> None:
        log = self.model.logs[partition]
        log.sent(values, transaction)
        last_offset, durability = self._store(producer, partition, values)
        log.acknowledged(last_offset=last_offset, on_disk=durability is Durability.DISK)

    def _store(
        self, producer: Producer | AnnouncingProducer, partition: int, values: list[bytes]
    ) -> tuple[int, Durability]:
        if len(values) == 1:
            future: Any = producer.send(TOPIC, values[0], partition=partition)
        else:
            future = producer.send_many(TOPIC, values, partition=partition)
        metadata = future.result(timeout=0)
        return metadata.offset, metadata.durability

    def _batch(self, values: list[bytes]) -> PendingBatch:
        return build_batch(values, self.clock.time_ms())

    def sync(self) -> None:
        self.broker.sync()
        self.model.synced()

    def roll(self, partition: int) -> None:
        self.broker.partition(TOPIC, partition).log.roll()

    def close(self, close: Callable[[], None] | None = None) -> None:
        """Close the broker: what is open is never committed."""
        (close or self.broker.close)()
        for actor in self.actors.values():
            self._is_over(actor)
        self.model.synced()
        self.model.is_closed = True

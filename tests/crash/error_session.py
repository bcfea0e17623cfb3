"""One broker on a disk that fails: what was tried, what was promised, and whether that holds afterwards."""

from __future__ import annotations

import errno
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from streamlog import (
    Broker,
    Consumer,
    DiskFullError,
    Durability,
    DurabilityError,
    OffsetAndMetadata,
    Producer,
    RetriableCommitFailedError,
    StorageError,
    StreamlogTimeoutError,
    TopicPartition,
    UnknownTopicOrPartitionError,
)
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidProducerEpochError,
    InvalidTxnStateError,
    ProducerFencedError,
    TransactionAbortableError,
    TransactionAbortedError,
)
from streamlog.structs import ConsumerGroupMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.runtime import FileSystem
    from streamlog.testing import FaultPlan, VirtualClock

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SYNC_CALLS = {"sync", "sync_data", "fsync", "fdatasync"}
BROKER_CONFIG: dict[str, object] = {
    "offsets_topic_num_partitions": 1,
    "transaction_state_log_num_partitions": 1,
    "min_free_bytes": 0,
}

#: What becomes of a transaction after something else went wrong in it.
CONSEQUENCES = (
    ConcurrentTransactionsError,
    InvalidProducerEpochError,
    InvalidTxnStateError,
    ProducerFencedError,
    TransactionAbortableError,
    TransactionAbortedError,
)

#: Short, so that whatever is tried again and again ends soon.
PATIENCE: dict[str, Any] = {
    "delivery_timeout_ms": 400,
    "request_timeout_ms": 100,
    "retry_backoff_ms": 50,
}


class Broken(AssertionError):
    """A promise was not kept."""


class Pending(NamedTuple):
    """Records on their way: one batch."""

    tp: TopicPartition
    values: list[bytes]
    future: Any


@attrs.define
class Attempted:
    """One transaction: its values by partition, the group's offset if it has one, and whether its commit returned (None: it may have happened)."""

    values: dict[TopicPartition, list[bytes]]
    offset: int | None
    is_committed: bool | None = False


class Session:
    """Runs one workload. Everything that may fail goes through `attempt`; what succeeded is remembered."""

    def __init__(
        self, filesystem: FileSystem, path: str, plan: FaultPlan, clock: VirtualClock
    ) -> None:
        self.filesystem = filesystem
        self.path = path
        self.plan = plan
        self.clock = clock
        self.broker: Broker | None = None
        self.producers: list[Producer] = []
        self.consumers: list[Consumer] = []
        #: The number that calls fail with; None for calls that only take long.
        self.number: int | None = None
        self.is_sticky = False
        #: Whether the disk can fill up by itself.
        self.is_small = False
        self.errors: list[str] = []
        #: Values by offset, and values with the number of their batch.
        self.acknowledged: dict[TopicPartition, dict[int, bytes]] = defaultdict(dict)
        self.sent: dict[TopicPartition, dict[bytes, int]] = defaultdict(dict)
        #: Of the acknowledged ones, those that survive a loss of power.
        self.durable: dict[TopicPartition, set[int]] = defaultdict(set)
        #: Partition counts. In doubt is what exists only if a call that failed did its work all the same, or did not.
        self.topics: dict[str, int] = {}
        self.in_doubt: dict[str, int] = {}
        #: Records below were, or may have been, deleted.
        self.deleted_below: dict[TopicPartition, int] = defaultdict(int)
        self.committed: dict[TopicPartition, int] = {}
        self.commits_tried: dict[TopicPartition, set[int]] = defaultdict(set)
        #: Topics in which there are transactions, and these, in order.
        self.transactional: set[str] = set()
        self.transactions: list[Attempted] = []
        #: Topics whose records have keys, a few that come again and again, and are compacted.
        self.compacted: set[str] = set()
        #: Partitions that said that they cannot be used until the broker is opened again.
        self.refused: set[TopicPartition] = set()
        # Earlier injections belong to an earlier life of the broker.
        self._first_injection = 0
        self._number_of_values = 0
        self._number_of_batches = 0

    # ---- trying

    def attempt(self, what: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return what *call* returns, True for None; None when it raises an error of the right kind."""
        try:
            result = call(*arguments, **options)
        except Exception as error:
            self._judge(what, error)
            return None
        return True if result is None else result

    def _judge(self, what: str, error: Exception) -> None:
        """Raise Broken unless *error* is what should come out of a call when the disk fails as planned."""
        if self.is_small and any(isinstance(e, DiskFullError) for e in _chain(error)):
            return  # it really was full
        if self.is_small and isinstance(error, StreamlogTimeoutError):
            return  # it was so for as long as the producer had patience
        if not self.plan.injections:
            raise Broken(f"{what} failed on a healthy disk: {error!r}") from error
        self.errors.append(f"{what}: {error!r}")
        numbers = {e.errno for e in _chain(error) if isinstance(e, OSError)} - {None}
        if self.number is None:  # slow
            right = isinstance(error, StreamlogTimeoutError)
        elif isinstance(error, DiskFullError):
            right = self.number in NO_ROOM
        elif isinstance(error, StreamlogTimeoutError):
            right = True
        elif isinstance(error, DurabilityError | StorageError | RetriableCommitFailedError):
            right = self.number in numbers
        elif isinstance(error, UnknownTopicOrPartitionError):
            right = bool(self.in_doubt)
        elif isinstance(error, CONSEQUENCES):
            right = len(self.errors) > 1 or bool(numbers & {self.number})
        else:
            right = type(error).__module__ == "builtins" and numbers == {self.number}
        if not right:
            raise Broken(
                f"{what}: expected an error of the disk, found {error!r} after {self.errors[:-1]}"
            ) from error

    # ---- life

    def open(self) -> Broker | None:
        """Open the broker. Where one call failed on the way, opening again must succeed."""
        for _ in range(2):
            self.broker = self.attempt(
                "open",
                Broker,
                self.path,
                filesystem=self.filesystem,
                clock=self.clock,
                seed=1,
                config=BROKER_CONFIG,
            )
            if self.broker is not None:
                self._first_injection = len(self.plan.injections)
                self.refused.clear()
                return self.broker
            if self.is_sticky:
                return None
        raise Broken(f"one call failed, and opening again did as well: {self.errors}")

    def close(self) -> None:
        for client in (*self.producers, *self.consumers):
            self.attempt("close a client", client.close)
        self.producers, self.consumers = [], []
        if self.broker is not None:
            self._all_durable_after("close", self.broker.close)
            if not self.broker.closed:
                raise Broken("the broker is not closed although close() came back")
        self.broker = None

    def kill(self) -> None:
        """Drop the broker as ``kill -9`` does: nothing more is written, and no call fails any more."""
        self.plan.clear()
        if self.broker is not None:
            self.broker._forked()
        for client in (*self.producers, *self.consumers):
            client._forked()
        self.producers, self.consumers = [], []
        self.broker = None

    # ---- topics

    def create(self, name: str, partitions: int = 1, **configs: object) -> bool:
        assert self.broker is not None
        self.in_doubt[name] = partitions
        options = {"partitions": partitions, "configs": {"index_interval_bytes": 0, **configs}}
        if self.attempt(f"create {name}", self.broker.create_topic, name, **options) is None:
            return False
        self.topics[name] = self.in_doubt.pop(name)
        return True

    def delete(self, name: str) -> bool:
        assert self.broker is not None
        self.in_doubt[name] = self.topics.pop(name)
        if self.attempt(f"delete {name}", self.broker.delete_topic, name) is None:
            return False
        self.forget(name)
        return True

    def forget(self, name: str) -> None:
        """Expect nothing of the topic any more: it is gone."""
        self.in_doubt.pop(name, None)
        for known in (self.sent, self.acknowledged, self.deleted_below, self.durable):
            for tp in [tp for tp in known if tp.topic == name]:
                del known[tp]

    # ---- records

    def producer(self, **config: Any) -> Producer:
        producer = Producer(self.broker, **{**PATIENCE, **config})
        self.producers.append(producer)
        return producer

    def send(
        self, producer: Producer, tp: TopicPartition, *, count: int = 1, size: int = 10
    ) -> Pending | None:
        """Send records that share a batch; `settle` waits for what becomes of them."""
        values = [self.new_value(size) for _ in range(count)]
        self._number_of_batches += 1
        self.sent[tp].update(dict.fromkeys(values, self._number_of_batches))
        if count == 1:
            call: tuple[Any, ...] = (producer.send, tp.topic, values[0])
        else:
            call = (producer.send_many, tp.topic, values)
        options: dict[str, Any] = {}
        if tp.topic in self.compacted:
            keys = [key_of(value) for value in values]
            options = {"key": keys[0]} if count == 1 else {"keys": keys}
        future = self.attempt(f"send to {tp}", *call, partition=tp.partition, **options)
        return None if future is None else Pending(tp, values, future)

    def new_value(self, size: int = 10) -> bytes:
        """Return a value that was never sent before and sorts behind all that were."""
        self._number_of_values += 1
        return b"%08d" % self._number_of_values + b"." * (size - 8)

    def settle(self, pending: Pending | None) -> bool:
        """Wait for the result; return whether the records were acknowledged."""
        if pending is None:
            return False
        tp, values, future = pending
        try:
            metadata = future.result(timeout=60)
        except Exception as error:
            if isinstance(error, DurabilityError | StorageError):
                self.refused.add(tp)
            self._judge(f"result of a send to {tp}", error)
            return False
        self._acknowledge(tp, values, metadata.offset - len(values) + 1, metadata.durability)
        return True

    def exchange(
        self, producer: Producer, tp: TopicPartition, *, count: int = 1, size: int = 10
    ) -> bool:
        """Send records that share a batch and wait; return whether they were acknowledged."""
        return self.settle(self.send(producer, tp, count=count, size=size))

    def _acknowledge(
        self, tp: TopicPartition, values: list[bytes], offset: int, durability: Durability
    ) -> None:
        if durability is Durability.DISK and (failed := self._failed_sync(tp)):
            raise Broken(
                f"{tp}: offset {offset} acknowledged as on the disk after {failed} had failed"
            )
        acknowledged = self.acknowledged[tp]
        for value in values:
            if offset in acknowledged:
                raise Broken(f"{tp}: offset {offset} acknowledged twice")
            acknowledged[offset] = value
            if durability is Durability.DISK:
                self.durable[tp].add(offset)
            offset += 1

    def sync(self) -> None:
        """Sync the broker; what was acknowledged before is on the disk when that works."""
        assert self.broker is not None
        self._all_durable_after("sync", self.broker.sync)

    def _all_durable_after(self, what: str, call: Callable[[], None]) -> None:
        broker = self.broker
        assert broker is not None
        usable = [
            tp
            for tp in self.acknowledged
            if tp.topic in self.topics and not broker.partition(*tp).is_refused
        ]
        if self.attempt(what, call) is not None:
            for tp in usable:
                self.durable[tp] |= set(self.acknowledged[tp])

    def keep_only_durable(self) -> None:
        """The power went: expect what was promised to survive that."""
        for tp, acknowledged in self.acknowledged.items():
            durable = self.durable[tp]
            self.acknowledged[tp] = {o: v for o, v in acknowledged.items() if o in durable}
        self.committed.clear()

    def _failed_sync(self, tp: TopicPartition) -> str:
        """Return the call that failed to sync a segment of *tp* in this life of the broker, or nothing."""
        if self.number is None:
            return ""
        for injection in self.plan.injections[self._first_injection :]:
            if (
                injection.call in SYNC_CALLS
                and f"/{tp}/" in injection.path
                and injection.path.endswith(".log")
            ):
                return f"{injection.call} of {injection.path}"
        return ""

    # ---- reading

    def consumer(self, *partitions: TopicPartition, **config: Any) -> Consumer:
        consumer = Consumer(self.broker, **{"auto_offset_reset": "earliest", **config})
        self.consumers.append(consumer)
        consumer.assign(list(partitions))
        return consumer

    def read_on(self, consumer: Consumer) -> dict[TopicPartition, list[tuple[int, bytes]]]:
        """Poll to the end, over errors of the disk when those pass, and return what came, in order."""
        found: dict[TopicPartition, list[tuple[int, bytes]]] = defaultdict(list)
        failures = 0
        while failures < 3:
            records = self.attempt("poll", consumer.poll, 0)
            if records is None:
                failures += 1
                continue
            if not records:
                break
            failures = 0
            for record in records:
                tp = TopicPartition(record.topic, record.partition)
                found[tp].append((record.offset, record.value))
        for tp, records in found.items():
            self.check_found(tp, records, is_all=False)
        return found

    def check_found(
        self, tp: TopicPartition, found: list[tuple[int, bytes]], *, is_all: bool
    ) -> None:
        """Raise Broken unless the records *found* from some offset on are what was sent: each once, in order, without a gap."""
        offsets = [offset for offset, _ in found]
        values = [value for _, value in found]
        if offsets and offsets != list(range(offsets[0], offsets[0] + len(offsets))):
            raise Broken(f"{tp}: offsets are not dense: {offsets}")
        sent = self.sent[tp]
        for offset, value in found:
            if value not in sent:
                raise Broken(f"{tp}: offset {offset} holds what nobody sent: {value[:20]!r}")
        if values != sorted(set(values)):
            raise Broken(f"{tp}: values doubled or out of order: {[v[:8] for v in values]}")
        by_offset = dict(found)
        start = offsets[0] if offsets else 0
        for offset, value in self.acknowledged[tp].items():
            expected_here = is_all and offset >= self.deleted_below[tp]
            is_expected = expected_here or start <= offset < start + len(found)
            if is_expected and by_offset.get(offset) != value:
                raise Broken(
                    f"{tp}: acknowledged offset {offset} ({value[:8]!r}): found "
                    f"{by_offset.get(offset, b'nothing')[:8]!r} (records {start} to {start + len(found)})"
                )
        self._check_batches_whole(tp, values)

    def check_compacted(self, tp: TopicPartition, found: list[tuple[int, bytes]]) -> None:
        """Raise Broken unless the records *found* are some that were sent, in order, and the newest of each key is there (CMP-3)."""
        values = [value for _, value in found]
        if values != sorted(set(values)) or not self.sent[tp].keys() >= set(values):
            raise Broken(f"{tp}: doubled, out of order, or never sent: {values}")
        newest = {key_of(value): value for value in values}
        for offset, value in self.acknowledged[tp].items():
            if newest.get(key_of(value), b"") < value:
                raise Broken(f"{tp}: {value[:8]!r} at {offset} is gone, and nothing newer is there")
        by_offset = dict(found)
        for offset, value in self.acknowledged[tp].items():
            if by_offset.get(offset, value) != value:
                raise Broken(f"{tp}: {value[:8]!r} at {offset} became {by_offset[offset][:8]!r}")

    def _check_batches_whole(self, tp: TopicPartition, values: list[bytes]) -> None:
        present, sent = set(values), self.sent[tp]
        by_batch: dict[int, list[bytes]] = defaultdict(list)
        for value, batch in sent.items():
            by_batch[batch].append(value)
        for batch in by_batch.values():
            count = sum(value in present for value in batch)
            # The first one found may have lost its beginning to delete_records.
            if 0 < count < len(batch) and not (values[0] in batch and self.deleted_below[tp]):
                raise Broken(f"{tp}: {count} of the {len(batch)} records of a batch are there")

    # ---- transactions

    def transact(
        self,
        producer: Producer,
        *partitions: TopicPartition,
        commit: bool,
        with_offset: bool = True,
    ) -> bool:
        """Send a record to each of *partitions* and an offset of the first in one transaction; return whether that went well."""
        one = Attempted({}, len(self.transactions) + 1 if with_offset else None)
        self.transactions.append(one)
        is_well = self.attempt("begin", producer.begin_transaction) is not None
        for tp in partitions:
            one.values[tp] = [self.new_value()]
            send = producer.send
            if is_well:
                future = self.attempt(
                    "send", send, tp.topic, one.values[tp][0], partition=tp.partition
                )
                is_well = future is not None and self._arrived(future)
        if is_well and one.offset is not None:
            offsets = {partitions[0]: OffsetAndMetadata(one.offset)}
            group = ConsumerGroupMetadata("t")
            send_offsets = producer.send_offsets_to_transaction
            is_well = self.attempt("offsets", send_offsets, offsets, group) is not None
        if not is_well or not commit:
            return self.attempt("abort", producer.abort_transaction) is not None and is_well
        one.is_committed = None
        if self.attempt("commit", producer.commit_transaction) is None:
            return False
        one.is_committed = True
        return True

    def _arrived(self, future: Any) -> bool:
        return self.attempt("result of a send", future.result, timeout=60) is not None

    # ---- committing

    def commit(self, consumer: Consumer, tp: TopicPartition, offset: int) -> bool:
        self.commits_tried[tp].add(offset)
        if self.attempt(f"commit {tp} {offset}", consumer.commit, {tp: offset}) is None:
            return False
        self.committed[tp] = offset
        return True


def key_of(value: bytes) -> bytes:
    """Return the key that goes with *value* in a topic that is compacted."""
    return b"key-%d" % (int(value[:8]) % 5)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all that led to it."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__

"""Interrupt programs with Ctrl-C at every moment at which it can come out, and check what is left each time.

``python tests/crash/interrupt_loop.py [N] [--seed SEED] [--workload NAME]``

Every run starts anew in memory under a virtual clock, so that a moment means the same in each of them. Without N all moments are
tried, each place of the library once for each caller; with it N of each workload, chosen by the seed.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from streamlog import (  # noqa: E402
    Admin,
    Broker,
    ClosedError,
    Consumer,
    ConsumerRecord,
    IllegalStateError,
    Producer,
    RecordFuture,
    StreamlogError,
    TopicPartition,
    TransactionAbortableError,
)
from streamlog.testing import MemoryFileSystem, VirtualClock  # noqa: E402
from tests.support.interrupts import interrupted_at, moments, no_hang  # noqa: E402

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Workload(ABC):
    """A program that is interrupted somewhere in `work`; then `check` goes on with what it left."""

    def __init__(self, *, topic: dict[str, object]) -> None:
        self.filesystem = MemoryFileSystem()
        self.clock = VirtualClock()
        self.broker = self.open()
        self.broker.create_topic("t", partitions=2, configs={"flush_ms": 3, **topic})

    def open(self) -> Broker:
        return Broker(
            "data", filesystem=self.filesystem, clock=self.clock, offsets_topic_num_partitions=1
        )

    @contextmanager
    def reopened(self, *, is_clean: bool = True) -> Iterator[Broker]:
        """Close the broker, and open the directory again: all is well with it."""
        self.broker.close()
        with self.open() as broker:
            assert broker.recovery_report.clean or not is_clean
            assert not broker.recovery_report.damaged_partitions
            yield broker

    @abstractmethod
    def work(self) -> None:
        """What may be interrupted."""

    @abstractmethod
    def check(self) -> None:
        """Raise AssertionError unless all goes on as if nothing had happened."""


class Producing(Workload):
    """Every way of sending, then `flush` and `close`.

    What was acknowledged is there once, and nothing else twice; no future waits for ever; memory is given back. An idempotent
    producer knows what was stored, so that only those that it closed away fail.
    """

    def __init__(self, *, topic: dict[str, object] | None = None, **config: Any) -> None:
        super().__init__(topic={"segment_bytes": 3_000, **(topic or {})})
        self.producer = Producer(self.broker, **config)
        # A batch that is cut in two is neither the whole nor the halves for a moment.
        self.may_not_know = not config.get("enable_idempotence", True) or (
            topic is not None and "max_message_bytes" in topic
        )
        self.futures: list[tuple[RecordFuture, list[int]]] = []
        self.count = 0

    def value(self) -> bytes:
        self.count += 1
        return b"%d|" % self.count + b"x" * 60

    def send(self, **options: Any) -> RecordFuture:
        value = self.value()
        future = self.producer.send("t", value, **options)
        self.futures.append((future, [self.count]))
        return future

    def work(self) -> None:
        write = self.producer.writer("t")
        for number in range(6):
            self.send(**({"key": b"%d" % (number % 3)} if number % 2 else {}))
        self.clock.advance(2)
        self.send(on_delivery=lambda *_: None).add_done_callback(lambda _: None)
        for _ in range(12):
            write(self.value())
        write(self.value(), b"key")
        first = self.count + 1
        run = self.producer.send_many("t", [self.value() for _ in range(5)], partition=1)
        self.futures.append((run, list(range(first, self.count + 1))))
        self.producer.flush()
        for _ in range(4):
            self.send(on_delivery=lambda *_: None)
        self.clock.advance(3)
        self.send(headers=[("name", b"")])
        self.producer.close()

    def check(self) -> None:
        try:
            self.producer.close()
        except StreamlogError as error:  # what happened to records of the writer
            if not self.may_not_know or "interrupted while" not in str(error):
                raise
        acknowledged: set[int] = set()
        for future, numbers in self.futures:
            assert future.done(), f"{future!r} waits for ever"
            error = future.exception(0)
            if error is None:
                acknowledged.update(numbers)
            else:
                is_unknown = self.may_not_know and "interrupted while" in str(error)
                assert isinstance(error, ClosedError) or is_unknown, error
        metrics = self.producer.metrics()
        assert metrics["buffer_available_bytes"] == metrics["buffer_total_bytes"]
        with Producer(self.broker) as producer:
            producer.send("t", b"0|last").result(0)
        with self.reopened() as broker:
            found = read(broker, T0, T1)
            by_partition = [
                [int(record.value.split(b"|")[0]) for record in found if record.partition == number]
                for number in (0, 1)
            ]
            counts = Counter(by_partition[0] + by_partition[1])
            assert set(counts.values()) == {1}, f"twice: {counts.most_common(3)}"
            assert acknowledged <= set(counts), f"lost: {acknowledged - set(counts)}"
            assert 0 in counts
            for numbers in by_partition:
                sent = [number for number in numbers if number]
                assert sent == sorted(sent)
            for future, numbers in self.futures:
                if future.exception(0) is None:
                    metadata = future.result(0)
                    (there,) = [r for r in found if (r.partition, r.offset) == metadata[1:3]]
                    assert int(there.value.split(b"|")[0]) == numbers[-1]


class Consuming(Workload):
    """A group of two: polls, commits, seeks, joins and leaves. The group goes on without them, and from where they were."""

    def __init__(self) -> None:
        super().__init__(topic={"segment_bytes": 3_000})
        self.consumers: list[Consumer] = []
        self.polled: Counter[int] = Counter()
        with Producer(self.broker) as producer:
            for number in range(40):
                producer.send("t", b"%d" % number, partition=number % 2)

    def join(self, group_id: str = "g") -> Consumer:
        consumer = Consumer(
            self.broker, "t", group_id=group_id, auto_offset_reset="earliest", max_poll_records=4
        )
        self.consumers.append(consumer)
        return consumer

    def work(self) -> None:
        first = self.join()
        for number in range(4):
            first.poll(10)
            if number == 1:
                first.commit()
            if number == 2:
                first.commit_async(callback=lambda *_: None)
            self.clock.advance(3_000)
        first.seek(T0, 2)
        first.position(T0)
        first.pause(T0)
        first.resume(T0)
        second = self.join()
        for consumer in (first, second, first, second):
            consumer.poll(5)
        second.close()
        first.poll()
        next(first)
        first.close()

    def check(self) -> None:
        for consumer in reversed(self.consumers):
            consumer.close()
        with Consumer(self.broker) as reader:
            reader.assign([T0, T1])
            reader.seek_to_beginning()
            assert sorted(int(record.value) for record in drain(reader)) == list(range(40))
        with self.join() as consumer:
            for _ in range(10):  # a member that could not leave is evicted when its time is up
                consumer.poll(60_000)
                if len(consumer.assignment()) == 2:
                    break
            assert consumer.assignment() == {T0, T1}
            for committed in consumer.committed([T0, T1]).values():
                assert committed is None or 0 <= committed.offset <= 20
            consumer.seek_to_end(T0)
            consumer.commit({T0: consumer.position(T0)})
        with self.reopened() as broker, Consumer(broker, group_id="g") as consumer:
            committed = consumer.committed(T0)
            assert committed is not None
            assert committed.offset == 20


class Transacting(Workload):
    """Transactions that are committed, aborted, and left by an exception. What was committed is there in full with its offset, nothing
    of any other is, and the producer goes on, or its successor.
    """

    RECORDS = 3

    def __init__(self, *, goes_on: bool, **config: Any) -> None:
        super().__init__(topic={"segment_bytes": 3_000})
        self.goes_on = goes_on
        self.config = config
        self.producer = Producer(self.broker, transactional_id="tx", **config)
        self.decided: set[int] = set()
        self.committed: set[int] = set()

    def fill(self, producer: Producer, number: int) -> None:
        for index in range(self.RECORDS):
            producer.send("t", b"%d|%d" % (number, index), partition=index % 2)
        producer.send_offsets_to_transaction({T0: number}, "g")

    def work(self) -> None:
        producer = self.producer
        producer.init_transactions()
        write = producer.writer("t", 0)
        for number in range(1, 5):
            if number == 2:
                producer.begin_transaction()
                self.fill(producer, number)
                producer.abort_transaction()
            elif number == 3:
                try:
                    with producer.transaction():
                        write(b"3|0")
                        self.fill(producer, number)
                        raise ValueError
                except ValueError:
                    pass
            else:
                with producer.transaction():
                    self.fill(producer, number)
                    self.decided.add(number)
                self.committed.add(number)

    def check(self) -> None:
        producer = self.producer
        if self.goes_on:
            for call in (
                producer.init_transactions,
                producer.abort_transaction,
                producer.commit_transaction,
            ):
                # Which of them is allowed is what Ctrl-C decided.
                with suppress(IllegalStateError, TransactionAbortableError):
                    call()
        else:
            producer = Producer(self.broker, transactional_id="tx", **self.config)
            producer.init_transactions()
        with producer.transaction():
            self.fill(producer, 9)
        self.producer.close()
        with self.reopened() as broker:
            counts = Counter(
                int(record.value.split(b"|")[0])
                for record in read(broker, T0, T1, isolation_level="read_committed")
            )
            assert set(counts.values()) == {self.RECORDS}, f"in part, or twice: {counts}"
            assert self.committed | {9} <= set(counts) <= self.decided | {9}, f"{counts}"
            with Consumer(broker, group_id="g") as consumer:
                committed = consumer.committed(T0)
            assert committed is not None
            assert committed.offset == 9


class Keeping(Workload):
    """Topics made, grown, changed and deleted, syncs, retention, and the close of the broker itself."""

    def __init__(self) -> None:
        super().__init__(
            topic={"segment_bytes": 300, "retention_bytes": 900, "file_delete_delay_ms": 5}
        )
        self.producer = Producer(self.broker)
        for number in range(40):
            self.producer.send("t", b"%d" % number * 30, partition=number % 2)

    def work(self) -> None:
        broker = self.broker
        broker.create_topic("u", partitions=2)
        broker.create_partitions("t", 3)
        broker.alter_topic_configs("t", {"retention_bytes": 1_200})
        self.producer.send("u", b"x" * 50)
        broker.sync()
        broker.run_maintenance()
        self.clock.advance(1_000)
        Admin(broker).delete_records({T0: 12})
        broker.delete_topic("u")
        broker.describe_topic("t")
        broker.close()

    def check(self) -> None:
        with self.reopened(is_clean=False) as broker:  # its close may be what was interrupted
            assert broker.topics() in (["t"], ["t", "u"])
            partitions = len(broker.topic("t").partitions)
            assert partitions in (2, 3)
            with Producer(broker) as producer:
                for topic in broker.topics():
                    producer.send(topic, b"last").result(0)
            found = read(broker, *[TopicPartition("t", number) for number in range(partitions)])
            for number in range(2):
                records = [record for record in found if record.partition == number]
                offsets = [record.offset for record in records]
                end = broker.partition("t", number).log_end_offset
                assert offsets == list(range(end - len(offsets), end))
                for record in records:
                    if record.value != b"last":
                        assert record.value == b"%d" % (2 * record.offset + number) * 30
            broker.run_maintenance()


class Opening(Keeping):
    """Opening a broker and closing it."""

    def __init__(self) -> None:
        super().__init__()
        self.broker.sync()
        self.broker.close()

    def work(self) -> None:
        self.broker = self.open()
        self.broker.close()


def read(broker: Broker, *partitions: TopicPartition, **config: Any) -> list[ConsumerRecord]:
    """Return all records of *partitions*."""
    with Consumer(broker, **config) as consumer:
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        return list(drain(consumer))


def drain(consumer: Consumer) -> Iterator[ConsumerRecord]:
    """Return what there is to poll at once."""
    while records := consumer.poll():
        yield from records


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "send": Producing,
    "linger": lambda: Producing(linger_ms=1, batch_size=400),
    "linger long": lambda: Producing(linger_ms=5),
    "little memory": lambda: Producing(linger_ms=5, batch_size=400, buffer_memory=1_000),
    "without idempotence": lambda: Producing(linger_ms=1, batch_size=400, enable_idempotence=False),
    "split": lambda: Producing(linger_ms=5, topic={"max_message_bytes": 400}),
    "synced": lambda: Producing(topic={"flush_messages": 1}),
    "compressed": lambda: Producing(
        topic={"compression_type": "lz4"}, linger_ms=1, batch_size=400, compression_type="zstd"
    ),
    "compressed at once": lambda: Producing(compression_type="snappy"),
    "consume": Consuming,
    "transactions": lambda: Transacting(goes_on=True),
    "transactions that linger": lambda: Transacting(goes_on=True, linger_ms=5),
    "transactions with a successor": lambda: Transacting(goes_on=False, linger_ms=5),
    "keep": Keeping,
    "open": Opening,
}


def interrupt_loop(count: int | None, seed: int, names: list[str]) -> Counter[str]:
    """Interrupt each of the workloads *names* at *count* moments, None for all; return what was counted. Raises AssertionError,
    naming workload and moment, at the first that did not go on.
    """
    counts: Counter[str] = Counter()
    gc.collect()
    gc.disable()  # what is collected, and when, would move the moments
    with warnings.catch_warnings():
        # What came between a constructor and the name that its broker was to get left one that nobody can close, and it says so.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            for name in names:
                counts += _interrupt_everywhere(name, count, seed)
        finally:
            gc.enable()
            gc.collect()
    return counts


def _interrupt_everywhere(name: str, count: int | None, seed: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    make = WORKLOADS[name]
    for moment in _moments(make, count, random.Random(f"{seed}/{name}")):
        workload = make()
        try:
            with no_hang("after Ctrl-C"):
                came_out = interrupted_at(moment, workload.work)
                workload.check()
        except Exception as error:
            raise AssertionError(
                f"workload {name!r}, moment {moment}: {error!r}; to have it again:"
                f" python tests/crash/interrupt_loop.py --workload {name!r} --moment {moment}"
            ) from error
        counts["interrupts"] += came_out
        counts[f"moments of {name!r}"] += 1
        gc.collect(0)
    return counts


def _moments(make: Callable[[], Workload], count: int | None, rng: random.Random) -> list[int]:
    workload = make()
    found = moments(workload.work, of_each=1)
    workload.check()
    if count is not None and count < len(found):
        found = sorted(rng.sample(found, count))
    return found


def main() -> int:
    """Run the loop from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", nargs="?", type=int, default=None)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--workload", choices=WORKLOADS, default=None, help="default: all in turn")
    parser.add_argument("--moment", type=int, default=None, help="only this one")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    print(f"seed {seed}", flush=True)
    names = [arguments.workload] if arguments.workload else list(WORKLOADS)
    started = time.monotonic()
    if arguments.moment is not None:
        workload = WORKLOADS[names[0]]()
        interrupted_at(arguments.moment, workload.work)
        workload.check()
        return 0
    for name, number in sorted(interrupt_loop(arguments.count, seed, names).items()):
        print(f"{number:>12,}  {name}")
    print(f"0 hangs, 0 records lost or doubled; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a user would pick instead, with the same job: append 100-byte values one by one or in runs, read them back in order.

Each peer is given its best case: keys made beforehand where it wants keys, no syncs, one big transaction where it has
transactions, messages already fetched where it fetches. A peer that is not installed, or does not start, is skipped with its
reason. Use::

    with open_peers(bench, directory, QUEUELIB, LMDB, value=value, count=count) as peers:
        bench.compare(subject, [*floors, *peers], [at_most(12, EMPTY_CALL), *peers.targets(at_least(1, QUEUELIB))])

where targets against a skipped peer are left out by `Peers.targets`.
"""

from __future__ import annotations

import importlib
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from benchmarks.harness import Bench, Contender, Target

LMDB = "lmdb put"
LMDB_BATCH = "lmdb putmulti"
LMDB_READ = "lmdb cursor"
CONFLUENT = "confluent-kafka produce"
CONFLUENT_READ = "confluent-kafka consume"
QUEUELIB = "queuelib push"
ROCKSDB = "rocksdict put"
SQLITE = "sqlite3 insert"

_MAP_BYTES = 1 << 36
_KEY = struct.Struct(">Q").pack


class Peers(list[Contender]):
    """The contenders that could be opened."""

    def targets(self, *wanted: Target) -> list[Target]:
        """Return those of *wanted* whose peer takes part."""
        names = {contender.name for contender in self}
        return [target for target in wanted if target.against in names]


@contextmanager
def open_peers(
    bench: Bench, directory: Path, *names: str, value: bytes, count: int
) -> Iterator[Peers]:
    """Open the peers called *names*, each doing *count* records of *value* a round; closed at the end."""
    with ExitStack() as stack:
        peers = Peers()
        if bench.with_peers:
            for number, name in enumerate(names):
                place = directory / f"peer-{number}"
                place.mkdir()
                try:
                    peers.append(_OPENERS[name](stack, place, value, count))
                except Exception as error:
                    bench.skip(name, f"{type(error).__name__}: {error}")
        yield peers


# ---- lmdb: a B+tree in a map; appending in key order is its fast path


def _lmdb_environment(stack: ExitStack, place: Path) -> Any:
    lmdb = importlib.import_module("lmdb")
    environment = lmdb.open(
        str(place), map_size=_MAP_BYTES, sync=False, writemap=True, map_async=True
    )
    stack.callback(environment.close)
    return environment


def _lmdb_put(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    environment = _lmdb_environment(stack, place)
    keys = _Keys(count)

    def body(_: int) -> None:
        with environment.begin(write=True) as transaction:
            put = transaction.put
            for key in keys.current:
                put(key, value, append=True)

    return Contender.loop(LMDB, body, count, after=keys.advance)


def _lmdb_put_multi(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    environment = _lmdb_environment(stack, place)
    keys = _Keys(count)
    items = [(key, value) for key in keys.current]

    def body(_: int) -> None:
        with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(items, append=True)

    def advance() -> None:
        keys.advance()
        items[:] = [(key, value) for key in keys.current]

    return Contender.loop(LMDB_BATCH, body, count, after=advance)


def _lmdb_read(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    environment = _lmdb_environment(stack, place)
    with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
        cursor.putmulti([(_KEY(n), value) for n in range(count)], append=True)

    def body(times: int) -> None:
        with environment.begin() as transaction, transaction.cursor() as cursor:
            values = list(cursor.iternext(keys=False, values=True))
        assert len(values) == times

    return Contender.loop(LMDB_READ, body, count)


class _Keys:
    """Keys in ascending order, *count* at a time, made outside the clock."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._start = 0
        self.current: list[bytes] = []
        self.advance()

    def advance(self) -> None:
        self.current = [_KEY(n) for n in range(self._start, self._start + self._count)]
        self._start += self._count


# ---- confluent-kafka: librdkafka, with a cluster that librdkafka plays itself, in this process


def _confluent_cluster(stack: ExitStack) -> tuple[Any, Any, str]:
    confluent = importlib.import_module("confluent_kafka")
    producer = confluent.Producer(
        {
            "bootstrap.servers": "unused:9092",
            "test.mock.num.brokers": 1,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2_097_151,
            "linger.ms": 5,
            "log_level": 0,
        }
    )
    stack.callback(producer.flush, 10)
    brokers = producer.list_topics(timeout=10).brokers
    address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
    return confluent, producer, address


def _confluent_produce(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    _, producer, _ = _confluent_cluster(stack)

    def body(times: int) -> None:
        produce = producer.produce
        for _ in range(times):
            produce("t", value)

    # Only the calls are timed, as its users count them; what its threads do with the messages ends before anybody else runs.
    return Contender.loop(CONFLUENT, body, count, after=lambda: producer.flush(30))


def _confluent_consume(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    confluent, producer, address = _confluent_cluster(stack)
    # The mock cluster keeps the last 5 MiB of a partition: a round must not lose messages to that.
    count = min(count, 3 * 1024 * 1024 // (len(value) + 70))
    producer.produce("t", value, partition=0)  # the mock cluster makes topics with 4 partitions
    producer.flush(10)
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "bench",
            "enable.auto.commit": False,
            "queued.min.messages": 1_000_000,
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
    )
    stack.callback(consumer.close)
    consumer.assign([confluent.TopicPartition("t", 0, 0)])
    if len(consumer.consume(1, timeout=10)) != 1:
        raise TimeoutError("the mock cluster delivered nothing")

    def run() -> float:
        for _ in range(count):
            producer.produce("t", value, partition=0)
        producer.flush(30)
        sleep(0.2)  # until its threads have fetched everything
        left, elapsed = count, 0.0
        give_up = perf_counter() + 30
        while left > 0:
            if perf_counter() > give_up:
                raise TimeoutError(f"the mock cluster still owes {left} messages")
            start = perf_counter()
            messages = consumer.consume(min(left, 500), timeout=1)
            values = [message.value() for message in messages]
            elapsed += perf_counter() - start
            left -= len(values)
        return elapsed / count

    return Contender(CONFLUENT_READ, run)


# ---- the others


def _queuelib(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    queue = importlib.import_module("queuelib").FifoDiskQueue(str(place / "queue"))
    stack.callback(queue.close)

    def body(times: int) -> None:
        push = queue.push
        for _ in range(times):
            push(value)

    return Contender.loop(QUEUELIB, body, count)


def _rocksdict(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    rocksdict = importlib.import_module("rocksdict")
    database = rocksdict.Rdict(str(place / "rocks"), rocksdict.Options(raw_mode=True))
    stack.callback(database.close)
    keys = _Keys(count)

    def body(_: int) -> None:
        put = database.put
        for key in keys.current:
            put(key, value)

    return Contender.loop(ROCKSDB, body, count, after=keys.advance)


def _sqlite(stack: ExitStack, place: Path, value: bytes, count: int) -> Contender:
    connection = sqlite3.connect(place / "log.db", isolation_level=None)
    stack.callback(connection.close)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=OFF",
        "CREATE TABLE log (offset INTEGER PRIMARY KEY, value BLOB)",
    ):
        connection.execute(statement)

    def body(times: int) -> None:
        execute = connection.execute
        execute("BEGIN")
        for _ in range(times):
            execute("INSERT INTO log (value) VALUES (?)", (value,))
        execute("COMMIT")

    return Contender.loop(SQLITE, body, count)


_OPENERS: dict[str, Callable[[ExitStack, Path, bytes, int], Contender]] = {
    LMDB: _lmdb_put,
    LMDB_BATCH: _lmdb_put_multi,
    LMDB_READ: _lmdb_read,
    CONFLUENT: _confluent_produce,
    CONFLUENT_READ: _confluent_consume,
    QUEUELIB: _queuelib,
    ROCKSDB: _rocksdict,
    SQLITE: _sqlite,
}

#: Every peer there is.
NAMES: Sequence[str] = tuple(_OPENERS)

"""Two live producers with one transactional id, each in its thread, while somebody reads: what a commit promised is there, and nothing else."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.errors import (
    InvalidProducerEpochError,
    ProducerFencedError,
    StreamlogError,
    TransactionAbortableError,
)
from tests.support.transaction_view import read_topic

SEED = int(os.environ.get("STREAMLOG_TRANSACTION_SEED", "1"))
TRANSACTIONS = int(os.environ.get("STREAMLOG_TRANSACTIONS", "150"))
PARTITIONS = [TopicPartition("t", number) for number in range(3)]
PATIENCE_S = 50


class Rivals:
    """Producers that take a transactional id from each other, and count what they committed."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.lock = threading.Lock()
        self.committed: dict[bytes, int] = {}
        self.refused: set[bytes] = set()
        self.fenced = 0
        self.seen: list[list[bytes]] = [[] for _ in PARTITIONS]
        self.failures: list[BaseException] = []
        self.is_done = threading.Event()
        self.id_was_taken = threading.Event()

    def run(self, producers: int) -> None:
        reader = threading.Thread(target=self.guarded, args=(self.read, 0))
        rivals = [
            threading.Thread(target=self.guarded, args=(self.produce, n)) for n in range(producers)
        ]
        for thread in (reader, *rivals):
            thread.start()
        for thread in rivals:
            thread.join(PATIENCE_S)
        self.is_done.set()
        reader.join(PATIENCE_S)
        assert not self.failures, self.failures
        assert not any(thread.is_alive() for thread in (reader, *rivals))

    def guarded(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            self.failures.append(error)

    def produce(self, number: int) -> None:
        """Run transactions until somebody else took the id; then take it back."""
        chance = random.Random(f"{SEED}/{number}")
        done = 0
        while done < TRANSACTIONS:
            with Producer(
                self.broker, transactional_id="rivals", linger_ms=chance.choice((0, 2))
            ) as producer:
                try:
                    producer.init_transactions()
                    self.id_was_taken.set()
                    for _ in range(chance.randrange(1, 8)):
                        done += 1
                        self.transact(producer, b"%d.%d" % (number, done), chance)
                except (ProducerFencedError, InvalidProducerEpochError, TransactionAbortableError):
                    with self.lock:
                        self.fenced += 1

    def transact(self, producer: Producer, name: bytes, chance: random.Random) -> None:
        """Send the name *count* times to every partition; commit, or not."""
        count = chance.randrange(1, 4)
        try:
            producer.begin_transaction()
            for partition in PARTITIONS:
                for _ in range(count):
                    producer.send("t", name, partition=partition.partition)
            if chance.random() < 0.1:
                # Long enough for the other one to come in between, most of the time.
                self.id_was_taken.clear()
                self.id_was_taken.wait(0.02)
            if chance.random() < 0.2:
                producer.abort_transaction()
                with self.lock:
                    self.refused.add(name)
                return
            producer.commit_transaction()
        except StreamlogError:
            with self.lock:
                self.refused.add(name)
            raise
        with self.lock:
            self.committed[name] = count

    def read(self, number: int) -> None:
        """Read what is committed, while it is written; in the end all of it."""
        with Consumer(
            self.broker, isolation_level="read_committed", auto_offset_reset="earliest"
        ) as consumer:
            consumer.assign(PARTITIONS)
            while True:
                was_done = self.is_done.is_set()
                records = consumer.poll(10)
                for record in records:
                    assert record.value is not None
                    self.seen[record.partition].append(record.value)
                if was_done and not records:
                    ends = consumer.end_offsets(PARTITIONS)
                    if all(consumer.position(one) == ends[one] for one in PARTITIONS):
                        return


def test_txn_16_a_fenced_producer_cannot_end_the_transaction_of_its_successor() -> None:
    """I10: what the older one began is aborted, and its late commit changes nothing for the newer one."""
    with Broker() as broker:
        broker.create_topic("t", partitions=len(PARTITIONS))
        older = Producer(broker, transactional_id="rivals")
        older.init_transactions()
        older.begin_transaction()
        older.send("t", b"older", partition=0).result()
        with Producer(broker, transactional_id="rivals") as newer:
            newer.init_transactions()
            newer.begin_transaction()
            newer.send("t", b"newer", partition=0).result()
            with pytest.raises(ProducerFencedError):
                older.commit_transaction()
            assert read_topic(broker, "t", "read_committed")[0] == []
            newer.commit_transaction()
        assert [value for _, value in read_topic(broker, "t", "read_committed")[0]] == [b"newer"]


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads take turns within a transaction, not after many of them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.stress
@pytest.mark.slow
@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("on_disk", [False, True])
def test_txn_16_of_two_live_producers_with_one_id_only_what_a_commit_promised_is_read(
    on_disk: bool, tmp_path: object
) -> None:
    """I9, I10: whoever was fenced leaves nothing behind, whoever was not loses nothing, and each transaction comes whole."""
    with Broker(str(tmp_path) if on_disk else None, seed=SEED) as broker:
        broker.create_topic("t", partitions=len(PARTITIONS))
        rivals = Rivals(broker)
        rivals.run(2)
        again = f"STREAMLOG_TRANSACTION_SEED={SEED}"
        for seen in rivals.seen:
            runs = [value for n, value in enumerate(seen) if n == 0 or seen[n - 1] != value]
            assert len(runs) == len(set(runs)), f"transactions interleave: {again}"
            found = {name: seen.count(name) for name in set(seen)}
            assert found == rivals.committed, again
        assert not rivals.committed.keys() & rivals.refused, again
        assert rivals.fenced > 0, "neither ever took the id from the other"
        for partition in PARTITIONS:
            place = broker.partition(*partition)
            assert place.last_stable_offset == place.log_end_offset, "nothing is left open"

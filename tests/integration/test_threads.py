"""Everything at once in many threads: producers, groups, retention, deleted records, more partitions, flush and close.

Nothing acknowledged is lost, nothing is there twice, each producer's records are in its order in a partition, offsets are dense, and
nobody reads backwards or skips.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from streamlog import (
    Admin,
    Broker,
    ClosedError,
    Consumer,
    Producer,
    RebalanceListener,
    RecordFuture,
    TopicPartition,
)

pytestmark = pytest.mark.stress

RECORDS = 1_500
PRODUCERS = 3


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Let threads take turns five thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def seed() -> int:
    """What every thread chooses by; printed when the test fails."""
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    return seed


class Threads:
    """Runs functions side by side; the first error of any is raised, and ends the others."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, *works: Callable[[], None], helpers: tuple[Callable[[], None], ...] = ()) -> None:
        """Return when all *works* have returned, and then the *helpers*, which look at `stop`."""
        ended = [self._start(work) for work in works]
        helping = [self._start(helper) for helper in helpers]
        for thread in ended:
            thread.join(100)
        self.stop.set()
        for thread in helping:
            thread.join(100)
        if self._errors:
            raise self._errors[0]
        assert not any(thread.is_alive() for thread in ended + helping), "hangs"

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guard, args=(work,), daemon=True)
        thread.start()
        return thread

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._errors.append(error)
            self.stop.set()


class Sent:
    """What one producer's thread sent, by partition, in order: number, and the future."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.futures: list[tuple[int, RecordFuture]] = []


def produce(
    broker: Broker, sent: Sent, rng: random.Random, threads: Threads, *, until_closed: bool = False
) -> None:
    """Send in every way that keeps the order of this thread."""
    linger_ms = rng.choice([0, 0, 1, 3])
    try:
        with Producer(broker, linger_ms=linger_ms, batch_size=rng.choice([300, 2_000])) as producer:
            number = 0
            while (until_closed or number < RECORDS) and not threads.stop.is_set():
                value = b"%d:%d" % (sent.name, number)
                key = b"%d" % rng.randrange(9) if rng.random() < 0.5 else None
                told = (lambda *_: None) if rng.random() < 0.1 else None
                future = producer.send("t", value, key=key, on_delivery=told)
                sent.futures.append((number, future))
                number += 1
                if rng.random() < 0.02:
                    producer.flush()
    except ClosedError:
        if not until_closed:
            raise


def check_log(broker: Broker, all_sent: list[Sent]) -> int:
    """Compare what the log holds with what was acknowledged; return how much that is."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    partitions = [TopicPartition("t", n) for n in range(len(broker.topic("t").partitions))]
    starts: dict[int, int] = {}
    with Consumer(broker, max_poll_records=5_000) as consumer:
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        for topic_partition in partitions:
            starts[topic_partition.partition] = consumer.position(topic_partition)
        expected = dict(starts)
        latest: dict[tuple[int, int], int] = {}
        while records := consumer.poll():
            for record in records:
                assert record.offset == expected[record.partition], "offsets are dense"
                expected[record.partition] += 1
                name, number = map(int, record.value.split(b":"))
                assert latest.get((record.partition, name), -1) < number, (
                    "in the order of the sends"
                )
                latest[record.partition, name] = number
                assert (name, number) not in found, "once"
                found[name, number] = record.partition, record.offset
    acknowledged = 0
    for sent in all_sent:
        for number, future in sent.futures:
            error = future.exception(10)
            if error is not None:
                assert isinstance(error, ClosedError), repr(error)
                continue
            acknowledged += 1
            metadata = future.result(0)
            if metadata.offset >= starts[metadata.partition]:
                assert found.get((sent.name, number)) == metadata[1:3], "acknowledged and there"
    return acknowledged


def test_producers_beside_retention_deleted_records_and_more_partitions(
    data_dir: str, seed: int
) -> None:
    all_sent, threads = [Sent(name) for name in range(PRODUCERS)], Threads()
    with Broker(data_dir, log_retention_check_interval_ms=1) as broker:
        configs = {"segment_bytes": 2_000, "retention_bytes": 8_000, "flush_ms": 1}
        broker.create_topic("t", partitions=2, configs=configs)

        def keep_house() -> None:
            rng, admin = random.Random(f"{seed}/house"), Admin(broker)
            while not threads.stop.is_set():
                number = rng.randrange(len(broker.topic("t").partitions))
                choice = rng.randrange(6)
                if choice == 0:
                    broker.run_maintenance()
                elif choice == 1:
                    broker.sync()
                elif choice == 2:
                    partition = broker.partition("t", number)
                    start, end = partition.log_start_offset, partition.log_end_offset
                    try:
                        admin.delete_records({TopicPartition("t", number): (start + end) // 2})
                    except ValueError:  # pragma: no cover - nothing to delete
                        pass
                elif choice == 3 and len(broker.topic("t").partitions) < 5:
                    broker.create_partitions("t", len(broker.topic("t").partitions) + 1)
                elif choice == 4:
                    broker.alter_topic_configs("t", {"retention_bytes": rng.choice([4_000, 9_000])})
                else:
                    broker.describe_topic("t")

        def follow() -> None:
            # Forwards only; what is missing was deleted.
            with Consumer(broker, auto_offset_reset="earliest") as consumer:
                consumer.assign([TopicPartition("t", 0), TopicPartition("t", 1)])
                last = [-1, -1]
                while not threads.stop.is_set():
                    for record in consumer.poll(5):
                        assert record.offset > last[record.partition]
                        if record.offset > last[record.partition] + 1:
                            start = broker.partition("t", record.partition).log_start_offset
                            assert start > last[record.partition] + 1, "skipped, and not deleted"
                        last[record.partition] = record.offset

        works = [
            partial(produce, broker, sent, random.Random(f"{seed}/{sent.name}"), threads)
            for sent in all_sent
        ]
        threads.run(*works, helpers=(keep_house, follow, follow))
        assert check_log(broker, all_sent) == PRODUCERS * RECORDS
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean
        assert check_log(broker, all_sent) == PRODUCERS * RECORDS


def test_broker_that_closes_while_everybody_works_loses_nothing_acknowledged(
    data_dir: str, seed: int
) -> None:
    all_sent: list[Sent] = []
    rng = random.Random(seed)
    for generation in range(3):
        threads = Threads()
        mine = [Sent(generation * PRODUCERS + n) for n in range(PRODUCERS)]
        all_sent += mine
        broker = Broker(data_dir)
        if not broker.topics():
            broker.create_topic("t", partitions=2, configs={"segment_bytes": 2_000, "flush_ms": 1})
        wanted = rng.randrange(20, 300)

        def consume(broker: Broker = broker) -> None:
            try:
                with Consumer(broker, "t", group_id="g") as consumer:
                    while True:
                        consumer.poll(20)
            except ClosedError:
                return

        def close(
            broker: Broker = broker,
            mine: list[Sent] = mine,
            wanted: int = wanted,
            threads: Threads = threads,
        ) -> None:
            while sum(len(sent.futures) for sent in mine) < wanted and not threads.stop.is_set():
                pass
            broker.close()

        works = [
            partial(
                produce,
                broker,
                sent,
                random.Random(f"{seed}/{sent.name}"),
                threads,
                until_closed=True,
            )
            for sent in mine
        ]
        threads.run(*works, consume, close)
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean
        assert check_log(broker, all_sent) > 0


def test_a_partition_never_has_two_owners_and_a_group_skips_nothing(seed: int) -> None:
    """Members come and go while the topic grows: each position that a member starts from was committed by the one before."""
    all_sent, threads = [Sent(name) for name in range(PRODUCERS)], Threads()
    owners: dict[TopicPartition, int] = {}
    processed: dict[TopicPartition, int] = {}
    lock = threading.Lock()

    class Owner(RebalanceListener):
        def __init__(self, name: int) -> None:
            self.name = name

        def on_partitions_assigned(self, partitions: object) -> None:
            with lock:
                for topic_partition in partitions:  # type: ignore[attr-defined]
                    assert topic_partition not in owners, "two owners"
                    owners[topic_partition] = self.name

        def on_partitions_revoked(self, partitions: object) -> None:
            with lock:
                for topic_partition in partitions:  # type: ignore[attr-defined]
                    assert owners.pop(topic_partition) == self.name

    with Broker(offsets_topic_num_partitions=1) as broker:
        broker.create_topic("t", partitions=3, configs={"segment_bytes": 2_000})

        def total() -> int:
            return sum(processed.values())

        def consume(name: int) -> None:
            rng = random.Random(f"{seed}/consumer {name}")
            while total() < PRODUCERS * RECORDS and not threads.stop.is_set():
                with Consumer(
                    broker, group_id="g", auto_offset_reset="earliest", max_poll_records=20
                ) as consumer:
                    consumer.subscribe("t", listener=Owner(name))
                    for _ in range(rng.randrange(1, 30)):
                        for record in consumer.poll(5):
                            topic_partition = TopicPartition("t", record.partition)
                            assert owners.get(topic_partition) == name
                            assert record.offset == processed.get(topic_partition, 0), "in its turn"
                            processed[topic_partition] = record.offset + 1
                        if rng.random() < 0.2:
                            consumer.commit()

        def grow() -> None:
            for partitions in (4, 5, 6):
                while total() < partitions * 100 and not threads.stop.is_set():
                    pass
                broker.create_partitions("t", partitions)

        works = [
            partial(produce, broker, sent, random.Random(f"{seed}/{sent.name}"), threads)
            for sent in all_sent
        ]
        threads.run(*works, grow, *[partial(consume, name) for name in range(4)])
        assert total() == PRODUCERS * RECORDS
        assert owners == {}
        assert check_log(broker, all_sent) == PRODUCERS * RECORDS

"""What a child does until it dies: uses the public API and reports through a pipe what was promised to it.

The lines: ``phase NAME``; ``ack TOPIC PARTITION OFFSET CRC`` for each acknowledged record (offset -1: of a kind that is not told);
``create NAME PARTITIONS``, ``created NAME``, ``grow NAME PARTITIONS``, ``grown NAME``, ``delete NAME``, ``deleted NAME``;
``put KEY RUN NUMBER TOMBSTONE`` before a record is sent to the compacted topic, and ``stored KEY RUN NUMBER`` when it was acknowledged;
``generation NUMBER`` of the group's member; ``read TOPIC PARTITION OFFSET`` of each record that the group has dealt with, and
``commit TOPIC PARTITION OFFSET`` after a commit that returned; ``seam CALL``, the last word of one that dies there; ``syncing`` and ``synced`` around a sync of everything.
"""

from __future__ import annotations

import itertools
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from streamlog import Broker, Consumer, Producer, RecordMetadata
from streamlog.errors import CommitFailedError, RebalanceInProgressError
from tests.crash.forked import Reporter
from tests.crash.records import PLAIN, headers_for, key_for, timestamp_for, value_for
from tests.crash.table import CONFIGS, KEYS_A_THREAD, PARTITIONS, TABLE, Put, value_of

if TYPE_CHECKING:
    from streamlog.runtime import FileSystem
    from tests.crash.plan import Plan

TOPICS = {"plain": 1, "keyed": 3}

#: Small enough for a roll every few dozen records, large enough for a batch of the linger workload.
SEGMENT_BYTES = 20_000

RUNS_PER_KILL = 1_000
"""A child that closes and opens again counts its rounds as runs of their own."""

AGAIN = "again"
"""A topic that is created and deleted again and again."""

PROTOCOLS = "classic", "consumer"

_FLUSH = {"none": (-1, None), "interval": (7, None), "ack": (7, 1)}

_SCRIPT_RECORDS = 12

_CODECS: tuple[Literal["none", "lz4", "zstd", "snappy"], ...] = ("none", "lz4", "zstd", "snappy")


class Work:
    """One child's work on one open broker."""

    def __init__(self, broker: Broker, plan: Plan, round_number: int, report: Reporter) -> None:
        self.broker = broker
        self.plan = plan
        self.run = plan.run * RUNS_PER_KILL + round_number
        self.report = report
        self.round_number = round_number
        self._counters: dict[int, Iterator[int]] = {}

    # ---- producing

    def ack(self, done: RecordMetadata, value: bytes) -> None:
        """Report that *value* was acknowledged."""
        self.report("ack", done.topic, done.partition, done.offset, zlib.crc32(value))

    def send(self, producer: Producer, topic: str, value: bytes) -> RecordMetadata:
        """Send the record of that value and return its acknowledgement."""
        return producer.send(
            topic,
            value,
            key=key_for(value),
            headers=headers_for(value),
            timestamp_ms=timestamp_for(value),
        ).result(timeout=30)

    def direct(self, thread: int, rng: random.Random) -> None:
        """Wait for each record by itself."""
        with Producer(self.broker) as producer:
            for number in self.numbers(thread):
                topic = rng.choice(list(TOPICS))
                if number % 3:
                    value = value_for(self.run, thread, number)
                    self.ack(self.send(producer, topic, value), value)
                else:
                    value = value_for(self.run, thread + PLAIN, number)
                    self.ack(producer.send(topic, value).result(timeout=30), value)

    def linger(self, thread: int, rng: random.Random) -> None:
        """Send a handful, wait for all of it."""
        codec = rng.choice(_CODECS)
        with Producer(self.broker, linger_ms=2, compression_type=codec) as producer:
            numbers = self.numbers(thread)
            while batch := list(itertools.islice(numbers, rng.randrange(1, 40))):
                topic = rng.choice(list(TOPICS))
                values = [value_for(self.run, thread, number) for number in batch]
                futures = [
                    producer.send(
                        topic,
                        value,
                        key=key_for(value),
                        headers=headers_for(value),
                        timestamp_ms=timestamp_for(value),
                    )
                    for value in values
                ]
                for value, future in zip(values, futures, strict=True):
                    self.ack(future.result(timeout=30), value)

    def many(self, thread: int, rng: random.Random) -> None:
        """Send runs of many records at once; some of plain ones."""
        with Producer(self.broker, compression_type=rng.choice(_CODECS)) as producer:
            numbers = self.numbers(thread)
            while batch := list(itertools.islice(numbers, rng.randrange(1, 60))):
                topic = rng.choice(list(TOPICS))
                partition = rng.randrange(TOPICS[topic])
                is_plain = rng.random() < 0.5
                name = thread + PLAIN if is_plain else thread
                values = [
                    value
                    for number in batch
                    if is_plain or not headers_for(value_for(self.run, name, number))
                    for value in [value_for(self.run, name, number)]
                ]
                if not values:
                    continue
                future = producer.send_many(
                    topic,
                    values,
                    partition=partition,
                    keys=None if is_plain else [key_for(value) for value in values],
                    timestamps_ms=None if is_plain else [timestamp_for(value) for value in values],
                )
                future.result(timeout=30)
                # Between its batches those of other threads may stand: where each record went is not told.
                for value in values:
                    self.report("ack", topic, partition, -1, zlib.crc32(value))

    def writer(self, thread: int, rng: random.Random) -> None:
        """Write without futures: with linger_ms=0 a record is kill-proof when ``write`` returns.

        Unless the file cannot be mapped for want of memory: then it waits, and only ``flush`` tells.
        """
        with Producer(self.broker) as producer:
            topic = rng.choice(list(TOPICS))
            partition = rng.randrange(TOPICS[topic])
            write = producer.writer(topic, partition)
            for number in self.numbers(thread):
                value = value_for(self.run, thread + PLAIN, number)
                write(value)
                if self.plan.death == "memory":
                    producer.flush()
                self.report("ack", topic, partition, -1, zlib.crc32(value))

    def numbers(self, thread: int) -> Iterator[int]:
        """Return the numbers of the records to send: without end, unless it is the close that matters.

        A thread that begins again, after an error that was to be expected, goes on where it was: no name is given twice.
        """
        counter = self._counters.setdefault(thread, itertools.count())
        if self.plan.workload == "reopen":
            return itertools.islice(counter, 200 // self.plan.threads)
        return counter

    def sync(self) -> None:
        """Bring everything to the disk: all that was reported before."""
        self.report("syncing")
        self.broker.sync()
        self.report("synced")

    # ---- topics

    def create(self, name: str, partitions: int) -> None:
        """Create a topic."""
        self.report("create", name, partitions)
        self.broker.create_topic(name, partitions=partitions, configs=configs_of(self.plan))
        self.report("created", name)

    def grow(self, name: str, partitions: int) -> None:
        """Give the topic more partitions."""
        self.report("grow", name, partitions)
        self.broker.create_partitions(name, partitions)
        self.report("grown", name)

    def delete(self, name: str) -> None:
        """Delete the topic."""
        self.report("delete", name)
        self.broker.delete_topic(name)
        self.report("deleted", name)

    def change_topics(self, thread: int, rng: random.Random) -> None:
        """Create, grow, fill and delete topics, one name of them again and again."""
        for name in self.broker.topics():
            if name not in TOPICS and name != TABLE:
                self.delete(name)
        with Producer(self.broker) as producer:
            numbers = self.numbers(thread)
            for number in numbers:
                name = AGAIN if rng.random() < 0.5 else f"new-{self.run}-{number}"
                partitions = rng.randrange(1, 4)
                self.create(name, partitions)
                for _ in range(rng.randrange(10)):
                    value = value_for(self.run, thread, next(numbers))
                    self.ack(self.send(producer, name, value), value)
                if rng.random() < 0.3:
                    self.grow(name, partitions + 1)
                if name == AGAIN or rng.random() < 0.5:
                    self.delete(name)

    # ---- groups

    def be_member(self, thread: int, rng: random.Random) -> None:
        """Join the group again and again, under either protocol: others in it go over to it and back at work."""
        while True:
            self.consume(
                rng.randrange(1, 12),
                wait_ms=20,
                auto_commit=bool(self.plan.run % 2),
                protocol=rng.choice(PROTOCOLS),
            )

    def put(self, thread: int, rng: random.Random) -> None:
        """Put values for a few keys of the compacted topic again and again, and remove some."""
        with Producer(self.broker, linger_ms=1) as producer:
            numbers = self.numbers(thread)
            while batch := list(itertools.islice(numbers, rng.randrange(1, 10))):
                sent = []
                for number in batch:
                    key = f"{thread}.{rng.randrange(KEYS_A_THREAD)}"
                    put = Put(self.run, number, rng.random() < 0.2)
                    self.report("put", key, *put[:2], int(put.is_tombstone))
                    future = producer.send(TABLE, value_of(key, put), key=key.encode())
                    sent.append((key, put, future))
                for key, put, future in sent:
                    future.result(timeout=30)
                    self.report("stored", key, *put[:2])

    def compact(self, thread: int, rng: random.Random) -> None:
        """Compact the compacted topics, that of the groups' offsets too, again and again, while they grow."""
        pause = threading.Event()
        while True:
            self.broker.compact(roll=True)
            pause.wait(rng.uniform(0, 0.01))

    def consume(
        self,
        polls: int,
        *,
        wait_ms: float = 0,
        auto_commit: bool = False,
        protocol: str = "consumer",
    ) -> None:
        """Read as a member of the group, deal with each record, then commit it."""
        generation = 0
        with Consumer(
            self.broker,
            *TOPICS,
            group_id="g",
            group_protocol=protocol,
            auto_offset_reset="earliest",
            max_poll_records=5,
            enable_auto_commit=auto_commit,
            auto_commit_interval_ms=1,
        ) as consumer:
            for _ in range(polls):
                records = consumer.poll(wait_ms)
                before, generation = generation, consumer.group_metadata().generation_id
                if generation > before:  # not while it waits for the others, or to join again
                    self.report("generation", generation)
                for record in records:
                    self.report("read", record.topic, record.partition, record.offset)
                if records and not auto_commit:
                    try:
                        consumer.commit()
                    except (RebalanceInProgressError, CommitFailedError):
                        continue  # whoever has the partitions next reads these records again
                    for partition in records.partitions:
                        offset = records.records(partition)[-1].offset + 1
                        self.report("commit", partition.topic, partition.partition, offset)

    # ---- everything

    def script(self) -> None:
        """Do a little of everything, always the same, so that each call of it can be the last in some run."""
        rng = self.plan.random("script")
        with Producer(self.broker) as producer:
            if AGAIN in self.broker.topics():
                self.delete(AGAIN)
            self.create(AGAIN, 2)
            for number in itertools.islice(self.numbers(0), _SCRIPT_RECORDS):
                value = value_for(self.run, 0, number)
                self.ack(self.send(producer, AGAIN if number % 4 == 0 else "keyed", value), value)
            self.grow(AGAIN, 3)
            self.sync()
            for topic in TOPICS:
                for partition in range(TOPICS[topic]):
                    self.broker.partition(topic, partition).log.roll()
            self.consume(3)
            self.broker.compact(roll=True)  # what the group committed
            numbers = itertools.islice(self.numbers(PLAIN), rng.randrange(40))
            values = [value_for(self.run, PLAIN, number) for number in numbers]
            if values:
                producer.send_many("plain", values, partition=0).result(timeout=30)
                for value in values:
                    self.report("ack", "plain", 0, -1, zlib.crc32(value))
            self.broker.run_maintenance()
        self.delete(AGAIN)


def configs_of(plan: Plan) -> dict[str, object]:
    """Return the configuration of this run's topics: they roll often."""
    flush_ms, flush_messages = _FLUSH[plan.flush]
    return {
        "segment_bytes": SEGMENT_BYTES,
        "file_delete_delay_ms": 1,
        "flush_ms": flush_ms,
        "flush_messages": flush_messages,
        "retention_ms": -1,
        # Retention by size keeps some segments behind the ones that go.
        "retention_bytes": 3 * SEGMENT_BYTES if plan.workload == "retention" else -1,
    }


def open_broker(path: str, plan: Plan, report: Reporter, filesystem: FileSystem | None) -> Broker:
    """Open the broker with the topics of every run in it."""
    broker = Broker(
        path,
        filesystem=filesystem,
        seed=plan.seed,
        log_retention_check_interval_ms=5,
        log_initial_task_delay_ms=1,
        offsets_topic_num_partitions=2,
    )
    table_configs = {**configs_of(plan), **CONFIGS}
    for topic, partitions, configs in (
        *((topic, partitions, configs_of(plan)) for topic, partitions in TOPICS.items()),
        (TABLE, PARTITIONS, table_configs),
    ):
        if topic in broker.topics():
            broker.alter_topic_configs(topic, configs)
        else:
            report("create", topic, partitions)
            broker.create_topic(topic, partitions=partitions, configs=configs)
            report("created", topic)
    return broker


def run_plan(
    path: str,
    plan: Plan,
    report: Reporter,
    *,
    filesystem: FileSystem | None = None,
    when_open: Callable[[], None] = lambda: None,
    forgives: Callable[[BaseException], bool] = lambda error: False,
) -> None:
    """Work until killed; only a script that is to die at a call that it does not make comes to its end.

    *when_open* is called each time the broker is open; errors that *forgives* says are expected only interrupt the work.
    """
    for round_number in itertools.count():
        report("phase", "opening")
        try:
            _run_round(path, plan, round_number, report, filesystem, when_open, forgives)
        except Exception as error:
            if not forgives(error):
                raise
        if plan.workload == "script" and plan.death == "seam":
            return


def _run_round(
    path: str,
    plan: Plan,
    round_number: int,
    report: Reporter,
    filesystem: FileSystem | None,
    when_open: Callable[[], None],
    forgives: Callable[[BaseException], bool],
) -> None:
    broker = open_broker(path, plan, report, filesystem)
    try:
        report("phase", "running")
        when_open()
        work = Work(broker, plan, round_number, report)
        _run_threads(_jobs(work), report, forgives)
        report("phase", "closing")
    finally:
        broker.close()


def _jobs(work: Work) -> list[Callable[[], None]]:
    """Return what each thread of this workload does."""
    plan = work.plan
    if plan.workload == "script":
        return [work.script]

    def job(does: Callable[[int, random.Random], None], thread: int) -> Callable[[], None]:
        return lambda: does(thread, plan.random(work.round_number, thread))

    produce = {
        "linger": work.linger,
        "many": work.many,
        "writer": work.writer,
        "compacted": work.put,
    }
    jobs = [job(produce.get(plan.workload, work.direct), thread) for thread in range(plan.threads)]
    if plan.workload == "topics":
        jobs[0] = job(work.change_topics, 0)
    if plan.workload == "compacted":
        jobs.append(job(work.compact, plan.threads))
    if plan.workload == "groups":
        members = 1 if plan.threads == 1 else 2
        jobs += [job(work.be_member, plan.threads + number) for number in range(members)]
        jobs.append(job(work.compact, plan.threads + members))
    return jobs


def _run_threads(
    jobs: list[Callable[[], None]], report: Reporter, forgives: Callable[[BaseException], bool]
) -> None:
    def guarded(job: Callable[[], None]) -> None:
        while True:
            try:
                job()
            except BaseException as error:
                if not forgives(error):
                    report.failed()
            else:
                return

    if len(jobs) == 1:
        guarded(jobs[0])
        return
    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

"""What a child of the exactly-once loop does until it dies: consume, transform, produce and commit the offsets, in one transaction.

The lines that it reports: ``phase NAME``; ``committed PARTITION OFFSET`` for each partition after a commit that returned;
``ended HOW`` after every other end of a transaction; ``seam CALL``, the last word of one that dies there.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from streamlog import Broker, Consumer, OffsetAndMetadata, Producer, TopicPartition
from streamlog.errors import CommitFailedError
from tests.crash.forked import Reporter

if TYPE_CHECKING:
    from streamlog.runtime import FileSystem
    from tests.crash.plan import Plan

INPUT, OUTPUT = "in", "out"
PARTITIONS = 3
GROUP = "copier"

#: So much is there to be read when a child begins; few live long enough to read it all.
BACKLOG = 600

_FLUSH = {"none": (-1, None), "interval": (7, None), "ack": (7, 1)}


def open_broker(path: str, filesystem: FileSystem | None = None) -> Broker:
    """Open the broker of every child and of whoever looks at what they did."""
    return Broker(
        path,
        filesystem=filesystem,
        offsets_topic_num_partitions=2,
        transaction_state_log_num_partitions=2,
    )


def transformed(partition: int, offset: int, value: bytes) -> bytes:
    """Return what is produced for a record: it says where that one was."""
    return b"%d@%d:%s" % (partition, offset, value.upper())


def work(
    path: str,
    plan: Plan,
    report: Reporter,
    *,
    filesystem: FileSystem | None = None,
    when_open: Callable[[], None] = lambda: None,
) -> None:
    """Work until killed."""
    report("phase", "opening")
    broker = open_broker(path, filesystem)
    report("phase", "filling")
    _fill(broker, plan)
    report("phase", "running")
    when_open()
    workers = 1 if plan.threads == 1 else 2
    threads = [
        threading.Thread(target=_guarded, args=(broker, plan, number, report))
        for number in range(1, workers)
    ]
    if plan.run % 2:
        threads.append(threading.Thread(target=_compact, args=(broker, plan, report)))
    for thread in threads:
        thread.start()
    _guarded(broker, plan, 0, report, partial(_fill, broker, plan))


def finish(path: str, report: Reporter) -> None:
    """Go on until nothing is left to be read, and close."""
    with open_broker(path) as broker:
        copy(broker, 0, random.Random(0), report)


def _fill(broker: Broker, plan: Plan) -> None:
    """Make the topics, and see to it that there is enough to do; the process may die in here as well."""
    flush_ms, flush_messages = _FLUSH[plan.flush]
    configs = {"segment_bytes": 20_000, "flush_ms": flush_ms, "flush_messages": flush_messages}
    for topic in (INPUT, OUTPUT):
        if topic in broker.topics():
            broker.alter_topic_configs(topic, configs)
        else:
            broker.create_topic(topic, partitions=PARTITIONS, configs=configs)
    with Producer(broker) as producer:
        for partition in range(PARTITIONS):
            place = TopicPartition(INPUT, partition)
            done = broker.group_coordinator.fetch_offsets(GROUP, [place])[place]
            end = broker.partition(*place).log_end_offset
            missing = BACKLOG // PARTITIONS - (end - (done.offset if done else 0))
            if missing > 0:
                values = [b"run %d, %d of %d" % (plan.run, n, missing) for n in range(missing)]
                producer.send_many(INPUT, values, partition=partition).result(timeout=30)


def _guarded(
    broker: Broker,
    plan: Plan,
    number: int,
    report: Reporter,
    fill: Callable[[], None] = lambda: None,
) -> None:
    try:
        while True:
            copy(broker, number, plan.random("worker", number), report)
            fill()
    except BaseException:
        report.failed()


def _compact(broker: Broker, plan: Plan, report: Reporter) -> None:
    """Compact what coordinates the groups and the transactions, while they go on."""
    chance, pause = plan.random("compaction"), threading.Event()
    try:
        while True:
            broker.compact(roll=True)
            pause.wait(chance.uniform(0, 0.02))
    except BaseException:
        report.failed()


def copy(broker: Broker, number: int, chance: random.Random, report: Reporter) -> None:
    """Copy the input to the output until nothing is left, a few records in each transaction.

    Now and then one is aborted, or another producer takes the transactional id.
    """
    with Consumer(
        broker,
        INPUT,
        group_id=GROUP,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        while True:
            with Producer(
                broker,
                transactional_id=f"{GROUP}-{number}",
                linger_ms=chance.choice((0, 5)),
            ) as producer:
                producer.init_transactions()
                for _ in range(chance.randrange(1, 50)):
                    copied = _copy_some(consumer, producer, chance, report)
                    if not copied and _is_done(broker):
                        return


def _copy_some(
    consumer: Consumer, producer: Producer, chance: random.Random, report: Reporter
) -> int:
    """Copy what one poll returns; return how many records that were."""
    records = consumer.poll(20, max_records=chance.randrange(1, 20))
    if not records:
        return 0
    producer.begin_transaction()
    offsets = {}
    for record in records:
        assert record.value is not None
        value = transformed(record.partition, record.offset, record.value)
        producer.send(OUTPUT, value, partition=record.partition)
        offsets[record.topic_partition] = OffsetAndMetadata(record.offset + 1)
    if chance.random() < 0.1:
        producer.abort_transaction()
        report("ended", "aborted")
        for partition in records.partitions:
            consumer.seek(partition, records.records(partition)[0].offset)
        return len(records)
    try:
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
    except CommitFailedError:
        # Somebody joined: what was polled may be another's by now.
        producer.abort_transaction()
        report("ended", "rebalanced")
        for partition in records.partitions:
            consumer.seek(partition, records.records(partition)[0].offset)
        return len(records)
    producer.commit_transaction()
    for partition, offset in offsets.items():
        report("committed", partition.partition, offset.offset)
    return len(records)


def _is_done(broker: Broker) -> bool:
    places = [TopicPartition(INPUT, number) for number in range(PARTITIONS)]
    done = broker.group_coordinator.fetch_offsets(GROUP, places)
    return all(
        (offset.offset if (offset := done[place]) else 0) == broker.partition(*place).log_end_offset
        for place in places
    )

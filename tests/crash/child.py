"""The process that gets killed: produces through the public API and reports every acknowledgement through a pipe.

A line of the report is ``topic partition offset crc length`` for each acknowledged record, written with one ``write`` after the
acknowledgement, so that whatever the parent reads was acknowledged. Values carry their own name, ``<run>-<thread>-<number>``, padded
to awkward lengths, so that the parent can tell records apart without any state of its own.

``python -m tests.crash.child DATA REPORT_FD RUN SEED MODE``; never ends by itself.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import zlib

from streamlog import Broker, Producer

TOPICS = {"plain": 1, "keyed": 3}
MODES = ("direct", "linger", "many", "synced", "threads", "retention", "reopen")

#: Small enough for a roll every few dozen records, large enough for a batch of the linger mode.
SEGMENT_BYTES = 20_000


def value_for(run: int, thread: int, number: int) -> bytes:
    """Return the value of one record: its name, then padding whose length depends on it."""
    name = b"%d-%d-%d|" % (run, thread, number)
    return name + b"." * (zlib.crc32(name) % 300)


def open_broker(path: str, mode: str) -> Broker:
    """Open the broker with topics that roll often."""
    broker = Broker(path, log_retention_check_interval_ms=5, log_initial_task_delay_ms=1)
    configs: dict[str, object] = {
        "segment_bytes": SEGMENT_BYTES,
        "flush_ms": 7,
        "file_delete_delay_ms": 1,
    }
    for topic, partitions in TOPICS.items():
        if topic not in broker.topics():
            broker.create_topic(topic, partitions=partitions, configs=configs)
        broker.alter_topic_configs(
            topic,
            {
                "flush_messages": 1 if mode == "synced" else None,
                # Retention by size keeps some segments behind the ones that go.
                "retention_bytes": 3 * SEGMENT_BYTES if mode == "retention" else -1,
            },
        )
    return broker


class Reporter:
    """Writes acknowledgements to the pipe, each line in one piece."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def acknowledged(self, topic: str, partition: int, offset: int, values: list[bytes]) -> None:
        """Report that *values* were acknowledged at *offset* and following."""
        for index, value in enumerate(values):
            line = f"{topic} {partition} {offset + index} {zlib.crc32(value)} {len(value)}\n"
            os.write(self._descriptor, line.encode())


def produce(
    broker: Broker, reporter: Reporter, run: int, thread: int, seed: int, mode: str
) -> None:
    """Produce until killed (or, in reopen mode, a few hundred records)."""
    rng = random.Random(f"{seed}/{run}/{thread}")
    linger_ms = 2 if mode == "linger" else 0
    number = 0
    with Producer(broker, linger_ms=linger_ms) as producer:
        while mode != "reopen" or number < 200:
            topic = rng.choice(list(TOPICS))
            key = b"key-%d" % rng.randrange(20) if topic == "keyed" else None
            if mode == "many":
                values = [value_for(run, thread, number + i) for i in range(rng.randrange(1, 60))]
                number += len(values)
                partition = rng.randrange(TOPICS[topic])
                # One thread, one partition: the run is contiguous, however many batches it took.
                last = producer.send_many(topic, values, partition=partition).result(timeout=30)
                reporter.acknowledged(topic, partition, last.offset - len(values) + 1, values)
                continue
            if mode == "linger":
                batch = []
                for _ in range(rng.randrange(1, 40)):
                    value = value_for(run, thread, number)
                    number += 1
                    batch.append((value, producer.send(topic, value, key=key)))
                for value, future in batch:
                    done = future.result(timeout=30)
                    reporter.acknowledged(topic, done.partition, done.offset, [value])
                continue
            value = value_for(run, thread, number)
            number += 1
            done = producer.send(topic, value, key=key).result(timeout=30)
            reporter.acknowledged(topic, done.partition, done.offset, [value])


def main() -> None:
    """Run until killed."""
    path, descriptor, run, seed, mode = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
    reporter = Reporter(descriptor)
    while True:
        broker = open_broker(path, mode)
        os.write(descriptor, b"open\n")
        count = 6 if mode == "threads" else 1
        threads = [
            threading.Thread(target=produce, args=(broker, reporter, run, number, seed, mode))
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        broker.close()
        run += 1_000_000  # reopen mode: the values of the next round are others


if __name__ == "__main__":
    main()

"""The process that writes while another one reads: run as ``python -m tests.support.read_only_writer PATH SEED``.

What it writes tells where it belongs, so that a reader needs nothing else to know whether it saw a true copy:

* ``kept`` and ``rolled``: each record says its own offset; retention takes the beginning of ``rolled``
* ``compacted``: the same, of a few keys, of which compaction keeps the last records
* ``txn``: the records of committed transactions say how many came before them, those of aborted ones say so

It goes on where it was killed, until it is killed again or has nothing more to read from its standard input.
"""

from __future__ import annotations

import random
import sys
import threading

from streamlog import Broker, Consumer, Producer, TopicPartition

TXN = TopicPartition("txn", 0)
KEYS = 23


def filler(number: int) -> bytes:
    return bytes([65 + number % 26]) * (number * 7919 % 300)


def numbered(number: int) -> bytes:
    return b"%d|%b" % (number, filler(number))


def committed(number: int) -> bytes:
    return b"c%d|%b" % (number, filler(number))


class Writer:
    def __init__(self, broker: Broker, chance: random.Random) -> None:
        self.broker = broker
        self.chance = chance
        for name, configs in (
            ("kept", {"segment_bytes": 20_000}),
            (
                "rolled",
                {"segment_bytes": 8_000, "retention_bytes": 30_000, "file_delete_delay_ms": 0},
            ),
            ("compacted", {"segment_bytes": 8_000, "cleanup_policy": "compact"}),
            ("txn", {"segment_bytes": 16_000}),
        ):
            if name not in broker.topics():
                broker.create_topic(name, configs=configs)
        self.producer = Producer(broker, compression_type="none")
        self.transactions = Producer(broker, transactional_id="reader-test")
        self.transactions.init_transactions()
        self.committed = self.count_committed()

    def count_committed(self) -> int:
        count = 0
        with Consumer(
            self.broker, auto_offset_reset="earliest", isolation_level="read_committed"
        ) as consumer:
            consumer.assign([TXN])
            while records := list(consumer.poll()):
                count += len(records)
        return count

    def step(self) -> None:
        chance = self.chance
        kind = chance.random()
        if kind < 0.5:
            self.append(chance.choice(["kept", "rolled", "compacted"]), chance.randint(1, 60))
        elif kind < 0.85:
            self.transact(chance.randint(1, 20), commit=chance.random() < 0.6)
        elif kind < 0.92:
            self.broker.run_maintenance()
        elif kind < 0.95:
            self.broker.sync()
        elif kind < 0.97:
            self.broker.compact("compacted", roll=True)
        elif "temporary" in self.broker.topics():
            self.broker.delete_topic("temporary")
        else:
            self.broker.create_topic("temporary", partitions=chance.randint(1, 3))

    def append(self, topic: str, count: int) -> None:
        start = self.broker.partition(topic, 0).log_end_offset
        for number in range(start, start + count):
            self.producer.send(topic, numbered(number), key=b"%d" % (number % KEYS))
        self.producer.flush()

    def transact(self, count: int, *, commit: bool) -> None:
        producer = self.transactions
        producer.begin_transaction()
        for number in range(self.committed, self.committed + count):
            producer.send("txn", committed(number) if commit else b"aborted" + filler(number))
        if not commit:
            producer.flush()
            producer.abort_transaction()
            return
        producer.commit_transaction()
        self.committed += count


def main() -> None:
    path, seed = sys.argv[1:]
    stop = threading.Event()
    with Broker(
        path, offsets_topic_num_partitions=1, transaction_state_log_num_partitions=1
    ) as broker:
        writer = Writer(broker, random.Random(int(seed)))
        print("ready", flush=True)

        def wait_for_the_end() -> None:
            sys.stdin.read()
            stop.set()

        threading.Thread(target=wait_for_the_end, daemon=True).start()
        while not stop.is_set():
            writer.step()


if __name__ == "__main__":
    main()

"""A day in the life of a broker, told by one seed: what happens is written down, line by line.

``python -m tests.support.scenario SEED`` prints it. Two producers, two groups whose members come, go, hang and come back, under either
protocol and some under a name of their own, offsets that expire, retention by time and size, transactions of a producer whose id is taken from it now and
then, topics that come and go: whatever is left to chance, by us or by the library, follows from the seed.
"""

from __future__ import annotations

import hashlib
import logging
import random
import sys
import threading
from collections.abc import Callable, Collection

from streamlog import (
    Admin,
    Broker,
    Consumer,
    OffsetAndMetadata,
    Producer,
    RecordMetadata,
    TopicPartition,
)
from streamlog.errors import (
    FencedInstanceIdError,
    StreamlogError,
    UnreleasedInstanceIdError,
)
from streamlog.structs import ConsumerGroupMetadata
from streamlog.testing import MemoryFileSystem, VirtualClock

HOUR_MS = 3_600_000
HOURS = 6
TOPICS = {"clicks": 3, "orders": 2, "audit": 1}


class Scenario:
    """One run. `log` is what happened."""

    def __init__(self, seed: int) -> None:
        self.log: list[str] = []
        self.clock = VirtualClock()
        self.filesystem = MemoryFileSystem()
        self.random = random.Random(seed)
        self.broker = Broker(
            "/scenario",
            clock=self.clock,
            filesystem=self.filesystem,
            seed=seed,
            log_retention_check_interval_ms=600_000,
            offsets_topic_num_partitions=3,
            offsets_retention_minutes=30,
            transaction_state_log_num_partitions=3,
        )
        self.producers: list[Producer] = []
        self.transactional: Producer | None = None
        self.consumers: dict[str, Consumer] = {}
        self._records = 0
        self._members = 0

    def note(self, *words: object) -> None:
        """Write down that something happened now."""
        self.log.append(" ".join(map(str, (f"{self.clock.now:.3f}", *words))))

    def run(self) -> list[str]:
        """Live through it, with no thread but this one, and return the log."""
        threads = set(threading.enumerate())
        for name, partitions in TOPICS.items():
            self.create(name, partitions)
        self.producers = [
            Producer(self.broker, linger_ms=20, batch_size=2_000),
            Producer(self.broker, partitioner="murmur2_random", client_id="second"),
        ]
        actions: list[Callable[[], None]] = [
            self.produce,
            self.produce,
            self.produce,
            self.transact,
            self.transact,
            self.take_over,
            self.consume,
            self.consume,
            self.consume,
            self.join,
            self.leave,
            self.hang,
            self.let_time_pass,
            self.change_topics,
            self.set_offsets,
        ]
        ends_at = self.clock.now + HOURS * HOUR_MS
        while self.clock.now < ends_at:
            action = self.random.choice(actions)
            try:
                action()
            except StreamlogError as error:
                self.note(action.__name__, type(error).__name__, error)
        self.look_around()
        self.broker.close()
        self.note("files", self.digest("/scenario"))
        assert not set(threading.enumerate()) - threads, "a virtual clock needs no thread"
        return self.log

    # ---- what happens

    def create(self, name: str, partitions: int) -> None:
        """Create a topic of small segments that do not last."""
        configs = {
            "segment_bytes": 3_000,
            "segment_ms": HOUR_MS,
            "segment_jitter_ms": HOUR_MS // 2,
            "retention_ms": 2 * HOUR_MS,
            "retention_bytes": 12_000,
        }
        topic = self.broker.create_topic(name, partitions=partitions, configs=configs)
        self.note("created", name, topic.topic_id)

    def change_topics(self) -> None:
        """A topic comes, or goes."""
        if "extra" in self.broker.topics():
            self.broker.delete_topic("extra")
            self.note("deleted extra")
        else:
            self.create("extra", self.random.randrange(1, 4))

    def produce(self) -> None:
        """Send some records, half of them with a key."""
        producer = self.random.choice(self.producers)
        for _ in range(self.random.randrange(1, 30)):
            self._records += 1
            topic = self.random.choice(self.broker.topics())
            key = b"k%d" % self.random.randrange(9) if self.random.random() < 0.5 else None
            producer.send(topic, b"%d" % self._records, key=key, on_delivery=self._delivered)
            self.clock.advance(self.random.expovariate(0.1))

    def _delivered(self, metadata: RecordMetadata | None, error: BaseException | None) -> None:
        self.note("delivered", metadata, error)

    def take_over(self) -> None:
        """A new producer takes the transactional id; the old one is left to itself."""
        self.transactional = Producer(
            self.broker, transactional_id="payments", transaction_timeout_ms=60_000, linger_ms=20
        )
        self.transactional.init_transactions()
        self.note("takes over")

    def transact(self) -> None:
        """Send some records in a transaction and commit it, or abort it, or leave it open for somebody else to end."""
        producer = self.transactional
        if producer is None:
            self.take_over()
            return
        with producer.transaction():
            for _ in range(self.random.randrange(1, 20)):
                self._records += 1
                topic = self.random.choice(list(TOPICS))
                producer.send(topic, b"%d" % self._records, on_delivery=self._delivered)
                self.clock.advance(self.random.expovariate(0.1))
            offsets = {TopicPartition("orders", 0): OffsetAndMetadata(self._records)}
            producer.send_offsets_to_transaction(offsets, ConsumerGroupMetadata("payers"))
            chance = self.random.random()
            if chance < 0.2:
                self.hang()
            elif chance < 0.4:
                raise _ChangeOfMindError
        self.note("committed", self._records)

    def join(self) -> None:
        """Another member joins one of the groups."""
        if len(self.consumers) < 5:
            self._members += 1
            name = f"{self.random.choice(['readers', 'writers'])}-{self._members}"
            protocol = self.random.choice(["classic", "consumer"])
            instance_id = self.random.choice([None, None, "first", "second"])
            consumer = Consumer(
                self.broker,
                group_id=name.split("-")[0],
                group_protocol=protocol,
                group_instance_id=instance_id,
                auto_offset_reset=self.random.choice(["earliest", "latest"]),
                auto_commit_interval_ms=self.random.randrange(100, 5_000),
                max_poll_records=self.random.randrange(1, 40),
                max_poll_interval_ms=60_000,
                isolation_level=self.random.choice(["read_committed", "read_uncommitted"]),
            )
            consumer.subscribe(pattern="clicks|orders|extra", listener=_Listener(self, name))
            self.consumers[name] = consumer
            self.note("joins", name, protocol, instance_id)

    def leave(self) -> None:
        """A member leaves."""
        if self.consumers:
            name = self.random.choice(list(self.consumers))
            self.note("leaves", name)
            self.consumers.pop(name).close()

    def consume(self) -> None:
        """Each member polls, and waits if need be."""
        for name, consumer in list(self.consumers.items()):
            try:
                records = consumer.poll(timeout_ms=self.random.randrange(2_000))
            except (FencedInstanceIdError, UnreleasedInstanceIdError) as error:
                self.note(name, "is refused", error)
                self.consumers.pop(name).close()
                continue
            for record in records:
                self.note(name, "reads", *record[:4], record.value)

    def set_offsets(self) -> None:
        """Commit for a group without members; what it had may have expired."""
        with Admin(self.broker) as admin:
            had = admin.list_consumer_group_offsets("outside")
            self.note("outside had", had or "nothing any more")
            place = TopicPartition(self.random.choice(list(TOPICS)), 0)
            admin.alter_consumer_group_offsets("outside", {place: self.random.randrange(9)})

    def hang(self) -> None:
        """Nobody polls for longer than the groups allow."""
        self.clock.advance(self.random.uniform(50_000, 90_000))

    def let_time_pass(self) -> None:
        """Nothing happens for a while but what is due."""
        self.clock.advance(self.random.uniform(0, HOUR_MS / 6))

    # ---- what there is

    def look_around(self) -> None:
        """Write down how everything stands."""
        with Admin(self.broker) as admin:
            known = [listed.group_id for listed in admin.list_consumer_groups()]
            for group, description in admin.describe_consumer_groups(known).items():
                self.note(group, description, admin.list_consumer_group_offsets(group))
        for name in self.broker.topics(include_internal=True):
            for partition in range(len(self.broker.describe_topic(name).partitions)):
                log = self.broker.partition(name, partition).log
                starts = [segment.base_offset for segment in log.segments]
                self.note(TopicPartition(name, partition), log.log_start_offset, starts)
        for producer in self.producers:
            self.note(sorted(producer.metrics().items()))

    def digest(self, path: str) -> str:
        """Return a checksum of all files, but for the lock, which names the process."""
        digest = hashlib.sha256()
        for name in self.filesystem.list_dir(path):
            inner = f"{path}/{name}"
            if name == "LOCK":
                continue
            digest.update(name.encode())
            if self.filesystem.is_dir(inner):
                digest.update(self.digest(inner).encode())
            else:
                digest.update(self.filesystem.read_file(inner, 1 << 30))
        return digest.hexdigest()


class _ChangeOfMindError(StreamlogError):
    """Why a transaction is aborted."""


class _Listener:
    def __init__(self, scenario: Scenario, name: str) -> None:
        self._scenario = scenario
        self._name = name

    def on_partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self._scenario.note(self._name, "is assigned", *map(str, partitions))

    def on_partitions_revoked(self, partitions: Collection[TopicPartition]) -> None:
        self._scenario.note(self._name, "gives up", *map(str, partitions))

    def on_partitions_lost(self, partitions: Collection[TopicPartition]) -> None:
        self._scenario.note(self._name, "has lost", *map(str, partitions))


if __name__ == "__main__":
    logging.getLogger("streamlog").addHandler(logging.NullHandler())
    print(*Scenario(int(sys.argv[1])).run(), sep="\n")

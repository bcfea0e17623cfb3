"""Clients of several languages in one topic and in one group: a key belongs to a partition, whoever writes or reads it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from streamlog import Broker, Consumer, Producer
from tests.judges.smoke.clients import Command

TOPIC = "everybody"
RECORDS = 50
PARTITIONS = 12
TIMEOUT_S = 120
#: Those whose consumers have Kafka's assignor by ranges, which a group of several clients needs. kafkajs has one of its own, kcat only
#: librdkafka's default, which is this one as well.
READERS = ("java", "kafka-python 3.0", "aiokafka", "confluent-kafka 2.16", "confluent-kafka 1.9")
IN_PROCESS = "streamlog"


class _Readers:
    """The members of the group, and what they read; its methods may be called from several threads."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.assigned: dict[str, set[int]] = {}
        self.found: Counter[tuple[str, str]] = Counter()
        """How often each key of each writer was read."""
        self.places: dict[str, set[int]] = {}
        """The partitions in which a key was found."""
        self.by: Counter[str] = Counter()
        self.complaints: list[str] = []

    def watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            words = line.decode().split()
            if words[:1] == ["assigned"]:
                self.is_assigned(name, {int(word) for word in words[1:]})
            elif words[:1] == ["record"]:
                # record PARTITION key NUMBER WRITER NUMBER ...
                self.has_read(name, int(words[1]), f"key {words[3]}", words[4])
            else:
                self.complaints.append(f"{name} said: {line.decode().rstrip()}")

    def is_assigned(self, name: str, partitions: set[int]) -> None:
        with self._news:
            self.assigned[name] = partitions
            self._news.notify_all()

    def has_read(self, name: str, partition: int, key: str, writer: str) -> None:
        with self._news:
            self.found[writer, key] += 1
            self.places.setdefault(key, set()).add(partition)
            self.by[name] += 1
            self._news.notify_all()

    def wait(self, until: Callable[[], bool], deadline: float) -> bool:
        with self._news:
            return self._news.wait_for(until, deadline - time.monotonic())

    def have_all(self, count: int) -> bool:
        """Return whether each of *count* members has partitions, and each partition one member."""
        return (
            len(self.assigned) == count
            and all(self.assigned.values())
            and sorted(n for one in self.assigned.values() for n in one) == [*range(PARTITIONS)]
        )


def exchange(commands: Mapping[str, Command]) -> list[str]:
    """Let all write and those of `READERS` read, with a producer and a member in this process; return what is wrong."""
    names = {name.replace(" ", "-"): command for name, command in commands.items()}
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    readers = _Readers()
    started: list[subprocess.Popen[bytes]] = []
    is_over = threading.Event()
    deadline = time.monotonic() + TIMEOUT_S
    with Broker(group_min_session_timeout_ms=100) as broker:
        broker.create_topic(TOPIC, partitions=PARTITIONS)
        broker.listen(default_partitions=PARTITIONS)

        def start(command: Command, codec: str, *mode: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [*command.arguments, broker.bootstrap_servers, TOPIC, codec, *mode],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**environment, **command.environment},
            )

        local = threading.Thread(target=_read_here, args=(broker, readers, is_over))
        threads = [local]
        try:
            for name in READERS:
                if name in commands:
                    process = start(commands[name], "none", "read")
                    started.append(process)
                    threads.append(threading.Thread(target=readers.watch, args=(name, process)))
            for thread in threads:
                thread.start()
            count = len(threads)
            if not readers.wait(lambda: readers.have_all(count), deadline):
                found = f"expected {count} members with partitions, found {readers.assigned}"
                return [found, *readers.complaints[-50:]]
            # Each writes with another codec than its neighbour, and whoever reads has to know them all.
            writers = {
                name: start(command, command.codecs[place % len(command.codecs)], "write", name)
                for place, (name, command) in enumerate(names.items())
            }
            started.extend(writers.values())
            with Producer(broker) as producer:
                for number in range(RECORDS):
                    key, value = b"key %d" % number, f"{IN_PROCESS} {number} " * 20
                    producer.send(TOPIC, key=key, value=value.encode())
            wrong = []
            for name, process in writers.items():
                try:
                    said, _ = process.communicate(timeout=max(1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired as late:
                    said = late.output or b""
                if process.returncode != 0:
                    wrong.append(f"{name} could not write: {said[-2000:].decode()}")
            expected = {
                (name, f"key {number}")
                for name in (*names, IN_PROCESS)
                for number in range(RECORDS)
            }
            readers.wait(lambda: readers.found.keys() >= expected, deadline)
            wrong += _judge(readers, expected)
            return [*wrong, *readers.complaints[-50:]] if wrong else []
        finally:
            is_over.set()
            for process in started:
                process.kill()
            for thread in threads:
                if thread.ident:
                    thread.join()
            for process in started:
                process.wait()


def _judge(readers: _Readers, expected: set[tuple[str, str]]) -> list[str]:
    wrong = [
        f"nobody read {key} of {writer}" for writer, key in sorted(expected - readers.found.keys())
    ]
    wrong += [
        f"{key} of {writer} was read {times} times"
        for (writer, key), times in sorted(readers.found.items())
        if times > 1
    ]
    wrong += [
        f"{key} is in the partitions {sorted(partitions)}"
        for key, partitions in sorted(readers.places.items())
        if len(partitions) > 1
    ]
    wrong += [f"{name} read nothing" for name in readers.assigned if not readers.by[name]]
    return wrong


def _read_here(broker: Broker, readers: _Readers, is_over: threading.Event) -> None:
    """Be a member of the group in this process."""
    with Consumer(
        broker,
        group_id=TOPIC,
        group_protocol="classic",
        partition_assignment_strategy=["range"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        consumer.subscribe([TOPIC])
        known: set[int] = set()
        while not is_over.is_set():
            for record in consumer.poll(100):
                assert record.key is not None
                assert record.value is not None
                writer = record.value.decode().split()[0]
                readers.has_read(IN_PROCESS, record.partition, record.key.decode(), writer)
            assigned = {place.partition for place in consumer.assignment()}
            if assigned != known:
                known = assigned
                readers.is_assigned(IN_PROCESS, known)

"""Compaction beside everything else: writers, readers from the start, views, commits, topics that are deleted, calls to compact, and close.

Whoever reads while segments are replaced sees rising offsets and only what was written; who keeps up ends with what a replay gives (CMP-9).
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streamlog import (
    Broker,
    ClosedError,
    Consumer,
    Producer,
    TableView,
    TopicPartition,
    UnknownTopicOrPartitionError,
)

pytestmark = pytest.mark.stress

ROUNDS = 600
WRITERS = 2
COMPACT = {
    "cleanup_policy": "compact",
    "segment_bytes": 4096,
    "min_cleanable_dirty_ratio": 0.1,
    "file_delete_delay_ms": 0,
}


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Let threads take turns five thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def replay(broker: Broker, written: dict[bytes, int]) -> dict[bytes, bytes | None]:
    """Read all of the topic from its start, and look at each record on the way."""
    found: dict[bytes, bytes | None] = {}
    offsets = [-1, -1]
    with Consumer(
        broker, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition("t", 0), TopicPartition("t", 1)])
        while records := consumer.poll():
            for record in records:
                assert record.offset > offsets[record.partition]
                offsets[record.partition] = record.offset
                assert not (record.value or b"").startswith(b"aborted")
                assert record.key in written
                found[record.key] = record.value
    return {key: value for key, value in found.items() if value is not None}


def test_compaction_disturbs_nobody(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    stop = threading.Event()
    written = {b"%d:%d" % (writer, key): key for writer in range(WRITERS) for key in range(20)}
    last: dict[bytes, bytes | None] = {}

    def write(broker: Broker, writer: int) -> None:
        """One of the two writes in transactions."""
        chance = random.Random(seed + writer)
        transactional_id = None if writer else "x"
        with Producer(broker, transactional_id=transactional_id) as producer:
            if transactional_id:
                producer.init_transactions()
            for number in range(ROUNDS):
                key = b"%d:%d" % (writer, chance.randrange(20))
                value = None if chance.random() < 0.1 else b"%d" % number * chance.randrange(1, 30)
                if not transactional_id:
                    producer.send("t", value, key=key).result()
                    last[key] = value
                    continue
                aborts = chance.random() < 0.3
                producer.begin_transaction()
                producer.send("t", b"aborted" if aborts else value, key=key)
                if aborts:
                    producer.abort_transaction()
                else:
                    producer.commit_transaction()
                    last[key] = value

    def read(broker: Broker) -> None:
        while not stop.is_set():
            replay(broker, written)

    def look(view: TableView) -> None:
        while not stop.is_set():
            assert written.keys() >= view.keys()

    def compact(broker: Broker) -> None:
        while not stop.is_set():
            broker.compact("t", roll=True)

    def come_and_go(broker: Broker) -> None:
        while not stop.is_set():
            broker.create_topic("gone", configs=COMPACT)
            with Producer(broker) as producer:
                for number in range(150):
                    producer.send("gone", b"x" * 100, key=b"%d" % (number % 3))
            try:
                broker.compact("gone")
            except UnknownTopicOrPartitionError:
                pass
            broker.delete_topic("gone")

    told: dict[Any, Any] = {}
    with Broker(str(tmp_path / "data"), log_cleaner_backoff_ms=1) as broker:
        broker.create_topic("t", partitions=2, configs=COMPACT)
        with TableView(broker, "t") as view, ThreadPoolExecutor(8) as pool:
            view.on_change(lambda key, old, new: told.update({key: new}))
            helping = [
                pool.submit(read, broker),
                pool.submit(look, view),
                pool.submit(compact, broker),
                pool.submit(come_and_go, broker),
            ]
            writing = [pool.submit(write, broker, writer) for writer in range(WRITERS)]
            try:
                for future in writing:
                    future.result(100)
            finally:
                stop.set()
            for future in helping:
                future.result(60)
            expected = {key: value for key, value in last.items() if value is not None}
            view.wait_until_caught_up(timeout_ms=60_000)
            assert dict(view) == expected
            assert {key: value for key, value in told.items() if value is not None} == expected
            assert replay(broker, written) == expected
            metrics = broker.cleaner_metrics()
            assert metrics["uncleanable_partitions"] == {}
            assert metrics["failed_pass_total"] == 0
            assert metrics["pass_total"] > 3
    with Broker(str(tmp_path / "data")) as broker:
        assert broker.recovery_report.clean
        assert replay(broker, written) == expected


def test_closing_during_a_compaction_of_another_thread_ends_it(tmp_path: Path) -> None:
    with Broker(str(tmp_path / "data"), log_cleaner_enable=False) as broker:
        broker.create_topic("t", configs=COMPACT)
        with Producer(broker) as producer:
            for number in range(3_000):
                producer.send("t", b"%0100d" % number, key=b"%d" % (number % 50))
        begun = threading.Event()

        def compact() -> None:
            while True:
                broker.compact("t", roll=True)
                begun.set()

        with ThreadPoolExecutor(1) as pool:
            compacting = pool.submit(compact)
            assert begun.wait(60)
            broker.close()
            with pytest.raises(ClosedError):
                compacting.result(60)
    with Broker(str(tmp_path / "data")) as broker:
        assert broker.recovery_report.clean
        with TableView(broker, "t") as view:
            assert sorted(view.values()) == [b"%0100d" % number for number in range(2_950, 3_000)]

"""A real second process writes, is killed and comes back, while this one reads: all that is seen is a true copy.

``STREAMLOG_READER_KILLS`` and ``STREAMLOG_SEED`` try more, and others.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from streamlog import Broker, Consumer, TopicPartition
from tests.support.programs import ROOT
from tests.support.read_only_writer import KEYS, TXN, committed, numbered

KILLS = int(os.environ.get("STREAMLOG_READER_KILLS", "2"))
SEED = int(os.environ.get("STREAMLOG_SEED", "1"))

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(600 + 10 * KILLS)]


class Writer:
    """The process that writes."""

    def __init__(self, path: Path, seed: int) -> None:
        command = [sys.executable, "-m", "tests.support.read_only_writer", str(path), str(seed)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise AssertionError(self.process.communicate()[1].decode())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        _, error = self.process.communicate(b"", 60)
        assert self.process.returncode == 0, error.decode()


class Reader:
    """Reads all topics from their beginning, and knows each record before it comes."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.kept = self.assign("kept")
        self.rolled = self.assign("rolled")
        self.compacted = self.assign("compacted")
        self.transactions = self.assign("txn", isolation_level="read_committed")
        self.kept_count = self.committed_count = self.record_count = 0
        self.rolled_end = self.compacted_end = 0
        self.last_of: dict[bytes | None, int] = {}

    def assign(self, topic: str, **config: object) -> Consumer:
        consumer = Consumer(self.broker, auto_offset_reset="earliest", config=config)
        consumer.assign([TopicPartition(topic, 0)])
        return consumer

    def look(self) -> int:
        """Read what there is, wait a moment if there is nothing; return how many records that were."""
        before = self.record_count
        for record in self.kept.poll(5):
            assert (record.offset, record.value) == (self.kept_count, numbered(self.kept_count))
            self.kept_count += 1
            self.record_count += 1
        for record in self.rolled.poll(5):
            assert record.offset >= self.rolled_end  # what retention took is passed over
            assert record.value == numbered(record.offset)
            self.rolled_end = record.offset + 1
            self.record_count += 1
        for record in self.compacted.poll(5):
            assert record.offset >= self.compacted_end
            assert record.value == numbered(record.offset)
            self.compacted_end = record.offset + 1
            self.last_of[record.key] = record.offset
            self.record_count += 1
        for record in self.transactions.poll(5):
            assert record.value == committed(self.committed_count), record
            self.committed_count += 1
            self.record_count += 1
        assert {"kept", "rolled", "txn"} <= set(self.broker.topics())
        return self.record_count - before


def test_a_reader_sees_a_true_copy_of_what_a_killed_writer_stores(tmp_path: Path) -> None:
    print(f"STREAMLOG_SEED={SEED} STREAMLOG_READER_KILLS={KILLS}")
    chance, path = random.Random(SEED), tmp_path / "data"
    writer = Writer(path, SEED)
    with Broker(path, read_only=True, read_only_refresh_ms=2) as broker:
        old = Reader(broker)
        for kill in range(1, KILLS + 1):
            with Broker(path, read_only=True, read_only_refresh_ms=2) as another:
                new = Reader(another)
                for _ in range(chance.randint(3, 15)):
                    old.look()
                    new.look()
            writer.kill()
            old.look()
            writer = Writer(path, SEED + kill * 1000)
        writer.end()
        broker.refresh()  # it looks by itself, but nobody knows when it comes to its turn
        while old.look():
            pass
        late = Reader(broker)
        while late.look():
            pass
    with Broker(path) as broker:
        assert broker.partition("kept", 0).log_end_offset == old.kept_count == late.kept_count
        assert broker.partition("rolled", 0).log_end_offset == old.rolled_end == late.rolled_end
        end = broker.partition("compacted", 0).log_end_offset
        assert end == old.compacted_end == late.compacted_end
        last_of = {b"%d" % (number % KEYS): number for number in range(end)}
        assert old.last_of == late.last_of == last_of
        assert old.committed_count == late.committed_count > 0
        transactions = Reader(broker).transactions
        while transactions.poll():
            pass
        assert transactions.position(TXN) == broker.partition("txn", 0).log_end_offset

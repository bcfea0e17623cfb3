"""A process whose disk fills up to the last byte: ``python -m tests.crash.full_disk_child PATH WAY``.

It fills the disk in one of these ways, checks what is promised of a full disk, gets room again, and checks that everything goes
on where it was. A store into a place without room would kill it with SIGBUS, which the parent sees.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import sys
from collections.abc import Callable

from streamlog import (
    Broker,
    Consumer,
    DiskFullError,
    Durability,
    Producer,
    TopicPartition,
)

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
#: Room for a whole segment of the smaller topic, and for several of the other.
LIMIT_BYTES = 300_000


class Program:
    """Sends until nothing fits any more, and remembers what was acknowledged."""

    def __init__(
        self, path: str, *, min_free_bytes: int | None, segment_bytes: int = 1 << 20
    ) -> None:
        self.path = path
        self.segment_bytes = segment_bytes
        self.options: dict[str, object] = {} if min_free_bytes is None else {"min_free_bytes": 0}
        self.acknowledged: dict[TopicPartition, dict[int, bytes]] = {T0: {}, T1: {}}
        self.sent = 0
        self.open()

    def open(self) -> None:
        self.broker = Broker(self.path, **self.options)
        if not self.broker.topics():
            configs = {"segment_bytes": self.segment_bytes, "file_delete_delay_ms": 0}
            self.broker.create_topic("t", partitions=2, configs=configs)
        self.producer = Producer(self.broker, retries=0)

    def send(self, tp: TopicPartition, size: int) -> bool:
        """Send one record; return whether there was room for it."""
        self.sent += 1
        value = (b"%08d" % self.sent).ljust(size, b".")[:size] if size > 8 else b"x" * size
        end = self.broker.partition(*tp).log_end_offset
        try:
            metadata = self.producer.send(tp.topic, value, partition=tp.partition).result()
        except DiskFullError:
            assert self.broker.partition(*tp).log_end_offset == end, "an offset was used"
            return False
        assert metadata.offset == end, (metadata, end)
        self.acknowledged[tp][metadata.offset] = value
        return True

    def fill(self) -> None:
        """Send ever smaller records until not one byte fits, in either partition."""
        for size in (50_000, 5_000, 500, 50, 1):
            for tp in (T0, T1):
                for _ in range(3000):
                    if not self.send(tp, size):
                        break
                else:
                    raise AssertionError("the disk never filled up")
        assert not self.send(T0, 1)
        assert not self.send(T1, 1)

    def check(self) -> None:
        """Read everything and compare: nothing lost, doubled or skipped."""
        for tp, acknowledged in self.acknowledged.items():
            with Consumer(self.broker, auto_offset_reset="earliest") as consumer:
                consumer.assign([tp])
                start = consumer.beginning_offsets([tp])[tp]
                found = {}
                while records := consumer.poll(0, max_records=10_000):
                    found.update((record.offset, record.value) for record in records)
            assert list(found) == list(range(start, max(acknowledged, default=-1) + 1)), tp
            for offset, value in found.items():
                assert acknowledged[offset] == value, (tp, offset)

    def close(self) -> bool:
        """Close everything; return whether the directory could be marked clean."""
        self.producer.close()
        try:
            self.broker.close()
        except DiskFullError:
            assert self.broker.closed
            return False
        return True


def fill_up(path: str) -> None:
    """Take every byte that is left of the disk that *path* is on."""
    ballast = f"{os.path.dirname(path)}/ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"b" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def ballast(path: str) -> None:
    """The last byte goes, nothing more can be written; removing a file brings everything back."""
    program = Program(path, min_free_bytes=0)
    program.send(T0, 10)
    fill_up(path)
    program.fill()
    fill_up(path)
    program.check()
    try:
        program.broker.create_topic("another", partitions=1)
        raise AssertionError("a topic was created on a full disk")
    except DiskFullError:
        assert program.broker.topics() == ["t"]
    assert not program.close(), "STATE cannot have been written"
    try:
        Broker(path, min_free_bytes=0).close()
        raise AssertionError("opened without room for STATE")
    except DiskFullError:
        pass
    os.unlink(f"{os.path.dirname(path)}/ballast")
    program.open()
    program.check()
    assert program.send(T0, 50_000)
    assert program.send(T1, 1)
    program.check()
    assert program.close()
    program.open()
    assert program.broker.recovery_report.clean
    program.check()
    program.close()


def retention(path: str) -> None:
    """The logs themselves fill the disk; deleting records makes room, and appends go on at the next offset."""
    program = Program(path, min_free_bytes=0, segment_bytes=1 << 17)
    program.fill()
    program.check()
    for _ in range(2):
        free_partition(program)
        assert program.send(T1, 50_000), "what was freed serves the other partition"
        program.check()
        program.fill()
    free_partition(program)
    program.check()
    assert program.close()
    program.open()
    assert program.broker.recovery_report.clean
    program.check()
    program.close()


def free_partition(program: Program) -> None:
    """Delete all records of one partition, on a disk without room to note that."""
    try:
        program.broker.partition(*T0).delete_records(-1)
    except DiskFullError:
        pass  # the segments go all the same, and then there is room
    for _ in range(2):  # the files are renamed, and then unlinked when that is due
        program.broker.run_maintenance()
    program.broker.partition(*T0).delete_records(-1)


def reserve(path: str) -> None:
    """Without room for records there still is some for a clean close, and for offsets."""
    program = Program(path, min_free_bytes=None)
    program.fill()
    program.check()
    with Consumer(program.broker, group_id="g") as consumer:
        consumer.assign([T0])
        consumer.commit({T0: 1})
    assert program.close(), "the reserve is there for this"
    program.open()
    assert program.broker.recovery_report.clean
    program.check()
    program.close()


def file_size_limit(path: str) -> None:
    """RLIMIT_FSIZE is a full disk for each file: no segment may grow beyond it, and lifting it helps."""
    program = Program(path, min_free_bytes=0)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    program.fill()
    program.check()
    assert program.close()
    program.open()
    assert not program.send(T0, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for tp in (T0, T1):
        assert program.send(tp, 50_000)
    program.check()
    assert program.close()
    program.open()
    program.check()
    program.close()


def to_disk(path: str) -> None:
    """With ``flush_messages=1``: what was acknowledged as on the disk is there, whatever came in between."""
    program = Program(path, min_free_bytes=0)
    program.broker.alter_topic_configs("t", {"flush_messages": 1})
    fill_up(path)
    program.fill()
    os.unlink(f"{os.path.dirname(path)}/ballast")
    for tp in (T0, T1):
        assert program.send(tp, 50_000)
    assert program.broker.partition(*T0).ack_durability() is Durability.DISK
    program.broker._forked()  # as kill -9: nothing is written any more
    program.producer._forked()
    program.open()
    program.check()
    program.close()


WAYS: dict[str, Callable[[str], None]] = {
    "ballast": ballast,
    "retention": retention,
    "reserve": reserve,
    "file size limit": file_size_limit,
    "to disk": to_disk,
}


def main() -> None:
    path, way = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    WAYS[way](path)


if __name__ == "__main__":
    main()

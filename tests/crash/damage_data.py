"""A small data directory with a bit of everything in it, as bytes: what the damage tests damage.

Made by the real broker in memory, always the same. `Dataset.files` is the directory, `records` and `committed` what was produced,
which is all that an oracle may believe.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple

import attrs

from streamlog import Broker, Consumer, TopicPartition
from streamlog.errors import ForkedError
from streamlog.record import Codec, Compressor, Headers, build_batch
from streamlog.record.layout import HEADER_SIZE, BatchHeader, read_header
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.runtime.memory_file import MemoryContent
from streamlog.runtime.memory_names import Directory
from streamlog.storage.checkpoint_file import decode_checkpoint, encode_checkpoint
from streamlog.structs import OffsetAndMetadata
from tests.crash.damage_transactions import (
    LEDGERS,
    OFFSETS_HOME,
    PARTITIONS,
    TOPIC,
    TransactionalWork,
    Transactions,
    without_last_batch,
)
from tests.support.kafka_batches import as_kafka
from tests.support.producing import stored

ROOT = "/data"
TOPICS = {"orders": 2, "events": 1, "trimmed": 1, "rescued": 1}
GROUP = "billing"
OFFSETS_TOPIC = "__consumer_offsets"

#: Whose batches have all codecs, and none; some came from a client of Kafka.
COMPRESSED = "trimmed"

#: A log of which META knows nothing.
STRAY = "stray"

#: How the directory was left: closed, killed on this boot, killed by a power failure.
CLEAN, KILLED, POWER_FAILED = "clean", "killed", "power failed"
STATES = (CLEAN, KILLED, POWER_FAILED)

_CONFIGS = {
    "segment_bytes": 8192,
    "index_interval_bytes": 1024,
    "retention_ms": -1,
    "flush_ms": None,
}


class Record(NamedTuple):
    """What a reader must find at an offset."""

    value: bytes | None
    key: bytes | None
    timestamp_ms: int
    headers: Headers


class Batch(NamedTuple):
    """Where a batch stands, and which offsets it holds."""

    path: str
    position: int
    end: int
    base_offset: int
    next_offset: int


@attrs.define(slots=False)
class Dataset:
    """One directory, and the truth about it."""

    state: str
    files: dict[str, bytes]
    directories: list[str]
    #: Everything produced, also what was deleted since.
    records: dict[TopicPartition, dict[int, Record]]
    #: Below it, every record was on the disk when STATE was written.
    recovery_offsets: dict[TopicPartition, int]
    log_starts: dict[TopicPartition, int]
    #: Everything the group committed, in order.
    committed: dict[TopicPartition, list[int]]
    #: What producers with an id wrote, in partitions that are not among those of `records`.
    transactions: Transactions

    @cached_property
    def batches(self) -> dict[str, list[Batch]]:
        """The batches of each log file, in order."""
        return {
            path: batches_of(path, data)
            for path, data in self.files.items()
            if is_log(path)
            and (partition_of(path) in self.records or partition_of(path) in PARTITIONS)
        }

    @cached_property
    def bodies(self) -> dict[tuple[TopicPartition, int], tuple[BatchHeader, bytes]]:
        """Header and body of each batch, by partition and base offset: who finds the same need not decode it."""
        found = {}
        for path, batches in self.batches.items():
            for batch in batches:
                data = self.files[path][batch.position : batch.end]
                header = read_header(data[:HEADER_SIZE])
                assert header is not None
                key = (partition_of(path), batch.base_offset)
                found[key] = (header, data[HEADER_SIZE : header.length])
        return found

    @cached_property
    def runs(self) -> dict[tuple[TopicPartition, int], tuple[bytes, int]]:
        """What one large read gives, and the offset behind it: by partition and the offset to read from."""
        found = {}
        for path, batches in self.batches.items():
            tp = partition_of(path)
            for batch in batches:
                for offset in {batch.base_offset, self.log_starts[tp]}:
                    if batch.base_offset <= offset < batch.next_offset:
                        data = self.files[path][batch.position : batches[-1].end]
                        found[tp, offset] = (data, batches[-1].next_offset)
        return found

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.files.values()))


def is_log(path: str) -> bool:
    return path.endswith(".log") and "/topics/" in path


def partition_of(path: str) -> TopicPartition | None:
    """Return the partition that the file at *path* belongs to, None for the directory's own files."""
    if not path.startswith(f"{ROOT}/topics/"):
        return None
    topic, _, number = path.split("/")[3].rpartition("-")
    return TopicPartition(topic, int(number))


def batches_of(path: str, data: bytes) -> list[Batch]:
    found: list[Batch] = []
    position = 0
    while (header := read_header(data[position : position + HEADER_SIZE])) is not None:
        end = position + header.aligned_size
        found.append(Batch(path, position, end, header.base_offset, header.next_offset))
        position = end
    return found


@lru_cache
def make_dataset(state: str) -> Dataset:
    """Return the data set left in *state*."""
    rng = random.Random(20)
    filesystem, clock = MemoryFileSystem(), VirtualClock()
    broker = open_broker(filesystem, clock)
    for topic, partitions in TOPICS.items():
        broker.create_topic(topic, partitions=partitions, configs=_CONFIGS)
    _append(broker, TopicPartition("rescued", 0), 30, rng)
    kill(broker)
    _lose_a_page(filesystem)
    broker = open_broker(filesystem, clock)  # the rest goes to quarantine
    for number in (0, 1):
        _append(broker, TopicPartition("orders", number), 410, rng)
    _append(broker, TopicPartition("trimmed", 0), 290, rng)
    _append_values(broker, 60)
    broker.create_topic(TOPIC, partitions=len(LEDGERS), configs=_CONFIGS | {"segment_bytes": 4096})
    work = TransactionalWork(broker, random.Random(21))
    work.rounds(10)
    committed: dict[TopicPartition, list[int]] = {}
    with Consumer(broker, group_id=GROUP, enable_auto_commit=False) as consumer:
        for step in range(1, 6):
            for number in (0, 1):
                tp = TopicPartition("orders", number)
                consumer.commit({tp: OffsetAndMetadata(step * 40, f"step {step}")})
                committed.setdefault(tp, []).append(step * 40)
        broker.sync()
        durable = {tp: broker.partition(*tp).log.durable_end_offset for tp in PARTITIONS}
        trimmed = _records(broker, TopicPartition("trimmed", 0))
        broker.partition("trimmed", 0).delete_records(205)
        if state != CLEAN:
            # What only the page cache has.
            for number in (0, 1):
                _append(broker, TopicPartition("orders", number), 70, rng)
            _append_values(broker, 30)
            consumer.commit({TopicPartition("orders", 0): OffsetAndMetadata(240)})
            committed[TopicPartition("orders", 0)].append(240)
            work.rounds(3)
        work.leave_open()
    partitions = [TopicPartition(t, n) for t, count in TOPICS.items() for n in range(count)]
    partitions += [
        TopicPartition(OFFSETS_TOPIC, n) for n in range(2) if n != OFFSETS_HOME.partition
    ]
    records = {tp: _records(broker, tp) for tp in partitions}
    records[TopicPartition("trimmed", 0)] = trimmed
    log_starts = {tp: broker.partition(*tp).log_start_offset for tp in (*partitions, *PARTITIONS)}
    durable |= {tp: broker.partition(*tp).log.durable_end_offset for tp in partitions}
    if state == CLEAN:
        broker.close()
        durable |= {tp: max(records[tp], default=-1) + 1 for tp in partitions}
        files = read_files(filesystem)
        work.truth.decided.clear()
    else:
        files = read_files(filesystem)
        kill(broker)
        last = max(path for path in files if is_log(path) and partition_of(path) == LEDGERS[1])
        files[last] = without_last_batch(files[last])
    if state == POWER_FAILED:
        files[f"{ROOT}/STATE"] = _of_another_boot(files[f"{ROOT}/STATE"])
    directories = directories_of(filesystem)
    directories.append(f"{ROOT}/topics/{STRAY}-0")
    for name in (".log", ".idx"):
        path = f"topics/{{}}-0/{0:020d}{name}"
        files[f"{ROOT}/{path.format(STRAY)}"] = files[f"{ROOT}/{path.format('rescued')}"]
    files[f"{ROOT}/LOCK"] = b"pid=123456\nsince=2024-01-01T00:00:00.000+00:00\nboot=unknown\n"
    return Dataset(state, files, directories, records, durable, log_starts, committed, work.truth)


def open_broker(filesystem: MemoryFileSystem, clock: VirtualClock) -> Broker:
    return Broker(
        ROOT,
        filesystem=filesystem,
        clock=clock,
        seed=1,
        offsets_topic_num_partitions=2,
        transaction_state_log_num_partitions=1,
        min_free_bytes=0,
    )


def _records(broker: Broker, tp: TopicPartition) -> dict[int, Record]:
    return {
        r.offset: Record(r.value, r.key, r.timestamp_ms, r.headers) for r in stored(broker, *tp)
    }


def kill(broker: Broker) -> None:
    """Let go of *broker* as ``kill -9`` would: nothing more is written."""
    resources, broker._resources = broker._resources, None
    assert resources is not None
    resources.scheduler.close()
    resources.directory.abandon(ForkedError("killed"))


def directories_of(filesystem: MemoryFileSystem, path: str = ROOT) -> list[str]:
    found = [path]
    for name in filesystem.list_dir(path):
        if filesystem.is_dir(f"{path}/{name}"):
            found += directories_of(filesystem, f"{path}/{name}")
    return found


def read_files(filesystem: MemoryFileSystem) -> dict[str, bytes]:
    return {
        path: content.read_at(0, content.size)
        for path, content in sorted(filesystem._names.files())
    }


def _append(broker: Broker, tp: TopicPartition, count: int, rng: random.Random) -> None:
    """Append *count* records in batches of one to twelve."""
    target = broker.partition(*tp)
    while count > 0:
        size = min(count, rng.randint(1, 12))
        count -= size
        now = broker.runtime.clock.time_ms()
        values = [rng.choice((None, b"", rng.randbytes(rng.randint(1, 120)))) for _ in range(size)]
        keys = [rng.choice((None, b"", b"key %d" % rng.randrange(50))) for _ in range(size)]
        timestamps = [now + rng.randint(-1000, 1000) for _ in range(size)]
        headers: list[Headers] = [
            rng.choice(((), (("trace", b"%d" % n), ("trace", None)))) for n in range(size)
        ]
        columns = values, timestamps, keys, rng.choice((None, headers))
        batch = build_batch(*columns)
        if tp.topic == COMPRESSED:
            codec = Codec(count % len(Codec))
            if count % 2:
                batch = as_kafka(*columns, codec)
            else:
                Compressor(codec, 1).apply(batch)
        target.append(batch)
        broker.runtime.clock.advance(10)


def _append_values(broker: Broker, count: int) -> None:
    """Append records as a producer with ``linger_ms=0`` does: each in a batch of its own."""
    target = broker.partition("events", 0)
    for _ in range(count):
        number = target.log_end_offset
        target.append_value(b"event %d " % number * 4, broker.runtime.clock.time_ms())
        broker.runtime.clock.advance(1)


def _lose_a_page(filesystem: MemoryFileSystem) -> None:
    """Let the power fail, and with it a page of topic ``rescued`` be lost."""
    path = f"{ROOT}/topics/rescued-0/{0:020d}.log"
    batches = batches_of(path, filesystem.read_file(path, 1 << 20))
    lost = batches[len(batches) // 2]
    file = filesystem.open(path)
    file.write_at(lost.position, bytes(lost.end - lost.position))
    file.close()
    state = filesystem.read_file(f"{ROOT}/STATE", 1 << 20)
    filesystem.write_atomically(f"{ROOT}/STATE", _of_another_boot(state))


def _of_another_boot(state: bytes) -> bytes:
    content = decode_checkpoint(state, "STATE", "STATE")
    return encode_checkpoint("STATE", {**content, "boot_id": "another boot"})


class _Directory:
    """A directory where a file should be."""


DIRECTORY = _Directory()
Damage = Mapping[str, "bytes | _Directory | None"]


class Disk:
    """File systems with a data set in them, one after the other: what was not changed is not copied again."""

    def __init__(self, files: Mapping[str, bytes], directories: Iterable[str]) -> None:
        self._files = files
        self._pristine = MemoryFileSystem()
        self._changed: set[str] = set(files)
        for directory in directories:
            self._pristine._names.make_dir(directory)

    def load(self, damage: Damage) -> MemoryFileSystem:
        """Return a file system with the files, except that those in *damage* have other bytes, are missing (None), or are directories."""
        for path in sorted(self._changed):
            self._pristine._names.put_file(path, self._content(path))
        self._changed.clear()
        filesystem = MemoryFileSystem()
        names = filesystem._names
        names._root = _copy(self._pristine._names._root)
        for path, data in damage.items():
            if isinstance(data, bytes):
                names.put_file(path, MemoryContent(filesystem._reserve, int, data))
            else:
                names.remove_file(path)
                if data is not None:
                    names.make_dir(path)
        return filesystem

    def forget(self) -> None:
        """The last file system was written to, also through maps: copy everything next time."""
        self._changed.update(self._files)

    def _content(self, path: str) -> MemoryContent:
        def note() -> int:
            # Called for each change through a file, and once now.
            self._changed.add(path)
            return 1_700_000_000_000

        return MemoryContent(lambda content, size: None, note, self._files[path])


def _copy(directory: Directory) -> Directory:
    return {name: _copy(e) if isinstance(e, dict) else e for name, e in directory.items()}

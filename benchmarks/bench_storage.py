"""The disk: syncs, reopening, recovery, reads by offset, many partitions, bytes a record."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.data import (
    NOW_MS,
    RECORDS_PER_BATCH,
    TOPIC,
    VALUE,
    answer,
    answer_of,
    bytes_on_disk,
    child,
    fill,
    memory_of_this_process,
    open_descriptors,
    open_quiet,
)
from benchmarks.floors import (
    FDATASYNC,
    AllocatedFile,
    atomic_replace,
    empty_call,
    within_seconds,
)
from benchmarks.harness import Bench, Contender, Spread, at_least, at_most
from streamlog import Broker, Consumer, OffsetAndMetadata, Producer, TopicPartition
from streamlog.broker.partition import Partition
from streamlog.record import build_batch, build_single_value_batch

MIB = 1024 * 1024

# ---- flush_messages=1


def bench_sync(bench: Bench) -> None:
    """Every append durable before it returns: one thread, and sixteen that share syncs."""
    count = bench.pick(200, 100, 4)
    with bench.scratch() as directory:
        stored = 80 + len(build_single_value_batch(VALUE, NOW_MS).body)
        with (
            AllocatedFile(directory / "floor", 8 * MIB) as file,
            open_quiet(directory / "data", flush_messages=1) as broker,
        ):
            partition = broker.partition(TOPIC, 0)
            floor = file.contender(b"\x5a" * stored, count)
            bench.compare(
                Contender.calls(
                    "flush_messages=1, 1 thread",
                    lambda: partition.append_value(VALUE, NOW_MS),
                    count,
                ),
                [floor],
                [at_least(0.9, FDATASYNC)],
            )
            bench.compare(
                _threads("flush_messages=1, 16 threads", partition, 16, count),
                [floor],
                [at_least(3, FDATASYNC)],
            )


def _threads(name: str, partition: Partition, threads: int, count: int) -> Contender:
    """*threads* threads append *count* durable records together, divided by all of them."""

    def body(_: int) -> None:
        start, go = threading.Barrier(threads + 1), threading.Barrier(threads + 1)

        def append() -> None:
            start.wait()
            for _ in range(count):
                partition.append_value(VALUE, NOW_MS)
            go.wait()

        workers = [threading.Thread(target=append) for _ in range(threads)]
        for worker in workers:
            worker.start()
        start.wait()
        began.append(perf_counter())
        go.wait()
        ended.append(perf_counter())
        for worker in workers:
            worker.join()

    began: list[float] = []
    ended: list[float] = []

    def run() -> float:
        body(count)
        return (ended[-1] - began[-1]) / (count * threads)

    return Contender(name, run)


# ---- reopening


def bench_reopen(bench: Bench) -> None:
    """Opening what was closed cleanly costs the same whatever it holds, the 50 partitions of the groups' offsets included."""
    few, many = 10_000, bench.pick(10_000_000, 1_000_000, 20_000)
    with bench.scratch() as directory:
        for name, records in (("few", few), ("many", many)):
            with open_quiet(directory / name) as broker:
                fill(broker.partition(TOPIC, 0), records)
                position = {TopicPartition(TOPIC, 0): OffsetAndMetadata(records)}
                broker.group_coordinator.commit_offsets("group", "", -1, position)
        small = Contender("reopen 10 thousand records", lambda: _reopen(directory / "few", few))
        large = Contender(f"reopen {many:,} records", lambda: _reopen(directory / "many", many))
        disk = atomic_replace(directory / "file")
        bench.compare(small, [disk], limit=0.005)
        bench.compare(large, [disk, small], [at_most(1.5, small.name)], limit=0.005)
        first = Contender(
            f"reopen {many:,} records and read one",
            lambda: _reopen(directory / "many", many, read=True),
        )
        bench.compare(first, [large], note="the first read also loads the index")


def _reopen(path: Path, records: int, *, read: bool = False) -> float:
    start = perf_counter()
    broker = Broker(path)
    partition = broker.partition(TOPIC, 0)
    if read:
        partition.read(records // 2, 1)
    elapsed = perf_counter() - start
    assert partition.log_end_offset == records
    assert broker.recovery_report.clean
    broker.close()
    return elapsed


# ---- recovery


def bench_recovery(bench: Bench) -> None:
    """After kill -9 only what was not synced is read again: seconds for each 64 MiB of it."""
    size = bench.pick(64, 16, 1) * MIB
    yardstick = empty_call(bench.pick(200_000, 100_000, 100))
    for what, per_batch in (
        ("16 KiB batches", RECORDS_PER_BATCH),
        ("200-byte batches", 1),
    ):
        with bench.scratch() as directory:
            batch = build_batch([VALUE] * per_batch, NOW_MS)
            batches = size // ((batch.size_bytes + 7) & -8)
            _kill_after(_write_until_killed, directory / "data", per_batch, batches)
            bench.compare(
                _per_64_mib(
                    f"64 MiB in {what}: reopen after kill -9", _recover, directory / "data"
                ),
                [_per_64_mib("reading the bytes", _read_all, directory / "data"), yardstick],
                [within_seconds(1.0)],
                rounds=9,
            )


def _per_64_mib(name: str, seconds: Callable[[Path], float], path: Path) -> Contender:
    """What *seconds* returns for the log in *path*, for as much of it as 64 MiB."""
    size = sum(file.stat().st_size for file in path.rglob("*.log"))
    return Contender(name, lambda: seconds(path) * (64 * MIB / size))


def _write_until_killed(path: str, per_batch: int, batches: int) -> None:
    broker = open_quiet(Path(path))
    fill(broker.partition(TOPIC, 0), batches * per_batch, per_batch)
    answer("written")
    time.sleep(600)


def _kill_after(target: Callable[..., None], *arguments: object) -> None:
    process = child(target, *arguments)
    try:
        answer_of(process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def _recover(path: Path) -> float:
    """Open *path* in a process that is killed as well: what was scanned stays unsynced, so that every round is the same."""
    process = child(_recover_until_killed, path)
    try:
        seconds, scanned = answer_of(process)
    finally:
        process.kill()
        process.communicate()
    assert scanned > 0
    return float(seconds)


def _recover_until_killed(path: str) -> None:
    start = perf_counter()
    broker = Broker(path)
    elapsed = perf_counter() - start
    answer([elapsed, broker.recovery_report.scanned_bytes])
    time.sleep(600)


def _read_all(path: Path) -> float:
    start = perf_counter()
    for file in path.rglob("*.log"):
        file.read_bytes()
    return perf_counter() - start


# ---- reads by offset


def bench_random_read(bench: Bench) -> None:
    """One record by its offset, anywhere in 10 MB and in 1 GB, in batches of the default size."""
    count = bench.pick(2_000, 500, 10)
    yardstick = empty_call(10 * count)
    few, many = bench.pick((100_000, 10_000_000), (100_000, 1_000_000), (10_000, 20_000))
    with bench.scratch() as directory:
        with (
            open_quiet(directory / "few") as small_broker,
            open_quiet(directory / "many") as large_broker,
        ):
            sides = []
            for broker, records, size in (
                (small_broker, few, f"{few // 10_000} MB"),
                (large_broker, many, f"{many // 10_000} MB"),
            ):
                fill(broker.partition(TOPIC, 0), records)
                sides.append((broker, _Offsets(records, count), size))
            for what, reader in (
                ("copy out of a bare map", _copy_from_map),
                ("Partition.read", _read_batch),
                ("Partition.read_batches and decode", _read_value),
                ("seek and poll", _seek_and_poll),
            ):
                small, large = (
                    Contender.loop(f"{what}, {size}", reader(broker, offsets), count)
                    for broker, offsets, size in sides
                )
                if reader is _copy_from_map:
                    bench.compare(large, [small])
                    continue
                bench.compare(small, [yardstick], [within_seconds(10e-6)])
                bench.compare(
                    large,
                    [yardstick, small],
                    [within_seconds(10e-6), at_most(1.5, small.name)],
                )


class _Offsets:
    """Other offsets in each round, the same in each run."""

    def __init__(self, records: int, count: int) -> None:
        self._random = random.Random(7)
        self._records = records
        self._count = count

    def next_round(self) -> list[int]:
        return [self._random.randrange(self._records) for _ in range(self._count)]


def _copy_from_map(broker: Broker, offsets: _Offsets) -> Callable[[int], None]:
    """The floor: as many bytes from places as far apart, which are further from the processor in a larger log."""
    mapping = broker.partition(TOPIC, 0).log.segments[-1].mapping_for_read()

    def body(_: int) -> None:
        size = 16 * 1024
        for offset in offsets.next_round():
            start = offset * 100
            mapping[start : start + size]

    return body


def _read_batch(broker: Broker, offsets: _Offsets) -> Callable[[int], None]:
    partition = broker.partition(TOPIC, 0)

    def body(_: int) -> None:
        read = partition.read
        for offset in offsets.next_round():
            read(offset, 1)

    return body


def _read_value(broker: Broker, offsets: _Offsets) -> Callable[[int], None]:
    partition = broker.partition(TOPIC, 0)

    def body(_: int) -> None:
        end = partition.log_end_offset
        for offset in offsets.next_round():
            (batch,) = partition.read_batches(offset, 1, end)
            batch.check()
            assert batch.values()[offset - batch.base_offset] == VALUE

    return body


def _seek_and_poll(broker: Broker, offsets: _Offsets) -> Callable[[int], None]:
    consumer = Consumer(broker, max_poll_records=1)
    there = TopicPartition(TOPIC, 0)
    consumer.assign([there])

    def body(_: int) -> None:
        for offset in offsets.next_round():
            consumer.seek(there, offset)
            for record in consumer.poll():
                assert record.offset == offset

    return body


# ---- many partitions


def bench_partitions(bench: Bench) -> None:
    """A thousand partitions, open and idle."""
    partitions = bench.pick(1_000, 1_000, 20)
    with bench.scratch() as directory:
        path = directory / "data"
        with open_quiet(path, partitions=partitions) as broker:
            for number in range(partitions):
                broker.partition(TOPIC, number).append_value(VALUE, NOW_MS)
        opened = [_in_child(_open_and_count, path) for _ in range(bench.pick(9, 3, 1))]
        what = f"{partitions:,} partitions"
        bench.limit(f"{what}: open", Spread.of([found["seconds"] for found in opened]), 1.0)
        for key, name, limit, unit in (
            ("more_memory", "memory on top of an empty process", None, "bytes"),
            ("memory", "memory of the process", 64 * MIB, "bytes"),
            ("threads", "threads", 2, ""),
            ("descriptors", "file descriptors", 64, ""),
        ):
            values = [found[key] for found in opened]
            bench.limit(f"{what}: {name}", Spread.of(values), limit, unit=unit)
        # Every partition written to once, which makes each of them map a file: the LRU has to bound that.
        used = _in_child(_open_and_use, path)
        bench.limit(
            f"{what}, all written to: file descriptors",
            used["descriptors"],
            2 * _MAX_OPEN_SEGMENTS + 64,
            unit="",
            note=f"max_open_segments={_MAX_OPEN_SEGMENTS}, two descriptors each",
        )
        bench.limit(f"{what}, all written to: memory of the process", used["memory"], unit="bytes")
        bench.limit(
            f"{what}, all written to: of it not pages of files", used["anonymous"], unit="bytes"
        )


#: So that a thousand partitions have to take turns, whatever this machine allows.
_MAX_OPEN_SEGMENTS = 100


def _in_child(target: Callable[..., None], *arguments: object) -> dict[str, float]:
    process = child(target, *arguments)
    found: dict[str, float] = answer_of(process)
    process.communicate()
    return found


def _open_and_count(path: str) -> None:
    before = memory_of_this_process()["all"]
    start = perf_counter()
    with Broker(path) as broker:
        elapsed = perf_counter() - start
        memory = memory_of_this_process()["all"]
        answer(
            {
                "seconds": elapsed,
                "memory": memory,
                "more_memory": memory - before,
                "threads": threading.active_count(),
                "descriptors": open_descriptors(),
            }
        )
        assert not broker.closed


def _open_and_use(path: str) -> None:
    with Broker(path, max_open_segments=_MAX_OPEN_SEGMENTS) as broker:
        for partition in broker.topic(TOPIC).partitions:
            partition.append_value(VALUE, NOW_MS)
        memory = memory_of_this_process()
        answer(
            {
                "memory": memory["all"],
                "anonymous": memory["anonymous"],
                "descriptors": open_descriptors(),
            }
        )


# ---- bytes a record


def bench_disk(bench: Bench) -> None:
    """Bytes on the disk for each record of 100 bytes, all files counted, in full batches of the producer's default size."""
    records = RECORDS_PER_BATCH * bench.pick(2_000, 500, 20)
    with bench.scratch() as directory:
        path = directory / "data"
        with open_quiet(path) as broker:
            with Producer(broker, linger_ms=10_000) as producer:
                for _ in range(records):
                    producer.send(TOPIC, VALUE)
        per_record = bytes_on_disk(path) / records
        bench.limit("bytes on disk per 100-byte record", per_record, 106, unit="bytes")


CASES = {
    "sync": bench_sync,
    "reopen": bench_reopen,
    "recovery": bench_recovery,
    "random_read": bench_random_read,
    "partitions": bench_partitions,
    "disk": bench_disk,
}

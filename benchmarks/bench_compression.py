"""Compressed batches, there and back, compared with the bare codec on the same bytes.

    python -m benchmarks --only compression

Records are JSON like that of a web shop, about 120 bytes each; a batch holds 750 of them, about as many as `send_many` would put
into one. The codec compresses and decompresses the bodies and does nothing else. With ``store`` and ``load`` streamlog also sums,
stores, finds and checks them, and that has targets; ``send`` and ``poll`` are whole ways, with what each record costs without
compression as well, and stand there for context.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import cramjam

from benchmarks.data import NOW_MS, TOPIC, open_quiet
from benchmarks.harness import Bench, Contender, at_most
from streamlog import Consumer, Producer, TopicPartition
from streamlog.broker.partition import Partition
from streamlog.config import ProducerConfig
from streamlog.record import PendingBatch, build_batch, compressor_for

_BATCH_RECORDS = 750
_FACTOR = 1.5


@dataclass(frozen=True)
class _Codec:
    """The bare codec, at the level that streamlog takes without being told."""

    name: str
    compress: Callable[[bytes], object]
    decompress_into: Callable[[bytes, bytearray], int]
    has_target: bool = False

    def pack(self, bodies: Sequence[bytes], count: int) -> Contender:
        def body(_: int) -> None:
            for body in bodies:
                self.compress(body)

        return Contender.loop(self.alone, body, count)

    def unpack(self, bodies: Sequence[bytes], count: int) -> Contender:
        packed = [(bytes(self.compress(body)), len(body)) for body in bodies]  # type: ignore[call-overload]

        def body(_: int) -> None:
            for data, size in packed:
                self.decompress_into(data, bytearray(size))

        return Contender.loop(self.alone, body, count)

    @property
    def alone(self) -> str:
        return f"{self.name} alone"


_CODECS = (
    _Codec("zstd", lambda b: cramjam.zstd.compress(b, level=3), cramjam.zstd.decompress_into, True),
    _Codec("lz4", lambda b: cramjam.lz4.compress(b, level=0), cramjam.lz4.decompress_into, True),
    _Codec("snappy", cramjam.snappy.compress_raw, cramjam.snappy.decompress_raw_into),
    _Codec("gzip", lambda b: cramjam.gzip.compress(b, level=6), cramjam.gzip.decompress_into),
)


def _records(count: int) -> list[bytes]:
    chance = random.Random(1)
    return [
        json.dumps(
            {
                "order": 10_000_000 + n,
                "customer": chance.randrange(1_000_000),
                "country": chance.choice(("DE", "FR", "IT", "PL", "ES")),
                "status": chance.choice(("paid", "shipped", "returned", "cancelled")),
                "total": round(chance.uniform(1, 500), 2),
                "items": [chance.randrange(50_000) for _ in range(chance.randrange(1, 5))],
            }
        ).encode()
        for n in range(count)
    ]


def _bodies(run: list[bytes]) -> list[bytes]:
    return [
        build_batch(run[start : start + _BATCH_RECORDS], 0).body
        for start in range(0, len(run), _BATCH_RECORDS)
    ]


def _store(partition: Partition, codec: _Codec, bodies: Sequence[bytes]) -> None:
    compressor = compressor_for(ProducerConfig.from_options({"compression.type": codec.name}))
    assert compressor is not None
    for body in bodies:
        batch = PendingBatch(body, _BATCH_RECORDS, NOW_MS, NOW_MS)
        compressor.apply(batch)
        partition.append(batch)


def _load(partition: Partition) -> None:
    offset, end = 0, partition.log_end_offset
    while offset < end:
        for view in partition.read_batches(offset, 1 << 17, end):
            view.check()
            assert view.columns is not None
            offset = view.next_offset


def _each(
    bench: Bench, make: Callable[[ExitStack, _Codec, list[bytes]], tuple[Contender, Contender]]
) -> None:
    count = bench.pick(15_000, 3_000, 750)
    run = _records(count)
    for codec in _CODECS:
        with ExitStack() as stack:
            subject, bare = make(stack, codec, run)
            has_target = codec.has_target and bench.topic.endswith(("store", "load"))
            targets = [at_most(_FACTOR, bare.name)] if has_target else []
            bench.compare(subject, [bare], targets, rounds=40)


def bench_store(bench: Bench) -> None:
    """Packed batches: compress, sum, append."""

    def make(stack: ExitStack, codec: _Codec, run: list[bytes]) -> tuple[Contender, Contender]:
        broker = stack.enter_context(open_quiet(stack.enter_context(bench.scratch()) / "data"))
        bodies, partition = _bodies(run), broker.partition(TOPIC, 0)
        subject = Contender.loop(
            f"store batches, {codec.name}", lambda _: _store(partition, codec, bodies), len(run)
        )
        return subject, codec.pack(bodies, len(run))

    _each(bench, make)


def bench_load(bench: Bench) -> None:
    """Stored batches: find, read, check, decompress."""

    def make(stack: ExitStack, codec: _Codec, run: list[bytes]) -> tuple[Contender, Contender]:
        broker = stack.enter_context(open_quiet(stack.enter_context(bench.scratch()) / "data"))
        bodies, partition = _bodies(run), broker.partition(TOPIC, 0)
        _store(partition, codec, bodies)
        subject = Contender.loop(
            f"load batches, {codec.name}", lambda _: _load(partition), len(run)
        )
        return subject, codec.unpack(bodies, len(run))

    _each(bench, make)


def bench_send(bench: Bench) -> None:
    """send_many() with compression, down into the log."""

    def make(stack: ExitStack, codec: _Codec, run: list[bytes]) -> tuple[Contender, Contender]:
        broker = stack.enter_context(open_quiet(stack.enter_context(bench.scratch()) / "data"))
        config = {"compression.type": codec.name}
        producer = stack.enter_context(Producer(broker, config=config))
        subject = Contender.loop(
            f"send_many, {codec.name}", lambda _: producer.send_many(TOPIC, run).result(), len(run)
        )
        return subject, codec.pack(_bodies(run), len(run))

    _each(bench, make)


def bench_poll(bench: Bench) -> None:
    """poll().values() of compressed batches."""

    def make(stack: ExitStack, codec: _Codec, run: list[bytes]) -> tuple[Contender, Contender]:
        broker = stack.enter_context(open_quiet(stack.enter_context(bench.scratch()) / "data"))
        bodies, assigned = _bodies(run), TopicPartition(TOPIC, 0)
        _store(broker.partition(*assigned), codec, bodies)
        consumer = stack.enter_context(Consumer(broker, max_poll_records=_BATCH_RECORDS))
        consumer.assign([assigned])

        def poll(times: int) -> None:
            consumer.seek(assigned, 0)
            while times:
                times -= len(consumer.poll(0).values())

        subject = Contender.loop(f"poll().values(), {codec.name}", poll, len(run))
        return subject, codec.unpack(bodies, len(run))

    _each(bench, make)


CASES = {"store": bench_store, "load": bench_load, "send": bench_send, "poll": bench_poll}

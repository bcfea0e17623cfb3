"""Sending: one record at a time with a future, from a hot loop, and whole runs.

    python -m benchmarks --only producer                     all of it
    python -m benchmarks --only producer.writer --no-peers   one case, without other people's libraries

100-byte values, default ``batch_size``. What is left open after a round is flushed outside of the measured time: less than
one batch a partition.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import google_crc32c
import msgpack

from benchmarks.data import TOPIC, VALUE, open_quiet
from benchmarks.floors import EMPTY_CALL, empty_call
from benchmarks.harness import Bench, Contender, Target, at_least, at_most
from benchmarks.peers import (
    CONFLUENT,
    LMDB,
    LMDB_BATCH,
    QUEUELIB,
    ROCKSDB,
    SQLITE,
    Peers,
    open_peers,
)
from streamlog import Producer

LINGER_MS = 5
PARTITIONS = 6
KEYS = [b"key-%d" % n for n in range(1000)]
_FLOOR = "pack, checksum, copy"
_FLOOR_FRESH = "pack, checksum, copy to fresh pages"
#: As many as `send_many` puts into a batch.
_FLOOR_RECORDS = 1_050
_FLOOR_MAP_BYTES = 64 * 1024 * 1024


class _Setting:
    """A broker in a directory of its own, a producer, and the peers of a case."""

    def __init__(
        self,
        stack: ExitStack,
        bench: Bench,
        count: int,
        *peers: str,
        partitions: int = 1,
        **config: object,
    ) -> None:
        self.count = count
        self.directory = stack.enter_context(bench.scratch())
        self.peers: Peers = stack.enter_context(
            open_peers(bench, self.directory, *peers, value=VALUE, count=count)
        )
        broker = stack.enter_context(open_quiet(self.directory / "data", partitions=partitions))
        self.producer = stack.enter_context(Producer(broker, config=config))

    def contender(self, name: str, body: Callable[[int], object]) -> Contender:
        """*body* sends; what it leaves open is flushed unmeasured."""
        return Contender.loop(name, body, self.count, after=self.producer.flush)


def _compare(
    bench: Bench,
    subject: Contender,
    setting: _Setting,
    target: Target | None,
    *peer_targets: Target,
) -> None:
    bench.compare(
        subject,
        [empty_call(setting.count), *setting.peers],
        [*([target] if target else []), *setting.peers.targets(*peer_targets)],
        rounds=60,
    )


def bench_send_lingering(bench: Bench) -> None:
    """send() with linger_ms=5: batches, and a future for each record."""
    with ExitStack() as stack:
        setting = _Setting(stack, bench, bench.pick(20_000, 10_000, 200), linger_ms=LINGER_MS)

        def body(times: int) -> None:
            send = setting.producer.send
            for _ in repeat(None, times):
                send(TOPIC, VALUE)

        subject = setting.contender("send, linger_ms=5", body)
        _compare(bench, subject, setting, at_most(12, EMPTY_CALL))


def bench_send_keyed(bench: Bench) -> None:
    """The same with one of a thousand keys over six partitions."""
    with ExitStack() as stack:
        count = bench.pick(20_000, 10_000, 1_000)
        setting = _Setting(stack, bench, count, partitions=PARTITIONS, linger_ms=LINGER_MS)
        keys = KEYS * (count // len(KEYS))

        def body(_: int) -> None:
            send = setting.producer.send
            for key in keys:
                send(TOPIC, VALUE, key=key)

        subject = setting.contender("send with key, 6 partitions, linger_ms=5", body)
        _compare(bench, subject, setting, at_most(15, EMPTY_CALL))


def bench_send_now(bench: Bench) -> None:
    """send() with linger_ms=0: appended, readable and safe from kill -9 when it returns."""
    with ExitStack() as stack:
        count = bench.pick(10_000, 5_000, 200)
        setting = _Setting(stack, bench, count, QUEUELIB, ROCKSDB, SQLITE)

        def body(times: int) -> None:
            send = setting.producer.send
            for _ in repeat(None, times):
                send(TOPIC, VALUE)

        subject = setting.contender("send, linger_ms=0", body)
        _compare(
            bench,
            subject,
            setting,
            at_most(28, EMPTY_CALL),
            at_least(1, QUEUELIB),
            at_least(1, ROCKSDB),
        )


def bench_send_told(bench: Bench) -> None:
    """send() with an on_delivery, for context: there is no target."""
    for linger_ms in (0, LINGER_MS):
        with ExitStack() as stack:
            count = bench.pick(5_000, 2_000, 200)
            setting = _Setting(stack, bench, count, linger_ms=linger_ms)
            told = [0]

            def on_delivery(*_: object, told: list[int] = told) -> None:
                told[0] += 1

            def body(times: int, setting: _Setting = setting, told: object = on_delivery) -> None:
                send = setting.producer.send
                for _ in repeat(None, times):
                    send(TOPIC, VALUE, on_delivery=told)  # type: ignore[arg-type]

            subject = setting.contender(f"send, on_delivery, linger_ms={linger_ms}", body)
            _compare(bench, subject, setting, None)


def bench_writer(bench: Bench) -> None:
    """writer(): one record at a time, no future."""
    for batch_size in (16_384, 65_536):
        with ExitStack() as stack:
            count = bench.pick(20_000, 10_000, 200)
            setting = _Setting(
                stack, bench, count, CONFLUENT, LMDB, linger_ms=LINGER_MS, batch_size=batch_size
            )
            write = setting.producer.writer(TOPIC)

            def body(times: int, write: Callable[[bytes], None] = write) -> None:
                for _ in repeat(None, times):
                    write(VALUE)

            name = "writer, linger_ms=5"
            if batch_size != 16_384:
                name += f", batch_size={batch_size}"
            _compare(
                bench,
                setting.contender(name, body),
                setting,
                at_most(7, EMPTY_CALL),
                at_least(1, CONFLUENT),
                at_least(1, LMDB),
            )


def bench_send_many(bench: Bench) -> None:
    """send_many(): whole runs, compared with packing, summing and copying the same bytes."""
    with ExitStack() as stack:
        count = bench.pick(50_000, 20_000, 1_000)
        setting = _Setting(stack, bench, count, LMDB_BATCH)
        run = [b"%0100d" % n for n in range(count)]
        keys = KEYS * (count // len(KEYS))
        producer = setting.producer
        floors = [
            _Floor(setting.directory / "floor", run, fresh=False).contender(),
            _Floor(setting.directory / "fresh", run, fresh=True).contender(),
        ]
        subject = setting.contender("send_many", lambda _: producer.send_many(TOPIC, run).result())
        bench.compare(
            subject,
            [*floors, *setting.peers],
            # A log never stores to a page twice, so the floor that counts is the one that does not either.
            [at_most(2, _FLOOR_FRESH), *setting.peers.targets(at_least(1, LMDB_BATCH))],
            rounds=60,
        )
        subject = setting.contender(
            "send_many with keys", lambda _: producer.send_many(TOPIC, run, keys=keys).result()
        )
        bench.compare(subject, floors)


class _Floor:
    """What has to be done to a run at the least: msgpack of the values, CRC-32C, a copy into a mapped file.

    With *fresh* each copy goes to pages of the file that were never touched, as a log's has to; else to the same ones again.
    """

    def __init__(self, path: Path, run: list[bytes], *, fresh: bool) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._run = run
        self._fresh = fresh
        self._pack = msgpack.Packer(autoreset=True).pack
        self._map: mmap.mmap
        self._position = 0
        self._start = 0
        self._next_map()

    def _next_map(self) -> None:
        os.posix_fallocate(self._fd, self._start, _FLOOR_MAP_BYTES)
        self._map = mmap.mmap(self._fd, _FLOOR_MAP_BYTES, offset=self._start)
        self._position = 0
        if self._fresh:
            self._start += _FLOOR_MAP_BYTES

    def contender(self) -> Contender:
        name = _FLOOR_FRESH if self._fresh else _FLOOR
        return Contender.loop(name, self._body, len(self._run), after=self._after)

    def _body(self, _: int) -> None:
        for start in range(0, len(self._run), _FLOOR_RECORDS):
            body = self._pack(self._run[start : start + _FLOOR_RECORDS])
            google_crc32c.value(body)
            end = self._position + len(body)
            self._map[self._position : end] = body
            self._position = end

    def _after(self) -> None:
        if not self._fresh:
            self._position = 0
        elif self._position * 2 > _FLOOR_MAP_BYTES:
            self._next_map()


CASES = {
    "send_lingering": bench_send_lingering,
    "send_keyed": bench_send_keyed,
    "send_now": bench_send_now,
    "send_told": bench_send_told,
    "writer": bench_writer,
    "send_many": bench_send_many,
}

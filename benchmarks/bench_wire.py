"""The listener: confluent-kafka as the client against us and against the fastest local broker there is, each in a process of its own."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from select import select
from statistics import quantiles
from time import monotonic, perf_counter, sleep
from typing import Any

from benchmarks.floors import empty_call, within_seconds
from benchmarks.harness import Bench, Contender, at_least

VALUE = b"x" * 100
NOIDA = "noida-db"
_START_S = 20.0
_END_S = 20.0
#: For one step of a client. Who takes so long is stuck, and an error says more than a run that never ends.
_STEP_S = 60.0

_SERVE = "from streamlog.cli.__main__ import main; main()"


@contextmanager
def streamlog_server() -> Iterator[str]:
    """Serve a broker in memory; yield its address."""
    command = [sys.executable, "-c", _SERVE, "serve", "--port", "0"]
    environment = {name: text for name, text in os.environ.items() if name != "STREAMLOG_DATA"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        with _ended(server):
            assert server.stdout is not None
            if not select([server.stdout], [], [], _START_S)[0]:
                raise TimeoutError(f"the server said no address in {_START_S:.0f} s")
            address = server.stdout.readline().decode().strip()
            if not address:
                raise RuntimeError("the server ended before it listened")
            yield address


@contextmanager
def noida_server(directory: Path) -> Iterator[str]:
    """Serve with noida-db, which keeps its data in memory too and writes it behind; yield its address."""
    module = importlib.import_module("noida_db")
    assert module.__file__ is not None
    program = Path(module.__file__).with_name("noida-db")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [str(program), "start", "--only", "kafka", "--kafka-port", str(port)]
    command += ["--data-dir", str(directory / "noida")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        with _ended(server):
            _wait_for(port)
            yield f"127.0.0.1:{port}"


@contextmanager
def _ended(server: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever happens in the block, end *server*. Raises `subprocess.TimeoutExpired` if it had to be killed."""
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(_END_S)
        finally:
            server.kill()  # else leaving Popen's own block would wait for ever


def _wait_for(port: int) -> None:
    end = monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), _START_S).close()
        except ConnectionError:
            if monotonic() > end:
                raise
            sleep(0.05)
        else:
            return


@contextmanager
def both(bench: Bench) -> Iterator[dict[str, str]]:
    """Yield the addresses of the servers that could be started, ours first."""
    with ExitStack() as stack:
        addresses = {"streamlog": stack.enter_context(streamlog_server())}
        if bench.with_peers:
            directory = stack.enter_context(bench.scratch())
            try:
                addresses[NOIDA] = stack.enter_context(noida_server(directory))
            except (ImportError, OSError) as error:
                bench.skip(NOIDA, f"{type(error).__name__}: {error}")
        yield addresses


def _compare(
    bench: Bench, make: Callable[[str], Callable[[], float]], what: str, least: float, rounds: int
) -> None:
    with both(bench) as addresses:
        ours, *peers = (
            Contender(f"{what}, {name}", make(address)) for name, address in addresses.items()
        )
        targets = [at_least(least, peer.name) for peer in peers]
        bench.compare(
            ours, peers or [empty_call(bench.pick(200_000, 100_000, 100))], targets, rounds=rounds
        )


def bench_produce(bench: Bench) -> None:
    """Produce with acks=all, from the first call until all are acknowledged."""
    confluent = importlib.import_module("confluent_kafka")
    records = bench.pick(100_000, 30_000, 100)
    topics = count()

    def make(address: str) -> Callable[[], float]:
        producer = confluent.Producer(
            {
                "bootstrap.servers": address,
                "log_level": 0,
                "linger.ms": 5,
                "batch.num.messages": 1000,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        topic = f"produced-{next(topics)}"
        _create(address, topic)

        def run() -> float:
            start = perf_counter()
            for _ in range(records):
                producer.produce(topic, VALUE, partition=0)
            assert not producer.flush(_STEP_S)
            return (perf_counter() - start) / records

        return run

    _compare(bench, make, "produce", 0.8, bench.pick(9, 5, 1))


def bench_consume(bench: Bench) -> None:
    """Read a partition of batches of 1,000 records from its start, with a consumer that is connected."""
    confluent = importlib.import_module("confluent_kafka")
    records = bench.pick(100_000, 30_000, 100)

    def make(address: str) -> Callable[[], float]:
        _create(address, "consumed")
        producer = confluent.Producer(
            {
                "bootstrap.servers": address,
                "log_level": 0,
                "linger.ms": 50,
                "batch.num.messages": 1000,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        for _ in range(records):
            producer.produce("consumed", VALUE, partition=0)
        assert not producer.flush(_STEP_S)
        consumer = confluent.Consumer(
            {"bootstrap.servers": address, "log_level": 0, "group.id": "g"}
        )

        def run() -> float:
            consumer.assign([confluent.TopicPartition("consumed", 0, 0)])
            (first,) = consumer.consume(1, 20)
            assert first.error() is None
            start, found = perf_counter(), 1
            while found < records:
                several = consumer.consume(min(10_000, records - found), 20)
                assert several, f"{found} of {records} records came"
                found += len(several)
            elapsed = perf_counter() - start
            consumer.unassign()
            return elapsed / records

        return run

    _compare(bench, make, "consume", 0.6, bench.pick(9, 5, 1))


def bench_latency(bench: Bench) -> None:
    """From `produce` of one record to its arrival at a consumer that waits: the 99th of 100."""
    confluent = importlib.import_module("confluent_kafka")
    rounds_of = bench.pick(500, 200, 10)
    with streamlog_server() as address:
        _create(address, "one")
        producer = confluent.Producer(
            {"bootstrap.servers": address, "log_level": 0, "linger.ms": 0}
        )
        consumer = confluent.Consumer(
            {"bootstrap.servers": address, "log_level": 0, "group.id": "g"}
        )
        consumer.assign([confluent.TopicPartition("one", 0, 0)])

        def once() -> float:
            start = perf_counter()
            producer.produce("one", VALUE, partition=0)
            producer.poll(0)
            message = consumer.poll(20)
            elapsed = perf_counter() - start
            assert message is not None
            assert message.error() is None
            return elapsed

        for _ in range(20):
            once()

        def run() -> float:
            return quantiles([once() for _ in range(rounds_of)], n=100)[98]

        yardstick = empty_call(bench.pick(200_000, 100_000, 100))
        target = [within_seconds(0.001)]
        bench.compare(Contender("produce to consume, p99", run), [yardstick], target, rounds=5)


def bench_join(bench: Bench) -> None:
    """From a new consumer's `subscribe` to its assignment, in a group that is empty."""
    confluent = importlib.import_module("confluent_kafka")
    groups = count()
    with streamlog_server() as address:
        _create(address, "joined")

        def run() -> float:
            consumer = confluent.Consumer(
                {"bootstrap.servers": address, "log_level": 0, "group.id": f"g{next(groups)}"}
            )
            try:
                start = perf_counter()
                consumer.subscribe(["joined"])
                while not consumer.assignment():
                    consumer.poll(0.005)
                    assert perf_counter() - start < _STEP_S, "no assignment came"
                return perf_counter() - start
            finally:
                consumer.close()

        yardstick = empty_call(bench.pick(200_000, 100_000, 100))
        bench.compare(
            Contender("joining a group", run),
            [yardstick],
            [within_seconds(0.5)],
            rounds=bench.pick(9, 5, 1),
        )


def _create(address: str, topic: str) -> None:
    admin = importlib.import_module("confluent_kafka.admin")
    client: Any = admin.AdminClient({"bootstrap.servers": address, "log_level": 0})
    client.create_topics([admin.NewTopic(topic, 1)])[topic].result(20)


CASES = {
    "produce": bench_produce,
    "consume": bench_consume,
    "latency": bench_latency,
    "join": bench_join,
}

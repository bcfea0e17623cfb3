"""The listener: confluent-kafka as the client against us and against the fastest local broker there is, each in a process of its own."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from select import select
from statistics import quantiles
from time import monotonic, perf_counter, sleep
from typing import Any

from benchmarks.floors import empty_call, within_seconds
from benchmarks.harness import Bench, Contender, Spread, at_least

VALUE = b"x" * 100
NOIDA = "noida-db"
_START_S = 20.0
_END_S = 20.0
#: For one step of a client. Who takes so long is stuck, and an error says more than a run that never ends.
_STEP_S = 60.0
#: How long a fetch of a consumer waits for records.
_FETCH_WAIT_MS = 10

_SERVE = "from streamlog.cli.__main__ import main; main()"


@dataclass(frozen=True)
class Server:
    """A broker in a process of its own."""

    name: str
    address: str
    pid: int

    def processor_s(self) -> float | None:
        """Return the processor time that it took until now, in seconds; None where the system does not tell."""
        try:
            tasks = list(Path(f"/proc/{self.pid}/task").iterdir())
            times = [int((task / "schedstat").read_text().split()[0]) for task in tasks]
        except OSError:
            return None
        return sum(times) / 1e9


@contextmanager
def streamlog_server() -> Iterator[Server]:
    """Serve a broker in memory."""
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
            yield Server("streamlog", address, server.pid)


@contextmanager
def noida_server(directory: Path) -> Iterator[Server]:
    """Serve with noida-db, which keeps its data in memory too and writes it behind."""
    module = importlib.import_module("noida_db")
    assert module.__file__ is not None
    program = Path(module.__file__).with_name("noida-db")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [str(program), "start", "--only", "kafka", "--kafka-port", str(port)]
    command += ["--data-dir", str(directory / "noida")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        # It may write for longer than we wait for what it was given.
        with suppress(subprocess.TimeoutExpired), _ended(server):
            _wait_for(port)
            yield Server(NOIDA, f"127.0.0.1:{port}", server.pid)


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
def both(bench: Bench) -> Iterator[list[Server]]:
    """Yield the servers that could be started, ours first."""
    with ExitStack() as stack:
        servers = [stack.enter_context(streamlog_server())]
        if bench.with_peers:
            directory = stack.enter_context(bench.scratch())
            try:
                servers.append(stack.enter_context(noida_server(directory)))
            except (ImportError, OSError) as error:
                bench.skip(NOIDA, f"{type(error).__name__}: {error}")
        yield servers


class Metered:
    """A contender that notes what its server's processor did meanwhile: what is left of a comparison when the client is the limit."""

    def __init__(self, server: Server, run: Callable[[], float], records: int) -> None:
        self._server = server
        self._run = run
        self._records = records
        self.samples: list[float] = []

    def run(self) -> float:
        """Do a round; return what that does."""
        before = self._server.processor_s()
        seconds = self._run()
        after = self._server.processor_s()
        if before is not None and after is not None:
            self.samples.append((after - before) / self._records)
        return seconds


def _compare(
    bench: Bench, verb: str, make: Callable[[Server, int, int], Callable[[], float]], least: float
) -> None:
    """Compare the servers by what *make* returns for a server, the records of a batch and those of a round: seconds a record."""
    with both(bench) as servers:
        for batch_records, records in _batch_sizes(bench):
            what = f"{verb}, batches of {batch_records:,}"
            meters = {s.name: Metered(s, make(s, batch_records, records), records) for s in servers}
            ours, *peers = (Contender(name, meter.run) for name, meter in meters.items())
            bench.compare(
                ours,
                peers or [empty_call(bench.pick(200_000, 100_000, 100))],
                [at_least(least, peer.name) for peer in peers],
                what=what,
                rounds=bench.pick(15, 15, 1),
            )
            # Without the first round, which is not compared either.
            samples = {name: meter.samples[1:] for name, meter in meters.items()}
            for peer in peers:
                if samples[ours.name] and samples[peer.name]:
                    what_else = f"{what}: processor time of the server"
                    bench.pair(what_else, ours.name, peer.name, samples)


def _batch_sizes(bench: Bench) -> list[tuple[int, int]]:
    """Return records a batch, and how many records a round has. What librdkafka puts into a batch at most is a megabyte."""
    return bench.pick(
        [(10, 20_000), (100, 100_000), (1000, 100_000), (9000, 180_000)],
        [(10, 5_000), (100, 30_000), (1000, 50_000), (9000, 90_000)],
        [(10, 100)],
    )


def _producer(address: str, batch_records: int) -> Any:
    return importlib.import_module("confluent_kafka").Producer(
        {
            "bootstrap.servers": address,
            "log_level": 0,
            # Longer than a batch takes to fill; flush() does not wait for it.
            "linger.ms": 50,
            "batch.num.messages": batch_records,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def _produce(producer: Any, topic: str, records: int) -> None:
    for _ in range(records):
        producer.produce(topic, VALUE, partition=0)
    assert not producer.flush(_STEP_S)


def _rounds_of_producing(server: Server, batch_records: int, records: int) -> Callable[[], float]:
    producer = _producer(server.address, batch_records)
    topic = f"produced-{batch_records}"
    _create(server.address, topic)

    def run() -> float:
        start = perf_counter()
        _produce(producer, topic, records)
        return (perf_counter() - start) / records

    return run


def _rounds_of_consuming(server: Server, batch_records: int, records: int) -> Callable[[], float]:
    confluent = importlib.import_module("confluent_kafka")
    topic = f"consumed-{batch_records}"
    _create(server.address, topic)
    _produce(_producer(server.address, batch_records), topic, records)
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": server.address,
            "log_level": 0,
            "group.id": "g",
            # Behind 100,000 records that were not taken yet librdkafka fetches nothing for a second (fetch.queue.backoff.ms), and a
            # server that answers with fewer than all of them would wait for that.
            "queued.min.messages": 1_000_000,
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
        }
    )

    def run() -> float:
        # From the beginning, not from the first record on: one server's first answer is all of it.
        start, found = perf_counter(), 0
        consumer.assign([confluent.TopicPartition(topic, 0, 0)])
        while found < records:
            several = consumer.consume(min(10_000, records - found), 20)
            assert several, f"{found} of {records} records came"
            found += len(several)
        elapsed = perf_counter() - start
        assert several[-1].error() is None
        consumer.unassign()
        # The fetch that waits for more is outstanding, and the first one of the next round would come behind it.
        sleep(10 * _FETCH_WAIT_MS / 1000)
        return elapsed / records

    return run


def bench_produce(bench: Bench) -> None:
    """Produce with acks=all, from the first call until all are acknowledged."""
    _compare(bench, "produce", _rounds_of_producing, 0.8)


def bench_consume(bench: Bench) -> None:
    """Read a partition from its start, with a consumer that is connected."""
    _compare(bench, "consume", _rounds_of_consuming, 0.6)


def bench_latency(bench: Bench) -> None:
    """From `produce` of one record to its arrival at a consumer that waits: the 99th of 100."""
    confluent = importlib.import_module("confluent_kafka")
    rounds_of = bench.pick(500, 200, 10)

    def make(server: Server) -> Callable[[], float]:
        address = server.address
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
        return lambda: quantiles([once() for _ in range(rounds_of)], n=100)[98]

    with both(bench) as servers:
        ours, *peers = (Contender(server.name, make(server)) for server in servers)
        yardstick = empty_call(bench.pick(200_000, 100_000, 100))
        what = "produce to consume, p99"
        bench.compare(ours, [yardstick, *peers], [within_seconds(0.001)], what=what, rounds=9)


def bench_join(bench: Bench) -> None:
    """From a new consumer's `subscribe` to its assignment, in a group that is empty."""
    confluent = importlib.import_module("confluent_kafka")
    groups = count()
    with streamlog_server() as server:
        _create(server.address, "joined")

        def run() -> float:
            consumer = confluent.Consumer(
                {
                    "bootstrap.servers": server.address,
                    "log_level": 0,
                    "group.id": f"g{next(groups)}",
                }
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


_IDLE = """
import os, socket, sys
from streamlog import Broker

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

with Broker() as broker:
    broker.create_topic("t")
    before = resident_bytes()
    host, port = broker.listen("127.0.0.1:0").bootstrap_servers.split(":")
    clients = [socket.create_connection((host, int(port))) for _ in range(int(sys.argv[1]))]
    for client in clients:
        client.sendall(bytes.fromhex("0000000a 0012 0000 00000001 ffff"))  # ApiVersions
        client.recv(4096)
    print(resident_bytes() - before)
"""


def bench_idle(bench: Bench) -> None:
    """What a listener adds to a process in memory, its code included, with clients that say nothing after they connected."""
    if not Path("/proc/self/statm").exists():
        bench.skip("memory of an idle listener", "the system does not tell in /proc")
        return
    for clients in (0, 100):
        command = [sys.executable, "-c", _IDLE, str(clients)]
        samples = [
            float(subprocess.run(command, check=True, capture_output=True, timeout=_STEP_S).stdout)
            for _ in range(bench.pick(5, 3, 1))
        ]
        what = f"memory of an idle listener with {clients} clients"
        bench.limit(what, Spread.of(samples), 10_000_000, unit="bytes")


def _create(address: str, topic: str) -> None:
    admin = importlib.import_module("confluent_kafka.admin")
    client: Any = admin.AdminClient({"bootstrap.servers": address, "log_level": 0})
    client.create_topics([admin.NewTopic(topic, 1)])[topic].result(20)


CASES = {
    "produce": bench_produce,
    "consume": bench_consume,
    "latency": bench_latency,
    "join": bench_join,
    "idle": bench_idle,
}

"""Brokers and other processes: fork, spawn, prefork servers, inherited descriptors, and what a process holds after many brokers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamlog import Broker
from tests.support.programs import run_program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

#: Each writes and syncs some ten files.
OPENS_ON_DISK = int(os.environ.get("STREAMLOG_OPENS", "200"))

WORKERS = """
import multiprocessing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: it is what is tried here
from streamlog import AlreadyOpenError, Broker, Consumer, ForkedError, Producer

def refused(*calls):
    for call in calls:
        try:
            call()
        except ForkedError:
            continue
        raise SystemExit(f"{call} was not refused")

def forked_worker(broker, producer, consumer, path):
    refused(broker.topics, lambda: producer.send("t", b"child"), producer.flush, consumer.poll,
            consumer.commit, broker.sync)
    for one in (consumer, producer, broker):
        one.close()
    with Broker(path) as own, Producer(own) as mine:
        assert mine.send("t", b"own").result(5).offset == 0

def spawned_worker(path):
    try:
        Broker(path)
    except AlreadyOpenError as error:
        raise SystemExit(0 if error.pid == os.getppid() and str(error.pid) in str(error) else 7)
    raise SystemExit(8)

def main():
    path = sys.argv[1]
    broker = Broker(path)
    producer = Producer(broker, linger_ms=LINGER)
    consumer = Consumer(broker, "t", group_id="g", auto_offset_reset="earliest")
    futures = [producer.send("t", b"%d" % n) for n in range(10)]
    consumer.poll(10)
    fork, spawn = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")
    workers = [fork.Process(target=forked_worker, args=(broker, producer, consumer, f"{path}-{n}"))
               for n in range(2)]
    workers.append(spawn.Process(target=spawned_worker, args=(path,)))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(40)
    print([worker.exitcode for worker in workers])
    futures += [producer.send("t", b"%d" % n) for n in range(10, 20)]
    producer.flush()
    assert [future.result(0).offset for future in futures] == list(range(20))
    consumer.close(); producer.close(); broker.close()

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("linger_ms", [0, 3])
def test_workers_of_multiprocessing_are_refused_and_the_parent_is_unharmed(
    tmp_path: Path, linger_ms: int
) -> None:
    program = tmp_path / "workers.py"
    program.write_text(WORKERS.replace("LINGER", str(linger_ms)))
    data = str(tmp_path / "data")
    assert run_program(program, data, cwd=tmp_path).strip() == "[0, 0, 0]"
    with Broker(data) as broker:
        assert broker.recovery_report.clean
        assert broker.partition("t", 0).log_end_offset == 20
    for number in range(2):
        with Broker(f"{data}-{number}") as broker:
            assert broker.partition("t", 0).log_end_offset == 1


@pytest.mark.slow
def test_prefork_server_opens_in_each_worker_what_the_master_never_held(tmp_path: Path) -> None:
    """As gunicorn does it: the master imports and forks, and forks again when a worker dies; each worker has a directory."""
    program = tmp_path / "server.py"
    program.write_text(
        """
import os, signal, sys
from streamlog import Broker, Producer
root = sys.argv[1]

def fork_worker(number):
    pid = os.fork()
    if pid:
        return pid
    broker = Broker(f"{root}/worker-{number}")
    producer = Producer(broker, linger_ms=1)
    for n in range(50):
        producer.send("t", b"%d" % n)
    producer.flush()
    if broker.recovery_report.generation == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    broker.close()
    os._exit(0)

workers = {fork_worker(number): number for number in range(3)}
while workers:
    pid, status = os.wait()
    number = workers.pop(pid)
    if os.WIFSIGNALED(status):
        workers[fork_worker(number)] = number
    else:
        assert status == 0, status
"""
    )
    run_program(program, str(tmp_path), cwd=tmp_path)
    for number in range(3):
        with Broker(tmp_path / f"worker-{number}") as broker:
            assert broker.recovery_report.clean
            assert broker.partition("t", 0).log_end_offset == 100


def test_subprocess_inherits_no_descriptor_of_a_broker(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        """
import subprocess, sys
from streamlog import Broker, Producer
path = sys.argv[1]
with Broker(path) as broker, Producer(broker) as producer:
    producer.send("t", b"v")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print([t for n in os.listdir('/proc/self/fd')"
         " if os.path.exists(f'/proc/self/fd/{n}') for t in [os.readlink(f'/proc/self/fd/{n}')]])"],
        close_fds=False, capture_output=True, text=True, check=True)
    assert path not in child.stdout, child.stdout
"""
    )
    run_program(program, str(tmp_path / "data"), cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no /proc here")
@pytest.mark.parametrize(("where", "opens"), [("memory", 1_000), ("disk", OPENS_ON_DISK)])
def test_a_process_holds_no_more_after_many_brokers(tmp_path: Path, where: str, opens: int) -> None:
    """Descriptors, maps and threads are as many as before, and memory has stopped growing."""
    program = tmp_path / "opens.py"
    program.write_text(
        """
import gc, os, sys, threading
from streamlog import Broker, Consumer, Producer
path = sys.argv[1] if sys.argv[2] == "disk" else None

def use(n):
    with (Broker(path, offsets_topic_num_partitions=1) as broker,
          Producer(broker, linger_ms=n % 2) as producer):
        if n % 50 == 0 and "t" in broker.topics():
            broker.delete_topic("t")
        producer.send("t", b"%d" % n)
        producer.flush()
        with Consumer(broker, "t", group_id="g", auto_offset_reset="earliest") as consumer:
            assert consumer.poll(100).values()[-1:] == [b"%d" % n]

def held():
    gc.collect()
    with open("/proc/self/maps") as maps:
        mapped = sum("streamlog" in line or (path or "?") in line for line in maps)
    return len(os.listdir("/proc/self/fd")), mapped, threading.active_count()

def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

opens = int(sys.argv[3])
for n in range(opens // 5):
    use(n)
before, memory = held(), resident_kib()
for n in range(opens // 5, opens):
    use(n)
assert held() == before, (before, held())
assert before[1:] == (0, 1), before
assert resident_kib() < memory + 6 * 1024, (memory, resident_kib())
"""
    )
    run_program(program, str(tmp_path / "data"), where, str(opens), cwd=tmp_path)


@pytest.mark.slow
def test_two_thousand_partitions_work_with_256_descriptors(tmp_path: Path) -> None:
    program = tmp_path / "many.py"
    program.write_text(
        """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from streamlog import Broker, Consumer, Producer, TopicPartition
path = sys.argv[1]
with Broker(path) as broker, Producer(broker) as producer:
    broker.create_topic("many", partitions=2000, configs={"segment_bytes": 4096})
    for n in range(6000):
        producer.send("many", b"%d" % n, partition=n * 7 % 2000)
with Broker(path) as broker, Consumer(broker, max_poll_records=10_000) as consumer:
    assert broker.recovery_report.clean
    consumer.assign([TopicPartition("many", n) for n in range(2000)])
    consumer.seek_to_beginning()
    found = []
    while records := consumer.poll():
        found += records.values()
    assert sorted(map(int, found)) == list(range(6000)), len(found)
"""
    )
    run_program(program, str(tmp_path / "data"), cwd=tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_child_of_a_fork_keeps_neither_port_nor_clients_of_a_listener(tmp_path: Path) -> None:
    """Its copies of the sockets kept both alive: the port could not be taken again, whoever connected to it waited, and so did clients
    whose connection the parent had ended.
    """
    program = tmp_path / "listening.py"
    program.write_text(
        """
import os, socket, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: it is what is tried here
from streamlog import Broker
with Broker() as broker:
    listener = broker.listen("127.9.9.9:0")  # nobody else is given a port there meanwhile
    address = listener.bootstrap_servers
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    client.sendall(bytes.fromhex("0000000a 0012 0000 00000001 ffff"))  # ApiVersions 0
    assert client.recv(4)
    ready, report = os.pipe()
    end, go_on = os.pipe()
    pid = os.fork()
    if pid == 0:
        client.close()
        os.close(go_on)
        listener.close()
        broker.close()
        os.write(report, b"x")
        os.read(end, 1)  # until the parent is gone, or done
        os._exit(0)
    os.close(end)
    assert os.read(ready, 1) == b"x"
    while len(client.recv(65536)) == 65536:
        pass
    client.sendall(bytes.fromhex("0000000a 0012 0000 00000002 ffff"))
    assert client.recv(65536)  # the parent's listener is unharmed
    listener.close()
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    client.close()
    with broker.listen(address):
        pass
    os.close(go_on)
    assert os.waitpid(pid, 0)[1] == 0
"""
    )
    run_program(program, cwd=tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_child_of_a_fork_keeps_nothing_of_a_listener_in_the_running_loop(tmp_path: Path) -> None:
    program = tmp_path / "listening.py"
    program.write_text(
        """
import asyncio, os, socket, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: it is what is tried here
from streamlog import Broker
from streamlog.aio import listen
ASK = bytes.fromhex("0000000a 0012 0000 00000001 ffff")  # ApiVersions 0
async def ask(reader, writer):
    writer.write(ASK)
    size = int.from_bytes(await reader.readexactly(4), "big")
    await reader.readexactly(size)
async def main(broker):
    listener = await listen(broker, "127.9.9.9:0")  # nobody else is given a port there meanwhile
    host, _, port = listener.bootstrap_servers.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await ask(reader, writer)
    ready, report = os.pipe()
    end, go_on = os.pipe()
    pid = os.fork()
    if pid == 0:
        writer.get_extra_info("socket")._sock.close()
        os.close(go_on)
        broker.close()
        os.write(report, b"x")
        os.read(end, 1)  # until the parent is gone, or done
        os._exit(0)
    os.close(end)
    assert os.read(ready, 1) == b"x"
    await ask(reader, writer)  # the parent's listener is unharmed
    await listener.close()
    assert await reader.read() == b""
    writer.close()
    async with await listen(broker, listener.bootstrap_servers):
        pass
    os.close(go_on)
    assert os.waitpid(pid, 0)[1] == 0
with Broker() as broker:
    asyncio.run(main(broker))
"""
    )
    run_program(program, cwd=tmp_path)

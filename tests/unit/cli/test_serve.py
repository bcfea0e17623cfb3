from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Consumer, TopicPartition
from streamlog.cli.app import app
from tests.support.kafka_batches import kafka_batch
from tests.support.sockets import own_address
from tests.support.wire import RawClient


def serve(*arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["serve", "--port", "0", *arguments], env={"STREAMLOG_DATA": None}
    )


def start(*arguments: str) -> subprocess.Popen[str]:
    program = "from streamlog.cli.__main__ import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_command_finds_the_address_and_its_exit_code_is_ours(tmp_path: Path) -> None:
    file = tmp_path / "address"
    done = serve("--", "sh", "-c", f'echo "$KAFKA_BOOTSTRAP_SERVERS" > {file}; exit 3')
    assert done.exit_code == 3
    assert done.stderr == f"listening at {file.read_text()}"


def test_command_that_is_killed_counts_as_in_a_shell() -> None:
    assert serve("--", "sh", "-c", "kill -9 $$").exit_code == 128 + 9


def test_command_that_is_not_there_is_an_error() -> None:
    done = serve("--", "no-such-program")
    assert done.exit_code == 1
    assert "no-such-program: No such file or directory" in done.stderr


def test_address_that_others_can_reach_is_refused() -> None:
    done = serve("--host", "0.0.0.0", "--", "true")
    assert done.exit_code == 1
    assert "expected a loopback address" in done.stderr
    # Not "streamlog configs describe", which knows nothing of a listener.
    assert done.stderr.endswith("hint: `streamlog serve --help` shows the options\n")


def test_host_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error was "Name or service not known" and nothing else."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    done = serve("--host", "kafka.invalid", "--allow-remote", "--", "true")
    assert done.exit_code == 1
    assert done.stderr == "streamlog: listen at kafka.invalid: Name or service not known\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_produced_is_in_the_directory_after_the_end(data_dir: str, number: int) -> None:
    options = ("--host", own_address().partition(":")[0], "--port", "0", "--node-id", "5")
    with start("--data", data_dir, "serve", *options) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            with RawClient(address) as client:
                topics = [{"name": "orders"}]
                found = client.request(
                    "Metadata", 12, topics=topics, allow_auto_topic_creation=True
                )
                assert found.controller_id == 5
                data = {"index": 0, "records": kafka_batch([b"kept"])}
                produced = client.request(
                    "Produce",
                    9,
                    acks=-1,
                    timeout_ms=1000,
                    topic_data=[{"name": "orders", "partition_data": [data]}],
                )
                assert produced.responses[0].partition_responses[0].error_code == 0
            server.send_signal(number)
            assert server.wait(20) == (0 if number == signal.SIGTERM else 130)
        finally:
            server.kill()
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionError):
        socket.create_connection((host, int(port)))
    with Broker(data_dir) as broker, Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition("orders", 0)])
        assert [record.value for record in consumer.poll()] == [b"kept"]


@pytest.mark.parametrize("command", [[], ["--", "sleep", "30"]])
def test_sigterm_that_another_thread_takes_ends_it(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    where = "os.posix_spawnp" if command else "click.echo"
    call = os.posix_spawnp if command else click.echo

    def call_and_tell(*arguments: Any) -> Any:
        result = call(*arguments)
        os.write(writer, b"1")
        return result

    monkeypatch.setattr(f"streamlog.cli.serve.{where}", call_and_tell)

    def tell() -> None:
        os.read(reader, 1)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        done = serve(*command)
    finally:
        os.write(writer, b"1")
        thread.join()
        os.close(reader)
        os.close(writer)
    assert done.exit_code == (128 + signal.SIGTERM if command else 0)
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_sigterm_that_python_did_not_handle_does_not_hide_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The handler before is None then, and cannot be put back."""
    set_handler = signal.signal

    def set_over_foreign(number: int, handler: Any) -> None:
        set_handler(number, handler)

    def fail(_text: str) -> None:
        raise LookupError("its own")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", set_over_foreign)
    monkeypatch.setattr("streamlog.cli.serve.click.echo", fail)
    try:
        done = serve()
        assert isinstance(done.exception, LookupError)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        set_handler(signal.SIGTERM, before)


def test_who_reads_the_address_can_end_it_at_once() -> None:
    for _ in range(5):
        with start("serve", "--port", "0") as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline()
                server.terminate()
                assert server.wait(20) == 0
            finally:
                server.kill()


def test_listener_is_as_the_options_say(tmp_path: Path) -> None:
    program = """
import os, sys
from tests.support.wire import RawClient
with RawClient(os.environ["KAFKA_BOOTSTRAP_SERVERS"]) as client:
    answer = client.request("Metadata", 12, topics=[{"name": "new"}], allow_auto_topic_creation=True)
    print(answer.topics[0].error_code, len(answer.topics[0].partitions), answer.brokers[0].host, file=open(sys.argv[1], "w"))
"""
    file = tmp_path / "said"
    for options, said in (
        (["--partitions", "4", "--advertised", "127.0.0.1"], "0 4 127.0.0.1\n"),
        (["--no-auto-create"], "3 0 127.0.0.1\n"),
    ):
        done = serve(*options, "--", sys.executable, "-c", program, str(file))
        assert (done.exit_code, file.read_text()) == (0, said)

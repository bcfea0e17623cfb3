"""The command line as processes: beside a program that has the directory open, in pipes, interrupted."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from click.testing import CliRunner

from streamlog import Admin, Broker, Consumer, Producer, TopicPartition
from streamlog.cli.app import app
from streamlog.cli.failures import IN_USE
from tests.support.programs import ROOT

STREAMLOG = [sys.executable, "-W", "error", "-m", "streamlog.cli"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this process, which stays open, with a group that has a member and one that has none."""
    with Broker(tmp_path / "data") as broker, Admin(broker) as admin:
        broker.create_topic("orders", partitions=2)
        with Producer(broker) as producer:
            for number in range(6):
                producer.send("orders", b"v", partition=number % 2)
        admin.alter_consumer_group_offsets("idle", {TopicPartition("orders", 0): 1})
        with Consumer(broker, "orders", group_id="busy", enable_auto_commit=False) as consumer:
            while not consumer.assignment():
                consumer.poll(1_000)
            consumer.commit({TopicPartition("orders", 1): 2})
            producer = Producer(broker, transactional_id="tx")
            producer.init_transactions()
            producer.begin_transaction()
            producer.send("orders", b"v", partition=0)
            producer.flush()
            yield broker


def run(tmp_path: Path, script: str) -> list[str]:
    """Run Python lines in one new process, for each interpreter takes a while to start; return its output."""
    environment = {**os.environ, "STREAMLOG_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


MANY = """
import json, sys
from click.testing import CliRunner
from streamlog.cli.app import app
for arguments in json.loads({commands!r}):
    done = CliRunner().invoke(app, arguments)
    print(json.dumps([done.exit_code, done.stdout, done.stderr]))
"""


def run_all(tmp_path: Path, *commands: str) -> list[tuple[int, str, str]]:
    """Run commands one after the other in another process."""
    arguments = json.dumps([command.split() for command in commands])
    lines = run(tmp_path, MANY.format(commands=arguments))
    return [(code, out, err) for code, out, err in map(json.loads, lines)]


READING = [
    "topics list --include-internal",
    "topics describe",
    "configs describe --topic orders --all",
    "offsets",
    "offsets --time max-timestamp",
    "groups list",
    "groups describe --all-groups",
    "groups describe --all-groups --state",
    "groups reset-offsets --group idle --all-topics --to-latest",
    "transactions list --state ongoing",
    "transactions describe --transactional-id tx",
    "transactions describe-producers --topic orders --partition 0",
    "transactions find-hanging",
]
WRITING = [
    "topics create --topic prices",
    "topics alter --topic orders --partitions 3",
    "topics delete --topic orders",
    "configs alter --topic orders --add-config retention.ms=1",
    "records delete orders:0:1",
    "groups delete --group idle",
    "groups delete-offsets --group idle --topic orders",
    "groups reset-offsets --group idle --all-topics --to-latest --execute",
    "transactions force-terminate --transactional-id t",
]


def test_commands_that_read_work_beside_the_process_that_writes_and_others_are_refused(
    broker: Broker, tmp_path: Path
) -> None:
    """CLI-3: members live in the process that has the directory open, which so keeps changes out."""
    done = run_all(tmp_path, *READING, *WRITING)
    read, written = done[: len(READING)], done[len(READING) :]
    assert [(command, one) for command, one in zip(READING, read, strict=True) if one[0]] == []
    for command, (code, out, err) in zip(WRITING, written, strict=True):
        assert (command, code, out) == (command, IN_USE, "")
        assert err.startswith("streamlog: ")
        assert str(os.getpid()) in err.splitlines()[0]
        assert err.splitlines()[1].startswith("hint: close the program that has it open")
    out = dict(zip(READING, [one[1] for one in read], strict=True))
    names = out["topics list --include-internal"].splitlines()
    assert names == ["__consumer_offsets", "__transaction_state", "orders"]
    assert "orders\t0\t4" in out["offsets"]
    assert "idle\torders\t0\t1\t4\t3" in out["groups describe --all-groups"]
    assert "busy\torders\t1\t2\t3\t1" in out["groups describe --all-groups"]
    assert out["transactions list --state ongoing"].splitlines()[1].startswith("tx\t")
    assert "topic_partitions: orders-0\n" in out["transactions describe --transactional-id tx"]
    assert out["transactions find-hanging"] == ""
    assert broker.topics() == ["orders"]


def test_what_the_other_process_alone_knows_of_groups_is_not_made_up(
    broker: Broker, tmp_path: Path
) -> None:
    listed, described, members, narrowed, simple = run_all(
        tmp_path,
        "groups list",
        "groups describe --group busy --state",
        "groups describe --group busy --members",
        "groups list --state empty",
        "groups list --type simple",
    )
    unknown = "members and states are known to that process alone"
    assert listed[1].splitlines()[1:] == ["busy\tconsumer\t-\t-", "idle\tsimple\tempty\t0"]
    assert simple[1].splitlines()[1:] == ["idle\tsimple\tempty\t0"]
    assert described[1].splitlines()[1] == "busy\t1\t-\t-\t-"
    assert unknown in listed[2]
    assert unknown in described[2]
    for code, out, err in (members, narrowed):
        assert (code, out) == (IN_USE, "")
        assert unknown in err


def test_a_reader_that_leaves_early_ends_a_command_quietly(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(
            [*STREAMLOG, "--help"], stdout=closed, stderr=subprocess.PIPE, timeout=150, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(name='click')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        STREAMLOG, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "streamlog: the command line needs more: pip install 'streamlog-broker[cli]'\n"
    )


COMPLETE = """
set -e
source streamlog.bash
COMP_WORDS=(streamlog topics describe --topic or) COMP_CWORD=4
_streamlog_completion streamlog
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_bash_completes_a_topic_of_the_directory(tmp_path: Path) -> None:
    with Broker(tmp_path / "data") as broker:
        broker.create_topic("orders")
        broker.create_topic("prices")
        # The shell calls the program by its name, while this process has the directory open.
        program = tmp_path / "streamlog"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(STREAMLOG)} "$@"\n')
        program.chmod(0o700)
        script = CliRunner().invoke(app, ["completion", "bash"]).stdout
        (tmp_path / "streamlog.bash").write_text(script)
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", COMPLETE],
            env={**os.environ, "PATH": path, "STREAMLOG_DATA": str(tmp_path / "data")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "orders\n")


def test_rows_on_a_terminal_are_a_table(tmp_path: Path) -> None:
    with Broker(tmp_path / "data") as broker:
        broker.create_topic("orders", partitions=2)
    command = [*STREAMLOG, "offsets", "--data", str(tmp_path / "data")]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    screen, _ = pexpect.run(
        shlex.join(command), env=environment, timeout=150, withexitstatus=True, encoding="utf-8"
    )
    rows = [line.split() for line in screen.splitlines()]
    assert rows == [["TOPIC", "PARTITION", "OFFSET"], ["orders", "0", "0"], ["orders", "1", "0"]]
    assert "\t" not in screen

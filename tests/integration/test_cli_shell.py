"""`streamlog shell` through a pseudo-terminal: prompt, answers, completion, history, Ctrl-C, Ctrl-D."""

from __future__ import annotations

from pathlib import Path

import pexpect
import pytest

from streamlog import Broker
from tests.support.terminal import spawn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Broker(path) as broker:
        broker.create_topic("a_Topic1", partitions=3)
    return path


def prompt(child: pexpect.spawn[str], number: int) -> None:
    child.expect_exact(f"[streamlog: data {number}] ")


def test_the_seeds_session_can_be_typed(data: Path) -> None:
    child = spawn(data, "shell")
    prompt(child, 0)
    child.sendline("ls /")
    child.expect_exact("[admin, brokers, cluster, config, consumers, controller, ")
    prompt(child, 1)
    child.sendline("get /controller")
    child.expect(r'{"version":1,"brokerid":1,"timestamp":"\d+"}')
    prompt(child, 2)
    child.sendline("ls /brokers/topics")
    child.expect_exact("[a_Topic1]")
    prompt(child, 3)
    child.sendline("quit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_tab_completes_commands_and_paths(data: Path) -> None:
    child = spawn(data, "shell")
    prompt(child, 0)
    child.send("ls /bro\t")
    child.expect_exact("/brokers/")
    child.send("to\t")
    child.expect_exact("topics/")
    child.send("\t\r")  # the only topic
    child.expect_exact("[partitions]")
    prompt(child, 1)
    child.sendeof()
    child.expect(pexpect.EOF)


def test_ctrl_c_gives_up_the_line_and_ctrl_d_leaves(data: Path) -> None:
    child = spawn(data, "shell")
    prompt(child, 0)
    child.send("get /contr")
    child.expect_exact("get /contr")
    child.sendintr()
    prompt(child, 0)
    child.sendline("get /nope")
    child.expect_exact("Node does not exist: /nope")
    prompt(child, 1)
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_what_was_typed_is_remembered_by_the_next_shell(data: Path) -> None:
    first = spawn(data, "shell")
    prompt(first, 0)
    first.sendline("ls /cluster")
    first.expect_exact("[id]")
    first.sendline("quit")
    first.expect(pexpect.EOF)
    second = spawn(data, "shell")
    prompt(second, 0)
    second.send("\x1b[A\x1b[A\r")  # up, up: the line before `quit`
    second.expect_exact("[id]")
    prompt(second, 1)
    second.sendeof()
    second.expect(pexpect.EOF)

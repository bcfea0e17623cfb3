"""`streamlog shell` with commands from the command line and from a pipe; the terminal is in tests/integration/test_cli_shell.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker
from streamlog.cli.app import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Broker(path) as broker:
        broker.create_topic("a_Topic1", partitions=3)
    return path


def shell(data: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["--data", str(data), "shell", *arguments], input=typed)


def test_commands_of_the_command_line_are_done_in_order(data: Path) -> None:
    done = shell(data, "-c", "ls /brokers/topics", "-c", "get /controller_epoch")
    assert (done.exit_code, done.stdout) == (0, "[a_Topic1]\n1\n")


def test_commands_come_from_a_pipe_until_quit(data: Path) -> None:
    done = shell(data, typed="ls /brokers\n\nquit\nls /\n")
    assert (done.exit_code, done.stdout) == (0, "[ids, seqid, topics]\n")


def test_the_exit_code_is_that_of_the_first_failure(data: Path) -> None:
    done = shell(data, "-c", "get /nope", "-c", "what", "-c", "ls /cluster")
    assert (done.exit_code, done.stdout) == (3, "[id]\n")
    assert done.stderr.splitlines()[0] == "Node does not exist: /nope"


def test_a_directory_in_use_is_shown_as_its_owner_has_it(data: Path) -> None:
    with Broker(data) as owner:
        owner.create_topic("new")
        done = shell(data, "-c", "ls /brokers/topics", "-c", "get /controller_epoch")
        epoch = owner.metadata.get("/controller_epoch")
    assert (done.exit_code, done.stdout) == (0, f"[a_Topic1, new]\n{epoch}\n")


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert shell(tmp_path / "nowhere", "-c", "ls /").exit_code == 3
    assert list(tmp_path.iterdir()) == []

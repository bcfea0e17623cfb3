from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from streamlog import Admin, TopicPartition
from streamlog.cli.app import app
from tests.support.cli import Terminal


@pytest.fixture(autouse=True)
def _names(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        for name in ("orders", "orders-late", "prices"):
            broker.create_topic(name)
        Admin(broker).alter_consumer_group_offsets("billing", {TopicPartition("orders", 0): 0})


def offered(terminal: Terminal, line: str) -> list[str]:
    """What bash is offered for the last word of *line*."""
    words = line.split(" ")
    environment = {
        "_STREAMLOG_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    with patch.dict(os.environ, environment):
        done = terminal.run()
    assert done.exit_code == 0
    return [row.partition(",")[2] for row in done.stdout.splitlines() if row]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("streamlog tran", ["transactions"]),
        ("streamlog topics d", ["delete", "describe"]),
        ("streamlog topics create --rep", ["--replication-factor"]),
        ("streamlog topics describe --topic or", ["orders", "orders-late"]),
        ("streamlog topics describe --topic __", ["__consumer_offsets"]),
        ("streamlog offsets --topic p", ["prices"]),
        ("streamlog groups describe --group b", ["billing"]),
        ("streamlog groups describe --group x", []),
        ("streamlog completion f", ["fish"]),
    ],
)
def test_commands_options_topics_and_groups_are_completed(
    terminal: Terminal, line: str, expected: list[str]
) -> None:
    assert offered(terminal, line) == expected


def test_where_nothing_can_be_read_nothing_is_offered_and_nothing_said() -> None:
    environment = {
        "_STREAMLOG_COMPLETE": "bash_complete",
        "COMP_WORDS": "streamlog --data none topics describe --topic o",
        "COMP_CWORD": "6",
    }
    done = CliRunner(env=environment).invoke(app, [])
    assert (done.exit_code, done.output) == (0, "\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_the_program(terminal: Terminal, shell: str) -> None:
    script = terminal.run("completion", shell).stdout
    assert f"_STREAMLOG_COMPLETE={shell}_complete" in script
    assert "streamlog" in script


def test_another_shell_is_wrong_usage(terminal: Terminal) -> None:
    code, reason = terminal.failure("completion", "tcsh")
    assert code == 2
    assert "'tcsh' is not one of" in reason

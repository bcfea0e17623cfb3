"""The commands of the shell, on a tree of a few nodes."""

from __future__ import annotations

import json

import pytest

from streamlog.broker.metadata_tree.node import Node, folder
from streamlog.broker.metadata_tree.tree import MetadataTree
from streamlog.cli.metadata_shell import MetadataShell

TREE = MetadataTree(
    folder(
        {
            "brokers": folder({"ids": folder({"1": Node('{"port":-1}')}), "topics": Node()}),
            "controller": Node('{"brokerid":1}'),
            "controller_epoch": Node("7"),
        }
    )
)


@pytest.fixture
def shell() -> MetadataShell:
    return MetadataShell(TREE, "data")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ls /", "[brokers, controller, controller_epoch]"),
        ("ls", "[brokers, controller, controller_epoch]"),
        ("ls /brokers/topics", "[]"),
        ("ls -R /brokers", "/brokers\n/brokers/ids\n/brokers/ids/1\n/brokers/topics"),
        ("get /brokers/ids/1 ", '{"port":-1}'),
        ("get /brokers", "null"),
        ("stat /brokers/ids/1", "dataLength = 11\nnumChildren = 0"),
        ("stat /", "dataLength = 0\nnumChildren = 3"),
    ],
)
def test_commands_answer_as_zookeepers_shell(
    shell: MetadataShell, capsys: pytest.CaptureFixture[str], line: str, expected: str
) -> None:
    assert not shell.run(line)
    assert capsys.readouterr() == (expected + "\n", "")
    assert shell.exit_code == 0


def test_a_path_that_is_not_there_is_said_on_stderr_and_kept_as_exit_code(
    shell: MetadataShell, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("get", "ls", "ls -R", "stat"):
        assert not shell.run(f"{command} /nope")
        assert capsys.readouterr() == ("", "Node does not exist: /nope\n")
    shell.run("wrong")
    assert shell.exit_code == 3


@pytest.mark.parametrize(
    "line", ["get", "get a b", "stat", "ls /a /b", "ls -x", "get brokers", "get '", "rm /brokers"]
)
def test_wrong_usage_says_so(
    shell: MetadataShell, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert not shell.run(line)
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err
    assert shell.exit_code == 2


def test_json_is_the_value_itself(capsys: pytest.CaptureFixture[str]) -> None:
    shell = MetadataShell(TREE, "data", as_json=True)
    for line, expected in (
        ("ls /brokers", ["ids", "topics"]),
        ("get /controller", {"path": "/controller", "value": {"brokerid": 1}}),
        ("get /controller_epoch", {"path": "/controller_epoch", "value": 7}),
        ("get /brokers", {"path": "/brokers", "value": None}),
        ("stat /", {"path": "/", "dataLength": 0, "numChildren": 3}),
    ):
        shell.run(line)
        assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize("line", ["quit", "exit", "EOF"])
def test_some_commands_leave(shell: MetadataShell, line: str) -> None:
    assert shell.run(line)


def test_an_empty_line_does_nothing(
    shell: MetadataShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run("ls /")
    capsys.readouterr()
    assert not shell.run("")
    assert capsys.readouterr() == ("", "")


def test_help_names_every_command(shell: MetadataShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run("help")
    text = capsys.readouterr().out
    assert [name for name in ("ls", "get", "stat", "help", "quit") if f"{name} " not in text] == []


def test_the_prompt_counts_the_commands(shell: MetadataShell) -> None:
    assert shell.prompt == "[streamlog: data 0] "
    shell.postcmd(False, "ls /")
    shell.postcmd(False, " ")
    assert shell.prompt == "[streamlog: data 1] "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", ["/brokers/", "/controller ", "/controller_epoch "]),
        ("/co", ["/controller ", "/controller_epoch "]),
        ("/brokers/t", ["/brokers/topics "]),
        ("/brokers/ids/", ["/brokers/ids/1 "]),
        ("/nope/x", []),
        ("b", ["/brokers/"]),
        ("x", []),
    ],
)
def test_paths_are_completed(shell: MetadataShell, text: str, expected: list[str]) -> None:
    assert shell.completedefault(text, f"ls {text}", 3, 3 + len(text)) == expected


def test_commands_are_completed(shell: MetadataShell) -> None:
    assert shell.completenames("") == ["get ", "help ", "ls ", "quit ", "stat "]
    assert shell.completenames("l") == ["ls "]

from __future__ import annotations

import json
import sys

import pytest

from streamlog import GroupState
from streamlog.cli.output import cell, emit, emit_object, progress, to_json
from streamlog.cli.session import Session

ROWS = [
    {"topic": "orders", "log_end_offset": 12, "leader": None},
    {"topic": "a\tb\x1b[1m", "log_end_offset": 0, "leader": True},
]


def test_rows_in_a_pipe_are_separated_by_tabs_below_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emit(Session(), ROWS)
    assert capsys.readouterr().out == (
        "TOPIC\tLOG-END-OFFSET\tLEADER\norders\t12\t-\na\\tb\\x1b[1m\t0\ttrue\n"
    )


def test_a_single_column_in_a_pipe_has_no_line_of_names(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Session(), ROWS, ["log_end_offset"])
    assert capsys.readouterr().out == "12\n0\n"


def test_json_is_one_array_with_a_row_on_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Session(json=True), ROWS, ["topic"])
    printed = capsys.readouterr().out
    assert json.loads(printed) == ROWS
    assert [json.loads(line.rstrip(",")) for line in printed.splitlines()[1:-1]] == ROWS


def test_no_rows_are_an_empty_array_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Session(json=True), [])
    emit(Session(), [], ["topic"])
    assert capsys.readouterr().out == "[]\n"


def test_rows_on_a_terminal_are_a_table_without_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    emit(Session(), ROWS)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["TOPIC", "LOG-END-OFFSET", "LEADER"],
        ["orders", "12", "-"],
        ["a\\tb\\x1b[1m", "0", "true"],
    ]


def test_an_object_is_a_line_a_field_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit_object(Session(), {"topic": "orders", "replicas": [1, 2]})
    emit_object(Session(json=True), {"topic": "orders", "replicas": [1, 2]})
    assert capsys.readouterr().out == (
        'topic: orders\nreplicas: 1,2\n{"topic": "orders", "replicas": [1, 2]}\n'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        ("", "-"),
        (0, "0"),
        (False, "false"),
        (b"\xff\n", "\\xff\\n"),
        (GroupState.STABLE, "stable"),
        ({"a": 1, "b": None}, "a=1,b=-"),
        ([], "-"),
        ("é", "é"),
    ],
)
def test_a_cell_is_one_line(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_json_takes_enums_bytes_and_sets() -> None:
    assert to_json({"s": GroupState.EMPTY, "b": b"\xff", "n": {1}}) == (
        '{"s": "empty", "b": "\\\\xff", "n": [1]}'
    )


def test_progress_says_nothing_when_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("Reading", total=2) as bar:
        bar.advance(0)
        assert bar.tasks[0].completed == 1
    assert capsys.readouterr() == ("", "")

"""CLI-4: deleting records up to an offset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamlog import Producer
from tests.support.cli import START_MS, Terminal

HEADER = ["TOPIC", "PARTITION", "LOW-WATERMARK"]


@pytest.fixture(autouse=True)
def _records(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        broker.create_topic("orders", partitions=2)
        with Producer(broker) as producer:
            for number in range(10):
                producer.send(
                    "orders", b"%d" % number, partition=number % 2, timestamp_ms=START_MS + number
                )


def test_records_below_an_offset_are_deleted_and_all_for_minus_one(terminal: Terminal) -> None:
    assert terminal.lines("records", "delete", "orders:0:2", "orders:1:-1") == [
        HEADER,
        ["orders", "0", "2"],
        ["orders", "1", "5"],
    ]
    with terminal.broker() as broker:
        assert broker.partition("orders", 0).log_start_offset == 2


def test_records_before_a_time_are_deleted(terminal: Terminal) -> None:
    assert terminal.lines(
        "records", "delete", "--topic", "orders", "--before-timestamp", str(START_MS + 5)
    ) == [HEADER, ["orders", "0", "3"], ["orders", "1", "2"]]
    after_all = ("--topic", "orders:1", "--before-timestamp", "2030-01-01")
    assert terminal.lines("records", "delete", *after_all) == [HEADER, ["orders", "1", "5"]]


def test_kafkas_file_of_offsets_is_read_from_a_file_and_from_stdin(
    terminal: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "offsets.json"
    partitions = [{"topic": "orders", "partition": 0, "offset": 1}]
    file.write_text(json.dumps({"partitions": partitions, "version": 1}))
    deleted = terminal.json("records", "delete", "--offset-json-file", str(file))
    assert deleted == [{"topic": "orders", "partition": 0, "low_watermark": 1}]
    partitions[0]["offset"] = 3
    text = json.dumps({"partitions": partitions})
    done = terminal.json("records", "delete", "--offset-json-file", "-", given=text)
    assert done == [{"topic": "orders", "partition": 0, "low_watermark": 3}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "expected an object with a list of partitions"),
        ('{"partitions": [], "version": 2}', "and version 1"),
        (
            '{"partitions": [{"topic": "a", "partition": 0}]}',
            "expected topic, partition and offset",
        ),
        (
            '{"partitions": [{"topic": "a", "partition": true, "offset": 1}]}',
            "expected topic, partition and offset",
        ),
        (
            '{"partitions": [%s, %s]}' % (('{"topic": "a", "partition": 0, "offset": 1}',) * 2),
            "a-0 is there twice",
        ),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    terminal: Terminal, text: str, reason: str
) -> None:
    code, said = terminal.failure("records", "delete", "--offset-json-file", "-", given=text)
    assert code == 1
    assert said.startswith("<stdin>: ")
    assert reason in said


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([], 2, "expected topic:partition:offset"),
        (["--topic", "orders"], 2, "--topic and --before-timestamp go together"),
        (["--before-timestamp", "0"], 2, "--topic and --before-timestamp go together"),
        (["orders:0:99"], 1, "orders-0: expected an offset to delete up to"),
        (["orders:7:0"], 3, "orders-7"),
        (["--topic", "none", "--before-timestamp", "0"], 3, "topic 'none' does not exist"),
    ],
)
def test_what_cannot_be_deleted_is_refused(
    terminal: Terminal, arguments: list[str], code: int, reason: str
) -> None:
    found, said = terminal.failure("records", "delete", *arguments)
    assert found == code
    assert reason in said

"""CLI-1: `streamlog consume`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streamlog import Admin, Broker, Producer, TopicPartition
from streamlog.cli import consume as module
from streamlog.cli.app import app


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMLOG_DATA", "d")


def consume(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["consume", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def fill(topic: str = "t", values: str = "abc", partition: int | None = None) -> None:
    with Broker("d") as broker, Producer(broker) as producer:
        for number, value in enumerate(values):
            producer.send(
                topic,
                value.encode(),
                key=b"k%d" % number,
                headers=[("h", value.encode())],
                partition=partition,
                timestamp_ms=1000 + number,
            )


def test_from_the_beginning_it_ends_where_the_topic_ends() -> None:
    fill()
    done = consume("--topic", "t", "--from-beginning")
    assert (done.exit_code, done.stdout) == (0, "a\nb\nc\n")
    assert done.stderr == "Processed a total of 3 messages\n"


def test_without_a_place_it_starts_at_the_end_and_waits() -> None:
    fill()
    done = consume("--topic", "t", "--timeout-ms", "1")
    assert (done.exit_code, done.stdout) == (0, "")
    assert consume("--topic", "t", "--no-follow").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--partition", "0", "--offset", "1"], "b\nc\n"),
        (["--partition", "0", "--offset", "earliest"], "a\nb\nc\n"),
        (["--offset", "earliest"], "a\nb\nc\n"),
        (["--partition", "0", "--offset", "latest", "--no-follow"], ""),
        (["--partition", "0", "--offset", "3"], ""),
        (["--from-time", "1001"], "b\nc\n"),
        (["--from-time", "1970-01-01T00:00:01.002Z"], "c\n"),
        (["--from-time", "2026-01-01"], ""),
        (["--from-beginning", "--max-messages", "2"], "a\nb\n"),
        (["--from-beginning", "--max-messages", "0"], ""),
        (["--from-beginning", "--follow", "--max-messages", "3"], "a\nb\nc\n"),
        (["--from-beginning", "--follow", "--timeout-ms", "300"], "a\nb\nc\n"),
    ],
)
def test_the_place_to_start_and_to_end(arguments: list[str], printed: str) -> None:
    fill()
    done = consume("--topic", "t", *arguments)
    assert (done.exit_code, done.stdout) == (0, printed)


def test_partitions_and_topics_may_be_several_or_a_pattern() -> None:
    with Broker("d") as broker:
        broker.create_topic("t", partitions=3)
    for number, values in enumerate(("ab", "cd", "ef")):
        fill("t", values, number)
    fill("tt", "gh")
    assert consume("--topic", "t", "--partition", "2", "--from-beginning").stdout == "e\nf\n"
    both = consume("--topic", "t", "--partition", "2", "--partition", "0", "--from-beginning")
    assert sorted(both.stdout.split()) == ["a", "b", "e", "f"]
    assert sorted(consume("--include", "t+", "--from-beginning").stdout.split()) == list("abcdefgh")
    assert consume("--include", "t{2}", "--from-beginning").stdout == "g\nh\n"
    assert consume("--include", "x", "--from-beginning").stdout == ""
    two = consume("--topic", "t", "--topic", "tt", "--from-beginning", "--group", "g")
    assert sorted(two.stdout.split()) == list("abcdefgh")


def test_a_group_goes_on_where_it_was() -> None:
    fill()
    first = consume("--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "2")
    assert first.stdout == "a\nb\n"
    assert consume("--topic", "t", "--group", "g", "--from-beginning").stdout == "c\n"
    assert consume("--topic", "t", "--group", "g").stdout == ""
    assert consume("--topic", "t", "--group", "new").stdout == ""
    with Broker("d") as broker:
        offsets = Admin(broker).list_consumer_group_offsets("g")
        assert offsets[TopicPartition("t", 0)].offset == 3


def test_a_group_by_pattern_commits_only_if_it_may() -> None:
    fill()
    for _ in range(2):
        done = consume(
            "--include", "t.*", "--from-beginning", "--command-property", "group.id=g",
            "--consumer-property", "enable.auto.commit=false",
        )  # fmt: skip
        assert done.stdout == "a\nb\nc\n"


def test_ctrl_c_in_the_middle_commits_what_was_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    real = module._format

    def interrupted(*arguments: object) -> object:
        to_bytes = real(*arguments)  # type: ignore[arg-type]

        def at_c(record: object) -> bytes:
            if record.value == b"c":  # type: ignore[attr-defined]
                raise KeyboardInterrupt
            return to_bytes(record)  # type: ignore[arg-type]

        return at_c

    with monkeypatch.context() as patch:
        patch.setattr(module, "_format", interrupted)
        done = consume("--topic", "t", "--group", "g", "--from-beginning")
    assert (done.exit_code, done.stdout) == (130, "a\nb\n")
    assert "Processed a total of 2 messages" in done.stderr
    assert consume("--topic", "t", "--group", "g").stdout == "c\n"


@pytest.mark.parametrize("is_before", [True, False])
def test_ctrl_c_right_after_printing_counts_and_commits_all_of_it_once(
    is_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    real = module.Reading.printed
    said: list[int] = []

    def interrupted(reading: module.Reading, records: Any, count: int) -> None:
        said.append(count)
        if len(said) == 1 and is_before:
            raise KeyboardInterrupt
        real(reading, records, count)
        if len(said) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Reading, "printed", interrupted)
        done = consume("--topic", "t", "--group", "g", "--from-beginning")
    assert (done.exit_code, done.stdout, said) == (130, "a\nb\nc\n", [3, 3])
    assert "Processed a total of 3 messages" in done.stderr
    assert consume("--topic", "t", "--group", "g", "--from-beginning").stdout == ""


def test_commits_are_made_in_between_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fill()
    commits: list[int] = []
    real = module.Reading.commit

    def counted(reading: module.Reading) -> None:
        commits.append(reading.count)
        real(reading)

    monkeypatch.setattr(module.Reading, "commit", counted)
    every = [
        "--consumer-property", "max.poll.records=1",
        "--consumer-property", "auto.commit.interval.ms=0",
    ]  # fmt: skip
    consume("--topic", "t", "--group", "g", "--from-beginning", *every)
    assert commits[:3] == [1, 2, 3]


def test_only_committed_records_are_read_if_wanted_and_the_end_is_found_behind_markers() -> None:
    with Broker("d") as broker, Producer(broker, transactional_id="x") as producer:
        producer.init_transactions()
        with producer.transaction():
            producer.send("t", b"kept")
        producer.begin_transaction()
        producer.send("t", b"dropped")
        producer.abort_transaction()
    assert consume("--topic", "t", "--from-beginning").stdout == "kept\ndropped\n"
    done = consume("--topic", "t", "--from-beginning", "--isolation-level", "read_committed")
    assert (done.exit_code, done.stdout) == (0, "kept\n")


def test_records_are_printed_as_wanted() -> None:
    fill(values="a")

    def printed(*arguments: str) -> str:
        return consume("--topic", "t", "--from-beginning", *arguments).stdout

    assert printed("--format", "key-value") == "k0\ta\n"
    assert printed("--property", "print.key=true", "--property", "key.separator=:") == "k0:a\n"
    assert printed("--formatter-property", "print.headers=true") == "h:a\ta\n"
    assert printed("--template", "{timestamp} {partition}:{offset} {key} {value} {headers}") == (
        "1970-01-01T00:00:01.000Z 0:0 k0 a h:a\n"
    )
    assert printed("--template", "{value}", "--property", "line.separator=;") == "a;"
    assert printed("--encoding", "base64") == "YQ==\n"
    record = json.loads(printed("--format", "json"))
    assert (record["topic"], record["key"], record["value"]) == ("t", "k0", "a")
    assert json.loads(printed("--json")) == record
    assert json.loads(printed("--json", "--encoding", "base64"))["value_base64"] == "YQ=="


def test_what_is_printed_as_json_can_be_produced_again() -> None:
    fill()
    lines = consume("--topic", "t", "--from-beginning", "--format", "json").stdout
    done = CliRunner().invoke(app, ["produce", "--topic", "copy", "--json-lines"], input=lines)
    assert done.exit_code == 0
    copy = consume("--topic", "copy", "--from-beginning", "--format", "json").stdout
    assert copy == lines.replace('"topic": "t"', '"topic": "copy"')


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "either --topic or --include"),
        (["--topic", "t", "--include", "t"], "either --topic or --include"),
        (["--include", "("], "--include"),
        (["--include", "t", "--partition", "0"], "--partition is of one topic"),
        (["--topic", "t", "--offset", "1"], "give one --partition"),
        (["--topic", "t", "--offset", "-1", "--partition", "0"], "expected an offset from 0"),
        (["--topic", "t", "--offset", "first", "--partition", "0"], "found 'first'"),
        (["--topic", "t", "--from-beginning", "--offset", "latest"], "exclude each other"),
        (["--topic", "t", "--from-time", "soon"], "expected a time since 1970"),
        (["--topic", "t", "--group", "g", "--partition", "0"], "--partition and --group exclude"),
        (["--topic", "t", "--group", "g", "--from-time", "5"], "--from-time and --group exclude"),
        (["--topic", "t", "--group", "g", "--follow"], "--follow and --group exclude"),
        (["--topic", "t", "--template", "{x}"], "unknown field {x}"),
        (["--topic", "t", "--template", "{key}", "--format", "json"], "no template"),
        (["--topic", "t", "--template", "{key}", "--format", "key-value"], "--template says it"),
        (["--topic", "t", "--json", "--property", "print.key=true"], "JSON has every field"),
        (["--topic", "t", "--json", "--encoding", "raw"], "there is base64"),
        (["--topic", "t", "--property", "print.kee=true"], "did you mean print.key?"),
    ],
)
def test_options_that_cannot_be_meant_are_wrong_usage(arguments: list[str], reason: str) -> None:
    fill()
    done = consume(*arguments)
    assert done.exit_code == 2
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--topic", "missing"], 3, "'missing' does not exist"),
        (["--topic", "t", "--partition", "7", "--from-beginning"], 3, "7"),
        (
            ["--topic", "t", "--partition", "0", "--offset", "99"],
            1,
            "no offset 99: it begins with 0",
        ),
        (["--topic", "t", "--data", "nowhere"], 3, "no such data directory"),
        (["--topic", "t", "--consumer-property", "fetch.mni.bytes=1"], 1, "fetch_min_bytes"),
    ],
)
def test_what_is_not_there_is_an_error(arguments: list[str], code: int, reason: str) -> None:
    fill()
    done = consume(*arguments)
    assert done.exit_code == code
    assert reason in done.stderr

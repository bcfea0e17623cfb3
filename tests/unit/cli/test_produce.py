"""CLI-1: `streamlog produce`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Consumer, ConsumerRecord
from streamlog.cli.app import app


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def produce(*arguments: str, given: bytes = b"", topic: str = "t") -> Result:
    done = CliRunner().invoke(
        app, ["--data", "d", "produce", "--topic", topic, *arguments], input=given
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def stored(topic: str = "t") -> list[ConsumerRecord]:
    with Broker("d") as broker, Consumer(broker) as consumer:
        partitions = [info.partition for info in broker.describe_topic(topic).partitions]
        consumer.assign([(topic, number) for number in partitions])  # type: ignore[misc]
        consumer.seek_to_beginning()
        found: list[ConsumerRecord] = []
        while records := consumer.poll():
            found += records
        return sorted(found, key=lambda record: (record.partition, record.offset))


def values(topic: str = "t") -> list[bytes]:
    return [record.value for record in stored(topic)]


def test_lines_of_standard_input_become_records_in_order() -> None:
    done = produce(given=b"hello\r\n\n\xff\x00\nlast")
    assert (done.exit_code, done.stdout) == (0, "")
    assert values() == [b"hello", b"", b"\xff\x00", b"last"]
    assert "created topic 't' with 1 partition\n" in done.stderr
    assert "4 records stored in topic 't', 11 bytes sent in " in done.stderr


def test_a_second_run_says_nothing_about_a_new_topic() -> None:
    produce(given=b"a\n")
    done = produce(given=b"b\n")
    assert "created" not in done.stderr
    assert "1 record stored" in done.stderr
    assert values() == [b"a", b"b"]


def test_files_are_read_one_after_the_other_and_a_dash_is_standard_input() -> None:
    Path("one").write_bytes(b"1\n2")
    Path("two").write_bytes(b"4\n")
    assert produce("one", "-", "two", given=b"3\n").exit_code == 0
    assert values() == [b"1", b"2", b"3", b"4"]


def test_a_file_that_is_not_there_is_said_before_anything_is_sent() -> None:
    done = produce("one", "missing")
    assert done.exit_code == 1
    assert "one" in done.stderr
    assert not Path("d").exists()


def test_keys_headers_and_nulls_by_plain_options() -> None:
    done = produce(
        "--key-separator",
        ":",
        "--parse-headers",
        "--headers-delimiter",
        "|",
        "--headers-separator",
        ";",
        "--headers-key-separator",
        "=",
        "--null-marker",
        "NULL",
        given=b"a=1;b=NULL|k:v\nNULL|NULL:NULL\n",
    )
    assert done.exit_code == 0
    assert [(one.key, one.value, one.headers) for one in stored()] == [
        (b"k", b"v", (("a", b"1"), ("b", None))),
        (None, None, ()),
    ]


@pytest.mark.parametrize("option", ["--property", "--reader-property"])
def test_keys_by_kafkas_properties(option: str) -> None:
    done = produce(option, "parse.key=true", option, "key.separator=:", given=b"k:v\n")
    assert done.exit_code == 0
    assert [(one.key, one.value) for one in stored()] == [(b"k", b"v")]


def test_a_line_that_cannot_be_read_ends_it_with_file_and_number_after_those_before() -> None:
    Path("lines").write_bytes(b"k\tv\n" * 2 + b"no key\nk\tw\n")
    done = produce("--parse-key", "lines")
    assert done.exit_code == 1
    assert "streamlog: lines:3: no key separator '\\t' in 'no key'\n" in done.stderr
    assert "2 records stored" in done.stderr
    assert values() == [b"v", b"v"]


def test_a_line_without_key_may_be_taken_as_a_value() -> None:
    assert produce("--parse-key", "--ignore-error", given=b"k\tv\nno key\n").exit_code == 0
    assert [(one.key, one.value) for one in stored()] == [(b"k", b"v"), (None, b"no key")]


def test_json_lines_say_everything_of_a_record() -> None:
    with Broker("d") as broker:
        broker.create_topic("t", partitions=3)
    record = {"key": "k", "value": "v", "headers": {"h": "1"}, "partition": 2, "timestamp": 5}
    done = produce("--json-lines", given=json.dumps(record).encode() + b"\n")
    assert done.exit_code == 0
    (found,) = stored()
    assert (found.partition, found.timestamp_ms, found.key) == (2, 5, b"k")
    assert found.headers == (("h", b"1"),)


def test_a_record_that_is_not_stored_names_its_line_and_its_reason() -> None:
    done = produce("--json-lines", given=b'{"value": "a"}\n{"value": "b", "partition": 7}\n')
    assert done.exit_code == 3
    assert "streamlog: standard input:2: " in done.stderr
    assert "1 record stored" in done.stderr
    assert values() == [b"a"]


def test_a_batch_that_is_refused_names_its_lines_from_first_to_last() -> None:
    lines = [b"{}", b"{}", b'{"timestamp": 9999999999999}', b"{}"]
    done = produce("--json-lines", "--linger-ms", "60000", given=b"\n".join(lines))
    assert done.exit_code == 1
    assert "streamlog: standard input:1 to standard input:4, in one batch: t-0: " in done.stderr
    assert "9999999999999" in done.stderr
    assert "0 records stored" in done.stderr
    done = produce("--json-lines", "--linger-ms", "0", given=b"\n".join(lines))
    assert "streamlog: standard input:3: t-0: " in done.stderr
    assert "2 records stored" in done.stderr


def test_a_line_that_is_too_long_is_refused_with_its_number() -> None:
    done = produce("--command-property", "max.request.size=1000", given=b"a\n" + b"x" * 990 + b"\n")
    assert done.exit_code == 1
    assert "standard input:2: " in done.stderr
    done = produce(
        "--command-property", "max.request.size=1000", given=b"a\n" + b"x" * 100_000, topic="u"
    )
    assert "standard input:2: the line is longer than 1000 bytes" in done.stderr
    assert values() == values("u") == [b"a"]


def test_json_prints_the_summary_as_an_object_on_stdout() -> None:
    done = produce("--json", given=b"abc\n")
    summary = json.loads(done.stdout)
    assert (summary["topic"], summary["records"], summary["bytes"]) == ("t", 1, 3)
    assert summary["seconds"] >= 0


@pytest.mark.parametrize("codec", ["gzip", "lz4"])
def test_compression_batch_size_and_buffer_reach_the_producer(codec: str) -> None:
    done = produce(
        "--compression-codec", codec, "--batch-size", "100000", "--timeout", "1000",
        given=b"a" * 60 + b"\n" + b"a" * 60 + b"\n",
    )  # fmt: skip
    assert done.exit_code == 0
    with Broker("d") as broker:
        assert broker.partition("t", 0).log.size_bytes < 180
    done = produce("--max-memory-bytes", "10", given=b"a" * 60 + b"\n", topic="u")
    assert done.exit_code == 1


def test_sync_waits_for_each_record_and_acks_are_the_producers() -> None:
    done = produce("--sync", "--request-required-acks", "1", given=b"a\nb\n")
    assert done.exit_code == 0
    assert values() == [b"a", b"b"]
    done = produce("--request-required-acks", "7", given=b"a\n")
    assert done.exit_code == 1
    assert "acks" in done.stderr


def test_configuration_comes_from_a_file_too() -> None:
    Path("config").write_text("# mine\nmax.request.size=10\n")
    for option in ("--command-config", "--producer.config"):
        done = produce(option, "config", given=b"x" * 50)
        assert "longer than 10 bytes" in done.stderr or done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--property", "parse.keys=true"], "did you mean parse.key?"),
        (["--property", "parse.key"], "expected key=value"),
        (["--json-lines", "--parse-key"], "parse.key has no meaning"),
        (["--command-property", "transactional.id=x"], "sends no transactions"),
        (["--key-separator", ""], "key.separator may not be empty"),
        (["--null-marker", ","], "null.marker and headers.separator may not be equal"),
    ],
)
def test_options_that_cannot_be_meant_are_wrong_usage(arguments: list[str], reason: str) -> None:
    done = produce(*arguments, given=b"a\n")
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not Path("d").exists()


def test_an_unknown_key_of_the_configuration_is_an_error_before_anything_is_made() -> None:
    done = produce("--command-property", "linger.mss=1", given=b"a\n")
    assert done.exit_code == 1
    assert "linger_ms" in done.stderr
    assert not Path("d").exists()

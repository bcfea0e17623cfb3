from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.cli.app import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Broker(path) as broker:
        for topic in ("prices", "stock"):
            configs = {"cleanup_policy": "compact", "segment_bytes": 2000}
            broker.create_topic(topic, configs=configs)
        broker.create_topic("plain")
        with Producer(broker) as producer:
            for number in range(60):
                for topic in ("prices", "stock"):
                    producer.send(topic, b"v%d" % number, key=b"k%d" % (number % 3))
    return path


def compact(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--data", str(data), "compact", *arguments])


def values(data: Path, topic: str) -> list[bytes | None]:
    with Broker(data) as broker, Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        found: list[bytes | None] = []
        while records := consumer.poll(100):
            found += records.values()
        return found


def test_of_each_key_the_last_record_stays_and_what_went_is_said(data: Path) -> None:
    done = compact(data, "--topic", "prices", "--roll", "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert (row["topic"], row["partition"]) == ("prices", 0)
    assert (row["records_before"], row["records_after"]) == (60, 3)
    assert row["bytes_after"] < row["bytes_before"]
    assert row["segments_after"] <= row["segments_before"]
    assert done.stderr.startswith("removed 57 records, freed ")
    assert values(data, "prices") == [b"v57", b"v58", b"v59"]
    assert len(values(data, "stock")) == 60


def test_without_a_topic_every_compacted_one_is_cleaned(data: Path) -> None:
    rows = json.loads(compact(data, "--roll", "--json").stdout)
    assert {row["topic"] for row in rows} == {"prices", "stock"}


def test_the_segment_that_is_being_written_is_left_without_roll(data: Path) -> None:
    compact(data)
    left = values(data, "prices")
    assert 3 < len(left) < 60
    assert left[-3:] == [b"v57", b"v58", b"v59"]


def test_where_nothing_is_left_to_do_nothing_is_said(data: Path) -> None:
    compact(data, "--roll")
    compact(data)  # joins the small segments that the first one left
    done = compact(data)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "removed 0 records, freed 0 bytes\n"


def test_a_topic_that_is_not_compacted_or_not_there_is_refused(data: Path) -> None:
    assert compact(data, "--topic", "plain").exit_code == 1
    assert compact(data, "--topic", "nope").exit_code == 3


def test_a_compacted_directory_verifies(data: Path) -> None:
    compact(data, "--roll")
    done = CliRunner().invoke(app, ["--data", str(data), "verify"])
    assert (done.exit_code, done.stdout) == (0, "")


def test_a_directory_in_use_is_left_alone(data: Path) -> None:
    with Broker(data):
        assert compact(data).exit_code == 4

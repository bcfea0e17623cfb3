"""`streamlog top` into a pipe; the terminal is in tests/integration/test_cli_top.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Consumer, Producer
from streamlog.cli.app import app
from streamlog.cli.live.sample import take_sample


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Broker(path) as broker:
        broker.create_topic("orders", partitions=2)
        broker.create_topic("payments")
        with Producer(broker) as producer:
            for _ in range(5):
                producer.send("orders", b"x", partition=0)
        with Consumer(broker, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(1000, max_records=2)
            consumer.commit()
    return path


def top(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--data", str(data), "top", *arguments])


def test_a_pipe_gets_one_look_at_topics_and_groups(data: Path) -> None:
    done = top(data)
    assert done.exit_code == 0
    topics, groups = done.stdout.split("\n\n")
    rows = [line.split("\t") for line in topics.splitlines()]
    assert rows[0][:3] == ["TOPIC", "PARTITIONS", "LAG"]
    assert [row[:4] for row in rows[1:]] == [["orders", "2", "3", "5"], ["payments", "1", "0", "0"]]
    assert groups.splitlines()[1].split("\t")[0] == "g"


def test_json_is_one_object(data: Path) -> None:
    found = json.loads(top(data, "--once", "--json").stdout)
    assert [topic["topic"] for topic in found["topics"]] == ["orders", "payments"]
    assert found["groups"][0]["lag"] == 3


def test_sort_filter_and_internal_topics_are_options_as_well(data: Path) -> None:
    def names(*arguments: str) -> list[str]:
        found = json.loads(top(data, "--json", *arguments).stdout)
        return [topic["topic"] for topic in found["topics"]]

    assert names("--filter", "PAY") == ["payments"]
    assert names("--sort", "size") == ["orders", "payments"]
    assert "__consumer_offsets" in names("--include-internal")


def test_a_directory_in_use_can_be_watched(data: Path) -> None:
    with Broker(data) as owner, Producer(owner) as producer:
        producer.send("payments", b"x").result()
        found = json.loads(top(data, "--json").stdout)
    assert [topic["records"] for topic in found["topics"]] == [5, 1]


def test_the_state_of_a_group_is_not_made_up_while_another_process_may_have_members_of_it(
    data: Path,
) -> None:
    assert json.loads(top(data, "--json").stdout)["groups"][0]["state"] == "empty"
    with Broker(data) as owner, Consumer(owner, "orders", group_id="g") as consumer:
        consumer.poll(0)
        assert json.loads(top(data, "--json").stdout)["groups"][0]["state"] is None
        assert top(data).stdout.splitlines()[-1].split("\t")[:2] == ["g", "-"]


def test_a_state_is_unknown_while_another_process_has_members_of_the_group(
    data: Path,
) -> None:
    with Broker(data, read_only=True) as watching:
        assert take_sample(watching).groups["g"].state == "empty"
        with Broker(data) as owner:
            assert take_sample(watching).groups["g"].state == "empty"
            consumer = Consumer(owner, "orders", group_id="g")
            consumer.poll(0)
            assert take_sample(watching).groups["g"].state is None
        consumer.close()
        assert take_sample(watching).groups["g"].state == "empty"


def test_an_interval_that_is_no_time_is_wrong_usage(data: Path) -> None:
    assert top(data, "--interval", "0").exit_code == 2

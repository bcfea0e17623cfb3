from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Producer
from streamlog.cli.app import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Broker(path) as broker:
        configs = {"segment_bytes": 2000, "retention_bytes": 5000}
        broker.create_topic("orders", configs=configs)
        broker.create_topic("kept", configs={"segment_bytes": 2000})
        with Producer(broker) as producer:
            for _ in range(40):
                producer.send("orders", b"x" * 400)
                producer.send("kept", b"x" * 400)
    return path


def retain(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--data", str(data), "retain", *arguments])


def files(data: Path, topic: str) -> list[Path]:
    return sorted((data / "topics" / f"{topic}-0").glob("*.log"))


def test_what_retention_does_not_keep_is_gone_and_said(data: Path) -> None:
    before, kept = files(data, "orders"), files(data, "kept")
    freed = sum(path.stat().st_size for path in before)
    done = retain(data, "--json")
    assert done.exit_code == 0
    after = files(data, "orders")
    freed -= sum(path.stat().st_size for path in after)
    (row,) = json.loads(done.stdout)
    assert row == {
        "topic": "orders",
        "partition": 0,
        "segments_deleted": len(before) - len(after),
        "bytes_freed": freed,
        "log_start_offset": int(after[0].stem),
    }
    assert len(after) < len(before)
    assert files(data, "kept") == kept
    assert done.stderr == f"deleted {row['segments_deleted']} segments with {freed} bytes\n"


def test_a_second_time_there_is_nothing_to_do(data: Path) -> None:
    retain(data)
    done = retain(data)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "deleted 0 segments with 0 bytes\n"


def test_a_directory_in_use_is_left_alone(data: Path) -> None:
    with Broker(data):
        assert retain(data).exit_code == 4

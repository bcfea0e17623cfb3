"""`streamlog verify`: what it prints, how it exits, what --repair leaves alone."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Producer
from streamlog.cli import verify as verify_module
from streamlog.cli.app import app
from streamlog.runtime import OsFileSystem
from streamlog.testing import FaultPlan, FaultyFileSystem


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with Broker(path) as broker:
        broker.create_topic("orders", configs={"segment_bytes": 3000, "index_interval_bytes": 100})
        with Producer(broker) as producer:
            for number in range(90):
                producer.send("orders", b"v%d" % number)
    return path


def verify(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", "--data", str(data), *arguments])


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def kept(data: Path) -> dict[str, str]:
    paths = [*data.glob("topics/*/*.log"), data / "META", data / "FORMAT"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_whole_directory_prints_nothing_and_exits_with_0(data: Path) -> None:
    done = verify(data)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "checked 1 logs, 90 batches, 90 records\n"
    assert verify(data, "--json").stdout == "[]\n"


def test_a_directory_in_use_can_be_verified(data: Path) -> None:
    with Broker(data) as broker, Producer(broker) as producer:
        producer.send("orders", b"x").result()
        assert verify(data).exit_code == 0


def test_damage_is_a_line_with_its_place_and_exits_with_5(data: Path) -> None:
    flip(data / "topics/orders-0/00000000000000000000.log", 85)
    done = verify(data)
    assert done.exit_code == 5
    heads, line = done.stdout.splitlines()
    assert heads == "SEVERITY\tPATH\tPOSITION\tOFFSET\tMESSAGE"
    severity, path, position, offset, message = line.split("\t")
    assert (severity, position, offset) == ("damage", "0", "0")
    assert path == "topics/orders-0/00000000000000000000.log"
    assert "checksum" in message
    (found,) = json.loads(verify(data, "--json").stdout)
    assert (found["severity"], found["topic"], found["partition"]) == ("damage", "orders", 0)


def test_repair_makes_indexes_again_and_touches_no_data(data: Path) -> None:
    for index in sorted(data.glob("topics/*/*.idx"))[:2]:
        flip(index, 5)
    before, done = kept(data), verify(data)
    assert done.exit_code == 5
    assert "--repair" in done.stderr
    repaired = verify(data, "--repair")
    assert (repaired.exit_code, repaired.stdout) == (0, "")
    assert "made again: topics/orders-0/00000000000000000000.idx" in repaired.stderr
    assert kept(data) == before
    assert verify(data).exit_code == 0


def test_repair_leaves_damage_as_it_is(data: Path) -> None:
    flip(data / "topics/orders-0/00000000000000000000.log", 85)
    before = kept(data)
    assert verify(data, "--repair").exit_code == 5
    assert kept(data) == before


def test_repair_waits_for_nobody(data: Path) -> None:
    flip(next(data.glob("topics/*/*.idx")), 5)
    with Broker(data):
        assert verify(data, "--repair").exit_code == 4


def test_what_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    assert verify(tmp_path).exit_code == verify(tmp_path / "nowhere").exit_code == 3
    (tmp_path / "letter.txt").write_text("Dear")
    assert verify(tmp_path).exit_code == 1


def test_a_file_that_may_not_be_read_is_an_error_of_its_own(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Injected: root may read everything."""
    plan = FaultPlan()
    plan.fail("open", errno.EACCES, path="*/orders-0/*.log", times=None)
    monkeypatch.setattr(
        verify_module, "OsFileSystem", lambda: FaultyFileSystem(OsFileSystem(), plan)
    )
    done = verify(data)
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()[1:]
    assert line.split()[:2] == ["unreadable", "topics/orders-0/00000000000000000000.log"]
    assert line.endswith("Permission denied")
    assert "hint: run it as a user who may read all files" in done.stderr
    flip(data / "META", 20)
    assert verify(data).exit_code == 5, "damage is worse"

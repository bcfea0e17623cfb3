"""CLI-4: `streamlog bench`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Producer
from streamlog.cli import session
from streamlog.cli.app import app
from streamlog.cli.bench.statistics import Statistics
from streamlog.testing import VirtualClock


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMLOG_DATA", raising=False)


def bench(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["bench", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Callable[[], VirtualClock]:
    """Return what gives the clock of the last broker in memory."""
    clocks: list[VirtualClock] = []

    def make(*directory: str, read_only: bool = False) -> Broker:
        clocks.append(VirtualClock())
        return Broker(*directory, read_only=read_only, clock=clocks[-1])

    monkeypatch.setattr(session, "Broker", make)
    return lambda: clocks[-1]


def test_a_producer_in_memory_prints_kafkas_line() -> None:
    done = bench("produce", "--num-records", "2000", "--record-size", "10")
    assert done.exit_code == 0
    assert done.stdout.startswith("2000 records sent, ")
    for part in ("MB/sec)", "ms avg latency", "ms max latency", "ms 50th", "ms 99.9th."):
        assert part in done.stdout
    assert done.stderr == ""


def test_a_producer_counts_what_it_sent(virtual: Callable[[], VirtualClock]) -> None:
    done = bench("produce", "--num-records", "600", "--record-size", "1024", "--json")
    result = json.loads(done.stdout)
    assert (result["records"], result["average_ms"], result["max_ms"]) == (600, 0.0, 0.0)
    assert list(result)[-4:] == ["p50_ms", "p95_ms", "p99_ms", "p99_9_ms"]


def test_the_rate_is_kept_and_reported_on_the_way(virtual: Callable[[], VirtualClock]) -> None:
    done = bench(
        "produce", "--num-records", "3072", "--throughput", "1024", "--reporting-interval", "1000",
        "--json",
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["records_per_second"] == pytest.approx(1024, rel=0.01)
    assert result["seconds"] == pytest.approx(3, rel=0.01)
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["1025", "1024"]


def test_a_batch_that_lingers_shows_in_the_latency(virtual: Callable[[], VirtualClock]) -> None:
    done = bench(
        "produce", "--num-records", "100", "--throughput", "1000", "--json",
        "--producer-props", "linger.ms=50", "--warmup-records", "10",
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert result["records"] == 100
    assert 40 < result["max_ms"] <= 50


def test_values_of_a_file_are_sent_in_a_directory_with_partitions() -> None:
    Path("values").write_bytes(b"one|two|")
    done = bench(
        "produce", "--data", "d", "--topic", "t", "--partitions", "3", "--num-records", "50",
        "--payload-file", "values", "--payload-delimiter", "|",
    )  # fmt: skip
    assert done.exit_code == 0
    with Broker("d") as broker:
        assert len(broker.describe_topic("t").partitions) == 3
    read = CliRunner().invoke(app, ["--data", "d", "consume", "--topic", "t", "--from-beginning"])
    assert sorted(read.stdout.split()) == ["one"] * 25 + ["two"] * 25


def test_a_record_that_is_refused_ends_it_with_the_reason() -> None:
    done = bench("produce", "--producer-props", "max.request.size=50")
    assert done.exit_code == 1
    assert "50" in done.stderr
    assert done.stdout == ""


def test_metrics_and_charts_are_printed_and_written() -> None:
    done = bench("produce", "--num-records", "500", "--print-metrics", "--plot", "--svg", "run.svg")
    assert "record_send_total: 500\n" in done.stderr
    assert "Largest latency" in done.stderr
    assert done.stdout.count("\n") == 1
    assert ET.parse("run.svg").getroot().tag.endswith("svg")


def test_a_consumer_in_memory_reads_what_was_put_there(
    virtual: Callable[[], VirtualClock],
) -> None:
    done = bench(
        "consume", "--num-records", "2500", "--record-size", "1024", "--partitions", "2", "--json"
    )
    (result,) = json.loads(done.stdout)
    assert (result["records"], result["mebibytes"]) == (2500, 2.441)


def test_a_consumer_reads_a_topic_to_its_end_alone_or_in_a_group() -> None:
    with Broker("d") as broker, Producer(broker, transactional_id="x") as producer:
        producer.init_transactions()
        with producer.transaction():  # the marker is an offset without a record
            for number in range(100):
                producer.send("bench", b"12345", key=b"%02d" % number)
    for group in ([], ["--group", "g"]):
        done = bench("consume", "--data", "d", *group, "--print-metrics", "--plot")
        heads, values = (line.split("\t") for line in done.stdout.splitlines())
        row = dict(zip(heads, values, strict=True))
        assert row["RECORDS"] == "100"
        assert row["MEBIBYTES"] == str(round(700 / 1024 / 1024, 3))
        assert 'records_lag: {"bench-0": 0}' in done.stderr
        assert "Throughput" in done.stderr
        assert "Largest latency" not in done.stderr


def test_a_consumer_that_waits_in_vain_says_so(virtual: Callable[[], VirtualClock]) -> None:
    bench("produce", "--data", "d", "--num-records", "10")
    done = bench("consume", "--data", "d", "--num-records", "20", "--timeout", "1")
    assert done.exit_code == 0
    assert "ended: no record came for 1 ms, 10 of 20 read" in done.stderr
    done = bench("consume", "--data", "d", "--from-latest", "--timeout", "1", "--fetch-size", "99")
    assert done.stderr == ""
    assert "\t0\t" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["produce", "--payload-file", "nowhere"], 2, "nowhere"),
        (["produce", "--payload-file", ".", "--record-size", "5"], 2, "."),
        (["produce", "--num-records", "0"], 2, "0"),
        (["produce", "--producer-props", "transactional.id=x"], 2, "sends no transactions"),
        (["consume", "--data", "nowhere"], 3, "no such data directory"),
        (["consume", "--consumer-props", "max.poll.recrods=1"], 1, "max_poll_records"),
    ],
)
def test_what_cannot_be_meant_is_an_error(arguments: list[str], code: int, reason: str) -> None:
    done = bench(*arguments)
    assert done.exit_code == code
    assert reason in done.stderr


@pytest.mark.parametrize("command", ["produce", "consume"])
def test_ctrl_c_prints_what_was_measured_and_ends_with_130(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Statistics.consumed if command == "consume" else Statistics.count

    def interrupted(run: Statistics, *numbers: Any) -> None:
        real(run, *numbers)
        if run.total.records >= 1000:
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(Statistics, real.__name__, interrupted)
    done = bench(command, "--memory", "--num-records", "100000", "--json")
    assert done.exit_code == 130
    result = json.loads(done.stdout)
    records = (result if command == "produce" else result[0])["records"]
    assert 1000 <= records < 2000


def test_memory_wins_over_a_directory_named_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLOG_DATA", "d")
    assert bench("produce", "--memory", "--num-records", "10").exit_code == 0
    assert "\t10\t" in bench("consume", "--memory", "--num-records", "10").stdout
    assert not Path("d").exists()


def test_size_and_file_exclude_each_other() -> None:
    Path("values").write_bytes(b"one\n")
    done = bench("produce", "--payload-file", "values", "--record-size", "5")
    assert (done.exit_code, "exclude each other" in done.stderr) == (2, True)

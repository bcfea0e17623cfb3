"""The benchmarks still run, and what they report follows from what they measured. No figure is asserted here."""

from __future__ import annotations

import json
import sys
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import peers, report, run
from benchmarks.floors import EMPTY_CALL, QUIET_CALL_S, empty_call, within_seconds
from benchmarks.harness import (
    Bench,
    Contender,
    Row,
    Size,
    Spread,
    at_least,
    at_most,
    format_value,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = [f"{topic}.{case}" for topic in run.topics() for case in run.cases(topic)]


def contender(name: str, *seconds: float) -> Contender:
    """Takes exactly so long, round by round; the first round is the warm-up."""
    times = cycle(seconds)
    return Contender(name, lambda: next(times))


# ---- every benchmark runs


@pytest.mark.parametrize("name", CASES)
def test_every_case_runs_in_miniature(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name.startswith("wire."):
        pytest.importorskip("confluent_kafka")
    figures = tmp_path / "figures.json"
    options = ["--tiny", "--no-peers", "--dir", str(tmp_path), "--json", str(figures)]
    status = run.main([*options, "--only", name])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert "targets met" in printed.out
    document = json.loads(figures.read_text())
    assert document["about"]["size"] == "tiny"
    assert document["rows"]
    assert {row["topic"] for row in document["rows"]} == {name}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json"]


@pytest.mark.parametrize("name", peers.NAMES)
def test_every_peer_that_is_installed_takes_part(name: str, tmp_path: Path) -> None:
    bench = Bench(size=Size.TINY, directory=tmp_path)
    with peers.open_peers(bench, tmp_path, name, value=b"x" * 100, count=10) as opened:
        if not opened:
            pytest.skip(bench.rows[0].note)
        spreads = bench.compare(opened[0], [])
    assert spreads[name].minimum > 0


def test_a_missing_peer_is_skipped_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    bench = Bench(directory=tmp_path)
    with peers.open_peers(bench, tmp_path, peers.LMDB, value=b"x", count=1) as opened:
        assert opened == []
        assert opened.targets(at_least(1, peers.LMDB)) == []
    (row,) = bench.rows
    assert row.what == peers.LMDB
    assert row.note.startswith("skipped: ModuleNotFoundError")


# ---- comparing


def test_a_ratio_is_that_of_each_round_not_of_the_medians() -> None:
    bench = Bench()
    # Round for round twice as long, although the machine was three times slower in the second half.
    bench.compare(
        contender("subject", 9.0, 2.0, 2.0, 6.0, 6.0),
        [contender("floor", 9.0, 1.0, 1.0, 3.0, 3.0)],
        [at_most(2, "floor")],
        rounds=4,
    )
    (row,) = bench.rows
    assert row.ratio == Spread(2.0, 2.0, 2.0, 2.0)
    assert (row.met, row.target) == (True, "<= 2x")


@pytest.mark.parametrize(
    ("target", "subject", "met", "ratio"),
    [
        (at_most(3, "other"), 3.0, True, 3.0),
        (at_most(3, "other"), 3.5, False, 3.5),
        (at_least(0.5, "other"), 2.0, True, 0.5),
        (at_least(0.5, "other"), 4.0, False, 0.25),
        (at_least(1, "other"), 0.5, True, 2.0),
        (within(3.0, "other", 1.0), 3.0, True, 3.0),
        (within(3.0, "other", 2.0), 3.0, False, 3.0),
    ],
)
def test_a_target_is_met_up_to_its_bound(
    target: object, subject: float, met: bool, ratio: float
) -> None:
    bench = Bench(rounds=1)
    bench.compare(contender("subject", subject), [contender("other", 1.0)], [target])  # type: ignore[list-item]
    (row,) = bench.rows
    assert row.ratio is not None
    assert (row.ratio.median, row.met) == (ratio, met)


def test_a_noisy_round_does_not_hide_that_the_minima_meet_the_target() -> None:
    bench = Bench()
    subject = contender("subject", 1.0, 2.0, 9.0, 9.0)
    bench.compare(subject, [contender("other", 1.0)], [at_most(2, "other")], rounds=3)
    (row,) = bench.rows
    assert (row.met, row.met_by_minima) == (False, True)
    assert "MISSED, the minima meet it" in report.cells(row)


def test_seconds_are_judged_by_the_yardstick_of_the_same_run() -> None:
    bench = Bench(rounds=1)
    # The machine is three times slower than the quiet one, and so is the subject.
    slow_call = contender(EMPTY_CALL, 3 * QUIET_CALL_S)
    bench.compare(contender("subject", 27e-6), [slow_call], [within_seconds(10e-6)])
    (row,) = bench.rows
    assert row.met
    assert report.cells(row)[3] == "27.0 us"
    assert report.cells(row)[6] == "9.00 us (9.00 us-9.00 us)"
    assert report.cells(row)[8] == "<= 10.0 us"


def test_everybody_runs_once_a_round_and_nobody_is_always_first() -> None:
    order: list[str] = []

    def logged(name: str) -> Contender:
        def run_once() -> float:
            order.append(name)
            return 1.0

        return Contender(name, run_once)

    Bench().compare(logged("a"), [logged("b"), logged("c")], rounds=2)
    assert "".join(order) == "abcbcacab"


def test_a_target_for_nobody_is_a_mistake_of_the_benchmark() -> None:
    with pytest.raises(ValueError, match="no contender named 'nobody'"):
        Bench(rounds=1).compare(contender("subject", 1.0), [], [at_most(1, "nobody")])


def test_two_contenders_of_one_name_are_a_mistake_of_the_benchmark() -> None:
    with pytest.raises(ValueError, match="one name"):
        Bench(rounds=1).compare(contender("same", 1.0), [contender("same", 1.0)])


def test_a_limit_is_judged_by_the_median() -> None:
    bench = Bench()
    bench.limit("size", 106, 106, unit="bytes")
    bench.limit("time", Spread.of([1.0, 2.0, 9.0]), 1.5)
    bench.limit("context", 7, unit="")
    assert [row.met for row in bench.rows] == [True, False, None]


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda log: Contender.loop("x", log, 7, after=lambda: log("after")), 1),
        (lambda log: Contender.calls("x", lambda: log("call"), 7), 7),
    ],
)
def test_a_contender_divides_by_the_number_of_operations(
    make: Callable[[Callable[[object], None]], Contender], count: int
) -> None:
    calls: list[object] = []
    assert make(calls.append).run() >= 0
    assert len(calls) == count + ("after" in calls)
    assert empty_call(10).run() > 0


# ---- the report


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (4.56e-8, "s", "45.6 ns"),
        (1.234e-6, "s", "1.23 us"),
        (0.005, "s", "5.00 ms"),
        (1.5, "s", "1.50 s"),
        (102.75, "bytes", "102.8 B"),
        (64 * 1024 * 1024, "bytes", "64.0 MiB"),
        (20 * 1024, "bytes", "20.0 KiB"),
        (4, "", "4"),
    ],
)
def test_a_value_is_shown_with_three_digits_and_its_unit(
    value: float, unit: str, shown: str
) -> None:
    assert format_value(value, unit) == shown


def report_rows() -> list[Row]:
    bench = Bench(rounds=1)
    bench.topic = "topic.case"
    bench.compare(contender("slow", 4.0), [contender("floor", 1.0)], [at_most(2, "floor")])
    bench.compare(contender("quick", 1.0), [contender("floor", 1.0)], [at_most(2, "floor")])
    bench.limit("bytes", 200, 106, unit="bytes")
    bench.skip("peer", "not installed")
    return bench.rows


@pytest.mark.parametrize("with_rich", [True, False])
def test_the_table_marks_what_was_missed_and_skipped(
    with_rich: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    report.print_table(report_rows())
    lines = capsys.readouterr().out.splitlines()
    (slow,) = (line for line in lines if "slow" in line)
    assert "4.00 (4.00-4.00)" in slow
    assert "MISSED" in slow
    assert any("skipped: not installed" in line for line in lines)


def test_the_summary_names_every_target_that_was_missed() -> None:
    assert report.summary(report_rows()).splitlines() == [
        "1 of 3 targets met",
        "  missed: topic.case: slow: 4.00 (4.00-4.00), target <= 2x floor",
        "  missed: topic.case: bytes: 200 B, target <= 106 B",
    ]


def test_noise_is_told_by_a_loop_that_never_changes() -> None:
    assert report.noise_line([2.0] * 5 + [3.0] * 4 + [8.0]) == (
        "noise: the same loop took 1.50 times its least time in half of the rounds, 4.00 in every tenth"
    )
    assert report.noise_line([]) == ""
    bench = Bench(rounds=3)
    bench.compare(contender("subject", 1.0), [])
    assert len(bench.noise) == 4


# ---- the runner


def test_list_prints_the_names_that_only_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == CASES
    assert run.main(["--list", "--only", "storage.disk,latency"]) == 0
    assert capsys.readouterr().out.split() == [
        "latency.two_threads",
        "latency.same_thread",
        "storage.disk",
    ]


def test_an_unknown_topic_is_refused_with_those_there_are() -> None:
    with pytest.raises(SystemExit, match=r"storage\.disk.*; found nonsense"):
        run.main(["--only", "nonsense"])


def test_a_case_that_raises_is_named_and_the_others_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> None:
        raise RuntimeError("broken on purpose")

    def sound(bench: Bench) -> None:
        bench.limit("sound", 1, unit="")

    monkeypatch.setattr(run, "topics", lambda: ["made_up"])
    monkeypatch.setattr(run, "cases", lambda _: {"broken": broken, "sound": sound})
    assert run.main(["--dir", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "raised an error: made_up.broken" in printed.out
    assert "broken on purpose" in printed.err
    assert "made_up.sound" in printed.out

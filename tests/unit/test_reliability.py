"""RELIABILITY.md: the promises, the sweeps behind them, and how figures get there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reliability.promises import PROMISES
from tests.reliability.report import render
from tests.reliability.results import (
    NoResultError,
    SweepResult,
    figures_of,
    load,
    print_figures,
    save,
)
from tests.reliability.sweeps import SWEEPS

ROOT = Path(__file__).parents[2]


def result(name: str, *, exit_status: int = 0, **figures: int | float | str) -> SweepResult:
    return SweepResult(name, figures, 1, [], 61.0, exit_status, "abc1234", "3.11.7", "2026-11-22")


def test_promises_are_numbered_and_shown_by_what_is_there() -> None:
    assert [promise.id for promise in PROMISES] == [f"P{n}" for n in range(1, 15)]
    for promise in PROMISES:
        assert set(promise.sweeps) <= SWEEPS.keys()
        assert all((ROOT / path).exists() for path in promise.tests), promise


def test_every_sweep_has_a_make_target_of_its_name() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert SWEEPS.keys() <= set(targets)


def test_tests_and_files_named_among_the_findings_are_there() -> None:
    findings = (ROOT / "tests/reliability/findings.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", findings):
        assert f"def {name}(" in sources, name
    for path in re.findall(r"`(tests/[\w/]+\.py)`", findings):
        assert (ROOT / path).exists(), path


def test_figures_are_those_that_were_printed_last(capsys: pytest.CaptureFixture[str]) -> None:
    print_figures(kills=1)
    print_figures(kills=1000, seed="7", rows=[("a", "b")])
    print("done")
    assert figures_of(capsys.readouterr().out) == ({"kills": 1000, "seed": "7"}, [["a", "b"]])


def test_a_sweep_that_tells_nothing_has_no_result() -> None:
    with pytest.raises(NoResultError, match="no line that begins with 'RESULT '"):
        figures_of("all good\n")


def test_results_are_kept_and_found_again(tmp_path: Path) -> None:
    results = {"kills": result("kills", kills=3), "errors": result("errors", injections=5)}
    save(tmp_path / "kept.json", results)
    assert load(tmp_path / "kept.json") == results
    assert load(tmp_path / "missing.json") == {}


def test_report_says_what_passed_what_failed_and_what_did_not_run() -> None:
    report = render(
        {
            "kills": result("kills", kills=1000, lost=0, seed="7"),
            "damage": result("damage", exit_status=1, cases=150_000),
        },
        "## Found\n\nnothing",
    )
    assert "`make kills` (1,000 dead processes)" in report
    assert "`make damage` (150,000 damages, **failed**)" in report
    assert "`make crash` (not run)" in report
    assert (
        "| good | kills 1,000, lost 0, seed 7 | 1 min 1 s | abc1234, 3.11.7, 2026-11-22 |" in report
    )
    assert "| **failed** | cases 150,000 |" in report
    assert report.endswith("## Found\n\nnothing\n")


def test_the_committed_report_has_the_promises_and_findings_of_today() -> None:
    report = (ROOT / "RELIABILITY.md").read_text()
    for promise in PROMISES:
        assert f"| {promise.id} | {promise.text} |" in report
    assert (ROOT / "tests/reliability/findings.md").read_text().strip() in report
    assert "**failed**" not in report
    assert "not run" not in report
    assert not re.search(r"\| [0-9a-f]{7,}\+,", report), (
        "a sweep ran on something that is no commit"
    )

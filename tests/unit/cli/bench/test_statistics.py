"""CLI-4: what the performance tools count."""

from __future__ import annotations

import pytest

from streamlog.cli.bench.statistics import MAX_SAMPLES, Point, Statistics, Window, rounded


def statistics(expected: int = 10, interval_ms: float = 1000) -> tuple[Statistics, list[Window]]:
    reports: list[Window] = []
    return Statistics(expected, 0, interval_ms, lambda window, _: reports.append(window)), reports


def test_latencies_are_counted_in_all_and_by_interval() -> None:
    run, reports = statistics()
    for latency_ms in (1.0, 3.0):
        run.delivered(latency_ms, 100)
    run.count(999)
    assert reports == []
    run.delivered(8.0, 50)
    run.count(1000)
    run.delivered(2.0, 50)
    run.count(1500)
    run.finish(1500)
    assert reports == [Window(0, 3, 250, 12.0, 8.0)]
    assert run.total == Window(0, 4, 300, 14.0, 8.0)
    assert run.total.average_ms == 3.5
    assert run.total.rates(2000) == (2.0, 300 / 1024 / 1024 / 2)


def test_points_are_a_tenth_of_a_second_or_longer() -> None:
    run, _ = statistics()
    run.consumed(10, 1000, 50)
    run.consumed(10, 1000, 100)
    run.consumed(30, 1000, 300)
    run.consumed(1, 1000, 310)
    run.finish(320)
    run.finish(330)
    assert run.points == [
        Point(0.1, 200.0, 0.0, 0.0),
        Point(0.3, 150.0, 0.0, 0.0),
        Point(0.32, 50.0, 0.0, 0.0),
    ]


def test_percentiles_are_those_of_all_records() -> None:
    run, _ = statistics(1000)
    for latency_ms in range(1000, 0, -1):
        run.delivered(latency_ms, 0)
    run.count(0)
    assert run.percentiles(0.0, 0.5, 0.95, 0.99, 0.999, 1.0) == [1, 501, 951, 991, 1000, 1000]


def test_of_many_records_an_even_share_is_kept() -> None:
    run, _ = statistics(3 * MAX_SAMPLES)
    for number in range(3000):
        run.delivered(number, 0)
    run.count(0)
    assert run.percentiles(0.0, 0.5, 1.0) == [0, 1500, 2997]
    assert run.total.max_ms == 2999


def test_nothing_counted_is_nothing_and_no_error() -> None:
    run, _ = statistics()
    run.finish(100)
    assert (run.points, run.percentiles(0.5), run.total.average_ms) == ([], [0.0], 0.0)
    assert run.total.rates(0) == (0.0, 0.0)


def test_numbers_are_rounded_for_reading() -> None:
    assert rounded({"a": 1.23456, "b": 7, "c": "x"}) == {"a": 1.235, "b": 7, "c": "x"}


@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_single_record_is_every_percentile(share: float) -> None:
    run, _ = statistics()
    run.delivered(4.0, 1)
    run.count(1)
    assert run.percentiles(share) == [4.0]

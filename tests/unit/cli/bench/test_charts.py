from __future__ import annotations

import sys
from xml.etree import ElementTree as ET

import pytest

from streamlog.cli.bench.charts import charts_of, svg_text, terminal_text
from streamlog.cli.bench.statistics import Point
from streamlog.cli.failures import Failure

POINTS = [Point(0.1, 120_000.0, 0.01, 0.5), Point(0.2, 90_000.0, 0.02, 2.5)]


def test_a_producers_run_has_latencies_and_a_consumers_has_not() -> None:
    assert [title for title, _, _ in charts_of(POINTS, has_latencies=True)] == [
        "Throughput",
        "Average latency",
        "Largest latency",
    ]
    ((title, unit, values),) = charts_of(POINTS, has_latencies=False)
    assert (title, unit, values) == ("Throughput", "records/s", [(0.1, 120_000.0), (0.2, 90_000.0)])


def test_the_terminal_shows_each_chart_with_its_axes() -> None:
    drawn = terminal_text(charts_of(POINTS, has_latencies=True))
    assert drawn.count("> (s)") == 3
    assert "(records/s)" in drawn
    assert "132,000" in drawn
    assert any("⠀" < character <= "⣿" for character in drawn)
    assert max(map(len, drawn.splitlines())) < 100


def test_the_svg_is_well_formed_and_names_each_chart() -> None:
    tree = ET.fromstring(svg_text(charts_of(POINTS, has_latencies=True)))
    texts = [element.text for element in tree.iter() if element.text]
    assert {"Throughput", "Average latency", "Largest latency", "ms"} <= set(texts)


def test_a_run_of_one_point_can_be_drawn() -> None:
    charts = charts_of(POINTS[:1], has_latencies=True)
    assert "Throughput" in terminal_text(charts)
    assert "Throughput" in svg_text(charts)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "leather", None)
    with pytest.raises(Failure, match="a chart needs leather") as caught:
        svg_text([])
    assert caught.value.hint == "pip install 'streamlog-broker[plot]'"

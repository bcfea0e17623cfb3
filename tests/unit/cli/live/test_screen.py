from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamlog.cli.live.activity import GroupRow, Rebalance, TopicRow, View
from streamlog.cli.live.ordering import SortKey
from streamlog.cli.live.sample import TopicSample
from streamlog.cli.live.screen import draw, rate_text, size_text

VIEW = View(
    1_700_000_000_000,
    [TopicRow(TopicSample("orders", 3, 1000, 1000, 4, 2_621_440, 1), 12.4, None, 7)],
    [GroupRow("billing", "stable", 5, ("orders", "payments"), 7, 0.5)],
    [Rebalance(1_700_000_000_000, "billing", 4, 5)],
)


def shown(view: View, *, height: int = 40, typing: bool = False, text: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=120, height=height, color_system=None)
    console.print(draw(view, "data", SortKey.NAME, text, typing=typing, height=height))
    output = console.file
    assert isinstance(output, io.StringIO)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_everything_is_on_the_screen() -> None:
    lines = shown(VIEW)
    assert lines[0] == "streamlog top  data  22:13:20Z   in 12/s   out -/s   2.5 MiB"
    assert lines[2].split() == [
        "TOPIC",
        "PARTITIONS",
        "IN/S",
        "OUT/S",
        "LAG",
        "RECORDS",
        "SEGMENTS",
        "SIZE",
    ]
    assert lines[3].split() == [
        "orders",
        "(1",
        "damaged)",
        "3",
        "12",
        "-",
        "7",
        "1000",
        "4",
        "2.5",
        "MiB",
    ]
    assert lines[6].split() == ["billing", "stable", "5", "0.5", "7", "orders,", "payments"]
    assert "22:13:20Z  billing  epoch 4 to 5" in lines
    assert "q quit" in lines[-1]


def test_the_filter_is_shown_while_it_is_typed_and_after() -> None:
    assert shown(VIEW, typing=True, text="or")[-1].startswith("filter: or_")
    assert shown(VIEW, text="or")[-1].endswith("filter: or")


@pytest.mark.parametrize("height", [12, 24, 40])
def test_what_does_not_fit_is_counted(height: int) -> None:
    rows = [TopicRow(TopicSample(f"t{n:03}", 1, 0, 0, 1, 0, 0), 0.0, 0.0, 0) for n in range(100)]
    groups = [GroupRow(f"g{n:03}", "empty", 1, (), 0, 0.0) for n in range(50)]
    lines = shown(View(0, rows, groups, list(VIEW.rebalances) * 9), height=height)
    hidden = [int(line.split()[2]) for line in lines if line.startswith("... and")]
    topics = sum(line.startswith("t0") for line in lines)
    listed = sum(line.startswith("g0") for line in lines)
    assert hidden == [100 - topics, 50 - listed]
    assert len(lines) <= max(height + 2, 20)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(None, "-"), (0, "0"), (0.25, "0.2"), (9.96, "10.0"), (12.4, "12"), (1234567.8, "1,234,568")],
)
def test_rates_are_short(rate: float | None, expected: str) -> None:
    assert rate_text(rate) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 << 30, "5.0 GiB"),
        (9 << 50, "9216.0 TiB"),
    ],
)
def test_sizes_have_a_unit(size: int, expected: str) -> None:
    assert size_text(size) == expected

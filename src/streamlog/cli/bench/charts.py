"""A run as charts: in the terminal with plotille, as SVG with leather; both come with the extra ``plot``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.cli.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from streamlog.cli.bench.statistics import Point

_WIDTH = 72
_HEIGHT = 12
Chart = tuple[str, str, list[tuple[float, float]]]
"""Title, unit, and (seconds, value) along the run."""


def charts_of(points: Sequence[Point], *, has_latencies: bool) -> list[Chart]:
    """Return the charts of a run."""
    rates = [(point.seconds, point.records_per_second) for point in points]
    charts: list[Chart] = [("Throughput", "records/s", rates)]
    if has_latencies:
        mean = [(point.seconds, point.average_ms) for point in points]
        largest = [(point.seconds, point.max_ms) for point in points]
        charts += [("Average latency", "ms", mean), ("Largest latency", "ms", largest)]
    return charts


def require_plotting() -> tuple[ModuleType, ModuleType]:
    """Return plotille and leather. Raises `Failure` when the extra is not installed."""
    try:
        import leather
        import plotille
    except ModuleNotFoundError as missing:
        raise Failure(
            f"a chart needs {missing.name}", hint="pip install 'streamlog-broker[plot]'"
        ) from None
    return plotille, leather


def terminal_text(charts: Sequence[Chart]) -> str:
    """Return *charts* drawn with characters, one below the other."""
    plotille, _ = require_plotting()
    drawn = []
    for title, unit, values in charts:
        figure = plotille.Figure()
        figure.width, figure.height = _WIDTH, _HEIGHT
        figure.x_label, figure.y_label = "s", unit
        figure.register_label_formatter(float, _axis_label)
        figure.set_x_limits(min_=0)
        figure.set_y_limits(min_=0)
        figure.plot([x for x, _ in values], [y for _, y in values])
        drawn.append(f"{title}\n{figure.show()}")
    return "\n\n".join(drawn)


def svg_text(charts: Sequence[Chart]) -> str:
    """Return *charts* as one SVG document, side by side."""
    _, leather = require_plotting()
    grid = leather.Grid()
    for title, unit, values in charts:
        chart = leather.Chart(title)
        chart.add_x_axis(name="s")
        chart.add_y_axis(name=unit)
        chart.add_line(values)
        grid.add_one(chart)
    return str(grid.to_svg())


def _axis_label(value: float, chars: int, delta: float, left: bool = False) -> str:
    """Return *value* in *chars* columns, with as many digits as help."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text.ljust(chars) if left else text.rjust(chars)

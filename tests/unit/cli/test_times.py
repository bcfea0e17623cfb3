from __future__ import annotations

import click
import pytest

from streamlog.cli.times import format_time, parse_time, utc_text

NOON_MS = 1_772_366_400_000


@pytest.mark.parametrize(
    ("text", "timestamp_ms"),
    [
        ("2026-03-01T12:00:00.000Z", NOON_MS),
        ("2026-03-01T12:00:00Z", NOON_MS),
        ("2026-03-01t12:00z", NOON_MS),
        ("2026-03-01 12:00", NOON_MS),
        ("2026-03-01T12:00:00.5", NOON_MS + 500),
        ("2026-03-01T12:00:00.123999999Z", NOON_MS + 123),
        ("2026-03-01T13:30:00+01:30", NOON_MS),
        ("2026-03-01T13:30:00+0130", NOON_MS),
        ("2026-03-01", NOON_MS - 12 * 3_600_000),
        ("1970-01-01", 0),
        ("0", 0),
        (str(NOON_MS), NOON_MS),
    ],
)
def test_a_time_is_read_as_utc_unless_it_names_a_zone(text: str, timestamp_ms: int) -> None:
    assert parse_time(text) == timestamp_ms


@pytest.mark.parametrize(
    "text", ["", "noon", "2026-02-31", "2026-03-01T25:00", "1969-12-31", "-1", "12:00", "9" * 40]
)
def test_what_is_no_time_since_1970_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a time since 1970 such as"):
        parse_time(text)


def test_a_time_is_written_so_that_it_can_be_read() -> None:
    assert format_time(NOON_MS + 7) == "2026-03-01T12:00:00.007Z"
    assert parse_time(format_time(NOON_MS + 7) or "") == NOON_MS + 7


def test_no_time_is_none_and_a_time_beyond_the_calendar_stays_a_number() -> None:
    assert (format_time(None), format_time(-1)) == (None, None)
    assert (utc_text(-1), utc_text(0)) == ("NO_TIMESTAMP", "1970-01-01T00:00:00.000Z")
    assert format_time(2**62) == str(2**62)
    assert format_time(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"

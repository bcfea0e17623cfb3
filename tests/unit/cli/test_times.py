from __future__ import annotations

import pytest

from streamlog.cli.times import parse_time_ms, utc_text


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("0", 0),
        ("1772366400000", 1_772_366_400_000),
        ("2026-03-01", 1_772_323_200_000),
        ("2026-03-01T12:00:00", 1_772_366_400_000),
        ("2026-03-01T12:00:00Z", 1_772_366_400_000),
        ("2026-03-01 13:00:00.123456+01:00", 1_772_366_400_123),
    ],
)
def test_times_are_iso_8601_in_utc_or_milliseconds(text: str, time_ms: int) -> None:
    assert parse_time_ms(text) == time_ms


@pytest.mark.parametrize("text", ["", "Z", "yesterday", "-5", "1.5", "1969-12-31", "2026-13-01"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as"):
        parse_time_ms(text)


def test_a_time_is_printed_in_utc_with_milliseconds_and_read_back() -> None:
    assert utc_text(1_772_366_400_007) == "2026-03-01T12:00:00.007Z"
    assert parse_time_ms(utc_text(1_772_366_400_007)) == 1_772_366_400_007
    assert utc_text(-1) == "NO_TIMESTAMP"
    assert utc_text(2**62) == str(2**62)

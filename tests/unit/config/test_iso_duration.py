"""ISO-8601 durations, as Java's ``Duration.parse`` reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.config.iso_duration import parse_duration_ms

DAY = 86_400_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("PT0S", 0),
        ("PT20.345S", 20_345),
        ("PT15M", 900_000),
        ("PT10H", 36_000_000),
        ("P2D", 2 * DAY),
        ("P2DT3H4M", 2 * DAY + 3 * 3_600_000 + 4 * 60_000),
        ("pt1h", 3_600_000),
        ("PT0.0009S", 0),
        ("PT0.999999999S", 999),
        ("PT1.S", 1000),
        ("PT0,5S", 500),
        ("PT90M", 5_400_000),
        ("PT9223372036854775.807S", 2**63 - 1),
    ],
)
def test_a_duration_gives_milliseconds_rounded_down(text: str, milliseconds: int) -> None:
    """CON-5; most examples are those of Java's documentation."""
    assert parse_duration_ms(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "P",
            "PT",
            "P1DT",
            "1H",
            "PT1",
            "P1H",
            "PT1D",
            "P1Y",
            "P1M",
            "P1W",
            "PT1S ",
            "PT\u0661S",
        ),
        *("-PT1H", "+PT1H", "PT-1H", "PT+1H", "P-1D", "PT1H-5M", "PT1.5H", "PT1M1H", "PT.5S"),
        *("PT1.0000000001S", "PT1H\n"),
    ],
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an ISO-8601 duration"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    "text", ["PT9223372036854775.808S", "P999999999999D", "PT" + "9" * 5000 + "S"]
)
def test_a_duration_beyond_a_long_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration_ms(text)


@given(st.integers(0, 10**6), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99_999))
def test_parts_add_up(days: int, hours: int, minutes: int, milliseconds: int) -> None:
    text = f"P{days}DT{hours}H{minutes}M{milliseconds // 1000}.{milliseconds % 1000:03}S"
    expected = days * DAY + hours * 3_600_000 + minutes * 60_000 + milliseconds
    assert parse_duration_ms(text) == expected


@given(st.text(alphabet="PTDHMS0123456789.-+", max_size=12))
def test_any_text_gives_milliseconds_or_value_error(text: str) -> None:
    try:
        milliseconds = parse_duration_ms(text)
    except ValueError:
        return
    assert milliseconds >= 0
    assert text.upper().startswith("P")

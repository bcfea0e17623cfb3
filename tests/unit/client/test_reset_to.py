from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from streamlog.client.reset_to import ResetTo


def test_two_aims_of_the_same_words_are_equal() -> None:
    assert ResetTo.shift(-10) == ResetTo.shift(-10) != ResetTo.shift(10)
    assert repr(ResetTo.shift(-10)) == "ResetTo(text='shift-by -10')"


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a time with its time zone, found 2024-01-01"):
        ResetTo.time(datetime(2024, 1, 1))  # noqa: DTZ001 - that is what is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ResetTo.offset(-1), ValueError, "expected 0 or more, found -1"),
        (lambda: ResetTo.offset("3"), TypeError, "expected an int, found '3'"),
        (lambda: ResetTo.shift(True), TypeError, "expected an int, found True"),
        (lambda: ResetTo.time(-1), ValueError, "expected a time since 1970, found -1"),
        (lambda: ResetTo.duration("1 day"), ValueError, "expected an ISO-8601 duration"),
        (lambda: ResetTo.duration(timedelta(-1)), ValueError, "expected no negative duration"),
    ],
)
def test_malformed_aims_are_refused_when_made(make: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]

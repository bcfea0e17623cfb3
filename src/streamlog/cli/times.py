"""Moments as text: ISO 8601 in UTC with milliseconds, or milliseconds since 1970."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import click

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_MS = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // timedelta(milliseconds=1)
_ISO = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<time>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?",
    re.ASCII | re.IGNORECASE,
)


def format_time(timestamp_ms: int | None) -> str | None:
    """Return ``2026-03-01T12:00:00.000Z`` for milliseconds since 1970; None for no time (None, negative).

    What lies after the year 9999 stays a number.

    >>> format_time(0)
    '1970-01-01T00:00:00.000Z'
    """
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    if timestamp_ms > _LAST_MS:
        return str(timestamp_ms)
    moment = _EPOCH + timedelta(milliseconds=timestamp_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def utc_text(timestamp_ms: int) -> str:
    """As `format_time`, with Kafka's ``NO_TIMESTAMP`` for no time."""
    return format_time(timestamp_ms) or "NO_TIMESTAMP"


def parse_time(text: str) -> int:
    """Return the milliseconds since 1970 of ISO 8601, UTC where no zone is named, or of a number.

    For an option's ``type``. Raises click.BadParameter for anything else, and for a time before 1970.
    Source: Kafka ``Utils.getDateTime``.
    """
    if re.fullmatch(r"\d{1,18}", text, re.ASCII):
        return int(text)
    found = _ISO.fullmatch(text.strip())
    if found is not None:
        try:
            timestamp_ms = _milliseconds(**found.groupdict(default=""))
        except ValueError:  # the 31st of February
            timestamp_ms = -1
        if timestamp_ms >= 0:
            return timestamp_ms
    raise click.BadParameter(
        "expected a time since 1970 such as 2026-03-01T12:00:00.000Z, or milliseconds, "
        f"found {text!r}"
    )


def _milliseconds(day: str, time: str, fraction: str, zone: str) -> int:
    # Python 3.10 reads neither Z nor a zone without its colon, nor other fractions than of 3 or 6 digits.
    zone = "+00:00" if zone in ("", "Z", "z") else f"{zone[:3]}:{zone[-2:]}"
    moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{zone}")
    return (moment - _EPOCH) // timedelta(milliseconds=1) + int(fraction[:3].ljust(3, "0"))

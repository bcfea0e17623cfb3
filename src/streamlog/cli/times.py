"""Times on the command line: ISO 8601 or milliseconds since 1970 in, UTC with milliseconds out."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from streamlog.structs import NO_TIMESTAMP


def parse_time_ms(text: str) -> int:
    """Return the milliseconds since 1970 of *text*: ISO 8601, UTC if no zone is named, or that number.

    Raises ValueError for anything else and for a time before 1970.
    """
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        # Python 3.10 knows no Z.
        time = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
    except ValueError:
        time = None
    if time is not None:
        if time.tzinfo is None:
            time = time.replace(tzinfo=timezone.utc)
        since = time - datetime(1970, 1, 1, tzinfo=timezone.utc)
        time_ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
        if time_ms >= 0:
            return time_ms
    raise ValueError(
        f"expected a time such as 2026-03-01T12:00:00Z, or milliseconds since 1970, found {text!r}"
    )


def time_callback(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """For an option that takes a time: return its milliseconds, None when it was not given."""
    if value is None:
        return None
    try:
        return parse_time_ms(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def utc_text(timestamp_ms: int) -> str:
    """Return a time such as 2026-03-01T12:00:00.000Z, ``NO_TIMESTAMP`` for none.

    After the year 9999 it is the number.
    """
    if timestamp_ms == NO_TIMESTAMP:
        return "NO_TIMESTAMP"
    try:
        time = datetime.fromtimestamp(timestamp_ms // 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return str(timestamp_ms)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{timestamp_ms % 1000:03}Z"

"""ISO-8601 durations such as ``PT1H30M``, the form ``auto_offset_reset="by_duration:..."`` takes."""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?"
    r"(?P<time>T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?"
    r"(?:(?P<seconds>\d+)(?:[.,](?P<fraction>\d{0,9}))?S)?)?",
    re.ASCII | re.IGNORECASE,
)
_MAX_DIGITS = 18  # of one number: keeps hostile text from making huge integers
_MAX_MS = 2**63 - 1


def parse_duration_ms(text: str) -> int:
    """Return the milliseconds of an ISO-8601 duration ``PnDTnHnMn.nS``, rounded down.

    Days are 24 hours. Years, months and weeks have no fixed length in Kafka's rules and are
    refused, as are signs and anything above 2**63 - 1 ms: ValueError. Source: Java
    ``Duration.parse``, KIP-1106.

    >>> parse_duration_ms("P1DT2H")
    93600000
    >>> parse_duration_ms("PT0.25S")
    250
    """
    match = _DURATION.fullmatch(text)
    if match is None or text[-1] in "PpTt":
        raise ValueError(
            f"expected an ISO-8601 duration of days to seconds such as 'PT1H30M', not negative,"
            f" found {text!r}"
        )
    parts = match.groupdict(default="")
    if max(len(parts[unit]) for unit in ("days", "hours", "minutes", "seconds")) > _MAX_DIGITS:
        raise ValueError(f"duration {text[:40]!r} is too long: more than 2**63 - 1 ms")
    hours = int(parts["days"] or 0) * 24 + int(parts["hours"] or 0)
    minutes = hours * 60 + int(parts["minutes"] or 0)
    fraction_ms = int(parts["fraction"][:3].ljust(3, "0"))
    milliseconds = (minutes * 60 + int(parts["seconds"] or 0)) * 1000 + fraction_ms
    if milliseconds > _MAX_MS:
        raise ValueError(f"duration {text!r} is too long: more than 2**63 - 1 ms")
    return milliseconds

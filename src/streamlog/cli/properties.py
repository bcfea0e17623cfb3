"""``key=value`` options as Kafka's console tools take them, and backslashes in separators."""

from __future__ import annotations

import codecs
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|[abfnrtv\\])")


def parse_properties(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """Return the ``key=value`` *pairs* given with *option*; of a key given twice the last one counts.

    Raises click.UsageError for one without ``=`` or without a key.
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"{option}: expected key=value, found {pair!r}")
        found[key.strip()] = value
    return found


def read_properties_file(option: str, lines: Iterable[str]) -> dict[str, str]:
    """Return the ``key=value`` lines of a Java properties file, without comments and empty lines."""
    kept = (line.strip() for line in lines)
    return {
        key: value.strip()
        for key, value in parse_properties(
            option, (line for line in kept if line and line[0] not in "#!")
        ).items()
    }


def require_known(option: str, properties: Collection[str], known: Collection[str]) -> None:
    """Raise click.UsageError for the first of *properties* that is not *known*, naming the nearest."""
    for key in properties:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise click.UsageError(f"{option}: unknown property {key!r}; {meant}")


def is_true(value: str) -> bool:
    """Return whether *value* says true. Anything else is false, as in Kafka's tools."""
    return value.strip().lower() == "true"


def unescape(text: str) -> str:
    r"""Return *text* with ``\t``, ``\n``, ``\0``, ``\x1f``, ``\\`` and the like made what they stand for.

    A shell hands them over as two characters. A backslash before anything else stays.
    """
    return _ESCAPE.sub(lambda match: codecs.decode(match[0], "unicode_escape"), text)

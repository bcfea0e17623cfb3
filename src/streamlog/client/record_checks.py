"""Checks of what the caller gives to ``send`` besides key and value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from streamlog.errors import SerializationError

if TYPE_CHECKING:
    from streamlog.record import Headers


def checked_headers(topic: str, headers: Any) -> Headers:
    """Return *headers* as a tuple of its own, so that later changes of the caller's do not show
    (REC-3).

    Names are str; values are bytes, or None, or copied to bytes. Raises SerializationError for
    anything else. None stands for no headers.
    """
    if headers is None:
        return ()
    if isinstance(headers, (Mapping, str, bytes)) or not isinstance(headers, Iterable):
        raise SerializationError(
            f"topic {topic!r}: headers: expected (name, value) pairs, found {type(headers).__name__};"
            " a name may repeat, so a mapping will not do"
        )
    return tuple(_checked_header(topic, header) for header in headers)


def _checked_header(topic: str, header: Any) -> tuple[str, bytes | None]:
    try:
        name, value = header
    except (TypeError, ValueError):
        raise SerializationError(
            f"topic {topic!r}: headers: expected a (name, value) pair, found {header!r:.80}"
        ) from None
    if not isinstance(name, str):
        raise SerializationError(
            f"topic {topic!r}: headers: expected a name of type str, found {type(name).__name__}"
        )
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    if value is not None and not isinstance(value, bytes):
        raise SerializationError(
            f"topic {topic!r}: header {name!r}: expected bytes or None, found {type(value).__name__}"
        )
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SerializationError(f"topic {topic!r}: header {name!r}: {error}") from error
    return name, value


def check_timestamp(topic: str, timestamp_ms: Any) -> None:
    """Raise TypeError unless *timestamp_ms* is an int, ValueError when it is negative (REC-2)."""
    if isinstance(timestamp_ms, bool) or not isinstance(timestamp_ms, int):
        raise TypeError(
            f"topic {topic!r}: timestamp_ms: expected an int or None, found {timestamp_ms!r}"
        )
    if not 0 <= timestamp_ms < 1 << 63:
        raise ValueError(
            f"topic {topic!r}: timestamp_ms: expected 0 or later, found {timestamp_ms}"
        )


def check_partition(topic: str, partition: Any) -> None:
    """Raise TypeError unless *partition* is an int, ValueError when it is negative (REC-2)."""
    if isinstance(partition, bool) or not isinstance(partition, int):
        raise TypeError(f"topic {topic!r}: partition: expected an int or None, found {partition!r}")
    if partition < 0:
        raise ValueError(f"topic {topic!r}: partition: expected 0 or greater, found {partition}")


def check_topic(topic: Any, expected: str = "a str") -> None:
    """Raise TypeError unless *topic* is a str; *expected* says what else the caller takes."""
    if not isinstance(topic, str):
        raise TypeError(f"topic: expected {expected}, found {type(topic).__name__}")

"""Lines of text as records: key, value and headers between separators, as Kafka's console producer reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from streamlog.cli.properties import is_true, require_known, unescape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.structs import Header

READER_PROPERTIES = (
    "parse.key",
    "key.separator",
    "parse.headers",
    "headers.delimiter",
    "headers.separator",
    "headers.key.separator",
    "null.marker",
    "ignore.error",
)
"""The keys of `--reader-property`. Source: Kafka ``LineMessageReader``."""


class ReadRecord(NamedTuple):
    """What one line says; None where it leaves the choice to the producer, or says null."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[Header, ...] = ()
    partition: int | None = None
    timestamp_ms: int | None = None


@attrs.frozen(kw_only=True)
class LineFormat:
    """How a line is cut. Bytes stay as they are; only names of headers have to be UTF-8.

    The order is headers, key, value. Source: Kafka ``LineMessageReader``; there ``headers.separator``
    is a regular expression, here it is taken as it stands.
    """

    parse_key: bool = False
    key_separator: bytes = b"\t"
    parse_headers: bool = False
    headers_delimiter: bytes = b"\t"
    headers_separator: bytes = b","
    headers_key_separator: bytes = b":"
    null_marker: bytes | None = None
    ignore_error: bool = False

    @classmethod
    def of(cls, option: str, properties: Mapping[str, str]) -> LineFormat:
        """Return the format that *properties*, given with *option*, describe.

        Raises click.UsageError for an unknown property, ValueError for separators that exclude each other.
        """
        require_known(option, properties, READER_PROPERTIES)
        settings: dict[str, object] = {}
        for key, text in properties.items():
            name = key.replace(".", "_")
            if key in ("parse.key", "parse.headers", "ignore.error"):
                settings[name] = is_true(text)
            else:
                settings[name] = unescape(text).encode("utf-8", "surrogateescape")
        return cls(**settings)  # type: ignore[arg-type]

    def __attrs_post_init__(self) -> None:
        separators = {
            "key.separator": self.key_separator,
            "headers.delimiter": self.headers_delimiter,
            "headers.separator": self.headers_separator,
            "headers.key.separator": self.headers_key_separator,
        }
        for name, separator in separators.items():
            if not separator:
                raise ValueError(f"{name} may not be empty")
            if separator == self.null_marker:
                raise ValueError(f"null.marker and {name} may not be equal")
        of_headers = list(separators.items())[1:]
        for number, (name, separator) in enumerate(of_headers):
            for other, same in of_headers[number + 1 :]:
                if separator == same:
                    raise ValueError(f"{name} and {other} may not be equal")

    def parse(self, line: bytes) -> ReadRecord:
        """Return the record of *line*, which has no line end. Raises ValueError saying what it lacks."""
        headers, rest = self._cut(
            self.parse_headers, line, self.headers_delimiter, "headers delimiter"
        )
        key, value = self._cut(self.parse_key, rest, self.key_separator, "key separator")
        return ReadRecord(
            self._or_null(value),
            None if key is None else self._or_null(key),
            () if headers is None or headers == self.null_marker else self._headers(headers),
        )

    def _cut(
        self, is_wanted: bool, line: bytes, separator: bytes, name: str
    ) -> tuple[bytes | None, bytes]:
        if not is_wanted:
            return None, line
        before, found, after = line.partition(separator)
        if found:
            return before, after
        if self.ignore_error:
            return None, line
        raise ValueError(f"no {name} {_shown(separator)} in {_shown(line)}")

    def _headers(self, text: bytes) -> tuple[Header, ...]:
        return tuple(self._header(pair) for pair in text.split(self.headers_separator))

    def _header(self, pair: bytes) -> Header:
        name, found, value = pair.partition(self.headers_key_separator)
        if not found and not self.ignore_error:
            raise ValueError(
                f"no header key separator {_shown(self.headers_key_separator)} in {_shown(pair)}"
            )
        if found and name == self.null_marker:
            raise ValueError(f"the name of a header may not be the null marker {_shown(name)}")
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise ValueError(f"the name of a header is not UTF-8: {_shown(name)}") from None
        return text, self._or_null(value) if found else None

    def _or_null(self, part: bytes) -> bytes | None:
        return None if part == self.null_marker else part


def _shown(part: bytes) -> str:
    text = repr(part.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 80 else text[:77] + "..."

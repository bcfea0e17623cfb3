"""Records as bytes of output: Kafka's console formatter, JSON lines, and templates."""

from __future__ import annotations

import base64
from collections.abc import Callable
from string import Formatter
from typing import TYPE_CHECKING

import attrs

from streamlog.cli.json_records import to_json_line
from streamlog.cli.properties import is_true, require_known, unescape
from streamlog.cli.times import utc_text
from streamlog.structs import NO_TIMESTAMP, TimestampType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.structs import ConsumerRecord

Encoder = Callable[[bytes], bytes]
RecordFormat = Callable[["ConsumerRecord"], bytes]
"""Gives the bytes of a record, with the end of its line."""

_TIME_TYPES = {
    TimestampType.CREATE_TIME: "CreateTime",
    TimestampType.LOG_APPEND_TIME: "LogAppendTime",
}


# ---- bytes that may be no text


def raw(data: bytes) -> bytes:
    """Return *data* as it is."""
    return data


def escaped(data: bytes) -> bytes:
    r"""Return *data* as text without control characters; what is not UTF-8 as ``\xff``."""
    text = data.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
        )
    return text.encode()


ENCODERS: dict[str, Encoder] = {"raw": raw, "escape": escaped, "base64": base64.b64encode}


# ---- Kafka's console formatter


@attrs.frozen(kw_only=True)
class LineFormatter:
    """What is printed of a record, in Kafka's order. Source: Kafka ``DefaultMessageFormatter``."""

    print_timestamp: bool = False
    print_partition: bool = False
    print_offset: bool = False
    print_epoch: bool = False
    print_headers: bool = False
    print_key: bool = False
    print_value: bool = True
    key_separator: bytes = b"\t"
    line_separator: bytes = b"\n"
    headers_separator: bytes = b","
    null_literal: bytes = b"null"
    encode: Encoder = raw

    @classmethod
    def of(cls, option: str, properties: Mapping[str, str], encode: Encoder = raw) -> LineFormatter:
        """Return the formatter of *properties*, given with *option*: ``print.key``, ``key.separator`` ...

        Raises click.UsageError for an unknown one.
        """
        names = [field.name for field in attrs.fields(cls) if field.name != "encode"]
        known = {name.replace("_", "."): name for name in names}
        require_known(option, properties, known)
        settings: dict[str, object] = {}
        for key, text in properties.items():
            if key.startswith("print."):
                settings[known[key]] = is_true(text)
            else:
                settings[known[key]] = unescape(text).encode("utf-8", "surrogateescape")
        return cls(encode=encode, **settings)  # type: ignore[arg-type]

    def __call__(self, record: ConsumerRecord) -> bytes:
        """Return *record* as a line."""
        columns: list[bytes] = []
        if self.print_timestamp:
            columns.append(_time_text(record).encode())
        if self.print_partition:
            columns.append(b"Partition:%d" % record.partition)
        if self.print_offset:
            columns.append(b"Offset:%d" % record.offset)
        if self.print_epoch:
            epoch = "null" if record.leader_epoch is None else record.leader_epoch
            columns.append(f"Epoch:{epoch}".encode())
        if self.print_headers:
            columns.append(_headers(record, self.headers_separator, self._part) or b"NO_HEADERS")
        if self.print_key:
            columns.append(self._part(record.key))
        if self.print_value:
            columns.append(self._part(record.value))
        return self.key_separator.join(columns) + self.line_separator if columns else b""

    def _part(self, data: bytes | None) -> bytes:
        return self.null_literal if data is None else self.encode(data)


# ---- JSON


def json_format(*, always_base64: bool = False) -> RecordFormat:
    """Return the format of `json_records.to_json_line`."""

    def to_line(record: ConsumerRecord) -> bytes:
        return to_json_line(record, always_base64=always_base64).encode() + b"\n"

    return to_line


# ---- templates

TEMPLATE_FIELDS = (
    "topic",
    "partition",
    "offset",
    "timestamp",
    "timestamp_ms",
    "timestamp_type",
    "epoch",
    "key",
    "value",
    "headers",
    "key_size",
    "value_size",
)


def template_format(
    template: str, encode: Encoder = raw, null_literal: bytes = b"null", end: bytes = b"\n"
) -> RecordFormat:
    r"""Return the format of a *template* such as ``{timestamp} {partition}:{offset} {key} {value}``.

    ``{timestamp}`` is UTC in ISO 8601, a size that of the bytes, -1 for null; ``{{`` is a brace, ``\t``
    a tab. Raises ValueError for an unknown field and for what is no template.
    """
    parts: list[bytes | str] = []
    for text, name, spec, conversion in Formatter().parse(unescape(template)):
        parts.append(text.encode("utf-8", "surrogateescape"))
        if name is None:
            continue
        if name not in TEMPLATE_FIELDS or spec or conversion:
            shown = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(
                f"unknown field {{{shown}}}; there are "
                + " ".join(f"{{{field}}}" for field in TEMPLATE_FIELDS)
            )
        parts.append(name)

    def part(data: bytes | None) -> bytes:
        return null_literal if data is None else encode(data)

    def fill(record: ConsumerRecord) -> bytes:
        return (
            b"".join(one if isinstance(one, bytes) else _field(one, record, part) for one in parts)
            + end
        )

    return fill


def _field(name: str, record: ConsumerRecord, part: Callable[[bytes | None], bytes]) -> bytes:
    if name == "key":
        return part(record.key)
    if name == "value":
        return part(record.value)
    if name == "headers":
        return _headers(record, b",", part)
    if name == "epoch":
        return part(None if record.leader_epoch is None else b"%d" % record.leader_epoch)
    if name == "timestamp":
        return utc_text(record.timestamp_ms).encode()
    if name == "timestamp_type":
        return _TIME_TYPES[record.timestamp_type].encode()
    if name in ("key_size", "value_size"):
        data = record.key if name == "key_size" else record.value
        return b"%d" % (-1 if data is None else len(data))
    return str(getattr(record, name)).encode()


# ---- what they share


def _time_text(record: ConsumerRecord) -> str:
    if record.timestamp_ms == NO_TIMESTAMP:
        return "NO_TIMESTAMP"
    return f"{_TIME_TYPES[record.timestamp_type]}:{record.timestamp_ms}"


def _headers(
    record: ConsumerRecord, separator: bytes, part: Callable[[bytes | None], bytes]
) -> bytes:
    return separator.join(name.encode() + b":" + part(value) for name, value in record.headers)

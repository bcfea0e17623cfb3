"""The shape of Kafka's messages: a table of text, one line a field, and what it says.

A message is a head line, and its fields indented by four spaces each level::

    1 FetchResponse 0-12 flexible 12+
    throttle_time_ms int32 1+
    responses []
        topic string
        partitions []
            partition_index int32
            diverging_epoch {} 12+ tag 0
                epoch int32 = -1
            records records nullable

A line is a name, a type and then what differs from a plain field that is there in every version of what holds it: the versions
that have it (``3+``, ``8-10``, ``0``), ``nullable`` or ``nullable 1+``, ``tag N`` (carried by number at the end of its struct, and only when
it is not the default), ``inflexible`` (keeps its two-byte length in flexible versions), ``= default``. ``[]`` and ``{}`` are an array of structs and
a struct, whose fields follow; ``[]int32`` is an array of a plain type.

Source: Kafka ``clients/src/main/resources/common/message/*.json`` (Apache License 2.0; see NOTICE), without its prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

#: struct's letters for the types that are as long in every version.
FIXED_FORMATS = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint16": "H",
    "uint32": "I",
    "float64": "d",
    "bool": "?",
    "uuid": "16s",
}
_SIZED = frozenset(("string", "bytes", "records"))
_TYPES = frozenset(FIXED_FORMATS) | _SIZED

NEWEST = 2**15 - 1
"""Above every version there is."""

_RANGE = re.compile(r"(\d+)(?:(\+)|-(\d+))?")
_INDENT = 4


class Versions(NamedTuple):
    """The versions from first to last, both included."""

    first: int
    last: int

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and self.first <= version <= self.last

    def __str__(self) -> str:
        if self.first == self.last:
            return str(self.first)
        return f"{self.first}+" if self.last == NEWEST else f"{self.first}-{self.last}"


NEVER = Versions(1, 0)
"""In no version."""


class Field(NamedTuple):
    """One field of a struct. ``kind`` is a plain type, or ``""`` for a struct, whose ``fields`` it has."""

    name: str
    kind: str
    is_array: bool
    versions: Versions
    nullable: Versions
    tag: int | None
    is_inflexible: bool
    default: object
    fields: tuple[Field, ...]


class Schema(NamedTuple):
    """One message: the number of its API (-1 for what is not a request or response), and its fields in the order of the bytes."""

    api_key: int
    name: str
    versions: Versions
    flexible: Versions
    fields: tuple[Field, ...]


def parse(text: str) -> list[Schema]:
    """Return the messages in *text*, in order; a blank line ends one. Raises ValueError, naming the line, for what it cannot read."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        key, name, versions, *rest = lines[0].split()
        flexible = _versions(rest[1]) if rest else NEVER
        fields, end = _fields(lines, 1, 0, _versions(versions))
        if end != len(lines):
            raise ValueError(f"{name}: unexpected indent: {lines[end]!r}")
        found.append(Schema(int(key), name, _versions(versions), flexible, fields))
    return found


def walk(fields: tuple[Field, ...]) -> Iterator[Field]:
    """Yield *fields* and all that are inside them, in the order of the table."""
    for field in fields:
        yield field
        yield from walk(field.fields)


def _fields(
    lines: list[str], at: int, indent: int, parent: Versions
) -> tuple[tuple[Field, ...], int]:
    """Return the fields from line *at* on that have at least this *indent*, and the line behind them."""
    found = []
    while at < len(lines) and _indent(lines[at]) == indent:
        line = lines[at]
        field = _field(line, parent)
        at += 1
        if not field.kind:
            inner, at = _fields(lines, at, indent + _INDENT, field.versions)
            if not inner:
                raise ValueError(f"expected fields behind {line!r}")
            field = field._replace(fields=inner)
        found.append(field)
    return tuple(found), at


def _field(line: str, versions: Versions) -> Field:
    name, kind, *words = line.split()
    is_array = kind.startswith("[]")
    kind = "" if kind == "{}" else kind[2:] if is_array else kind
    if kind and kind not in _TYPES:
        raise ValueError(f"unknown type in {line!r}")
    nullable, tag, is_inflexible, default = NEVER, None, False, None
    if words and _RANGE.fullmatch(words[0]):
        versions = _versions(words.pop(0))
    while words:
        word = words.pop(0)
        if word == "nullable":
            has_own = words and _RANGE.fullmatch(words[0])
            nullable = _versions(words.pop(0)) if has_own else versions
        elif word == "tag":
            tag = int(words.pop(0))
        elif word == "inflexible":
            is_inflexible = True
        elif word == "=":
            default = words.pop(0)
        else:
            raise ValueError(f"unknown word {word!r} in {line!r}")
    value = _default(kind, is_array, tag, default)
    return Field(name, kind, is_array, versions, nullable, tag, is_inflexible, value, ())


def _default(kind: str, is_array: bool, tag: int | None, text: str | None) -> object:
    """Return what a field is that nobody set. A struct that is tagged or may be null is None: not there."""
    if text == "null" or (not kind and not is_array):
        return None
    if is_array:
        return ()
    if kind == "string":
        return text or ""
    if kind in ("bytes", "records"):
        return b""
    if kind == "uuid":
        return bytes(16)
    if kind == "bool":
        return text == "true"
    return int(text or 0)


def _versions(text: str) -> Versions:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected versions such as 0-3 or 2+, found {text!r}")
    first = int(match[1])
    return Versions(first, NEWEST if match[2] else int(match[3] or first))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))

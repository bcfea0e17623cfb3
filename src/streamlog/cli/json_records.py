"""Records as JSON, one object a line: what `consume --format json` prints, `produce --json-lines` reads.

Text stands as text. Bytes that are not UTF-8 stand in a field of their own, ``value_base64`` next to
no ``value``, so that every record survives the way there and back.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from streamlog.cli.line_records import ReadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.structs import ConsumerRecord, Header

_FIELDS = {
    "key",
    "key_base64",
    "value",
    "value_base64",
    "headers",
    "partition",
    "timestamp",
}
_OF_A_READ_RECORD = {"topic", "offset", "timestamp_type", "leader_epoch"}
"""What `to_json_line` says besides; where a record was is no matter where it goes."""


def to_json_line(record: ConsumerRecord, *, always_base64: bool = False) -> str:
    """Return *record* as one line of JSON, without its end."""
    line: dict[str, object] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "timestamp_type": record.timestamp_type.name,
        "leader_epoch": record.leader_epoch,
    }
    _put(line, "key", record.key, always_base64)
    _put(line, "value", record.value, always_base64)
    headers = []
    for name, value in record.headers:
        header: dict[str, object] = {"name": name}
        _put(header, "value", value, always_base64)
        headers.append(header)
    line["headers"] = headers
    return json.dumps(line, ensure_ascii=False)


def from_json_line(line: bytes) -> ReadRecord:
    """Return the record that *line* describes.

    * ``value``, ``key``: text, null, or any other JSON, which is stored as JSON text; or
      ``value_base64``, ``key_base64``
    * ``headers``: ``{"name": "text"}``, ``[["name", "text"], ...]`` or
      ``[{"name": ..., "value": ...}, ...]``; a value may be null or ``value_base64``
    * ``partition``; ``timestamp`` in milliseconds since 1970

    Raises ValueError saying what is wrong with it.
    """
    try:
        fields = json.loads(line)
    except ValueError as error:  # no UTF-8, or no JSON
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, found {_shown(fields)}")
    unknown = sorted(fields.keys() - _FIELDS - _OF_A_READ_RECORD)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}")
    return ReadRecord(
        _take(fields, "value"),
        _take(fields, "key"),
        _headers(fields.get("headers")),
        _number(fields, "partition"),
        _number(fields, "timestamp"),
    )


def _put(line: dict[str, object], name: str, data: bytes | None, always_base64: bool) -> None:
    if data is None:
        line[name] = None
        return
    if not always_base64:
        try:
            line[name] = data.decode()
            return
        except UnicodeDecodeError:
            pass
    line[f"{name}_base64"] = base64.b64encode(data).decode("ascii")


def _take(fields: Mapping[str, Any], name: str) -> bytes | None:
    encoded = fields.get(f"{name}_base64")
    if encoded is None:
        found = fields.get(name)
        if found is None:
            return None
        text = found if isinstance(found, str) else _as_json(found)
        try:
            return text.encode()
        except UnicodeEncodeError:  # JSON can name half of a surrogate pair, which is no character
            raise ValueError(f"{name}: not text: {_shown(found)}") from None
    if name in fields:
        raise ValueError(f"{name} and {name}_base64 exclude each other")
    try:
        if isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise ValueError(f"{name}_base64: expected base64, found {_shown(encoded)}")


def _headers(found: Any) -> tuple[Header, ...]:
    if found is None:
        return ()
    if isinstance(found, dict):
        found = list(found.items())
    if not isinstance(found, list):
        raise ValueError(f"headers: expected an object or a list, found {_shown(found)}")
    return tuple(_header(one) for one in found)


def _header(found: Any) -> Header:
    fields = found
    if isinstance(found, (list, tuple)) and len(found) == 2:
        fields = {"name": found[0], "value": found[1]}
    if (
        not isinstance(fields, dict)
        or fields.keys() - {"name", "value", "value_base64"}
        or not isinstance(fields.get("name"), str)
    ):
        raise ValueError(
            f'headers: expected ["name", "value"] or {{"name": ..., "value": ...}}, found {_shown(found)}'
        )
    return fields["name"], _take(fields, "value")


def _number(fields: Mapping[str, Any], name: str) -> int | None:
    found = fields.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise ValueError(f"{name}: expected a whole number from 0, found {_shown(found)}")
    return found


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."

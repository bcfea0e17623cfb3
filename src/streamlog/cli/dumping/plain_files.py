"""The files around the logs: FORMAT, META, STATE, LOCK, and the reasons in quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator

from streamlog.cli.dumping.line import Line
from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.storage.checkpoint_file import decode_checkpoint
from streamlog.storage.partition_checkpoint import PartitionCheckpoint


def checkpoint_lines(data: bytes, path: str, kind: str) -> Iterator[Line]:
    """Yield the fields of FORMAT, META or STATE; topics and logs have a line each."""
    try:
        content = decode_checkpoint(data, kind, path)
        nested = {name: value for name, value in content.items() if isinstance(value, dict)}
        yield Line(kind.lower(), {n: v for n, v in content.items() if n not in nested})
        for name, entries in nested.items():
            for key, fields in entries.items():
                yield _entry(name, key, fields)
    except (CorruptLogError, UnsupportedFormatError) as error:
        yield Line("damage", {"position": 0, "bytes": len(data), "reason": str(error)})


def _entry(name: str, key: str, fields: object) -> Line:
    what = name.removesuffix("s")
    if name == "logs":
        return Line(what, {what: key, **PartitionCheckpoint.unpack(fields, key)._asdict()}, "| ")
    if isinstance(fields, dict):
        return Line(what, {what: key, **fields}, "| ")
    return Line(what, {what: key, "partitions": fields}, "| ")


def lock_lines(data: bytes) -> Iterator[Line]:
    """Yield who has, or last had, the directory open for writing."""
    rows = (line.partition("=") for line in data.decode("ascii", "replace").splitlines())
    yield Line("lock", {name: value for name, _, value in rows})


def reason_lines(data: bytes) -> Iterator[Line]:
    """Yield why bytes are in quarantine, and which."""
    try:
        content = json.loads(data)
        pieces = content.pop("pieces", [])
        yield Line("reason", content)
        for piece in pieces:
            yield Line("piece", piece, "| ")
    except (ValueError, AttributeError, TypeError) as error:
        yield Line("damage", {"position": 0, "bytes": len(data), "reason": f"not JSON: {error}"})

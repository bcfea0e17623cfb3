"""What the broker keeps in the data directory's manifest: which topics exist.

The manifest is one map, replaced as a whole and protected by a checksum (``storage``)::

    {"broker_id": 1, "topics_created": 7,
     "topics": {"orders": {"id": "<hex>", "partitions": 3,
                           "created_ms": 1700000000000, "overrides": {"retention_ms": 86400000}}},
     "deleted": {"payments": 2}}

How to add a field: give it a default in `TopicEntry`, so that manifests of older versions stay
readable; a field that an older version must not overlook needs a new format version instead.
"""

from __future__ import annotations

from typing import Any

import attrs

from streamlog.broker.topic_name import validate_topic_name
from streamlog.errors import InvalidTopicError, UnsupportedFormatError


@attrs.define
class TopicEntry:
    """One topic as the manifest keeps it."""

    topic_id: str
    """Hex digits, never used twice in one data directory."""
    partitions: int
    created_ms: int
    overrides: dict[str, Any] = attrs.field(factory=dict)


@attrs.define
class Manifest:
    """Everything the broker itself has to remember; records and positions are in the logs."""

    broker_id: int
    topics_created: int = 0
    """How many topics were ever created here: makes the next topic id a new one, whatever the seed."""
    topics: dict[str, TopicEntry] = attrs.field(factory=dict)
    deleted: dict[str, int] = attrs.field(factory=dict)
    """Topics that are no more and whose files may still be there, with how many partitions they had."""

    def to_map(self) -> dict[str, Any]:
        """Return the manifest as plain values, topics sorted by name."""
        return {
            "broker_id": self.broker_id,
            "topics_created": self.topics_created,
            "topics": {
                name: {
                    "id": entry.topic_id,
                    "partitions": entry.partitions,
                    "created_ms": entry.created_ms,
                    "overrides": entry.overrides,
                }
                for name, entry in sorted(self.topics.items())
            },
            "deleted": dict(sorted(self.deleted.items())),
        }

    @classmethod
    def from_map(cls, stored: dict[str, Any], broker_id: int) -> Manifest:
        """Return the manifest that `to_map` gave; of a new directory (an empty map), an empty one.

        Raises `UnsupportedFormatError` when a field is missing or of another type: the checksum was
        right, so another version wrote it.
        """
        if not stored:
            return cls(broker_id)
        deleted = _field({"deleted": {}, **stored}, "deleted", dict, "the manifest")
        return cls(
            broker_id=_field(stored, "broker_id", int, "the manifest"),
            topics_created=_field(stored, "topics_created", int, "the manifest"),
            topics={
                name: _topic_entry(name, entry)
                for name, entry in _field(stored, "topics", dict, "the manifest").items()
            },
            deleted={
                _checked_name(name, "the manifest"): _field(deleted, name, int, "deleted")
                for name in deleted
            },
        )


def _topic_entry(name: object, stored: object) -> TopicEntry:
    where = f"topic {name!r} in the manifest"
    _checked_name(name, where)
    if not isinstance(stored, dict):
        raise UnsupportedFormatError(f"{where}: expected a map, found {type(stored).__name__}")
    return TopicEntry(
        topic_id=_field(stored, "id", str, where),
        partitions=_field(stored, "partitions", int, where),
        created_ms=_field(stored, "created_ms", int, where),
        overrides=_field(stored, "overrides", dict, where),
    )


def _checked_name(name: object, where: str) -> str:
    try:
        return validate_topic_name(name)  # it is about to become a path
    except InvalidTopicError as error:
        raise UnsupportedFormatError(f"{where}: {error}") from error


def _field(stored: dict[str, Any], name: str, kind: type, where: str) -> Any:
    value = stored.get(name)
    if not isinstance(value, kind):
        raise UnsupportedFormatError(
            f"{where}: expected {name} of type {kind.__name__}, found {type(value).__name__}; "
            f"another version wrote it"
        )
    return value

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from streamlog.broker.manifest import Manifest, TopicEntry
from streamlog.errors import UnsupportedFormatError


def full() -> Manifest:
    overrides = {"retention_ms": 5, "cleanup_policy": ("delete",)}
    entry = TopicEntry("ab12", partitions=3, created_ms=17, overrides=overrides)
    return Manifest(broker_id=4, topics_created=9, topics={"orders": entry}, deleted={"old": 2})


def test_manifest_survives_storage() -> None:
    stored = msgpack.unpackb(msgpack.packb(full().to_map()), strict_map_key=True)
    manifest = Manifest.from_map(stored, broker_id=4)
    assert (manifest.broker_id, manifest.topics_created) == (4, 9)
    entry = manifest.topics["orders"]
    assert (entry.topic_id, entry.partitions, entry.created_ms) == ("ab12", 3, 17)
    assert entry.overrides == {"retention_ms": 5, "cleanup_policy": ["delete"]}
    assert manifest.deleted == {"old": 2}
    assert Manifest.from_map(manifest.to_map(), 4) == manifest


def test_manifest_from_before_deleted_topics_were_noted_has_none() -> None:
    stored = full().to_map()
    del stored["deleted"]
    assert Manifest.from_map(stored, broker_id=4).deleted == {}


@pytest.mark.parametrize("deleted", [5, {"old": None}, {"../x": 1}])
def test_strange_note_of_deleted_topics_is_another_versions(deleted: object) -> None:
    with pytest.raises(UnsupportedFormatError):
        Manifest.from_map({**full().to_map(), "deleted": deleted}, broker_id=4)


def test_new_directory_gives_an_empty_manifest() -> None:
    assert Manifest.from_map({}, broker_id=2) == Manifest(broker_id=2)


@pytest.mark.parametrize("name", ["broker_id", "topics_created", "topics"])
def test_missing_or_strange_field_is_another_versions(name: str) -> None:
    stored = full().to_map()
    for value in (None, "x"):
        with pytest.raises(UnsupportedFormatError, match=f"expected {name} of type"):
            Manifest.from_map({**stored, name: value}, broker_id=4)


@pytest.mark.parametrize("name", ["id", "partitions", "created_ms", "overrides"])
def test_strange_field_of_a_topic_names_the_topic(name: str) -> None:
    stored: dict[str, Any] = full().to_map()
    stored["topics"]["orders"][name] = None
    with pytest.raises(UnsupportedFormatError, match=f"topic 'orders'.*expected {name} of type"):
        Manifest.from_map(stored, broker_id=4)
    stored["topics"]["orders"] = 5
    with pytest.raises(UnsupportedFormatError, match=r"topic 'orders'.*expected a map, found int"):
        Manifest.from_map(stored, broker_id=4)


def test_rec_5_illegal_name_in_the_manifest_never_becomes_a_path() -> None:
    stored = full().to_map()
    stored["topics"]["../../etc"] = stored["topics"]["orders"]
    with pytest.raises(UnsupportedFormatError, match="not legal"):
        Manifest.from_map(stored, broker_id=4)

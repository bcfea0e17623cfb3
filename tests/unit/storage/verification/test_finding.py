"""A finding as plain values, for JSON."""

from __future__ import annotations

import json

from streamlog.storage.verification import Finding, Severity
from streamlog.structs import TopicPartition


def test_a_finding_in_a_log_says_which_and_where() -> None:
    found = Finding(Severity.DAMAGE, "bad", "/d/o-1/0.log", TopicPartition("o", 1), 7, 80)
    assert found.as_map() == {
        "severity": "damage",
        "path": "/d/o-1/0.log",
        "topic": "o",
        "partition": 1,
        "offset": 7,
        "position": 80,
        "message": "bad",
    }


def test_what_is_not_known_is_null() -> None:
    found = Finding(Severity.NOTE, "kept", "/d/quarantine").as_map()
    nulls = [name for name, value in found.items() if value is None]
    assert nulls == ["topic", "partition", "offset", "position"]
    assert json.loads(json.dumps(found)) == found

"""Which rows are shown, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

from streamlog.cli.live.activity import GroupRow, TopicRow, View


class SortKey(str, Enum):
    """What topics and groups are sorted by."""

    NAME = "name"
    RATE = "rate"
    LAG = "lag"
    SIZE = "size"


_TOPIC_KEYS: dict[SortKey, Callable[[TopicRow], Any]] = {
    SortKey.RATE: lambda row: -((row.rate_in or 0) + (row.rate_out or 0)),
    SortKey.LAG: lambda row: -row.lag,
    SortKey.SIZE: lambda row: -row.topic.size_bytes,
}
_GROUP_KEYS: dict[SortKey, Callable[[GroupRow], Any]] = {
    SortKey.RATE: lambda row: -(row.rate_out or 0),
    SortKey.LAG: lambda row: -row.lag,
}


def arrange(view: View, key: SortKey, text: str) -> View:
    """Return *view* with the topics and groups whose name, or one of whose topics, contains *text*, sorted: greatest first but for names.

    Rows that are equal stay in the order of their names; a group has no size and is then sorted by name.
    """
    wanted = text.casefold()
    topics = [row for row in view.topics if wanted in row.topic.name.casefold()]
    groups = [
        row
        for row in view.groups
        if any(wanted in name.casefold() for name in (row.group_id, *row.topics))
    ]
    if key in _TOPIC_KEYS:
        topics.sort(key=_TOPIC_KEYS[key])
    if key in _GROUP_KEYS:
        groups.sort(key=_GROUP_KEYS[key])
    return attrs.evolve(view, topics=topics, groups=groups)

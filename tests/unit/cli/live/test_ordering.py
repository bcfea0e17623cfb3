from __future__ import annotations

import pytest

from streamlog.cli.live.activity import GroupRow, TopicRow, View
from streamlog.cli.live.ordering import SortKey, arrange
from streamlog.cli.live.sample import TopicSample


def topic(name: str, *, rate: float | None = 0, lag: int = 0, size: int = 0) -> TopicRow:
    return TopicRow(TopicSample(name, 1, 0, 0, 1, size, 0), rate, rate, lag)


def group(name: str, *topics: str, rate: float = 0, lag: int = 0) -> GroupRow:
    return GroupRow(name, "empty", 1, topics, lag, rate)


VIEW = View(
    0,
    [
        topic("a", rate=None, lag=5, size=1),
        topic("b", rate=3, lag=0, size=9),
        topic("c", rate=9, lag=5, size=2),
    ],
    [group("x", "a", rate=1, lag=2), group("y", "b", rate=5, lag=0), group("z", "a", "b", lag=9)],
    [],
)


@pytest.mark.parametrize(
    ("key", "topics", "groups"),
    [
        (SortKey.NAME, "abc", "xyz"),
        (SortKey.RATE, "cba", "yxz"),
        (SortKey.LAG, "acb", "zxy"),
        (SortKey.SIZE, "bca", "xyz"),
    ],
)
def test_the_greatest_come_first_and_equals_by_name(key: SortKey, topics: str, groups: str) -> None:
    found = arrange(VIEW, key, "")
    assert "".join(row.topic.name for row in found.topics) == topics
    assert "".join(row.group_id for row in found.groups) == groups


def test_the_filter_keeps_names_that_contain_it_and_groups_of_such_topics() -> None:
    found = arrange(VIEW, SortKey.NAME, "B")
    assert [row.topic.name for row in found.topics] == ["b"]
    assert [row.group_id for row in found.groups] == ["y", "z"]
    assert arrange(VIEW, SortKey.NAME, "nothing").topics == []

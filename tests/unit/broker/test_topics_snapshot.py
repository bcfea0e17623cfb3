from __future__ import annotations

import re

import pytest

from streamlog.broker.group_member import Subscription
from streamlog.broker.topics_snapshot import TopicFacts, TopicsSnapshot


@pytest.fixture
def topics() -> TopicsSnapshot:
    return TopicsSnapshot(
        {
            "orders": TopicFacts("1", 3, False),
            "orders-eu": TopicFacts("2", 3, False),
            "__orders": TopicFacts("3", 1, True),
        }
    )


def pattern(text: str, *, exclude_internal: bool = True) -> Subscription:
    return Subscription(pattern=re.compile(text), exclude_internal_topics=exclude_internal)


def test_named_topics_are_wanted_whether_they_exist_or_not(topics: TopicsSnapshot) -> None:
    assert topics.resolve(Subscription(frozenset({"orders", "later"}))) == {"orders", "later"}


def test_pattern_has_to_match_the_whole_name(topics: TopicsSnapshot) -> None:
    assert topics.resolve(pattern("orders")) == {"orders"}
    assert topics.resolve(pattern("orders.*")) == {"orders", "orders-eu"}
    assert topics.resolve(pattern("rders")) == frozenset()


def test_pattern_skips_internal_topics_unless_told_otherwise(topics: TopicsSnapshot) -> None:
    assert topics.resolve(pattern(".*orders")) == {"orders"}
    assert topics.resolve(pattern(".*orders", exclude_internal=False)) == {"orders", "__orders"}


def test_internal_topic_subscribed_by_name_is_wanted(topics: TopicsSnapshot) -> None:
    assert topics.resolve(Subscription(frozenset({"__orders"}))) == {"__orders"}


def test_same_pattern_is_resolved_once(topics: TopicsSnapshot) -> None:
    one, other = pattern("orders.*"), pattern("orders.*")
    assert topics.resolve(one) is topics.resolve(other)


def test_names_and_a_pattern_are_wanted_together(topics: TopicsSnapshot) -> None:
    both = Subscription(frozenset({"later"}), re.compile("orders"))
    assert topics.resolve(both) == {"later", "orders"}


def test_topics_are_found_by_their_ids(topics: TopicsSnapshot) -> None:
    assert topics.names_by_id == {"1": "orders", "2": "orders-eu", "3": "__orders"}

from __future__ import annotations

import re
from typing import Any

import pytest

from streamlog.broker.group_member import Subscription
from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.subscription import (
    SubscriptionKind,
    SubscriptionState,
    subscription_request,
)
from streamlog.errors import IllegalStateError
from streamlog.structs import TopicPartition
from tests.support.consuming import T0, T1

U0 = TopicPartition("u", 0)
TOPICS = Subscription(frozenset({"t"}))
PATTERN = Subscription(pattern=re.compile("t.*"))


def request(topics: Any = None, pattern: Any = None) -> Subscription:
    return subscription_request(topics, pattern, exclude_internal_topics=True)


@pytest.fixture
def changes() -> list[list[TopicPartition]]:
    return []


@pytest.fixture
def state(changes: list[list[TopicPartition]]) -> SubscriptionState:
    return SubscriptionState(
        lambda assigned: changes.append([one.topic_partition for one in assigned])
    )


def test_con_3_kinds_exclude_each_other_until_unsubscribed(state: SubscriptionState) -> None:
    state.subscribe(TOPICS, None)
    state.subscribe(Subscription(frozenset({"u"})), None)
    with pytest.raises(IllegalStateError, match="expected topics, which is in use, found pattern"):
        state.subscribe(PATTERN, None)
    with pytest.raises(IllegalStateError, match="found assigned"):
        state.assign_from_user([T0])
    with pytest.raises(IllegalStateError, match="found assigned"):
        state.require_assignable()
    assert (state.kind, state.is_by_group) == (SubscriptionKind.TOPICS, True)
    state.unsubscribe()
    assert (state.kind, state.is_by_group) == (SubscriptionKind.NONE, False)
    state.require_assignable()
    state.assign_from_user([T0])
    assert not state.is_by_group
    with pytest.raises(IllegalStateError, match="expected assigned"):
        state.subscribe(TOPICS, None)


def test_kept_partitions_keep_position_and_pause_and_lost_ones_are_forgotten(
    state: SubscriptionState, changes: list[list[TopicPartition]]
) -> None:
    state.assign_from_user([T1, T0])
    kept, lost = state.require(T1), state.require(T0)
    kept.move_to(5)
    kept.paused = lost.paused = True
    version = lost.version
    state.assign_from_user([U0, T1])
    assert state.require(T1) is kept
    assert lost.version > version, "records of it that are on their way are dropped"
    state.assign_from_user([T0])
    assert not state.require(T0).paused
    assert changes == [[T1, T0], [U0, T1], [T0]]


def test_group_assigns_new_partitions_behind_kept_ones_in_order(
    state: SubscriptionState,
) -> None:
    state.subscribe(TOPICS, None)
    state.assign_from_group(frozenset({T1}))
    state.assign_from_group(frozenset({U0, T0, T1}))
    assert list(state.assigned) == [T1, T0, U0]
    assert all(isinstance(one, AssignedPartition) for one in state.assigned.values())


def test_partition_that_is_not_assigned_is_named(state: SubscriptionState) -> None:
    with pytest.raises(IllegalStateError, match="t-0 is not assigned .* assigned are: none"):
        state.require(T0)


def test_request_for_topics_or_for_a_pattern() -> None:
    assert request(["a", "b", "a"]).topics == {"a", "b"}
    assert request("orders").topics == {"orders"}, "one name, not its letters"
    assert request([]).topics == frozenset()
    assert request(pattern="a.*").pattern == re.compile("a.*")
    compiled = re.compile("A", re.IGNORECASE)
    assert request(pattern=compiled).pattern is compiled


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, IllegalStateError),
        ({"topics": ["a"], "pattern": "a"}, IllegalStateError),
        ({"topics": [""]}, ValueError),
        ({"topics": ["  "]}, ValueError),
        ({"topics": [1]}, TypeError),
        ({"pattern": "("}, ValueError),
        ({"pattern": b"a"}, TypeError),
    ],
)
def test_impossible_requests_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        request(**arguments)

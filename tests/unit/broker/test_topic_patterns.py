"""Patterns are matched once for all members that have them, and while nobody waits for the coordinator."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.classic.consumer_protocol import ConsumerSubscription, encode_subscription
from streamlog.broker.classic.requests import JoinRequest, JoinResponse, Reply
from streamlog.broker.group_member import Subscription
from streamlog.broker.group_membership import Heartbeat
from streamlog.broker.member_session import RemoteSession
from streamlog.broker.topic_patterns import SharedPattern
from streamlog.structs import OffsetAndMetadata, TopicPartition


class Probe:
    """A pattern that matches what begins with its text, and tells what it was asked, and if the coordinator was held meanwhile."""

    def __init__(self, broker: Broker, pattern: str) -> None:
        self.pattern = pattern
        self._lock = broker.group_coordinator._lock
        self.asked: list[str] = []
        self.held: list[str] = []

    def fullmatch(self, name: str, /) -> object:
        self.asked.append(name)
        if self._lock.locked():
            self.held.append(name)
        return name.startswith(self.pattern)

    def take(self) -> list[str]:
        asked, self.asked = sorted(self.asked), []
        return asked


Make = Callable[[str], Probe]


@pytest.fixture
def probe(broker: Broker) -> Make:
    for name in ("logs-a", "logs-b", "other"):
        broker.create_topic(name)
    offset = {TopicPartition("other", 0): OffsetAndMetadata(0)}
    broker.group_coordinator.commit_offsets("first", "", -1, offset)  # makes __consumer_offsets
    return lambda text: Probe(broker, text)


def heartbeat(
    broker: Broker, name: str, pattern: Probe | None, epoch: int = 0, group: str = "g"
) -> frozenset[TopicPartition]:
    session = RemoteSession(10_000, 10_000, broker.runtime.clock.monotonic_ms())
    wanted = None if pattern is None else Subscription(pattern=pattern)
    request = Heartbeat(group, name, epoch, "c", wanted, session, None if epoch else frozenset())
    return broker.group_coordinator.heartbeat(request).assignment


def test_name_is_tried_once() -> None:
    asked = []

    class Counting:
        pattern = "a+"

        def fullmatch(self, name: str, /) -> object:
            asked.append(name)
            return re.fullmatch(self.pattern, name)

    shared = SharedPattern(Counting())
    first = {"a": 1, "b": 2}
    assert shared.matches(first) == {"a"}
    assert shared.matches(first) == {"a"}
    assert shared.matches({"a": 1, "b": 2, "aa": 3}) == {"a", "aa"}
    assert shared.matches({"aa": 3, "c": 4}) == {"aa"}
    assert shared.matches({"a": 1, "aa": 3}) == {"a", "aa"}
    assert asked == ["a", "b", "aa", "c", "a"]
    assert (shared.pattern, bool(shared.fullmatch("aaa"))) == ("a+", True)


def test_patterns_are_equal_if_those_of_the_members_are() -> None:
    one = SharedPattern(re.compile("a"))
    assert one == SharedPattern(re.compile("a"))
    assert hash(one) == hash(SharedPattern(re.compile("a")))
    assert one != SharedPattern(re.compile("a", re.IGNORECASE))
    assert one != re.compile("a")


def test_pattern_of_a_member_is_matched_while_the_coordinator_is_free(
    broker: Broker, probe: Make
) -> None:
    pattern = probe("logs-")
    assert {tp.topic for tp in heartbeat(broker, "m", pattern)} == {"logs-a", "logs-b"}
    assert pattern.take() == ["__consumer_offsets", "logs-a", "logs-b", "other"]
    heartbeat(broker, "m", pattern, 1)
    heartbeat(broker, "m", None, 1)
    assert pattern.take() == []
    assert pattern.held == []


def test_patterns_of_others_are_matched_against_new_topics_while_the_coordinator_is_free(
    broker: Broker, probe: Make
) -> None:
    mine, others = probe("logs-"), probe("other")
    heartbeat(broker, "a", mine)
    heartbeat(broker, "b", others)
    mine.take(), others.take()
    broker.create_topic("logs-c")
    assert heartbeat(broker, "a", None, 1) == {
        TopicPartition(name, 0) for name in ("logs-a", "logs-b", "logs-c")
    }
    assert mine.take() == others.take() == ["logs-c"]
    assert mine.held == others.held == []


def test_classic_member_that_joins_has_patterns_of_others_matched_while_the_coordinator_is_free(
    broker: Broker, probe: Make
) -> None:
    pattern = probe("logs-")
    heartbeat(broker, "m", pattern)
    pattern.take()
    broker.create_topic("logs-c")
    told = encode_subscription(ConsumerSubscription(frozenset({"other"})))
    session = RemoteSession(10_000, 10_000, broker.runtime.clock.monotonic_ms())
    reply: Reply[JoinResponse] = Reply(lambda: None)
    request = JoinRequest(
        "g", "", None, "c", 10_000, 10_000, (("range", told),), session, requires_member_id=False
    )
    broker.group_coordinator.join(request, reply)
    assert reply.take().generation == 2
    assert pattern.take() == ["logs-c"]
    assert pattern.held == []


def test_equal_patterns_are_matched_once_until_the_last_member_that_has_one_left(
    broker: Broker, probe: Make
) -> None:
    coordinator = broker.group_coordinator
    pattern = probe("logs-")
    for group in ("g", "h"):
        heartbeat(broker, "m", pattern, group=group)
    assert len(pattern.take()) == 4
    coordinator.leave("g", "m")
    heartbeat(broker, "n", pattern, group="h")
    assert pattern.take() == []
    coordinator.leave("h", "m")
    coordinator.leave("h", "n")
    gc.collect()
    assert not coordinator._patterns._shared
    heartbeat(broker, "m", pattern)
    assert len(pattern.take()) == 4
    assert pattern.held == []


def test_what_came_into_being_in_between_is_matched_as_well(
    broker: Broker, probe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the coordinator is held, for those names alone."""
    pattern = probe("logs-")
    patterns = broker.group_coordinator._patterns
    prepared = patterns.prepared

    def late(request: Heartbeat) -> Heartbeat:
        ready = prepared(request)
        broker.create_topic("logs-c")
        return ready

    monkeypatch.setattr(patterns, "prepared", late)
    assert len(heartbeat(broker, "m", pattern)) == 3
    assert pattern.held == ["logs-c"]

"""Who is told of changes: in order, in slices between other timers, one at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from streamlog.client.table_changes import ChangeFeed
from streamlog.errors import CorruptLogError, UnknownTopicOrPartitionError
from streamlog.record.serialization import resolve_deserializer
from streamlog.runtime import VirtualClock, spawn
from streamlog.runtime.threads import Lock

Change = tuple[Any, Any, Any]


def nothing() -> None:
    """No news."""


def feed_of(clock: VirtualClock, look: Callable[[], object] = nothing) -> ChangeFeed:
    return ChangeFeed(clock.new_scheduler("test"), look, None)


def test_listeners_are_told_by_the_scheduler_and_in_order(clock: VirtualClock) -> None:
    feed = feed_of(clock)
    told: list[Change] = []
    feed.add(lambda *change: told.append(change))
    feed.put("a", None, b"1")
    feed.put("a", b"1", b"2")
    assert told == []
    clock.run_due()
    assert told == [("a", None, b"1"), ("a", b"1", b"2")]


def test_listener_is_told_of_nothing_that_was_put_in_before_it(clock: VirtualClock) -> None:
    feed = feed_of(clock)
    first: list[Change] = []
    second: list[Change] = []
    feed.add(lambda *change: first.append(change))
    feed.put("a", None, b"1")
    feed.add(lambda *change: second.append(change))
    feed.put("b", None, b"2")
    clock.run_due()
    assert first == [("a", None, b"1"), ("b", None, b"2")]
    assert second == [("b", None, b"2")]


def test_closed_listener_is_told_no_more(clock: VirtualClock) -> None:
    feed = feed_of(clock)
    told: list[Change] = []
    with feed.add(lambda *change: told.append(change)) as listener:
        assert feed.is_wanted
        assert not listener.closed
        feed.put("a", None, b"1")
    listener.close()
    clock.run_due()
    assert told == []
    assert listener.closed
    assert not feed.is_wanted
    assert repr(listener).endswith(", closed>")


def test_listener_may_close_itself_and_another_one(clock: VirtualClock) -> None:
    feed = feed_of(clock)
    told: list[str] = []
    first = feed.add(lambda *_: (told.append("first"), first.close(), second.close()))
    second = feed.add(lambda *_: told.append("second"))
    feed.put("a", None, b"1")
    feed.put("a", b"1", b"2")
    clock.run_due()
    assert told == ["first"]


def test_what_a_listener_raises_is_logged_and_stops_nothing(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    feed = feed_of(clock)
    told: list[Change] = []

    def fail(*change: Any) -> None:
        raise ValueError("broken")

    feed.add(fail)
    feed.add(lambda *change: told.append(change))
    feed.put("a", None, b"1")
    feed.put("b", None, b"2")
    with caplog.at_level(logging.ERROR, "streamlog"):
        clock.run_due()
    assert told == [("a", None, b"1"), ("b", None, b"2")]
    assert [record.message for record in caplog.records] == [
        f"on_change: {fail!r} failed for key 'a'",
        f"on_change: {fail!r} failed for key 'b'",
    ]


def test_values_are_deserialized_for_the_listeners(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    decode = resolve_deserializer("int32", "t")
    feed = ChangeFeed(clock.new_scheduler("test"), nothing, decode)
    told: list[Change] = []
    feed.add(lambda *change: told.append(change))
    feed.put("a", None, bytes(4))
    feed.put("a", bytes(4), b"bad")
    feed.put("b", bytes(4), None)
    with caplog.at_level(logging.ERROR, "streamlog"):
        clock.run_due()
    assert told == [("a", None, 0), ("b", 0, None)]
    assert caplog.messages == ["on_change: could not deserialize a value of key 'a'"]


def test_other_timers_have_their_turn_between_many_changes(clock: VirtualClock) -> None:
    feed = feed_of(clock)
    told: list[int] = []
    feed.add(lambda key, *_: told.append(key))
    for number in range(1200):
        feed.put(number, None, b"")
    seen: list[int] = []
    other = clock.new_scheduler("other")
    other.call_later(0, lambda: seen.append(len(told)))
    clock.run_due()
    assert told == list(range(1200))
    assert seen == [500]


def test_damage_is_logged_once_and_the_changes_before_it_are_told(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> None:
        raise CorruptLogError("t-0: damaged")

    feed = feed_of(clock, look)
    told: list[Change] = []
    feed.add(lambda *change: told.append(change))
    with caplog.at_level(logging.ERROR, "streamlog"):
        for _ in range(3):
            feed.put("a", None, b"1")
            clock.run_due()
    assert told == [("a", None, b"1")] * 3
    assert caplog.messages == ["on_change: could not read what is new"]


def test_deleted_topic_is_not_logged(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    def look() -> None:
        raise UnknownTopicOrPartitionError("gone")

    feed = feed_of(clock, look)
    feed.add(lambda *_: None)
    feed.arm()
    clock.run_due()
    assert caplog.messages == []


def test_nothing_is_armed_while_nobody_wants_to_know(clock: VirtualClock) -> None:
    feed = feed_of(clock)
    feed.arm()
    assert clock.run_due() == 0


def test_two_threads_that_run_the_timers_tell_one_at_a_time(clock: VirtualClock) -> None:
    """The second one is sent away, and what it came for is told by the first."""
    feed = feed_of(clock)
    inside, go_on = Lock(), Lock()
    inside.acquire()
    go_on.acquire()
    told: list[str] = []

    def wait(key: str, *_: Any) -> None:
        told.append(key)
        if key == "a":
            inside.release()
            assert go_on.acquire(timeout=20)

    feed.add(wait)
    feed.put("a", None, b"1")
    thread = spawn("test", feed._run)
    assert inside.acquire(timeout=20)
    feed.put("b", None, b"2")
    feed._run()
    assert told == ["a"]
    go_on.release()
    thread.join(20)
    clock.run_due()
    assert told == ["a", "b"]

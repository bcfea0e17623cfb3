"""Static members of KIP-848 groups: their place is kept while they are away (NGP-1, NGP-4, CON-15)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from streamlog import Admin, Broker, Consumer, GroupState, TopicPartition
from streamlog.broker.static_membership import LEAVE_FOR_NOW_EPOCH, handle_leave_for_now
from streamlog.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    GroupNotEmptyError,
    UnreleasedInstanceIdError,
)
from streamlog.runtime import VirtualClock
from tests.support.consuming import Recorder

SESSION_MS = 45_000
INTERVAL_MS = 300_000
T0 = TopicPartition("t", 0)


@pytest.fixture
def join(broker: Broker) -> Callable[..., Consumer]:
    """Makes members of one group that reads a topic of 4 partitions."""
    broker.create_topic("t", partitions=4)

    def joined(instance_id: str | None, **options: Any) -> Consumer:
        return Consumer(broker, "t", group_id="g", group_instance_id=instance_id, **options)

    return joined


def numbers(consumer: Consumer) -> list[int]:
    return sorted(tp.partition for tp in consumer.assignment())


def settle(*consumers: Consumer) -> None:
    for _ in range(4):
        for consumer in consumers:
            consumer.poll()


def epoch(consumer: Consumer) -> int:
    return consumer.group_metadata().generation_id


@pytest.mark.parametrize("assignor", ["range", "uniform"])
def test_ngp_1_static_member_restarts_without_a_rebalance(
    join: Callable[..., Consumer], clock: VirtualClock, assignor: str
) -> None:
    a, b = (join(name, group_remote_assignor=assignor) for name in ("one", "two"))
    settle(a, b)
    had, before = numbers(a), epoch(b)
    assert len(had) == 2
    a.close()
    clock.advance(SESSION_MS - 1)
    settle(b)
    assert len(numbers(b)) == 2, "nobody gets what waits for the other"
    again = join("one", group_remote_assignor=assignor)
    again.poll()
    assert (numbers(again), epoch(b), epoch(again)) == (had, before, before)
    settle(again, b)
    assert (numbers(again), epoch(b)) == (had, before)
    assert again.group_metadata().group_instance_id == "one"


def test_con_15_static_member_that_stays_away_loses_its_place(
    join: Callable[..., Consumer], clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = join("one"), join(None)
    settle(a, b)
    a.close()
    with caplog.at_level(logging.INFO, "streamlog"):
        clock.advance(SESSION_MS)
    assert "removed static member 'one'" in caplog.text
    settle(b)
    assert numbers(b) == [0, 1, 2, 3]


def test_absence_is_an_option_of_the_broker(clock: VirtualClock) -> None:
    with Broker(clock=clock, group_consumer_session_timeout_ms=10) as broker:
        broker.create_topic("t")
        with Consumer(broker, "t", group_id="g", group_instance_id="one") as consumer:
            consumer.poll()
        clock.advance(9)
        assert len(broker.group_coordinator.describe("g").members) == 1
        clock.advance(1)
        assert broker.group_coordinator.describe("g").members == ()


def test_member_that_comes_back_wanting_more_starts_a_rebalance(
    join: Callable[..., Consumer], broker: Broker
) -> None:
    broker.create_topic("u")
    a, b = join("one"), join("two")
    settle(a, b)
    before = epoch(b)
    a.close()
    again = join("one")
    again.subscribe(["t", "u"])
    settle(again, b)
    assert epoch(b) == before + 1
    assert TopicPartition("u", 0) in again.assignment()
    assert len(again.assignment()) == 3


def test_place_of_an_absent_member_changes_while_it_is_away(
    join: Callable[..., Consumer],
) -> None:
    """What it had stays its own until it is back, or forgotten."""
    a = join("one")
    a.poll()
    a.close()
    b = join("two")
    settle(b)
    assert numbers(b) == []
    a = join("one")
    settle(a, b)
    assert (numbers(a), numbers(b)) == ([0, 1], [2, 3])


def test_ngp_4_name_of_a_member_that_is_there_is_refused(join: Callable[..., Consumer]) -> None:
    a, b = join("one"), join("one")
    a.poll()
    for _ in range(2):
        with pytest.raises(UnreleasedInstanceIdError, match="'one' is in use by"):
            b.poll()
    assert (numbers(a), numbers(b)) == ([0, 1, 2, 3], [])
    a.close()
    b.poll()
    assert numbers(b) == [0, 1, 2, 3], "and free once it has left"


def test_consumer_that_never_got_in_leaves_the_other_alone(join: Callable[..., Consumer]) -> None:
    a, b = join("one"), join("one")
    a.poll()
    with pytest.raises(UnreleasedInstanceIdError):
        b.poll()
    b.close()
    a.poll()
    assert numbers(a) == [0, 1, 2, 3]


def test_con_14_silent_static_member_leaves_for_now_and_takes_its_place_again(
    join: Callable[..., Consumer], clock: VirtualClock
) -> None:
    a = join(None)
    recorder = Recorder()
    a.close()
    a = join("one", enable_auto_commit=False)
    a.subscribe(["t"], listener=recorder)
    b = join("two", max_poll_interval_ms=2**31 - 1)
    settle(a, b)
    had = numbers(a)
    recorder.take()
    clock.advance(INTERVAL_MS)
    with pytest.raises(CommitFailedError, match="static member 'one' counts as away, since it"):
        a.commit({T0: 0})
    settle(b)
    assert len(numbers(b)) == 2
    settle(a, b)
    assert numbers(a) == had
    assert recorder.take() == [("lost", had), ("assigned", had)]


def test_ngp_4_member_whose_name_was_taken_over_while_it_was_silent_is_fenced_for_good(
    join: Callable[..., Consumer], clock: VirtualClock
) -> None:
    a = join("one")
    a.poll()
    clock.advance(INTERVAL_MS)
    b = join("one")
    b.poll()
    for _ in range(2):
        with pytest.raises(FencedInstanceIdError, match="another consumer joined as 'one'"):
            a.poll()
    assert (numbers(a), numbers(b)) == ([], [0, 1, 2, 3])
    a.close()
    b.poll()
    assert numbers(b) == [0, 1, 2, 3]


def test_group_with_an_absent_member_is_not_empty(
    join: Callable[..., Consumer], broker: Broker
) -> None:
    a = join("one")
    a.poll()
    a.close()
    described = broker.group_coordinator.describe("g")
    (member,) = described.members
    assert (member.group_instance_id, member.epoch) == ("one", LEAVE_FOR_NOW_EPOCH)
    assert described.state is GroupState.RECONCILING
    with pytest.raises(GroupNotEmptyError):
        Admin(broker).delete_consumer_groups(["g"])


def test_stranger_has_nothing_to_leave(join: Callable[..., Consumer], broker: Broker) -> None:
    a = join("one")
    a.poll()
    coordinator = broker.group_coordinator
    assert handle_leave_for_now(coordinator._store.groups["g"], "stranger") == []
    coordinator.leave("g", "stranger", "one")
    a.poll()
    assert numbers(a) == [0, 1, 2, 3]


def test_replacement_that_is_applied_twice_is_applied_once(
    join: Callable[..., Consumer], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while records are applied has them applied again."""
    a, b = join("one"), join("two")
    settle(a, b)
    had = numbers(a)
    a.close()
    group = broker.group_coordinator._store.groups["g"]
    replay_all = type(group).replay_all

    def twice(group: Any, records: Any) -> None:
        replay_all(group, records)
        replay_all(group, records)

    monkeypatch.setattr(type(group), "replay_all", twice)
    again = join("one")
    again.poll()
    group._check()
    broker.group_coordinator._check()
    assert numbers(again) == had

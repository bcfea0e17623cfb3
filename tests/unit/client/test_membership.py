"""A consumer in its group: who reads what, in which order the listener is told, what is committed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.client.rebalance_listener import RebalanceListener
from streamlog.errors import (
    CommitFailedError,
    DiskFullError,
    IllegalStateError,
    StreamlogError,
    WakeupError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import TopicPartition
from tests.support.consuming import T0, T1, Recorder, append, drain, fill


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=4)
    return broker


class Team:
    """Consumers of one group, each with a listener that remembers."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.recorders: dict[str, Recorder] = {}

    def join(self, name: str, **options: Any) -> Consumer:
        """The client id makes the member id, which decides the order of the range rule."""
        settings = {"auto_offset_reset": "earliest", **options}
        consumer = Consumer(self.broker, group_id="g", client_id=name, **settings)
        self.recorders[name] = Recorder()
        consumer.subscribe(["t"], listener=self.recorders[name])
        return consumer

    def told(self, name: str) -> list[tuple[str, list[int]]]:
        return self.recorders[name].take()


@pytest.fixture
def team(topic: Broker) -> Team:
    return Team(topic)


def numbers(consumer: Consumer) -> list[int]:
    return sorted(tp.partition for tp in consumer.assignment())


# ---- sharing


def test_two_consumers_driven_in_turn_by_one_thread_share_the_partitions(
    topic: Broker, team: Team, clock: VirtualClock
) -> None:
    before = clock.monotonic_ms()
    a, b = team.join("a"), team.join("b")
    a.poll()
    assert (numbers(a), numbers(b)) == ([0, 1, 2, 3], [])
    b.poll()
    assert numbers(b) == [], "a still has everything"
    a.poll()
    assert (numbers(a), numbers(b)) == ([0, 1], [])
    b.poll()
    assert (numbers(a), numbers(b)) == ([0, 1], [2, 3])
    assert clock.monotonic_ms() == before, "and nobody waited"


def test_con_13_listener_is_told_what_is_revoked_then_what_is_added(team: Team) -> None:
    a, b = team.join("a"), team.join("b")
    a.poll()
    assert team.told("a") == [("assigned", [0, 1, 2, 3])]
    b.poll()
    assert team.told("b") == [("assigned", [])], "also when there is nothing to give yet"
    a.poll()
    assert team.told("a") == [("revoked", [2, 3]), ("assigned", [])], "nothing new, and it is over"
    b.poll()
    assert team.told("b") == [("assigned", [2, 3])]
    b.close()
    assert team.told("b") == [("revoked", [2, 3])]
    a.poll()
    assert team.told("a") == [("assigned", [2, 3])]
    a.poll()
    assert team.told("a") == []


def test_waiting_member_hears_of_the_group_at_once(
    topic: Broker, team: Team, clock: VirtualClock
) -> None:
    """A poll that waits gives up partitions and takes new ones without returning."""
    a, b = team.join("a"), team.join("b")
    a.poll()
    topic.scheduler.call_later(1000, b.poll)
    topic.scheduler.call_later(2000, b.poll)
    before = clock.monotonic_ms()
    assert not a.poll(10_000)
    assert clock.monotonic_ms() == before + 10_000
    assert (numbers(a), numbers(b)) == ([0, 1], [2, 3])
    topic.scheduler.call_later(1000, b.close)
    topic.scheduler.call_later(1500, lambda: append(topic, [b"x"], TopicPartition("t", 3)))
    assert a.poll(10_000).values() == [b"x"]


def test_nothing_is_skipped_and_nothing_repeated_over_an_orderly_rebalance(
    topic: Broker, team: Team
) -> None:
    values = [v for n in range(4) for v in fill(topic, 10, TopicPartition("t", n), per_batch=3)]
    a, b = team.join("a", max_poll_records=7), team.join("b", max_poll_records=3)
    found = a.poll().values()
    for _ in range(20):
        found += b.poll().values()
        found += a.poll().values()
    assert sorted(found) == sorted(values)


def test_con_8_positions_are_committed_before_partitions_are_revoked(
    topic: Broker, team: Team
) -> None:
    fill(topic, 5, TopicPartition("t", 3))
    a, b = team.join("a"), team.join("b")
    a.poll()
    b.poll()
    a.poll()
    b.poll()
    assert b.position(TopicPartition("t", 3)) == 5
    assert not drain(b)


def test_without_auto_commit_the_new_owner_reads_again(topic: Broker, team: Team) -> None:
    values = fill(topic, 5, TopicPartition("t", 3))
    a = team.join("a", enable_auto_commit=False)
    b = team.join("b", enable_auto_commit=False)
    assert a.poll().values() == values
    b.poll()
    a.poll()
    assert b.poll().values() == values


def test_con_7_pause_is_forgotten_when_the_partition_is_taken_away(
    topic: Broker, team: Team
) -> None:
    a, b = team.join("a"), team.join("b")
    a.poll()
    a.pause(TopicPartition("t", 3), T0)
    b.poll()
    a.poll()
    b.poll()
    b.close()
    a.poll()
    assert numbers(a) == [0, 1, 2, 3]
    assert a.paused() == {T0}


def test_changed_subscription_takes_effect_at_the_next_poll(topic: Broker, team: Team) -> None:
    topic.create_topic("u")
    a = team.join("a")
    a.poll()
    a.subscribe(["u"], listener=team.recorders["a"])
    assert {tp.topic for tp in a.assignment()} == {"t"}
    a.poll()
    assert a.assignment() == {TopicPartition("u", 0)}
    assert team.told("a")[-2:] == [("revoked", [0, 1, 2, 3]), ("assigned", [0])]


def test_more_members_than_partitions_leave_some_with_nothing(broker: Broker) -> None:
    broker.create_topic("t")
    team = Team(broker)
    members = [team.join(name) for name in "abc"]
    for _ in range(3):
        for member in members:
            member.poll()
    assert [numbers(member) for member in members] == [[0], [], []]


def test_generation_grows_and_is_shared(team: Team) -> None:
    a, b = team.join("a"), team.join("b")
    for _ in range(2):
        a.poll()
        b.poll()
    generations = [member.group_metadata().generation_id for member in (a, b)]
    assert generations == [2, 2]


# ---- listeners


class Using(RebalanceListener):
    """Runs what the test gives it."""

    def __init__(
        self,
        assigned: Callable[[Collection[TopicPartition]], object] = lambda _: None,
        revoked: Callable[[Collection[TopicPartition]], object] = lambda _: None,
    ) -> None:
        self._assigned, self._revoked = assigned, revoked

    def on_partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self._assigned(partitions)

    def on_partitions_revoked(self, partitions: Collection[TopicPartition]) -> None:
        self._revoked(partitions)


def test_con_13_seek_in_on_partitions_assigned_decides_where_reading_begins(
    topic: Broker,
) -> None:
    values = fill(topic, 5)
    consumer = Consumer(topic, group_id="g")
    listener = Using(lambda partitions: [consumer.seek(tp, 2) for tp in partitions if tp == T0])
    consumer.subscribe(["t"], listener=listener)
    assert consumer.poll().values() == values[2:]
    consumer.close()


def test_con_13_position_and_commit_work_inside_the_listener(topic: Broker) -> None:
    fill(topic, 5)
    seen: list[Any] = []
    a = Consumer(
        topic, group_id="g", client_id="a", auto_offset_reset="earliest", enable_auto_commit=False
    )

    def assigned(partitions: Collection[TopicPartition]) -> None:
        seen.append([a.position(tp) for tp in partitions])

    def revoked(partitions: Collection[TopicPartition]) -> None:
        a.commit()
        seen.append(sorted(tp.partition for tp in a.assignment()))

    a.subscribe(["t"], listener=Using(assigned, revoked))
    a.poll()
    with Consumer(topic, "t", group_id="g", client_id="b") as b:
        b.poll()
        a.poll()
        committed = a.committed(T0)
        assert committed is not None
        assert committed.offset == 5
    assert seen == [[0, 0, 0, 0], [0, 1, 2, 3], []], (
        "revoked partitions are still there when it is told"
    )
    a.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.poll(),
        lambda c: next(c),
        lambda c: c.subscribe(["t"]),
        lambda c: c.assign([T0]),
        lambda c: c.unsubscribe(),
        lambda c: c.close(),
    ],
)
def test_calls_that_would_rebalance_are_refused_inside_the_listener(
    topic: Broker, call: Callable[[Consumer], object]
) -> None:
    consumer = Consumer(topic, group_id="g")
    caught: list[Exception] = []

    def assigned(_: object) -> None:
        try:
            call(consumer)
        except IllegalStateError as error:
            caught.append(error)

    def revoked(_: object) -> None:
        assigned(_)

    consumer.subscribe(["t"], listener=Using(assigned, revoked))
    consumer.poll()
    consumer.close()
    assert len(caught) == 2
    assert all("rebalance listener" in str(error) for error in caught)


def test_con_13_listener_that_fails_ends_the_poll_and_the_rebalance_is_done_all_the_same(
    topic: Broker, team: Team
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("from the listener")

    a = Consumer(topic, group_id="g", client_id="a")
    a.subscribe(["t"], listener=Using(fail, fail))
    with pytest.raises(StreamlogError, match="from the listener") as caught:
        a.poll()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert numbers(a) == [0, 1, 2, 3]
    a.poll()
    b = team.join("b")
    b.poll()
    with pytest.raises(StreamlogError, match="from the listener"):
        a.poll()
    b.poll()
    assert (numbers(a), numbers(b)) == ([0, 1], [2, 3])
    with pytest.raises(StreamlogError, match="from the listener"):
        a.close()
    b.poll()
    assert numbers(b) == [0, 1, 2, 3]


def test_wakeup_error_of_a_listener_is_not_wrapped(topic: Broker) -> None:
    def wake(_: object) -> None:
        raise WakeupError("enough")

    with Consumer(topic, group_id="g") as consumer:
        consumer.subscribe(["t"], listener=Using(wake))
        with pytest.raises(WakeupError, match="enough"):
            consumer.poll()


# ---- eviction: CON-14


def test_con_14_evicted_member_loses_its_partitions_and_joins_again(
    topic: Broker, team: Team, clock: VirtualClock
) -> None:
    a, b = team.join("a"), team.join("b")
    for _ in range(2):
        a.poll()
        b.poll()
    team.told("a")
    clock.advance(200_000)
    b.poll()
    clock.advance(150_000)
    b.poll()
    b.poll()
    assert numbers(b) == [0, 1, 2, 3], "a was silent for 350 s"
    with pytest.raises(CommitFailedError):
        a.commit({T0: 1})
    before = a.group_metadata().member_id
    a.poll()
    assert team.told("a") == [("lost", [0, 1]), ("assigned", [])]
    assert a.group_metadata().member_id != before
    b.poll()
    a.poll()
    # Its new id decides about its place.
    assert sorted(numbers(a) + numbers(b)) == [0, 1, 2, 3]
    assert len(numbers(a)) == 2


def test_con_14_records_of_an_evicted_member_are_read_by_another(
    topic: Broker, team: Team, clock: VirtualClock
) -> None:
    values = fill(topic, 3)
    a, b = team.join("a"), team.join("b")
    assert a.poll().values() == values
    clock.advance(400_000)
    assert b.poll().values() == values, "they were never committed"


def test_con_14_closing_after_an_eviction_reports_the_loss(
    topic: Broker, team: Team, clock: VirtualClock
) -> None:
    a = team.join("a")
    a.poll()
    clock.advance(400_000)
    a.close()
    assert team.told("a") == [("assigned", [0, 1, 2, 3]), ("lost", [0, 1, 2, 3])]


def test_listener_without_on_partitions_lost_hears_of_a_revocation(
    topic: Broker, clock: VirtualClock
) -> None:
    told: list[int] = []
    with Consumer(topic, group_id="g") as consumer:
        consumer.subscribe(["t"], listener=Using(revoked=lambda tps: told.append(len(tps))))
        consumer.poll()
        clock.advance(400_000)
        consumer.poll()
        assert told == [4]


def test_full_disk_while_joining_is_raised_and_the_next_poll_joins(
    topic: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = topic.group_coordinator
    heartbeat = coordinator.heartbeat

    def full(_: object) -> None:
        raise DiskFullError("no room left")

    with Consumer(topic, "t", group_id="g") as consumer:
        monkeypatch.setattr(coordinator, "heartbeat", full)
        with pytest.raises(DiskFullError):
            consumer.poll()
        monkeypatch.setattr(coordinator, "heartbeat", heartbeat)
        consumer.poll()
        assert numbers(consumer) == [0, 1, 2, 3]


def test_dropped_and_recreated_topic_is_assigned_anew(topic: Broker, team: Team) -> None:
    a = team.join("a", allow_auto_create_topics=False)
    fill(topic, 3)
    a.poll()
    topic.delete_topic("t")
    a.poll()
    assert numbers(a) == []
    topic.create_topic("t", partitions=2)
    values = fill(topic, 1, T1)
    assert a.poll().values() == values
    assert a.assignment() == {T0, T1}


# ---- an answer that does not arrive


@pytest.fixture
def lose_answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Consumer, int], None]:
    """Let Ctrl-C come between the next heartbeats of a consumer and their answers."""

    def lose(consumer: Consumer, count: int) -> None:
        membership = consumer._membership
        assert membership is not None
        coordinator = membership._coordinator

        class Interrupted:
            left = count

            def __getattr__(self, name: str) -> Any:
                return getattr(coordinator, name)

            def heartbeat(self, request: Any) -> Any:
                response = coordinator.heartbeat(request)
                if self.left:
                    self.left -= 1
                    raise KeyboardInterrupt
                return response

        monkeypatch.setattr(membership, "_coordinator", Interrupted())

    return lose


def test_a_join_whose_answer_was_lost_makes_no_second_member(
    topic: Broker, team: Team, lose_answers: Callable[[Consumer, int], None]
) -> None:
    """The first one would share its signs of life and keep its partitions for ever."""
    a = team.join("a")
    lose_answers(a, 2)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            a.poll()
    assert (numbers(a), a.group_metadata().member_id) == ([], "")
    a.poll()
    assert numbers(a) == [0, 1, 2, 3]
    assert team.told("a") == [("assigned", [0, 1, 2, 3])]


def test_a_consumer_closed_after_the_answer_to_its_join_was_lost_holds_nothing(
    topic: Broker, team: Team, lose_answers: Callable[[Consumer, int], None]
) -> None:
    a, b = team.join("a"), team.join("b")
    lose_answers(a, 1)
    with pytest.raises(KeyboardInterrupt):
        a.poll()
    a.close()
    b.poll()
    assert numbers(b) == [0, 1, 2, 3]


def test_ngp_4_a_member_fenced_after_lost_answers_replaces_itself(
    topic: Broker, team: Team, lose_answers: Callable[[Consumer, int], None]
) -> None:
    a = team.join("a")
    a.poll()
    member_id = a.group_metadata().member_id
    lose_answers(a, 2)
    for total in (5, 6):
        topic.create_partitions("t", total)
        with pytest.raises(KeyboardInterrupt):
            a.poll()
    team.told("a")
    a.poll()
    assert team.told("a") == [("lost", [0, 1, 2, 3]), ("assigned", [0, 1, 2, 3, 4, 5])]
    assert a.group_metadata().member_id == member_id


def test_each_join_has_a_session_of_its_own(topic: Broker, team: Team, clock: VirtualClock) -> None:
    """Two watches of one session would each keep the other's member alive."""
    a = team.join("a")
    membership = a._membership
    assert membership is not None
    a.poll()
    first = membership.session
    clock.advance(300_000)
    a.poll(timeout_ms=10)
    assert team.told("a") == [
        ("assigned", [0, 1, 2, 3]),
        ("lost", [0, 1, 2, 3]),
        ("assigned", [0, 1, 2, 3]),
    ]
    assert membership.session is not first
    assert first.last_poll_ms <= membership.session.last_poll_ms == clock.monotonic_ms()

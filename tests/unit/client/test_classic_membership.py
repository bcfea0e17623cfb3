"""A consumer in a classic group: eager and cooperative rebalances, static members, assignors of one's own."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest

from streamlog.broker.assignors import MemberSubscription
from streamlog.broker.broker import Broker
from streamlog.client.admin import Admin
from streamlog.client.consumer import Consumer
from streamlog.client.partition_assignor import Assignment, PartitionAssignor, RangeAssignor
from streamlog.client.producer import Producer
from streamlog.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalStateError,
    RebalanceInProgressError,
    StreamlogError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.consuming import T0, Recorder, append, fill

INTERVAL_MS = 60_000
SESSION_MS = 10_000


class Team:
    """Consumers of one classic group, each with a listener that remembers."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.recorders: dict[str, Recorder] = {}

    def join(self, name: str, *assignors: Any, **options: Any) -> Consumer:
        settings: dict[str, Any] = {
            "auto_offset_reset": "earliest",
            "max_poll_interval_ms": INTERVAL_MS,
            **options,
        }
        if assignors:
            settings["partition_assignment_strategy"] = list(assignors)
        consumer = Consumer(
            self.broker, group_id="g", client_id=name, group_protocol="classic", **settings
        )
        self.recorders[name] = Recorder()
        consumer.subscribe(["t"], listener=self.recorders[name])
        return consumer

    def told(self, name: str) -> list[tuple[str, list[int]]]:
        return self.recorders[name].take()


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=4)
    return broker


@pytest.fixture
def team(topic: Broker) -> Team:
    return Team(topic)


def numbers(consumer: Consumer) -> list[int]:
    return sorted(tp.partition for tp in consumer.assignment())


def settle(*consumers: Consumer) -> None:
    for _ in range(4):
        for consumer in consumers:
            consumer.poll()


# ---- eager and cooperative


def test_con_13_eager_rebalance_revokes_everything_and_assigns_anew(team: Team) -> None:
    a = team.join("a", "range")
    a.poll()
    assert team.told("a") == [("assigned", [0, 1, 2, 3])]
    b = team.join("b", "range")
    b.poll()
    assert b.assignment() == set()
    a.poll()
    assert team.told("a") == [("revoked", [0, 1, 2, 3]), ("assigned", [0, 1])]
    b.poll()
    assert team.told("b") == [("assigned", [2, 3])]


def test_con_13_cooperative_rebalance_revokes_only_what_moves(topic: Broker, team: Team) -> None:
    a = team.join("a", "cooperative-sticky")
    a.poll()
    b = team.join("b", "cooperative-sticky")
    b.poll()
    sent = fill(topic, 4, T0)
    assert a.poll().values() == sent, "it reads on"
    settle(a, b)
    told = [one for one in team.told("a") if one != ("assigned", [])]
    assert told == [("assigned", [0, 1, 2, 3]), ("revoked", [2, 3])]
    assert [one for one in team.told("b") if one[1]] == [("assigned", [2, 3])]


def test_grp_13_one_assignor_that_is_not_cooperative_makes_it_eager(team: Team) -> None:
    a = team.join("a")  # Kafka's default: range, cooperative-sticky
    a.poll()
    b = team.join("b")
    settle(b, a)
    assert team.told("a")[1] == ("revoked", [0, 1, 2, 3])
    assert team.broker.group_coordinator.describe("g").assignor == "range"


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky", "cooperative-sticky"])
def test_two_consumers_driven_in_turn_by_one_thread_share_the_partitions(
    topic: Broker, team: Team, clock: VirtualClock, assignor: str
) -> None:
    started_ms = clock.monotonic_ms()
    a, b = team.join("a", assignor), team.join("b", assignor)
    settle(a, b)
    assert sorted(numbers(a) + numbers(b)) == [0, 1, 2, 3]
    assert len(numbers(a)) == len(numbers(b)) == 2
    a.close()
    settle(b)
    assert numbers(b) == [0, 1, 2, 3]
    assert clock.monotonic_ms() == started_ms, "nobody waited"


def test_sticky_assignor_gives_back_what_a_member_had(team: Team) -> None:
    members = [team.join(name, "sticky") for name in "abc"]
    settle(*members)
    before = [numbers(one) for one in members[:2]]
    members[2].close()
    settle(*members[:2])
    for had, one in zip(before, members, strict=False):
        assert set(had) <= set(numbers(one))


def test_nothing_is_skipped_and_nothing_repeated_over_an_orderly_rebalance(
    topic: Broker, team: Team
) -> None:
    sent: list[bytes] = []
    for number in range(4):
        sent += fill(topic, 5, TopicPartition("t", number))
    a = team.join("a", max_poll_records=3)
    seen = a.poll().values()
    b = team.join("b", max_poll_records=3)
    for one in itertools.islice(itertools.cycle((b, a)), 20):
        seen += one.poll().values()
    assert sorted(seen) == sorted(sent)


# ---- what makes a group rebalance


def test_new_partitions_are_picked_up_by_the_leader(topic: Broker, team: Team) -> None:
    a, b = team.join("a"), team.join("b")
    settle(a, b)
    topic.create_partitions("t", 6)
    settle(a, b)
    assert sorted(numbers(a) + numbers(b)) == [0, 1, 2, 3, 4, 5]


def test_topic_that_comes_to_match_a_pattern_is_picked_up(topic: Broker) -> None:
    with Consumer(topic, group_id="g", group_protocol="classic") as consumer:
        consumer.subscribe(pattern="t|u")
        consumer.poll()
        topic.create_topic("u")
        consumer.poll()
        assert TopicPartition("u", 0) in consumer.assignment()


def test_enforce_rebalance_begins_a_new_generation(team: Team) -> None:
    a = team.join("a")
    a.poll()
    a.enforce_rebalance("because")
    a.poll()
    assert a.group_metadata().generation_id == 2
    a.unsubscribe()
    with pytest.raises(IllegalStateError, match="not subscribed"):
        a.enforce_rebalance()


def test_member_that_leaves_before_its_first_generation_keeps_nobody_waiting(team: Team) -> None:
    a = team.join("a")
    a.poll()
    b = team.join("b")
    b.poll()
    b.unsubscribe()
    settle(a)
    assert numbers(a) == [0, 1, 2, 3]


# ---- commits: CON-11


def test_con_11_commit_while_assignments_are_made_has_to_be_repeated(team: Team) -> None:
    a = team.join("a", "cooperative-sticky")
    a.poll()
    b = team.join("b", "cooperative-sticky")
    b.poll()
    a.commit({T0: 0})  # GRP-8: while others join, the generation is current
    coordinator = team.broker.group_coordinator
    group = coordinator._store.groups["g"].classic
    assert group is not None
    # The leader joins, and has its assignment still to make.
    membership: Any = a._membership
    membership._join()
    membership.member_id, membership.epoch = group.leader_id, group.generation
    with pytest.raises(RebalanceInProgressError, match="completing_rebalance"):
        a.commit({T0: 0})
    with Producer(team.broker, transactional_id="tx") as producer:
        producer.init_transactions()
        with producer.transaction():  # GRP-8: a transaction may commit at any time
            producer.send_offsets_to_transaction({T0: 1}, a.group_metadata())
    assert coordinator.fetch_offsets("g", [T0]) == {T0: OffsetAndMetadata(1)}


def test_con_11_commit_of_an_evicted_member_fails(
    topic: Broker, team: Team, clock: VirtualClock
) -> None:
    a = team.join("a", enable_auto_commit=False)
    a.poll()
    clock.advance(INTERVAL_MS)
    with pytest.raises(CommitFailedError, match="is not a member"):
        a.commit({T0: 0})
    team.told("a")
    a.poll()
    assert team.told("a") == [("lost", [0, 1, 2, 3]), ("assigned", [0, 1, 2, 3])]


# ---- closing in the middle of a rebalance


@pytest.mark.parametrize(
    ("order", "leaver"),
    [("ab", "b"), ("ab", "a"), ("ba", "b")],
    ids=["waits for the leader", "leader that has not heard", "follower that has not heard"],
)
def test_con_8_member_that_read_on_during_a_rebalance_and_closes_leaves_nothing_to_be_read_again(
    topic: Broker, team: Team, order: str, leaver: str
) -> None:
    """Its commit met a group that waited for the leader, or a generation that it had not heard of."""
    sent = [value for n in range(4) for value in fill(topic, 20, TopicPartition("t", n))]
    cooperative = {"partition_assignment_strategy": ["cooperative-sticky"], "max_poll_records": 3}
    members = {name: team.join(name, **cooperative) for name in "ab"}
    read = _poll_all(*members.values())
    newcomer = team.join("c", **cooperative)
    newcomer.poll()
    for name in order:  # with the last one all have joined
        read += members[name].poll().values()
    members.pop(leaver).close()
    (left,) = members.values()
    while values := _poll_all(left, newcomer):
        read += values
    assert sorted(read) == sorted(sent)


def test_con_8_listener_may_commit_when_its_consumer_closes_in_the_middle_of_a_rebalance(
    topic: Broker, team: Team
) -> None:
    there = TopicPartition("t", 3)
    fill(topic, 20, there)
    options = {
        "partition_assignment_strategy": ["cooperative-sticky"],
        "enable_auto_commit": False,
    }
    leader, follower = team.join("a", **options), team.join("b", **options)
    settle(leader, follower)
    assert follower.position(there) == 20
    newcomer = team.join("c", **options)
    newcomer.poll()
    leader.poll()
    follower.poll()
    with pytest.raises(RebalanceInProgressError):
        follower.commit()

    class Committing(Recorder):
        def on_partitions_revoked(self, partitions: Collection[TopicPartition]) -> None:
            follower.commit()

    follower.subscribe(["t"], listener=Committing())
    follower.close()
    assert newcomer.committed(there) == OffsetAndMetadata(20, leader_epoch=0)
    settle(leader, newcomer)
    assert sorted(numbers(leader) + numbers(newcomer)) == [0, 1, 2, 3]


def test_con_15_static_member_that_closes_in_the_middle_of_a_rebalance_starts_no_other(
    topic: Broker, team: Team
) -> None:
    leader = team.join("a", "cooperative-sticky")
    static = team.join("b", "cooperative-sticky", group_instance_id="one")
    settle(leader, static)
    newcomer = team.join("c", "cooperative-sticky")
    newcomer.poll()
    leader.poll()
    static.poll()
    generation = static.group_metadata().generation_id
    static.close()
    leader.poll()
    assert leader.group_metadata().generation_id == generation


def _poll_all(*consumers: Consumer) -> list[bytes | None]:
    return [value for _ in range(4) for one in consumers for value in one.poll().values()]


# ---- static members


def test_grp_11_static_member_restarts_without_a_rebalance(team: Team, clock: VirtualClock) -> None:
    a = team.join("a", group_instance_id="one", session_timeout_ms=SESSION_MS)
    b = team.join("b", group_instance_id="two", session_timeout_ms=SESSION_MS)
    settle(a, b)
    had, generation = numbers(a), b.group_metadata().generation_id
    a.close()
    clock.advance(SESSION_MS - 1)
    b.poll()
    again = team.join("a", group_instance_id="one", session_timeout_ms=SESSION_MS)
    again.poll()
    assert numbers(again) == had
    assert b.group_metadata().generation_id == generation
    assert again.group_metadata().group_instance_id == "one"


def test_con_15_static_member_that_stays_away_loses_its_place(
    team: Team, clock: VirtualClock
) -> None:
    a = team.join("a", group_instance_id="one", session_timeout_ms=SESSION_MS)
    b = team.join("b")
    settle(a, b)
    a.close()
    settle(b)
    assert len(numbers(b)) == 2
    clock.advance(SESSION_MS)
    settle(b)
    assert numbers(b) == [0, 1, 2, 3]


def test_grp_11_older_consumer_of_an_instance_id_is_fenced_for_good(team: Team) -> None:
    a = team.join("a", group_instance_id="one")
    a.poll()
    again = team.join("a", group_instance_id="one")
    again.poll()
    for _ in range(2):
        with pytest.raises(FencedInstanceIdError, match="another consumer joined as 'one'"):
            a.poll()
    assert a.assignment() == set()
    a.close()
    assert numbers(again) == [0, 1, 2, 3]


def test_con_11_commit_of_a_fenced_static_member_is_refused_as_such(team: Team) -> None:
    a = team.join("a", group_instance_id="one", enable_auto_commit=False)
    a.poll()
    team.join("a", group_instance_id="one").poll()
    with pytest.raises(FencedInstanceIdError):
        a.commit({T0: 0})


# ---- assignors of one's own


class EverythingToTheFirst(PartitionAssignor):
    name = "first"

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes | None]] = []
        self.got: list[tuple[int, int]] = []

    def subscription_user_data(self, topics: frozenset[str]) -> bytes | None:
        return ",".join(sorted(topics)).encode()

    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        self.seen += [(member.member_id, member.user_data) for member in members]
        return {
            members[0].member_id: [
                TopicPartition(topic, number)
                for topic, count in partition_counts.items()
                for number in range(count)
            ]
        }

    def on_assignment(self, partitions: frozenset[TopicPartition], generation: int) -> None:
        self.got.append((len(partitions), generation))


def test_assignor_of_ones_own_decides_and_hears_of_it(team: Team) -> None:
    leader, follower = EverythingToTheFirst(), EverythingToTheFirst()
    a, b = team.join("a", leader), team.join("b", follower)
    settle(a, b)
    assert (numbers(a), numbers(b)) == ([0, 1, 2, 3], [])
    assert [data for _, data in leader.seen[-2:]] == [b"t", b"t"]
    assert leader.got[-1] == (4, 2)
    assert follower.got == [(0, 2)]
    assert not follower.seen


def test_assignor_may_be_given_as_a_class(team: Team) -> None:
    a = team.join("a", EverythingToTheFirst)
    a.poll()
    assert numbers(a) == [0, 1, 2, 3]


class Failing(EverythingToTheFirst):
    name = "failing"
    failures = 1

    def assign(
        self, members: Sequence[MemberSubscription], partition_counts: Mapping[str, int]
    ) -> Assignment:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no idea")
        return super().assign(members, partition_counts)


def test_assignor_that_fails_ends_the_poll_and_the_next_one_tries_again(team: Team) -> None:
    a = team.join("a", Failing())
    with pytest.raises(RuntimeError, match="no idea"):
        a.poll()
    a.poll()
    assert numbers(a) == [0, 1, 2, 3]


# ---- the listener


def test_con_13_listener_that_fails_ends_the_poll_and_the_rebalance_is_done(topic: Broker) -> None:
    class Refusing:
        def on_partitions_assigned(self, partitions: object) -> None:
            raise RuntimeError("not now")

    with Consumer(topic, group_id="g", group_protocol="classic") as consumer:
        consumer.subscribe(["t"], listener=Refusing())
        with pytest.raises(StreamlogError, match="listener failed"):
            consumer.poll()
        assert numbers(consumer) == [0, 1, 2, 3]
        consumer.poll()


# ---- two protocols


def test_ngp_5_group_changes_its_protocol_and_keeps_its_offsets(topic: Broker, team: Team) -> None:
    append(topic, [b"0", b"1"], T0)
    a = team.join("a")
    assert len(a.poll()) == 2
    a.close()
    with Consumer(topic, "t", group_id="g", auto_offset_reset="earliest") as consumer:
        assert not consumer.poll(), "the offsets are the group's"
        assert numbers(consumer) == [0, 1, 2, 3]
    b = team.join("b")
    assert not b.poll()
    assert numbers(b) == [0, 1, 2, 3]


def test_admin_describes_a_classic_group(topic: Broker, team: Team) -> None:
    a = team.join("a", group_instance_id="one")
    settle(a)
    with Admin(topic) as admin:
        group = admin.describe_consumer_groups(["g"])["g"]
        (member,) = group.members
        assert (group.protocol, group.assignor, group.state.value) == ("classic", "range", "stable")
        assert (member.group_instance_id, member.epoch, member.topics) == ("one", 1, ("t",))
        assert [tp.partition for tp in member.assignment] == [0, 1, 2, 3]
        assert {offset.member_id for offset in group.offsets} == {member.member_id}


@pytest.fixture(autouse=True)
def _no_consumer_outlives_its_test(topic: Broker) -> Iterator[None]:
    yield
    topic.close()


def test_one_assignor_not_in_a_list_is_used_like_a_single_name(topic: Broker) -> None:
    class Named(RangeAssignor):
        name = "mine"

    for strategy in (Named, Named()):
        with Consumer(
            topic,
            "t",
            group_id="one",
            group_protocol="classic",
            partition_assignment_strategy=strategy,
        ) as consumer:
            consumer.poll()
            assert len(consumer.assignment()) == 4


def test_object_with_an_assign_that_is_no_assignor_is_refused_in_words(team: Team) -> None:
    class Loose:
        name = "loose"

        def assign(self, members: object, partition_counts: object) -> dict[str, object]:
            raise AssertionError(members, partition_counts)

    for loose in (Loose, Loose()):
        with pytest.raises(TypeError, match="derived from PartitionAssignor, found Loose"):
            team.join("a", loose)

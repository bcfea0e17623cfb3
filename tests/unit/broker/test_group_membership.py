"""Handlers alone, with no broker: what a heartbeat answers and which records it leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from streamlog.broker.group import Group, GroupState
from streamlog.broker.group_member import MemberState, Subscription
from streamlog.broker.group_membership import (
    JOIN_EPOCH,
    Heartbeat,
    HeartbeatResponse,
    handle_heartbeat,
    handle_leave,
)
from streamlog.broker.group_records import GroupEpoch, GroupType, TopicsSeen
from streamlog.broker.member_session import MemberSession
from streamlog.broker.static_membership import handle_leave_for_now
from streamlog.broker.topics_snapshot import TopicFacts, TopicsSnapshot
from streamlog.errors import FencedMemberEpochError, UnknownMemberIdError
from streamlog.runtime import Signal
from streamlog.structs import TopicPartition

NOW_MS = 1_700_000_000_000


def tps(*numbers: int, topic: str = "t") -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(topic, number) for number in numbers)


class Lab:
    """One group, and members that do what a consumer does, a heartbeat at a time."""

    def __init__(self, **counts: int) -> None:
        self.group = Group("g")
        self.counts = counts
        self.topics = TopicsSnapshot({})
        self.set_topics()
        self.sessions: dict[str, MemberSession] = {}
        self.owned: dict[str, frozenset[TopicPartition]] = {}
        self.epochs: dict[str, int] = {}
        self.subscriptions: dict[str, Subscription] = {}

    def set_topics(self, **counts: int) -> None:
        self.counts.update(counts)
        self.topics = TopicsSnapshot(
            {name: TopicFacts(f"id-{name}", count, False) for name, count in self.counts.items()}
        )

    def request(self, name: str, **changes: Any) -> Heartbeat:
        session = self.sessions.setdefault(name, MemberSession(Signal(), 300_000, 0))
        wanted = self.subscriptions.setdefault(name, Subscription(frozenset({"t"})))
        epoch = self.epochs.get(name, JOIN_EPOCH)
        owned = self.owned.get(name, frozenset())
        return Heartbeat("g", name, epoch, "", wanted, session, owned)._replace(**changes)

    def heartbeat(self, name: str, **changes: Any) -> HeartbeatResponse:
        """Send one heartbeat and store the epoch; what is owned stays as it is."""
        response, records = handle_heartbeat(self.group, self.request(name, **changes), self.topics)
        for record in records:
            self.group.replay(record)
        self.epochs[name] = response.member_epoch
        return response

    def poll(self, *names: str) -> None:
        """Let each do what there is for it to do: give up, confirm, take."""
        for name in names:
            while True:
                response = self.heartbeat(name)
                owned = self.owned.get(name, frozenset())
                self.owned[name] = owned & response.assignment
                if owned - response.assignment:
                    continue
                self.owned[name] = response.assignment
                break

    def leave(self, name: str) -> None:
        for record in handle_leave(self.group, name, self.topics, NOW_MS):
            self.group.replay(record)
        self.owned.pop(name, None)
        self.epochs.pop(name, None)

    def all_owned(self) -> list[TopicPartition]:
        return sorted(tp for share in self.owned.values() for tp in share)


def records_of(lab: Lab, request: Heartbeat) -> list[Any]:
    return handle_heartbeat(lab.group, request, lab.topics)[1]


def test_ngp_1_epoch_0_joins_and_the_first_member_gets_everything() -> None:
    lab = Lab(t=3)
    response = lab.heartbeat("a")
    assert response == HeartbeatResponse("a", 1, tps(0, 1, 2))
    assert lab.group.state is GroupState.STABLE


def test_handler_changes_nothing_by_itself() -> None:
    lab = Lab(t=3)
    assert records_of(lab, lab.request("a"))
    assert (lab.group.epoch, lab.group.members) == (0, {})


def test_heartbeat_without_news_leaves_no_records() -> None:
    lab = Lab(t=3)
    lab.poll("a")
    assert records_of(lab, lab.request("a")) == []


def test_ngp_2_joining_leaving_and_other_subscriptions_raise_the_group_epoch_by_one() -> None:
    lab = Lab(t=3, u=1)
    lab.poll("a")
    assert lab.group.epoch == 1
    lab.poll("b")
    assert lab.group.epoch == 2
    lab.subscriptions["b"] = Subscription(frozenset({"t", "u"}))
    lab.poll("b")
    assert lab.group.epoch == 3
    lab.leave("b")
    assert lab.group.epoch == 4


def test_trap_6_second_member_waits_until_the_first_has_given_up() -> None:
    lab = Lab(t=4)
    lab.poll("a", "b")
    assert lab.owned == {"a": tps(0, 1, 2, 3), "b": frozenset()}
    assert lab.group.members["b"].current.state is MemberState.UNRELEASED_PARTITIONS
    # a hears of it, but has not confirmed: b still gets nothing.
    assert lab.heartbeat("a").assignment == tps(0, 1)
    assert lab.heartbeat("b").assignment == frozenset()
    lab.poll("a")
    lab.poll("b")
    assert lab.owned == {"a": tps(0, 1), "b": tps(2, 3)}
    assert lab.group.state is GroupState.STABLE


def test_leaving_member_frees_its_partitions_at_once() -> None:
    lab = Lab(t=4)
    lab.poll("a", "b", "a", "b")
    lab.leave("a")
    lab.poll("b")
    assert lab.owned == {"b": tps(0, 1, 2, 3)}


def test_member_that_leaves_while_it_should_give_up_frees_everything() -> None:
    lab = Lab(t=4)
    lab.poll("a", "b")
    lab.heartbeat("a")  # told to give up 2 and 3
    lab.leave("a")
    lab.poll("b")
    assert lab.owned == {"b": tps(0, 1, 2, 3)}


def test_static_member_that_goes_away_while_it_should_give_up_keeps_the_rest() -> None:
    lab = Lab(t=4)
    lab.heartbeat("a", instance_id="one")
    lab.owned["a"] = tps(0, 1, 2, 3)
    lab.poll("b")
    lab.heartbeat("a", instance_id="one")  # told to give up 2 and 3
    lab.poll("b")
    assert lab.owned["b"] == frozenset()
    for record in handle_leave_for_now(lab.group, "a"):
        lab.group.replay(record)
    lab.poll("b")
    assert lab.owned["b"] == tps(2, 3)
    assert lab.group.owners.keys() == tps(0, 1, 2, 3)


def test_leaving_of_a_stranger_changes_nothing() -> None:
    lab = Lab(t=1)
    lab.poll("a")
    assert handle_leave(lab.group, "stranger", lab.topics, NOW_MS) == []


def test_new_partitions_are_handed_out_at_the_next_heartbeat() -> None:
    lab = Lab(t=1)
    lab.poll("a", "b", "a", "b")
    assert lab.owned == {"a": tps(0), "b": frozenset()}
    lab.set_topics(t=2)
    lab.poll("a", "b")
    assert lab.owned == {"a": tps(0), "b": tps(1)}


def test_topic_that_comes_to_match_a_pattern_is_given_to_all_members_in_one_step() -> None:
    lab = Lab(t=2)
    pattern = Subscription(pattern=re.compile("t.*"))
    lab.subscriptions = {"a": pattern, "b": pattern}
    lab.poll("a", "b", "a", "b")
    epoch = lab.group.epoch
    lab.set_topics(t2=2)
    lab.poll("a", "b")
    assert lab.group.epoch == epoch + 1
    assert lab.all_owned() == sorted(tps(0, 1) | tps(0, 1, topic="t2"))


def test_unrelated_topic_is_no_reason_to_assign_anew() -> None:
    lab = Lab(t=2)
    lab.poll("a")
    lab.set_topics(other=5)
    records = records_of(lab, lab.request("a"))
    assert [type(record) for record in records] == [TopicsSeen]
    lab.poll("a")
    assert lab.group.epoch == 1


def test_deleted_topic_is_taken_away() -> None:
    lab = Lab(t=2, u=1)
    lab.subscriptions["a"] = Subscription(frozenset({"t", "u"}))
    lab.poll("a")
    del lab.counts["u"]
    lab.set_topics()
    lab.poll("a")
    assert lab.owned["a"] == tps(0, 1)


def test_deleted_and_recreated_topic_raises_the_epoch() -> None:
    lab = Lab(t=1)
    lab.poll("a")
    lab.topics = TopicsSnapshot({"t": TopicFacts("another id", 1, False)})
    bumped = GroupEpoch("g", 2, None, GroupType.CONSUMER)
    assert bumped in records_of(lab, lab.request("a"))


def test_heartbeat_of_an_unknown_member_is_refused() -> None:
    lab = Lab(t=1)
    lab.poll("a")
    lab.leave("a")
    with pytest.raises(UnknownMemberIdError, match="'a' is not a member"):
        lab.heartbeat("a", member_epoch=1)


@pytest.mark.parametrize("epoch", [99, 1])
def test_ngp_4_epoch_ahead_or_too_far_behind_is_fenced(epoch: int) -> None:
    lab = Lab(t=4)
    lab.poll("a", "b", "a", "b", "c", "a", "b", "c")
    assert lab.epochs["a"] == 3
    with pytest.raises(FencedMemberEpochError, match="expected epoch 3"):
        lab.heartbeat("a", member_epoch=epoch)


def test_ngp_4_previous_epoch_with_a_part_of_the_assignment_is_a_lost_answer() -> None:
    lab = Lab(t=4)
    lab.poll("a", "b", "a", "b")
    assert lab.epochs["a"] == 2
    assert lab.heartbeat("a", member_epoch=1, owned=tps(0)).assignment == tps(0, 1)
    with pytest.raises(FencedMemberEpochError):
        lab.heartbeat("a", member_epoch=1, owned=tps(0, 3))


def test_ngp_4_joining_again_under_the_same_id_gives_up_what_was_claimed() -> None:
    lab = Lab(t=4)
    lab.poll("a", "b", "a", "b")
    response = lab.heartbeat("a", member_epoch=JOIN_EPOCH, owned=frozenset())
    assert response.assignment == tps(0, 1)
    assert lab.group.owners == {**dict.fromkeys(tps(0, 1), "a"), **dict.fromkeys(tps(2, 3), "b")}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_members_driven_in_turn_converge(count: int) -> None:
    lab = Lab(t=6)
    names = [f"m{n}" for n in range(count)]
    for name in names:
        lab.poll(name)
    for _ in range(2):
        lab.poll(*names)
    assert lab.group.state is GroupState.STABLE
    assert lab.all_owned() == sorted(tps(*range(6)))


def owners_never_clash(lab: Lab, names: Iterable[str]) -> None:
    claimed = [tp for name in names for tp in lab.owned.get(name, ())]
    assert len(claimed) == len(set(claimed))


def test_no_partition_has_two_owners_at_any_step_of_a_rolling_restart() -> None:
    lab = Lab(t=5)
    names = ["a", "b", "c"]
    for name in names:
        lab.poll(name)
        owners_never_clash(lab, names)
    for name in names:
        lab.leave(name)
        for other in [*names, *names]:
            lab.poll(other)
            owners_never_clash(lab, names)
    assert lab.all_owned() == sorted(tps(*range(5)))


# ---- heartbeats that leave out what did not change


def test_heartbeat_that_says_nothing_of_itself_changes_nothing() -> None:
    lab = Lab(t=3)
    lab.poll("a")
    before = lab.group.members["a"]
    response = lab.heartbeat("a", subscription=None, owned=None, assignor=None)
    assert lab.group.members["a"] is before
    assert (response.assignment, response.has_changed) == (tps(0, 1, 2), False)


def test_ngp_3_member_that_does_not_say_what_it_reads_has_given_nothing_back() -> None:
    lab = Lab(t=2)
    lab.poll("a")
    lab.heartbeat("b")
    told = lab.heartbeat("a")
    assert told.has_changed
    again = lab.heartbeat("a", owned=None)
    assert (again.member_epoch, again.has_changed) == (told.member_epoch, False)
    lab.owned["a"] = told.assignment
    assert lab.heartbeat("a").member_epoch == told.member_epoch + 1


def test_ngp_4_previous_epoch_without_what_is_read_is_fenced() -> None:
    """What is left out is what the last answer said, which did not arrive."""
    lab = Lab(t=2)
    lab.poll("a")
    lab.heartbeat("b")
    lab.poll("a")
    assert lab.epochs["a"] == 2
    with pytest.raises(FencedMemberEpochError):
        lab.heartbeat("a", member_epoch=1, owned=None)


def test_another_vote_for_an_assignor_is_another_target() -> None:
    lab = Lab(t=2)
    lab.poll("a")
    epoch = lab.group.epoch
    lab.heartbeat("a", assignor="uniform")
    assert (lab.group.epoch, lab.group.members["a"].assignor) == (epoch + 1, "uniform")

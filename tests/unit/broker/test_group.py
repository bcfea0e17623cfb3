from __future__ import annotations

import pytest

from streamlog.broker.group import Group, GroupState
from streamlog.broker.group_member import (
    GroupMember,
    MemberAssignment,
    MemberState,
    Subscription,
)
from streamlog.broker.group_records import (
    CurrentAssignment,
    GroupEpoch,
    GroupTombstone,
    MemberChanged,
    MemberLeft,
    OffsetCommit,
    OffsetTombstone,
    TargetAssignment,
)
from streamlog.broker.member_session import MemberSession
from streamlog.runtime import Signal
from streamlog.structs import TopicPartition


def tps(*numbers: int) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition("t", number) for number in numbers)


def member(member_id: str) -> GroupMember:
    wanted = frozenset({"t"})
    session = MemberSession(Signal(), 300_000, 0)
    return GroupMember(member_id, "", Subscription(wanted), wanted, session)


@pytest.fixture
def group() -> Group:
    return Group("g")


def test_new_group_is_empty(group: Group) -> None:
    assert (group.state, group.epoch, group.members, group.offsets) == (
        GroupState.EMPTY,
        0,
        {},
        {},
    )


def test_last_commit_of_a_partition_counts(group: Group) -> None:
    commit = OffsetCommit("g", TopicPartition("t", 0), 5, None, "", 0, "id")
    group.replay(commit)
    group.replay(commit._replace(offset=3))
    assert group.offsets[TopicPartition("t", 0)].offset == 3


def test_tombstone_forgets_a_commit_and_one_too_many_does_no_harm(group: Group) -> None:
    group.replay(OffsetCommit("g", TopicPartition("t", 0), 5, None, "", 0, "id"))
    for _ in range(2):
        group.replay(OffsetTombstone("g", TopicPartition("t", 0)))
    assert group.offsets == {}


def test_group_exists_while_anything_is_remembered_of_it(group: Group) -> None:
    assert not group.exists
    group.replay(GroupEpoch("g", 4))
    assert group.exists
    group.replay(GroupTombstone("g"))
    assert (group.exists, group.epoch) == (False, 0)
    group.replay(OffsetCommit("g", TopicPartition("t", 0), 5, None, "", 0, "id"))
    assert group.exists


def test_owners_follow_what_members_claim(group: Group) -> None:
    group.replay(MemberChanged("g", member("a")))
    group.replay(GroupEpoch("g", 1))
    group.replay(CurrentAssignment("g", "a", MemberAssignment(1, 0, MemberState.STABLE, tps(0, 1))))
    assert group.owners == dict.fromkeys(tps(0, 1), "a")
    revoking = MemberAssignment(1, 0, MemberState.UNREVOKED_PARTITIONS, tps(0), tps(1))
    group.replay(CurrentAssignment("g", "a", revoking))
    assert group.owners == dict.fromkeys(tps(0, 1), "a"), "not given back before it is confirmed"
    group.replay(CurrentAssignment("g", "a", MemberAssignment(2, 1, MemberState.STABLE, tps(0))))
    assert group.owners == dict.fromkeys(tps(0), "a")
    group.replay(MemberLeft("g", "a"))
    assert group.owners == {}


def test_group_is_reconciling_until_every_member_holds_its_target(group: Group) -> None:
    group.replay(MemberChanged("g", member("a")))
    group.replay(GroupEpoch("g", 1))
    group.replay(TargetAssignment("g", 1, {"t": ("id", 2)}, {"a": tps(0, 1)}))
    assert group.state is GroupState.RECONCILING
    assert group.target_of("a") == tps(0, 1)
    assert group.target_of("stranger") == frozenset()
    group.replay(CurrentAssignment("g", "a", MemberAssignment(1, 0, MemberState.STABLE, tps(0, 1))))
    assert group.state is GroupState.STABLE


def test_changed_member_that_claims_less_frees_the_rest(group: Group) -> None:
    group.replay(MemberChanged("g", member("a")))
    group.replay(CurrentAssignment("g", "a", MemberAssignment(1, 0, MemberState.STABLE, tps(0))))
    group.replay(MemberChanged("g", member("a")))
    assert group.owners == {}

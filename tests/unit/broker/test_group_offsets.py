from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.group import Group
from streamlog.broker.group_member import GroupMember, MemberAssignment, Subscription
from streamlog.broker.group_offsets import NO_MEMBER, handle_commit, look_up_offsets
from streamlog.broker.group_records import MemberChanged, OffsetCommit
from streamlog.broker.member_session import MemberSession
from streamlog.errors import (
    OffsetMetadataTooLargeError,
    StaleMemberEpochError,
    UnknownMemberIdError,
)
from streamlog.runtime import Signal
from streamlog.structs import OffsetAndMetadata, TopicPartition

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
IDS = {"t": "id-1"}


@pytest.fixture
def group() -> Group:
    return Group("g")


def add_member(group: Group, member_id: str = "m", epoch: int = 4) -> None:
    session = MemberSession(Signal(), 300_000, 0)
    current = MemberAssignment(epoch)
    member = GroupMember(member_id, "", Subscription(), frozenset(), session, current)
    group.replay(MemberChanged("g", member))


def commit(
    group: Group,
    offsets: dict[TopicPartition, OffsetAndMetadata],
    *,
    member_id: str = NO_MEMBER,
    epoch: int = -1,
    limit: int = 4096,
    **options: Any,
) -> list[Any]:
    return handle_commit(group, member_id, epoch, offsets, IDS, 1000, limit, **options)


def test_con_9_commit_keeps_offset_epoch_metadata_time_and_topic(group: Group) -> None:
    records = commit(group, {T0: OffsetAndMetadata(5, "note", 3), T1: OffsetAndMetadata(0)})
    assert records == [
        OffsetCommit("g", T0, 5, 3, "note", 1000, "id-1"),
        OffsetCommit("g", T1, 0, None, "", 1000, "id-1"),
    ]
    assert group.offsets == {}, "a handler changes nothing"


def test_trap_2_offset_0_is_a_commit_like_any_other(group: Group) -> None:
    for record in commit(group, {T0: OffsetAndMetadata(0)}):
        group.replay(record)
    assert look_up_offsets(group, [T0, T1], IDS) == {T0: OffsetAndMetadata(0), T1: None}


def test_con_9_metadata_is_measured_in_bytes_and_one_too_long_refuses_all(group: Group) -> None:
    commit(group, {T0: OffsetAndMetadata(1, "é" * 5)}, limit=10)
    with pytest.raises(OffsetMetadataTooLargeError, match=r"t-1: expected .* found 11 bytes"):
        commit(group, {T0: OffsetAndMetadata(1), T1: OffsetAndMetadata(1, "é" * 5 + "x")}, limit=10)


def test_con_12_stranger_may_commit_only_while_the_group_is_empty(group: Group) -> None:
    assert commit(group, {T0: OffsetAndMetadata(1)})
    add_member(group)
    with pytest.raises(UnknownMemberIdError, match="from outside"):
        commit(group, {T0: OffsetAndMetadata(1)})


def test_a_transaction_that_names_the_group_alone_may_commit_while_it_has_members(
    group: Group,
) -> None:
    """Kafka checks what is given: it was refused, and the docstring of the producer said otherwise."""
    add_member(group)
    offsets = {T0: OffsetAndMetadata(1)}
    assert commit(group, offsets, in_transaction=True)
    for given in ({"epoch": 4}, {"instance_id": "i"}, {"member_id": "other", "epoch": 4}):
        with pytest.raises(UnknownMemberIdError):
            commit(group, offsets, in_transaction=True, **given)  # type: ignore[arg-type]


def test_con_11_commit_of_a_member_that_is_gone_is_refused(group: Group) -> None:
    with pytest.raises(UnknownMemberIdError, match="'m' is not a member"):
        commit(group, {T0: OffsetAndMetadata(1)}, member_id="m", epoch=4)


def test_ngp_4_commit_with_an_old_epoch_is_stale(group: Group) -> None:
    add_member(group, epoch=4)
    assert commit(group, {T0: OffsetAndMetadata(1)}, member_id="m", epoch=4)
    with pytest.raises(StaleMemberEpochError, match="expected epoch 4, found 3"):
        commit(group, {T0: OffsetAndMetadata(1)}, member_id="m", epoch=3)


def test_commit_for_a_deleted_topic_does_not_count_for_its_namesake(group: Group) -> None:
    for record in commit(group, {T0: OffsetAndMetadata(5)}):
        group.replay(record)
    assert look_up_offsets(group, [T0], {"t": "id-1"}) == {T0: OffsetAndMetadata(5)}
    assert look_up_offsets(group, [T0], {"t": "id-2"}) == {T0: None}
    assert look_up_offsets(group, [T0], {}) == {T0: None}

from __future__ import annotations

import pytest

from streamlog.broker.assignors import MemberSubscription, assign_range, assignment_order
from streamlog.structs import TopicPartition


def member(member_id: str, *topics: str, instance_id: str | None = None) -> MemberSubscription:
    return MemberSubscription(member_id, frozenset(topics), instance_id)


def shares(members: list[MemberSubscription], counts: dict[str, int]) -> dict[str, list[str]]:
    assigned = assign_range(members, counts)
    return {name: [str(tp) for tp in sorted(partitions)] for name, partitions in assigned.items()}


def test_asg_2_range_golden_case_three_partitions_two_members_two_topics_gives_4_and_2() -> None:
    members = [member("C0", "t0", "t1"), member("C1", "t0", "t1")]
    assert shares(members, {"t0": 3, "t1": 3}) == {
        "C0": ["t0-0", "t0-1", "t1-0", "t1-1"],
        "C1": ["t0-2", "t1-2"],
    }


def test_asg_2_first_members_get_one_more_consecutive_partition() -> None:
    members = [member(name, "t") for name in "abc"]
    assert shares(members, {"t": 8}) == {
        "a": ["t-0", "t-1", "t-2"],
        "b": ["t-3", "t-4", "t-5"],
        "c": ["t-6", "t-7"],
    }


def test_asg_2_each_topic_is_shared_among_its_own_subscribers() -> None:
    members = [member("a", "t0"), member("b", "t0", "t1"), member("c", "t1")]
    assert shares(members, {"t0": 2, "t1": 3}) == {
        "a": ["t0-0"],
        "b": ["t0-1", "t1-0", "t1-1"],
        "c": ["t1-2"],
    }


def test_members_without_a_partition_are_in_the_answer_with_nothing() -> None:
    assert shares([member("a", "t"), member("b", "t")], {"t": 1}) == {"a": ["t-0"], "b": []}


def test_topic_that_does_not_exist_gives_nothing() -> None:
    assert shares([member("a", "missing")], {}) == {"a": []}


def test_no_members_give_an_empty_answer() -> None:
    assert assign_range([], {"t": 3}) == {}


def test_asg_1_members_are_ordered_by_instance_id_before_member_id() -> None:
    members = [
        member("a", "t"),
        member("z", "t", instance_id="2"),
        member("b", "t"),
        member("y", "t", instance_id="1"),
    ]
    ordered = sorted(members, key=assignment_order)
    assert [one.member_id for one in ordered] == ["y", "z", "a", "b"]
    assert shares(members, {"t": 4}) == {"y": ["t-0"], "z": ["t-1"], "a": ["t-2"], "b": ["t-3"]}


@pytest.mark.parametrize("partitions", [0, 1, 7, 12])
@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_every_partition_has_exactly_one_owner_and_shares_differ_by_one_at_most(
    partitions: int, count: int
) -> None:
    assigned = assign_range([member(f"m{n:02}", "t") for n in range(count)], {"t": partitions})
    owned = [tp for share in assigned.values() for tp in share]
    assert sorted(owned) == [TopicPartition("t", n) for n in range(partitions)]
    sizes = [len(share) for share in assigned.values()]
    assert max(sizes) - min(sizes) <= 1

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.assignors import assign_uniform
from tests.support.assigning import after, member, numbered, shares


def test_ngp_6_the_first_members_get_what_does_not_divide_evenly() -> None:
    assert shares(assign_uniform(numbered(3), {"t": 7})) == {
        "m0": ["t-0", "t-1", "t-2"],
        "m1": ["t-3", "t-4"],
        "m2": ["t-5", "t-6"],
    }


def test_ngp_6_balance_comes_before_stickiness() -> None:
    members = [member("x", "t", owned=["t-0", "t-1", "t-2", "t-3"]), member("y", "t")]
    assert shares(assign_uniform(members, {"t": 4})) == {"x": ["t-0", "t-1"], "y": ["t-2", "t-3"]}


def test_partition_of_a_topic_no_longer_wanted_or_there_is_given_up() -> None:
    members = [member("x", "t", owned=["u-0", "t-9", "t-1"]), member("y", "t")]
    assert shares(assign_uniform(members, {"t": 2, "u": 1})) == {"x": ["t-1"], "y": ["t-0"]}


def test_unequal_subscriptions_are_balanced_as_far_as_they_allow() -> None:
    members = [member("x", "a"), member("y", "a", "b")]
    assert shares(assign_uniform(members, {"a": 1, "b": 2})) == {
        "x": ["a-0"],
        "y": ["b-0", "b-1"],
    }


def test_nobody_and_nothing() -> None:
    assert assign_uniform([], {"t": 3}) == {}
    assert shares(assign_uniform(numbered(1), {})) == {"m0": []}


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 15), st.integers(0, 15))
def test_ngp_6_is_balanced_and_keeps_all_that_balance_allows(
    before: int, now: int, old_count: int, count: int
) -> None:
    old = assign_uniform(numbered(before), {"t": old_count})
    members = after(numbered(now), old)
    found = assign_uniform(members, {"t": count})
    assert sorted(tp.partition for share in found.values() for tp in share) == list(range(count))
    sizes = {name: len(share) for name, share in found.items()}
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for one in members:
        kept = [tp for tp in one.owned if tp.partition < count]
        assert len(found[one.member_id].intersection(kept)) == min(len(kept), sizes[one.member_id])

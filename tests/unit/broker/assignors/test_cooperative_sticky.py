from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.assignors import assign_cooperative_sticky, assign_sticky
from tests.support.assigning import after, member, numbered, shares


def test_asg_6_what_moves_is_withheld_for_a_round() -> None:
    members = [member("A", "t", owned=[f"t-{n}" for n in range(6)]), member("B", "t")]
    first = assign_cooperative_sticky(members, {"t": 6})
    assert shares(first) == {"A": ["t-0", "t-1", "t-2"], "B": []}
    second = assign_cooperative_sticky(after(members, first, 2), {"t": 6})
    assert shares(second) == {"A": ["t-0", "t-1", "t-2"], "B": ["t-3", "t-4", "t-5"]}


def test_partition_claimed_twice_is_withheld_from_both() -> None:
    # ASG-5, ASG-6
    members = [member("A", "t", owned=["t-0", "t-1"]), member("B", "t", owned=["t-1"])]
    assert shares(assign_cooperative_sticky(members, {"t": 2})) == {"A": ["t-0"], "B": []}


def test_owner_of_the_newer_generation_reads_on() -> None:
    members = [
        member("A", "t", owned=["t-0", "t-1"], generation=1),
        member("B", "t", owned=["t-1"], generation=2),
    ]
    assert shares(assign_cooperative_sticky(members, {"t": 2})) == {"A": ["t-0"], "B": ["t-1"]}


def test_nobody_gets_nothing() -> None:
    assert assign_cooperative_sticky([], {"t": 1}) == {}


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 12))
def test_asg_6_two_rounds_reach_what_sticky_would_and_never_give_one_partition_twice(
    before: int, now: int, count: int
) -> None:
    old = assign_sticky(numbered(before), {"t": count})
    members = after(numbered(now), old)
    first = assign_cooperative_sticky(members, {"t": count})
    reading = {one.member_id: set(one.owned) for one in members}
    for name, share in first.items():
        for other, owned in reading.items():
            assert other == name or not share & owned
    second = assign_cooperative_sticky(after(members, first, 2), {"t": count})
    sizes = [len(share) for share in second.values()]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1

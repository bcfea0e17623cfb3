from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.assignors import assign_sticky
from tests.support.assigning import after, member, numbered, shares


def test_asg_4_first_assignment_goes_round_in_order() -> None:
    assert shares(assign_sticky(numbered(3), {"t": 7})) == {
        "m0": ["t-0", "t-3", "t-6"],
        "m1": ["t-1", "t-4"],
        "m2": ["t-2", "t-5"],
    }


def test_asg_4_who_has_more_than_its_share_keeps_the_lowest_numbers() -> None:
    # By number first and topic second, so that all topics are kept alike.
    everything = [f"{topic}-{number}" for topic in "ab" for number in range(3)]
    members = [member("x", "a", "b", owned=everything), member("y", "a", "b")]
    assert shares(assign_sticky(members, {"a": 3, "b": 3})) == {
        "x": ["a-0", "a-1", "b-0"],
        "y": ["a-2", "b-1", "b-2"],
    }


def test_asg_4_exactly_so_many_members_get_one_more_as_do_not_divide() -> None:
    # Both have three of five; only the first found may keep the third.
    members = [
        member("x", "t", owned=["t-0", "t-1", "t-2"]),
        member("y", "t", owned=["t-3", "t-4"]),
        member("z", "t"),
    ]
    assert shares(assign_sticky(members, {"t": 5})) == {
        "x": ["t-0", "t-1"],
        "y": ["t-3", "t-4"],
        "z": ["t-2"],
    }


def test_asg_4_fewer_partitions_than_members_stay_where_they_are() -> None:
    members = [member("x", "t"), member("y", "t", owned=["t-1"]), member("z", "t")]
    assert shares(assign_sticky(members, {"t": 2})) == {"x": ["t-0"], "y": ["t-1"], "z": []}


def test_member_that_left_is_made_up_for_without_moving_the_rest() -> None:
    before = assign_sticky(numbered(3), {"t": 9})
    left = after(numbered(3), before)[1:]
    found = assign_sticky(left, {"t": 9})
    assert all(before[one.member_id] <= found[one.member_id] for one in left)
    assert sorted(map(len, found.values())) == [4, 5]


def test_asg_5_higher_generation_wins_a_partition_claimed_twice() -> None:
    members = [
        member("old", "t", owned=["t-0", "t-1"], generation=3),
        member("young", "t", owned=["t-0"], generation=4),
    ]
    assert shares(assign_sticky(members, {"t": 2})) == {"old": ["t-1"], "young": ["t-0"]}


def test_asg_5_partition_claimed_twice_in_one_generation_is_kept_by_nobody() -> None:
    members = [
        member("x", "t", owned=["t-1", "t-2"], generation=3),
        member("y", "t", owned=["t-1"], generation=3),
        member("z", "t", owned=["t-0"], generation=3),
    ]
    assert shares(assign_sticky(members, {"t": 3})) == {"x": ["t-2"], "y": ["t-1"], "z": ["t-0"]}


def test_claims_to_what_is_gone_or_not_wanted_count_for_nothing() -> None:
    members = [member("x", "t", owned=["t-7", "gone-0", "other-0"]), member("y", "t")]
    assert shares(assign_sticky(members, {"t": 2, "other": 1})) == {"x": ["t-0"], "y": ["t-1"]}


def test_nobody_and_nothing() -> None:
    assert assign_sticky([], {"t": 3}) == {}
    assert shares(assign_sticky(numbered(2), {})) == {"m0": [], "m1": []}


names = st.integers(0, 7).map("m{}".format)


@given(
    st.dictionaries(names, st.lists(st.integers(0, 12)), min_size=1),
    st.integers(0, 12),
    st.data(),
)
def test_asg_4_is_balanced_and_moves_nothing_the_second_time(
    claims: dict[str, list[int]], count: int, data: st.DataObject
) -> None:
    members = [
        member(
            name,
            "t",
            owned=[f"t-{number}" for number in owned],
            generation=data.draw(st.integers(0, 2)),
        )
        for name, owned in claims.items()
    ]
    found = assign_sticky(members, {"t": count})
    owned = sorted(tp.partition for share in found.values() for tp in share)
    assert owned == list(range(count))
    sizes = [len(share) for share in found.values()]
    assert max(sizes) - min(sizes) <= 1
    assert assign_sticky(after(members, found), {"t": count}) == found

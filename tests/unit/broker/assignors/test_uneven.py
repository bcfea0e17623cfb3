from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.assignors import MemberSubscription, assign_sticky
from streamlog.structs import TopicPartition
from tests.support.assigning import after, member, shares


def test_asg_7_partitions_that_few_want_leave_the_others_to_the_rest() -> None:
    members = [member("x", "a"), member("y", "a", "b")]
    assert shares(assign_sticky(members, {"a": 3, "b": 3})) == {
        "x": ["a-0", "a-1", "a-2"],
        "y": ["b-0", "b-1", "b-2"],
    }


def test_asg_7_owner_of_too_much_gives_up_what_evens_out_and_no_more() -> None:
    members = [
        member("x", "a", "b", owned=["a-0", "a-1", "a-2", "b-0"]),
        member("y", "a"),
    ]
    assert shares(assign_sticky(members, {"a": 3, "b": 1})) == {
        "x": ["a-2", "b-0"],
        "y": ["a-0", "a-1"],
    }


@given(
    st.dictionaries(
        st.integers(0, 5).map("m{}".format),
        st.tuples(
            st.frozensets(st.sampled_from("abc")),
            st.lists(st.builds(TopicPartition, st.sampled_from("abc"), st.integers(0, 5))),
            st.integers(0, 2),
        ),
        min_size=1,
    ),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 6)),
)
def test_asg_7_everything_wanted_has_one_owner_and_no_single_move_would_balance_better(
    described: dict[str, tuple[frozenset[str], list[TopicPartition], int]], counts: dict[str, int]
) -> None:
    members = [
        MemberSubscription(name, topics, owned=tuple(owned), generation=generation)
        for name, (topics, owned, generation) in described.items()
    ]
    found = assign_sticky(members, counts)
    wanted = frozenset[str]().union(*(one.topics for one in members))
    assert sorted(tp for share in found.values() for tp in share) == sorted(
        TopicPartition(topic, number)
        for topic in wanted & counts.keys()
        for number in range(counts[topic])
    )
    for one in members:
        assert all(tp.topic in one.topics for tp in found[one.member_id])
        for other in members:
            if any(tp.topic in other.topics for tp in found[one.member_id]):
                assert len(found[one.member_id]) <= len(found[other.member_id]) + 1
    assert assign_sticky(after(members, found), counts) == found

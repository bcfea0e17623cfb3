from __future__ import annotations

from streamlog.broker.assignors import MemberSubscription, assign_round_robin
from tests.support.assigning import member, numbered, shares


def test_asg_3_partitions_are_dealt_in_turn() -> None:
    dealt = shares(
        assign_round_robin([member("C0", "t0", "t1"), member("C1", "t0", "t1")], {"t0": 3, "t1": 3})
    )
    assert dealt == {"C0": ["t0-0", "t0-2", "t1-1"], "C1": ["t0-1", "t1-0", "t1-2"]}


def test_asg_3_members_not_subscribed_are_passed_over() -> None:
    # The example of Kafka's documentation.
    members = [member("C0", "t0"), member("C1", "t0", "t1"), member("C2", "t0", "t1", "t2")]
    dealt = shares(assign_round_robin(members, {"t0": 1, "t1": 2, "t2": 3}))
    assert dealt == {"C0": ["t0-0"], "C1": ["t1-0"], "C2": ["t1-1", "t2-0", "t2-1", "t2-2"]}


def test_asg_1_static_members_come_first_by_their_instance() -> None:
    members = [member("a", "t"), MemberSubscription("z", frozenset({"t"}), instance_id="1")]
    assert shares(assign_round_robin(members, {"t": 3})) == {"a": ["t-1"], "z": ["t-0", "t-2"]}


def test_nothing_to_deal_gives_everybody_nothing() -> None:
    assert assign_round_robin([], {"t": 3}) == {}
    assert shares(assign_round_robin([member("a", "missing")], {})) == {"a": []}
    assert shares(assign_round_robin(numbered(2), {"t": 1})) == {"m0": ["t-0"], "m1": []}

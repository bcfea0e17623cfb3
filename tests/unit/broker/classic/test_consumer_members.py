from __future__ import annotations

import pytest

from streamlog.broker.classic.consumer_members import (
    assigned_partitions,
    consumer_of,
    subscription_of,
    wanted_topics,
)
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    encode_assignment,
    encode_subscription,
)
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import JoinRequest
from streamlog.broker.member_session import RemoteSession
from streamlog.errors import GroupIdNotFoundError, InconsistentGroupProtocolError
from streamlog.structs import TopicPartition

T0 = TopicPartition("t", 0)
SUBSCRIPTION = encode_subscription(ConsumerSubscription(frozenset({"t"})))
ASSIGNMENT = encode_assignment(ConsumerAssignment(frozenset({T0})))
GARBAGE = b"\x00\x00\xff\xff\xff\xff"


def request(told: bytes = SUBSCRIPTION, protocol_type: str = "consumer") -> JoinRequest:
    session = RemoteSession(1, 1, 0.0)
    return JoinRequest("g", "m", None, "", 1, 1, (("range", told),), session, protocol_type)


def member_of(
    told: bytes = SUBSCRIPTION, assignment: bytes = ASSIGNMENT, protocol_type: str = "consumer"
) -> tuple[ClassicGroup, ClassicMember]:
    group = ClassicGroup("g", 1)
    group.protocol_type = protocol_type
    member = ClassicMember.of("m", request(told))
    member.assignment = assignment
    return group, member


def test_consumers_are_understood() -> None:
    group, member = member_of()
    assert wanted_topics(group, member) == {"t"}
    assert assigned_partitions(group, member) == {T0}
    subscription, assignment = consumer_of(group, member)
    assert (subscription.topics, assignment.partitions) == ({"t"}, {T0})
    assert subscription_of(request()).topics == {"t"}


@pytest.mark.parametrize("protocol_type", ["connect", ""])
def test_bytes_of_other_members_are_left_alone(protocol_type: str) -> None:
    group, member = member_of(protocol_type=protocol_type)
    assert wanted_topics(group, member) is None
    assert assigned_partitions(group, member) == frozenset()
    with pytest.raises(GroupIdNotFoundError, match="expected protocol type 'consumer', found"):
        consumer_of(group, member)
    with pytest.raises(InconsistentGroupProtocolError, match="expected protocol type 'consumer'"):
        subscription_of(request(protocol_type=protocol_type))


def test_bytes_that_nobody_understands_are_nothing_and_turn_no_group() -> None:
    group, member = member_of(told=GARBAGE, assignment=GARBAGE)
    assert wanted_topics(group, member) is None
    assert assigned_partitions(group, member) == frozenset()
    with pytest.raises(GroupIdNotFoundError, match="'m': expected the length of a list"):
        consumer_of(group, member)
    with pytest.raises(InconsistentGroupProtocolError, match="expected the length of a list"):
        subscription_of(request(GARBAGE))

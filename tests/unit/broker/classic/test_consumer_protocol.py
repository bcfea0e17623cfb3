from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    decode_assignment,
    decode_owned,
    decode_subscription,
    encode_assignment,
    encode_owned,
    encode_subscription,
    version_of,
)
from streamlog.structs import TopicPartition

names = st.text(st.characters(codec="utf-8"), max_size=8)
partitions = st.builds(TopicPartition, names, st.integers(0, 2**31 - 1))
generations = st.integers(-1, 2**31 - 1)
user_data = st.none() | st.binary(max_size=9)


@given(
    st.builds(
        ConsumerSubscription,
        st.frozensets(names),
        user_data,
        st.frozensets(partitions).map(sorted).map(tuple),
        generations,
    )
)
def test_subscription_comes_back_as_it_was(subscription: ConsumerSubscription) -> None:
    assert decode_subscription(encode_subscription(subscription)) == subscription


@given(st.builds(ConsumerAssignment, st.frozensets(partitions), user_data))
def test_assignment_comes_back_as_it_was(assignment: ConsumerAssignment) -> None:
    assert decode_assignment(encode_assignment(assignment)) == assignment


@given(st.frozensets(partitions), generations)
def test_owned_partitions_come_back_as_they_were(
    owned: frozenset[TopicPartition], generation: int
) -> None:
    assert decode_owned(encode_owned(owned, generation)) == (tuple(sorted(owned)), generation)


def test_subscription_has_the_layout_of_kafka() -> None:
    data = encode_subscription(
        ConsumerSubscription(frozenset({"ab"}), b"\x07", (TopicPartition("ab", 3),), 5)
    )
    assert data.hex(" ") == (
        "00 03 00 00 00 01 00 02 61 62 00 00 00 01 07"
        " 00 00 00 01 00 02 61 62 00 00 00 01 00 00 00 03 00 00 00 05 ff ff"
    )


def test_assignment_has_the_layout_of_kafka() -> None:
    data = encode_assignment(ConsumerAssignment(frozenset({TopicPartition("ab", 3)})))
    assert data.hex(" ") == "00 03 00 00 00 01 00 02 61 62 00 00 00 01 00 00 00 03 ff ff ff ff"


@pytest.mark.parametrize(("told", "version"), [(0, 0), (1, 1), (3, 3), (9, 3), (-1, 0)])
def test_assignment_for_an_older_client_says_the_version_of_its_subscription(
    told: int, version: int
) -> None:
    assert version_of(told.to_bytes(2, "big", signed=True) + b"more") == version
    assignment = ConsumerAssignment(frozenset({TopicPartition("ab", 3)}))
    data = encode_assignment(assignment, version)
    assert data == version.to_bytes(2, "big") + encode_assignment(assignment)[2:]
    assert decode_assignment(data) == assignment


def test_older_versions_say_less() -> None:
    topics = "00 00 00 01 00 01 61 ff ff ff ff"
    assert decode_subscription(bytes.fromhex("00 00" + topics)) == ConsumerSubscription(
        frozenset("a")
    )
    owned = "00 00 00 01 00 01 61 00 00 00 01 00 00 00 02"
    assert decode_subscription(bytes.fromhex("00 01" + topics + owned)) == ConsumerSubscription(
        frozenset("a"), None, (TopicPartition("a", 2),)
    )
    assert decode_owned(None) == ((), -1)
    assert decode_owned(bytes.fromhex(owned)) == ((TopicPartition("a", 2),), -1)


def test_newer_versions_may_say_more() -> None:
    data = bytes.fromhex("00 09") + encode_subscription(ConsumerSubscription(frozenset("a")))[2:]
    assert decode_subscription(data + b"more").topics == frozenset("a")


def test_member_that_the_leader_forgot_has_nothing() -> None:
    assert decode_assignment(b"") == ConsumerAssignment(frozenset())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode in (decode_subscription, decode_assignment, decode_owned):
        try:
            decode(data)
        except ValueError:
            pass


@pytest.mark.parametrize("data", ["", "ff ff", "00 01 7f ff ff ff", "00 00 00 00 00 01 00 05 61"])
def test_bytes_cut_short_or_without_sense_are_refused(data: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode_subscription(bytes.fromhex(data))
    with pytest.raises(ValueError, match="expected a version of 0 or more"):
        decode_assignment(bytes.fromhex("ff ff"))

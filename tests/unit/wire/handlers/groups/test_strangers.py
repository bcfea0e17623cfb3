"""What somebody who means harm, or does not know better, may not do to groups."""

from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.member_memory import kept_bytes
from streamlog.runtime import VirtualClock
from tests.support.eventually import eventually
from tests.support.wire import RawClient, raw_clients
from tests.support.wire_group import WireMember

INVALID_GROUP, UNKNOWN_MEMBER, GROUP_MAX_SIZE_REACHED = 24, 25, 81


def test_groups_that_strangers_name_are_not_remembered(client: RawClient, broker: Broker) -> None:
    """Each of them stayed in memory."""
    WireMember(client).join()  # there is a place where groups are stored
    topics = [{"name": "t", "partition_indexes": [0]}]
    commits = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}]
    stranger = {"member_id": "x", "generation_id_or_member_epoch": 3}
    generation = {"member_id": "x", "generation_id": 3}
    for name, version, fields in (
        ("Heartbeat", 3, {"group_id": "a"}),
        ("SyncGroup", 3, {"group_id": "b"}),
        ("LeaveGroup", 3, {"group_id": "c", "members": [{"member_id": "x"}]}),
        ("OffsetFetch", 7, {"group_id": "d", "topics": topics}),
        ("OffsetCommit", 7, {"group_id": "e", **stranger, "topics": commits}),
        ("OffsetCommit", 9, {"group_id": "e1", **stranger, "topics": commits}),
        ("TxnOffsetCommit", 3, {"group_id": "e2", **generation, "topics": commits}),
        ("JoinGroup", 3, {"group_id": "f", "protocol_type": "consumer"}),
        ("JoinGroup", 3, {"group_id": "g2", "session_timeout_ms": 10_000}),
        ("DescribeGroups", 5, {"groups": ["h"]}),
        ("ConsumerGroupDescribe", 0, {"group_ids": ["i"]}),
        ("ConsumerGroupHeartbeat", 1, {"group_id": "j", "member_id": "x", "member_epoch": 3}),
        ("ConsumerGroupHeartbeat", 1, {"group_id": "k", "member_id": "x", "member_epoch": -1}),
        ("DeleteGroups", 2, {"groups_names": ["l"]}),
    ):
        client.request(name, version, **fields)
    assert list(broker.group_coordinator._store.groups) == ["g"]


@pytest.mark.parametrize("length", [32_768, 1_000_000])
def test_name_that_is_too_long_to_be_stored_ends_the_connection(
    client: RawClient, broker: Broker, length: int
) -> None:
    """As any string does that is longer than Kafka's protocol allows, also where its encoding does not limit it."""
    commits = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}]
    with pytest.raises(ConnectionError):
        client.request("OffsetCommit", 8, group_id="x" * length, topics=commits)
    assert not broker.group_coordinator.list_groups()


def test_longest_name_is_stored(client: RawClient, broker: Broker) -> None:
    name = "x" * 32_767
    WireMember(client, name).join()
    assert [one.group_id for one in broker.group_coordinator.list_groups()] == [name]


def test_negative_rebalance_timeout_is_none_at_all(client: RawClient) -> None:
    response = client.request(
        "JoinGroup", 3, group_id="g", session_timeout_ms=10_000, rebalance_timeout_ms=-7,
        protocol_type="consumer", protocols=[{"name": "range"}],
    )  # fmt: skip
    assert (response.error_code, response.generation_id) == (0, 1)


def test_refused_commit_does_not_disturb_a_group_that_waits_for_members(broker: Broker) -> None:
    """The group was forgotten while its first rebalance, whose only member had left, was still to end."""
    with broker.listen(initial_rebalance_delay_ms=50) as listener:
        with (
            RawClient(listener.bootstrap_servers) as one,
            RawClient(listener.bootstrap_servers) as two,
        ):
            member = WireMember(one, version=3)
            member.send_join()
            coordinator = broker.group_coordinator
            eventually(lambda: coordinator._store.find("g").member_count)
            (member_id,) = coordinator._store.find("g").classic.members  # type: ignore[union-attr]
            two.request("LeaveGroup", 2, group_id="g", member_id=member_id)
            commits = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}]
            two.request("OffsetCommit", 7, group_id="g", member_id="x", topics=commits)
            coordinator._check()


def test_offsets_of_a_group_without_a_name_are_neither_sent_to_a_transaction_nor_deleted(
    client: RawClient,
) -> None:
    """Older clients may commit for it: that is all."""
    commits = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}]
    response = client.request("OffsetCommit", 8, group_id="", topics=commits)
    assert response.topics[0].partitions[0].error_code == 0
    response = client.request("TxnOffsetCommit", 3, group_id="", topics=commits)
    assert response.topics[0].partitions[0].error_code == INVALID_GROUP
    topics = [{"name": "t", "partitions": [{"partition_index": 0}]}]
    response = client.request("OffsetDelete", 0, group_id="", topics=topics)
    assert response.error_code == INVALID_GROUP
    (group,) = client.request("ConsumerGroupDescribe", 0, group_ids=[""]).groups
    assert group.error_code == INVALID_GROUP


def test_flood_of_members_of_many_groups_is_refused_when_they_take_too_much_room() -> None:
    """Each kept what its JoinGroup said until its session ended."""
    with (
        Broker(clock=VirtualClock(), seed=1, group_metadata_max_bytes=1_000_000) as broker,
        broker.listen(initial_rebalance_delay_ms=0) as listener,
        raw_clients(listener.bootstrap_servers) as connect,
    ):
        client = connect()
        codes = []
        for number in range(40):
            member = WireMember(
                client, f"g{number}", version=3, protocols=(("range", bytes(60_000)),)
            )
            codes.append(member.try_join().error_code)
        assert codes == [0] * 15 + [GROUP_MAX_SIZE_REACHED] * 25
        groups = broker.group_coordinator._store.groups
        assert len(groups) == 15
        assert sum(map(kept_bytes, groups.values())) <= 1_000_000
        response = client.request(
            "ConsumerGroupHeartbeat",
            1,
            group_id="new",
            member_id="m",
            member_epoch=0,
            rebalance_timeout_ms=10_000,
            topic_partitions=[],
            subscribed_topic_names=["x" * 30_000, "y" * 30_000, "z" * 30_000],
        )
        assert response.error_code == GROUP_MAX_SIZE_REACHED
        assert "group_metadata_max_bytes=1000000" in response.error_message
        assert WireMember(client, "g0").heartbeat() == UNKNOWN_MEMBER, "others are served"

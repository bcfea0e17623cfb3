"""DescribeCluster, DescribeLogDirs, ElectLeaders and what there is none of."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlog.broker.broker import Broker
from streamlog.wire.listener import Listener
from tests.support.wire import RawClient
from tests.support.wire_group import WireMember

UNKNOWN_PARTITION, NO_SECURITY, ELECTION_NOT_NEEDED = 3, 54, 84
MISMATCHED_ENDPOINT, UNSUPPORTED_ENDPOINT = 114, 115
UNKNOWN_TOPIC_ID = 100
NOT_ASKED = -(2**31)


@pytest.mark.parametrize("version", [0, 1])
def test_cluster_is_this_broker(
    client: RawClient, listener: Listener, broker: Broker, version: int
) -> None:
    response = client.request("DescribeCluster", version)
    (one,) = response.brokers
    assert f"{one.host}:{one.port}" == listener.bootstrap_servers
    assert (response.error_code, response.cluster_id) == (0, broker.cluster_id)
    assert response.controller_id == one.broker_id == 1


@pytest.mark.parametrize(("asked", "code"), [(2, MISMATCHED_ENDPOINT), (7, UNSUPPORTED_ENDPOINT)])
def test_controllers_are_not_told_here(client: RawClient, asked: int, code: int) -> None:
    """KIP-919: brokers were told to who asked for controllers."""
    response = client.request("DescribeCluster", 1, endpoint_type=asked)
    assert (response.error_code, response.brokers) == (code, [])


@pytest.mark.parametrize("asks", [False, True])
def test_everybody_may_do_everything_and_who_asks_is_told(client: RawClient, asks: bool) -> None:
    """The numbers of Kafka without an authorizer; whoever asked got none."""
    WireMember(client).join()
    client.request(
        "ConsumerGroupHeartbeat", 1, group_id="new", member_id="m", rebalance_timeout_ms=1,
        subscribed_topic_names=["t"], topic_partitions=[],
    )  # fmt: skip
    cluster = client.request("DescribeCluster", 1, include_cluster_authorized_operations=asks)
    metadata = client.request(
        "Metadata", 10, topics=[{"name": "t"}],
        include_cluster_authorized_operations=asks, include_topic_authorized_operations=asks,
    )  # fmt: skip
    (group,) = client.request(
        "DescribeGroups", 5, groups=["g"], include_authorized_operations=asks
    ).groups
    (new,) = client.request(
        "ConsumerGroupDescribe", 0, group_ids=["new"], include_authorized_operations=asks
    ).groups
    assert [
        cluster.cluster_authorized_operations,
        metadata.cluster_authorized_operations,
        metadata.topics[0].topic_authorized_operations,
        group.authorized_operations,
        new.authorized_operations,
    ] == ([8096, 8096, 3576, 328, 328] if asks else [NOT_ASKED] * 5)


def test_partitions_are_in_the_one_directory_there_is(client: RawClient, broker: Broker) -> None:
    broker.partition("t", 0).append_value(b"x", 0)
    (everything,) = client.request("DescribeLogDirs", 4, topics=None).results
    assert {one.name: len(one.partitions) for one in everything.topics} == {"t": 2}
    assert everything.log_dir == "memory"
    wanted = [{"topic": "t", "partitions": [0, 9]}, {"topic": "no-such", "partitions": [0]}]
    (some,) = client.request("DescribeLogDirs", 4, topics=wanted).results
    (topic,) = some.topics
    (partition,) = topic.partitions
    assert (partition.partition_index, partition.partition_size) == (
        0,
        broker.partition("t", 0).log.size_bytes,
    )
    (nothing,) = client.request("DescribeLogDirs", 4, topics=[]).results
    assert nothing.topics == []


def test_directory_is_named(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, broker.listen() as listener:
        with RawClient(listener.bootstrap_servers) as client:
            (one,) = client.request("DescribeLogDirs", 1, topics=None).results
        assert one.log_dir == broker.path == str(tmp_path)


def test_only_replica_leads_already(client: RawClient) -> None:
    wanted = [{"topic": "t", "partitions": [0, 9]}]
    for version in (0, 1, 2):
        response = client.request("ElectLeaders", version, topic_partitions=wanted)
        (result,) = response.replica_election_results
        assert [one.error_code for one in result.partition_result] == [
            ELECTION_NOT_NEEDED,
            UNKNOWN_PARTITION,
        ]
        # Of all only those are told that needed one.
        response = client.request("ElectLeaders", version, topic_partitions=None)
        assert response.replica_election_results == []


def test_what_there_is_none_of_says_so(client: RawClient) -> None:
    assert client.request("ListPartitionReassignments", 0, topics=None).topics == []
    assert client.request("DescribeAcls", 3).error_code == NO_SECURITY


def test_topic_of_an_unknown_id_is_not_one_that_may_come(client: RawClient) -> None:
    """It was UNKNOWN_TOPIC_OR_PARTITION, which clients try again for long."""
    wanted = [{"name": None, "topic_id": bytes(range(16))}]
    (topic,) = client.request("Metadata", 12, topics=wanted).topics
    assert (topic.error_code, topic.topic_id) == (UNKNOWN_TOPIC_ID, bytes(range(16)))
    (deleted,) = client.request("DeleteTopics", 6, topics=wanted, timeout_ms=1000).responses
    assert (deleted.error_code, deleted.name) == (UNKNOWN_TOPIC_ID, None)

"""Versions that Kafka 4 has retired (KIP-896), and that programs written for older brokers still ask for by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from tests.support.wire import RawClient

NONE, EXISTS_ALREADY, SECURITY_DISABLED = 0, 36, 54
TOPIC = 2


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.listen()
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[RawClient]:
    with RawClient(broker.bootstrap_servers) as client:
        yield client


@pytest.mark.parametrize("version", [0, 1])
def test_topic_is_created_and_deleted_by_the_first_versions(
    broker: Broker, client: RawClient, version: int
) -> None:
    """Sarama, which asks for the versions of the broker that it was told of, had its connection closed."""
    asked: dict[str, Any] = {
        "topics": [
            {
                "name": "t",
                "num_partitions": 3,
                "replication_factor": 1,
                "configs": [{"name": "retention.ms", "value": "5000"}],
            }
        ],
        "timeout_ms": 1000,
    }
    codes = [
        client.request("CreateTopics", version, **asked).topics[0].error_code for _ in range(2)
    ]
    assert codes == [NONE, EXISTS_ALREADY]
    assert len(broker.topic("t").partitions) == 3
    assert broker.topic("t").config.retention_ms == 5000
    response = client.request("DeleteTopics", version, topic_names=["t"], timeout_ms=1000)
    assert [(one.name, one.error_code) for one in response.responses] == [("t", NONE)]
    assert broker.topics() == []


def test_configuration_of_the_first_version_says_what_is_default(
    broker: Broker, client: RawClient
) -> None:
    broker.create_topic("t", configs={"retention_ms": 5000})
    asked = {"resources": [{"resource_type": TOPIC, "resource_name": "t"}]}
    (found,) = client.request("DescribeConfigs", 0, **asked).results
    entries = {entry.name: (entry.value, entry.is_default) for entry in found.configs}
    assert entries["retention.ms"] == ("5000", False)
    assert entries["cleanup.policy"] == ("delete", True)


def test_offset_committed_by_version_1_is_there(broker: Broker, client: RawClient) -> None:
    """It was sarama's for years: nothing was committed, and its application read all again when it was started again."""
    broker.create_topic("t")
    place = {"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 7}]}
    response = client.request(
        "OffsetCommit",
        1,
        group_id="g",
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[place],
    )
    assert response.topics[0].partitions[0].error_code == NONE
    wanted = [{"name": "t", "partition_indexes": [0]}]
    (topic,) = client.request("OffsetFetch", 1, group_id="g", topics=wanted).topics
    assert topic.partitions[0].committed_offset == 7


def test_directories_and_access_rules_are_described_by_the_first_versions(
    broker: Broker, client: RawClient
) -> None:
    broker.create_topic("t")
    (directory,) = client.request("DescribeLogDirs", 0, topics=None).results
    assert [topic.name for topic in directory.topics] == ["t"]
    anything = {"resource_type_filter": 1, "operation": 1, "permission_type": 1}
    assert client.request("DescribeAcls", 0, **anything).error_code == SECURITY_DISABLED

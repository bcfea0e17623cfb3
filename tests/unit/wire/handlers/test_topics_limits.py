"""How much one request about topics may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.wire import topics as finding
from streamlog.wire.listener import Listener
from tests.support.wire import RawClient

NONE, UNKNOWN_TOPIC, POLICY_VIOLATION = 0, 3, 44


def new(name: str, partitions: int = 1, **fields: Any) -> dict[str, Any]:
    return {"name": name, "num_partitions": partitions, "replication_factor": -1, **fields}


def codes(response: Any) -> list[int]:
    return [one.error_code for one in response.topics]


def test_partitions_of_a_whole_request_are_limited(broker: Broker, client: RawClient) -> None:
    """Each topic could have 10,000. Kafka refuses all of the request, as here."""
    wanted = [new("a", 6_000), new("b", 4_001)]
    asked = client.request("CreateTopics", 7, topics=wanted, timeout_ms=1)
    assert codes(asked) == [POLICY_VIOLATION] * 2
    assert "10000 partitions in a request, found 10001" in asked.topics[0].error_message
    below_nothing = [*wanted, new("c", -5_000)]
    asked = client.request("CreateTopics", 7, topics=below_nothing, timeout_ms=1)
    assert codes(asked) == [POLICY_VIOLATION] * 3
    assert broker.topics() == ["t"]


def test_assigned_partitions_count_as_well(client: RawClient) -> None:
    assigned = [{"partition_index": number, "broker_ids": [1]} for number in range(10_001)]
    topic = new("a", -1, assignments=assigned)
    asked = client.request("CreateTopics", 7, topics=[topic], timeout_ms=1)
    assert codes(asked) == [POLICY_VIOLATION]


def test_partitions_that_are_there_do_not_count(broker: Broker, client: RawClient) -> None:
    broker.create_topic("u", partitions=20)
    topics = [{"name": "t", "count": 3}, {"name": "u", "count": 10_000}]
    asked = client.request("CreatePartitions", 3, topics=topics, timeout_ms=1, validate_only=True)
    assert [one.error_code for one in asked.results] == [NONE, NONE]
    topics.append({"name": "absent", "count": 30_000})
    topics[0]["count"] = 30
    asked = client.request("CreatePartitions", 3, topics=topics, timeout_ms=1, validate_only=True)
    assert [one.error_code for one in asked.results] == [POLICY_VIOLATION] * 3


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_internal_topic_is_not_created_so_that_it_would_lose_records(
    broker: Broker, client: RawClient, policy: str
) -> None:
    """What groups committed would have been deleted by its age: that it is created so was not refused, only that it becomes so."""
    configs = [{"name": "cleanup.policy", "value": policy}]
    topic = new("__consumer_offsets", configs=configs)
    asked = client.request("CreateTopics", 7, topics=[topic], timeout_ms=1)
    assert codes(asked) == [POLICY_VIOLATION]
    assert broker.topics(include_internal=True) == ["t"]


def test_internal_topic_may_be_created_with_any_number_of_partitions_and_is_compacted(
    broker: Broker, client: RawClient
) -> None:
    """As in Kafka, whose coordinator goes by what is there; it would not be compacted there."""
    topics = [new("__consumer_offsets", 3), new("__transaction_state", 2)]
    asked = client.request("CreateTopics", 7, topics=topics, timeout_ms=1)
    assert codes(asked) == [NONE] * 2
    for topic in topics:
        found = broker.topic(topic["name"])
        assert len(found.partitions) == topic["num_partitions"]
        assert found.config.cleanup_policy == ("compact",)


def test_request_creates_a_limited_number_of_topics_by_naming_them(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_MAX_CREATED", 5)
    asked = {
        "topics": [{"name": f"new{number}"} for number in range(8)],
        "allow_auto_topic_creation": True,
    }
    with broker.listen(auto_create=True) as listener:
        with RawClient(listener.bootstrap_servers) as client:
            assert (
                codes(client.request("Metadata", 12, **asked)) == [NONE] * 5 + [UNKNOWN_TOPIC] * 3
            )
            assert codes(client.request("Metadata", 12, **asked)) == [NONE] * 8


# ---- an answer is not much longer than what was asked for


def test_topic_that_is_named_often_is_described_once(client: RawClient) -> None:
    """100,000 times the name of a topic of 10,000 partitions were more bytes than there is memory."""
    asked = client.request("Metadata", 12, topics=[{"name": "t"}] * 50)
    assert codes(asked) == [NONE]
    (topic,) = asked.topics
    asked = client.request("Metadata", 12, topics=[{"name": None, "topic_id": topic.topic_id}] * 50)
    assert [one.name for one in asked.topics] == ["t"]


@pytest.mark.parametrize(
    ("name", "version", "fields", "found"),
    [
        ("DescribeConfigs", 4, {"resources": [{"resource_type": 2, "resource_name": "t"}] * 50}, "results"),
        ("DescribeGroups", 5, {"groups": ["g"] * 50}, "groups"),
        ("ConsumerGroupDescribe", 0, {"group_ids": ["g"] * 50}, "groups"),
        ("DescribeTransactions", 0, {"transactional_ids": ["x"] * 50}, "transaction_states"),
        ("DescribeProducers", 0, {"topics": [{"name": "t", "partition_indexes": [0] * 50}] * 2}, "topics"),
        ("OffsetFetch", 8, {"groups": [{"group_id": "g", "topics": None}] * 50}, "groups"),
    ],
)  # fmt: skip
def test_what_is_named_often_is_described_once(
    client: RawClient, listener: Listener, name: str, version: int, fields: dict[str, Any], found: str
) -> None:  # fmt: skip
    answer = client.request(name, version, **fields)
    assert len(getattr(answer, found)) == 1
    if name == "DescribeProducers":
        assert len(answer.topics[0].partitions) == 1


def test_log_directories_have_each_partition_once(client: RawClient) -> None:
    asked = client.request(
        "DescribeLogDirs", 4, topics=[{"topic": "t", "partitions": [0, 1, 0, 0]}] * 5
    )
    (topic,) = asked.results[0].topics
    assert sorted(one.partition_index for one in topic.partitions) == [0, 1]

"""A listener on a broker that changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import RawClient

NONE, UNKNOWN_TOPIC, UNKNOWN_MEMBER, NOT_ALLOWED = 0, 3, 25, 31
TOPIC = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}]
OF_PRODUCER = {"transactional_id": "x", "producer_id": 1, "producer_epoch": 0}

CHANGES: list[tuple[str, int, dict[str, Any]]] = [
    (
        "Produce",
        9,
        {
            "acks": -1,
            "topic_data": [
                {"name": "t", "partition_data": [{"index": 0, "records": kafka_batch([b"x"])}]}
            ],
        },
    ),
    ("CreateTopics", 7, {"topics": [{"name": "n", "num_partitions": 1, "replication_factor": 1}]}),
    ("DeleteTopics", 5, {"topic_names": ["t"]}),
    ("CreatePartitions", 3, {"topics": [{"name": "t", "count": 4, "assignments": None}]}),
    (
        "DeleteRecords",
        2,
        {"topics": [{"name": "t", "partitions": [{"partition_index": 0, "offset": 1}]}]},
    ),
    (
        "IncrementalAlterConfigs",
        1,
        {
            "resources": [
                {
                    "resource_type": 2,
                    "resource_name": "t",
                    "configs": [{"name": "retention.ms", "config_operation": 0, "value": "5"}],
                }
            ]
        },
    ),
    ("InitProducerId", 4, {"transactional_id": None, "transaction_timeout_ms": 1000}),
    ("InitProducerId", 4, {"transactional_id": "x", "transaction_timeout_ms": 1000}),
    ("AddPartitionsToTxn", 3, {**OF_PRODUCER, "topics": [{"name": "t", "partitions": [0]}]}),
    ("AddOffsetsToTxn", 3, {**OF_PRODUCER, "group_id": "g"}),
    ("EndTxn", 3, {**OF_PRODUCER, "committed": True}),
    ("TxnOffsetCommit", 3, {**OF_PRODUCER, "group_id": "g", "topics": TOPIC}),
    (
        "JoinGroup",
        5,
        {
            "group_id": "g",
            "session_timeout_ms": 10_000,
            "rebalance_timeout_ms": 10_000,
            "protocol_type": "consumer",
            "protocols": [{"name": "range", "metadata": b""}],
        },
    ),
    (
        "ConsumerGroupHeartbeat",
        0,
        {
            "group_id": "g",
            "rebalance_timeout_ms": 1000,
            "subscribed_topic_names": ["t"],
            "topic_partitions": [],
        },
    ),
    ("OffsetCommit", 8, {"group_id": "g", "topics": TOPIC}),
    (
        "OffsetDelete",
        0,
        {"group_id": "g", "topics": [{"name": "t", "partitions": [{"partition_index": 0}]}]},
    ),
    ("DeleteGroups", 2, {"groups_names": ["g"]}),
]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[RawClient]:
    with Broker(tmp_path) as broker:
        broker.create_topic("t")
        broker.partition("t", 0).append_value(b"x", 0)
    with Broker(tmp_path, read_only=True) as broker:
        listener = broker.listen(auto_create=True)
        with RawClient(listener.bootstrap_servers) as client:
            yield client


def codes(response: Any) -> set[int]:
    """Return all the error codes in a response."""
    if isinstance(response, list):
        return set().union(*(codes(one) for one in response))
    if not hasattr(response, "__slots__"):
        return set()
    found: set[int] = set()
    for name in response.__slots__:
        value = getattr(response, name)
        found |= {value} if name.endswith("error_code") else codes(value)
    return found


def test_changes_are_refused_for_good_and_without_a_word_in_the_log(
    client: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was an unknown error of the server's, with a traceback in the log, and clients try some of those again for ever."""
    with caplog.at_level(logging.WARNING):
        found = {
            (name, number): codes(client.request(name, version, **fields))
            for number, (name, version, fields) in enumerate(CHANGES)
        }
    assert [one for one, codes in found.items() if codes - {NONE} != {NOT_ALLOWED}] == []
    assert not caplog.records


def test_topic_does_not_come_into_being_by_being_asked_for(client: RawClient) -> None:
    response = client.request(
        "Metadata", 9, topics=[{"name": "n"}, {"name": "t"}], allow_auto_topic_creation=True
    )
    assert [topic.error_code for topic in response.topics] == [UNKNOWN_TOPIC, NONE]


def test_records_are_read(client: RawClient) -> None:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}
    response = client.request(
        "Fetch",
        12,
        max_wait_ms=0,
        min_bytes=1,
        max_bytes=1 << 20,
        topics=[{"topic": "t", "partitions": [partition]}],
    )
    assert response.responses[0].partitions[0].records

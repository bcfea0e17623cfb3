"""What a client is told when it is not its own fault."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.wire import RawClient

STORAGE_ERROR = 56


@pytest.fixture
def faults() -> FaultPlan:
    return FaultPlan()


@pytest.fixture
def client(faults: FaultPlan) -> Iterator[RawClient]:
    """Of a broker that was just opened: what is stored of its groups and transactions was not read yet."""
    disk = MemoryFileSystem()
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        broker.create_topic("t")
        offset = {TopicPartition("t", 0): OffsetAndMetadata(1)}
        broker.group_coordinator.commit_offsets("g", "", -1, offset)
        broker.transaction_coordinator.init_producer_id("x", 60_000, None, announces=True)
    faulty = FaultyFileSystem(disk, faults)
    with Broker("/data", filesystem=faulty, clock=VirtualClock()) as broker:
        with broker.listen() as listener, RawClient(listener.bootstrap_servers) as client:
            yield client


def error_codes(response: Any) -> list[int]:
    """Every error in *response*, however deep."""
    if isinstance(response, list | tuple):
        return [code for one in response for code in error_codes(one)]
    found: list[int] = []
    for name in getattr(response, "__slots__", ()):
        value = getattr(response, name)
        found += [value] if name.endswith("error_code") else error_codes(value)
    return found


PARTITION = {"partition_index": 0, "committed_offset": 3}
OFFSETS = {"group_id": "g", "topics": [{"name": "t", "partitions": [PARTITION]}]}
OFFSETS_DELETED = {
    "group_id": "g",
    "topics": [{"name": "t", "partitions": [{"partition_index": 0}]}],
}
TRANSACTION = {"transactional_id": "x", "producer_id": 1, "producer_epoch": 0}
TOPIC_CONFIG = {"resource_type": 2, "resource_name": "t"}


@pytest.mark.parametrize(
    ("name", "version", "fields"),
    [
        (
            "JoinGroup",
            3,
            {
                "group_id": "g",
                "session_timeout_ms": 10_000,
                "protocol_type": "consumer",
                "protocols": [{"name": "range"}],
            },
        ),
        (
            "ConsumerGroupHeartbeat",
            1,
            {
                "group_id": "g",
                "member_id": "a",
                "rebalance_timeout_ms": 1,
                "subscribed_topic_names": ["t"],
                "topic_partitions": [],
            },
        ),
        (
            "SyncGroup",
            5,
            {"group_id": "g", "protocol_type": "consumer", "protocol_name": "range"},
        ),
        ("Heartbeat", 4, {"group_id": "g"}),
        ("LeaveGroup", 2, {"group_id": "g"}),
        ("LeaveGroup", 5, {"group_id": "g", "members": [{"member_id": "a"}]}),
        ("DescribeGroups", 5, {"groups": ["g"]}),
        ("ConsumerGroupDescribe", 0, {"group_ids": ["g"]}),
        ("ListGroups", 5, {}),
        ("DeleteGroups", 2, {"groups_names": ["g"]}),
        ("OffsetCommit", 8, {**OFFSETS, "generation_id_or_member_epoch": -1}),
        ("OffsetFetch", 7, {"group_id": "g", "topics": None}),
        ("OffsetFetch", 8, {"groups": [{"group_id": "g", "topics": None}]}),
        ("OffsetDelete", 0, OFFSETS_DELETED),
        ("InitProducerId", 4, {"transactional_id": "x", "transaction_timeout_ms": 1000}),
        (
            "AddPartitionsToTxn",
            3,
            {**TRANSACTION, "topics": [{"name": "t", "partitions": [0]}]},
        ),
        ("EndTxn", 3, {**TRANSACTION, "committed": True}),
        ("DescribeTransactions", 0, {"transactional_ids": ["x"]}),
        ("ListTransactions", 1, {}),
        ("AddOffsetsToTxn", 3, {**TRANSACTION, "group_id": "g"}),
        ("TxnOffsetCommit", 3, {**TRANSACTION, **OFFSETS}),
        (
            "CreateTopics",
            5,
            {"topics": [{"name": "u", "num_partitions": 1, "replication_factor": 1}]},
        ),
        ("DeleteTopics", 5, {"topic_names": ["t"]}),
        ("CreatePartitions", 2, {"topics": [{"name": "t", "count": 2}]}),
        ("AlterConfigs", 1, {"resources": [TOPIC_CONFIG]}),
        ("IncrementalAlterConfigs", 1, {"resources": [TOPIC_CONFIG]}),
    ],
)
def test_error_of_the_disk_is_an_answer_and_the_connection_goes_on(
    client: RawClient, faults: FaultPlan, name: str, version: int, fields: dict[str, Any]
) -> None:
    broken = faults.fail("*", errno.EIO, times=None)
    response = client.request(name, version, **fields)
    broken.end()
    assert [code for code in error_codes(response) if code] == [STORAGE_ERROR]
    assert client.request("ApiVersions", 3).error_code == 0

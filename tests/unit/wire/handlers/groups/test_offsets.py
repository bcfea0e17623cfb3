"""OffsetCommit, OffsetFetch and OffsetDelete; CON-9 to CON-12, TXN-7."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.group import Group
from streamlog.broker.group_store import GroupStore
from streamlog.client.consumer import Consumer
from streamlog.errors import CorruptLogError
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.transaction_writer import new_writer
from tests.support.wire import RawClient
from tests.support.wire_group import WireMember

OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_PARTITION, METADATA_TOO_LARGE = 1, 2, 3, 12
ILLEGAL_GENERATION, UNKNOWN_MEMBER, NOT_FOUND, SUBSCRIBED, UNSTABLE = 22, 25, 69, 86, 88
INVALID_GROUP = 24
UNSUPPORTED_VERSION, NON_EMPTY, FENCED, STALE_EPOCH = 35, 68, 82, 113
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
TOLD = b"\x00\x00" + b"\x00\x00\x00\x01" + b"\x00\x01t" + b"\xff\xff\xff\xff"
"""The subscription of a classic member to t."""


def commit(
    client: RawClient, *partitions: dict[str, Any], version: int = 8, **fields: Any
) -> list[int]:
    by_topic: dict[str, list[dict[str, Any]]] = {}
    for one in partitions:
        topic = one.pop("topic", "t")
        by_topic.setdefault(topic, []).append({"partition_index": 0, "committed_offset": 5, **one})
    topics = [{"name": name, "partitions": found} for name, found in by_topic.items()]
    fields = {"group_id": "g", **fields}
    response = client.request("OffsetCommit", version, topics=topics, **fields)
    echoed = {
        one.name: [each.partition_index for each in one.partitions] for one in response.topics
    }
    assert echoed == {
        name: [one["partition_index"] for one in found] for name, found in by_topic.items()
    }
    return [one.error_code for topic in response.topics for one in topic.partitions]


def committed(broker: Broker) -> dict[TopicPartition, OffsetAndMetadata]:
    return broker.group_coordinator.fetch_all_offsets("g")


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6, 7, 8, 9])
def test_consumer_in_no_group_commits_with_generation_minus_1(
    client: RawClient, broker: Broker, version: int
) -> None:
    """The defaults of the fields say so; how long to keep it counts for nothing."""
    retention = {"retention_time_ms": 1} if version <= 4 else {}
    partition = {"committed_leader_epoch": 3, "committed_metadata": "note"}
    assert commit(client, partition, version=version, **retention) == [0]
    epoch = 3 if version >= 6 else None
    assert committed(broker) == {T0: OffsetAndMetadata(5, "note", epoch)}


def test_first_offset_in_the_first_epoch_is_committed_and_no_note_is_an_empty_one(
    client: RawClient, broker: Broker
) -> None:
    first = {"committed_offset": 0, "committed_leader_epoch": 0, "committed_metadata": None}
    assert commit(client, first) == [0]
    assert committed(broker) == {T0: OffsetAndMetadata(0, "", 0)}


def test_what_is_wrong_with_one_partition_leaves_the_others(
    client: RawClient, broker: Broker
) -> None:
    broker.create_partitions("t", 3)
    codes = commit(
        client,
        {"partition_index": 7},
        {"committed_offset": -1},
        {"partition_index": 2, "committed_metadata": "x" * 4097},
        {"partition_index": 1, "committed_metadata": "x" * 4096},
        {"topic": "no-such"},
    )
    assert codes == [UNKNOWN_PARTITION, OUT_OF_RANGE, METADATA_TOO_LARGE, 0, UNKNOWN_PARTITION]
    assert list(committed(broker)) == [T1]


def test_con_12_only_members_of_the_generation_commit_while_there_are_some(
    client: RawClient, broker: Broker
) -> None:
    member = WireMember(client)
    member.join()
    member.sync()
    assert commit(client, {}) == [UNKNOWN_MEMBER]
    me: dict[str, Any] = {"member_id": member.id, "generation_id_or_member_epoch": 1}
    assert commit(client, {}, **{**me, "generation_id_or_member_epoch": 2}) == [ILLEGAL_GENERATION]
    assert commit(client, {}, **{**me, "member_id": "stranger"}) == [UNKNOWN_MEMBER]
    assert committed(broker) == {}
    assert commit(client, {}, **me) == [0]


def test_con_15_static_member_commits_under_its_own_name_only(
    client: RawClient, broker: Broker
) -> None:
    static = WireMember(client, instance_id="one")
    static.join()
    static.sync()
    me: dict[str, Any] = {"member_id": static.id, "generation_id_or_member_epoch": 1}
    assert commit(client, {}, **{**me, "member_id": "b"}, group_instance_id="one") == [FENCED]
    assert commit(client, {}, **me, group_instance_id="two") == [UNKNOWN_MEMBER]
    assert committed(broker) == {}
    assert commit(client, {}, **me, group_instance_id="one") == [0]


def test_group_without_a_name_may_commit(client: RawClient, broker: Broker) -> None:
    """Kafka ``GroupCoordinatorService.commitOffsets``: clients of old do so."""
    assert commit(client, {}, group_id="") == [0]
    assert broker.group_coordinator.fetch_all_offsets("") == {T0: OffsetAndMetadata(5)}


@pytest.mark.parametrize(
    ("version", "code"), [(2, UNSUPPORTED_VERSION), (8, UNSUPPORTED_VERSION), (9, 0)]
)
def test_ngp_4_member_under_kip_848_commits_from_version_9_on(
    client: RawClient, broker: Broker, version: int, code: int
) -> None:
    """Before, nothing can tell it that its epoch is over. Kafka ``ConsumerGroup.validateOffsetCommit``."""
    with Consumer(broker, group_id="g") as consumer:
        consumer.subscribe(["t"])
        consumer.poll(0)
        (member,) = broker.group_coordinator.describe("g").members
        me = {"member_id": member.member_id, "generation_id_or_member_epoch": 1}
        assert commit(client, {}, version=version, **me) == [code]
        over = {**me, "generation_id_or_member_epoch": 0}
        assert commit(client, {}, version=version, **over) == [code or STALE_EPOCH]
        classic = WireMember(client, protocols=(("range", TOLD),))
        generation = classic.join().generation_id
        me = {"member_id": classic.id, "generation_id_or_member_epoch": generation}
        assert commit(client, {}, version=version, **me) == [0], "it speaks the classic protocol"


@pytest.mark.parametrize(
    ("version", "code"), [(2, ILLEGAL_GENERATION), (8, ILLEGAL_GENERATION), (9, NOT_FOUND)]
)
def test_commit_of_a_generation_of_a_group_that_does_not_exist_says_so(
    client: RawClient, version: int, code: int
) -> None:
    """It was an unknown member."""
    me: dict[str, Any] = {"generation_id_or_member_epoch": 3, "member_id": "x"}
    assert commit(client, {}, version=version, **me) == [code]
    assert commit(client, {}) == [0]
    assert commit(client, {}, version=version, **me) == [UNKNOWN_MEMBER]


def test_con_12_commit_with_a_name_and_no_generation_counts_in_a_group_without_members(
    client: RawClient, broker: Broker
) -> None:
    """It was refused: clients that assign partitions may keep the name of a member."""
    assert commit(client, {}, member_id="once") == [0]
    member = WireMember(client)
    member.join()
    assert commit(client, {"committed_offset": 6}, member_id="once") == [UNKNOWN_MEMBER]
    client.request("LeaveGroup", 0, group_id="g", member_id=member.id)
    assert commit(client, {"committed_offset": 7}, member_id="once") == [0]
    assert committed(broker) == {T0: OffsetAndMetadata(7)}


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7])
def test_offsets_are_looked_up_by_partition(
    client: RawClient, broker: Broker, version: int
) -> None:
    broker.group_coordinator.commit_offsets("g", "", -1, {T1: OffsetAndMetadata(7, "note", 2)})
    response = client.request(
        "OffsetFetch",
        version,
        group_id="g",
        topics=[
            {"name": "t", "partition_indexes": [0, 1]},
            {"name": "no-such", "partition_indexes": [0]},
        ],
    )
    assert response.error_code == 0
    found = [
        (topic.name, one.partition_index, one.committed_offset, one.metadata, one.error_code)
        for topic in response.topics
        for one in topic.partitions
    ]
    assert found == [("t", 0, -1, "", 0), ("t", 1, 7, "note", 0), ("no-such", 0, -1, "", 0)]
    epochs = [one.committed_leader_epoch for one in response.topics[0].partitions]
    assert epochs == ([-1, 2] if version >= 5 else [-1, -1])


@pytest.mark.parametrize("version", [1, 7])
def test_topic_without_partitions_is_in_the_answer(client: RawClient, version: int) -> None:
    topics = [{"name": "t", "partition_indexes": []}]
    (topic,) = client.request("OffsetFetch", version, group_id="g", topics=topics).topics
    assert (topic.name, topic.partitions) == ("t", [])


@pytest.mark.parametrize("version", [2, 5, 7])
def test_no_topics_are_all_that_was_committed(
    client: RawClient, broker: Broker, version: int
) -> None:
    assert client.request("OffsetFetch", version, group_id="g", topics=None).topics == []
    for tp, offset in ((T0, 1), (T1, 2)):
        broker.group_coordinator.commit_offsets("g", "", -1, {tp: OffsetAndMetadata(offset)})
    (topic,) = client.request("OffsetFetch", version, group_id="g", topics=None).topics
    assert [(one.partition_index, one.committed_offset) for one in topic.partitions] == [
        (0, 1),
        (1, 2),
    ]


def test_several_groups_are_asked_for_at_once(client: RawClient, broker: Broker) -> None:
    for group, offset in (("a", 1), ("b", 2)):
        broker.group_coordinator.commit_offsets(group, "", -1, {T0: OffsetAndMetadata(offset)})
    wanted = {"topics": [{"name": "t", "partition_indexes": [0]}]}
    response = client.request(
        "OffsetFetch",
        8,
        groups=[{"group_id": "a", **wanted}, {"group_id": "b", "topics": None}, {"group_id": "c", **wanted}],
    )  # fmt: skip
    found = [
        (group.group_id, group.error_code, group.topics[0].partitions[0].committed_offset)
        for group in response.groups
    ]
    assert found == [("a", 0, 1), ("b", 0, 2), ("c", 0, -1)]


@pytest.mark.parametrize("topics", [None, [{"name": "t", "partition_indexes": [0, 1]}]])
def test_txn_7_offset_that_depends_on_a_transaction_is_unstable(
    client: RawClient, broker: Broker, topics: Any
) -> None:
    coordinator = broker.group_coordinator
    coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(1), T1: OffsetAndMetadata(2)})
    producer = new_writer(broker).producer
    coordinator.commit_transactional_offsets(
        "g", "", -1, None, *producer, {T1: OffsetAndMetadata(9)}
    )

    def fetch(require_stable: bool) -> list[tuple[int, int]]:
        response = client.request(
            "OffsetFetch", 7, group_id="g", topics=topics, require_stable=require_stable
        )
        assert response.error_code == 0
        return [(one.committed_offset, one.error_code) for one in response.topics[0].partitions]

    assert fetch(require_stable=True) == [(1, 0), (-1, UNSTABLE)]
    assert fetch(require_stable=False) == [(1, 0), (2, 0)]


def test_offsets_are_forgotten_by_partition(client: RawClient, broker: Broker) -> None:
    coordinator = broker.group_coordinator
    assert client.request("OffsetDelete", 0, group_id="g").error_code == NOT_FOUND
    assert client.request("OffsetDelete", 0, group_id="").error_code == INVALID_GROUP
    coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(1), T1: OffsetAndMetadata(2)})
    response = client.request(
        "OffsetDelete",
        0,
        group_id="g",
        topics=[{"name": "t", "partitions": [{"partition_index": 0}, {"partition_index": 9}]}],
    )
    (topic,) = response.topics
    assert (response.error_code, topic.name) == (0, "t")
    codes = [(one.partition_index, one.error_code) for one in topic.partitions]
    assert codes == [(0, 0), (9, UNKNOWN_PARTITION)]
    assert list(committed(broker)) == [T1]


def test_offsets_of_a_topic_that_a_member_reads_are_kept(client: RawClient, broker: Broker) -> None:
    broker.create_topic("other")
    other = TopicPartition("other", 0)
    coordinator = broker.group_coordinator
    coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(1), other: OffsetAndMetadata(2)})
    WireMember(client, protocols=(("range", TOLD),)).join()
    response = client.request(
        "OffsetDelete",
        0,
        group_id="g",
        topics=[
            {"name": "t", "partitions": [{"partition_index": 0}]},
            {"name": "other", "partitions": [{"partition_index": 0}]},
        ],
    )
    codes = [topic.partitions[0].error_code for topic in response.topics]
    assert codes == [SUBSCRIBED, 0]
    assert list(committed(broker)) == [T0]


def test_members_that_are_no_consumers_may_read_anything(client: RawClient, broker: Broker) -> None:
    broker.group_coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(1)})
    WireMember(client, protocol_type="connect").join()
    assert client.request("OffsetDelete", 0, group_id="g").error_code == NON_EMPTY


@pytest.mark.parametrize("version", [1, 2, 7, 8])
def test_offsets_that_cannot_be_read_are_not_told_to_be_none(
    client: RawClient, broker: Broker, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Version 1 has no error for the group: a consumer began where its policy said."""
    assert commit(client, {}) == [0]

    def find(store: GroupStore, group_id: str) -> Group:
        raise CorruptLogError("__consumer_offsets-1: damaged")

    monkeypatch.setattr(GroupStore, "find", find)
    topics = [{"name": "t", "partition_indexes": [0, 1]}]
    if version == 8:
        groups = [{"group_id": "g", "topics": topics}]
        (found,) = client.request("OffsetFetch", 8, groups=groups).groups
        assert found.error_code == CORRUPT_MESSAGE
        return
    response = client.request("OffsetFetch", version, group_id="g", topics=topics)
    if version >= 2:
        assert (response.error_code, response.topics) == (CORRUPT_MESSAGE, [])
        return
    (topic,) = response.topics
    assert topic.name == "t"
    assert [
        (one.partition_index, one.committed_offset, one.error_code) for one in topic.partitions
    ] == [
        (0, -1, CORRUPT_MESSAGE),
        (1, -1, CORRUPT_MESSAGE),
    ]

"""DescribeGroups, ListGroups and DeleteGroups; GRP-1, GRP-12."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.group_store import GroupStore
from streamlog.broker.partition import Partition
from streamlog.client.consumer import Consumer
from streamlog.errors import CorruptLogError
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.wire import RawClient
from tests.support.wire_group import WireMember

Connect = Callable[[], RawClient]

NON_EMPTY, NOT_FOUND = 68, 69


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 5])
def test_classic_group_is_described_with_the_bytes_of_its_members(
    client: RawClient, version: int
) -> None:
    member = WireMember(client, instance_id="one", protocols=(("range", b"told"),))
    member.join()
    (group,) = client.request("DescribeGroups", version, groups=["g"]).groups
    assert (group.group_state, group.protocol_data) == ("CompletingRebalance", "")
    assert (group.members[0].member_metadata, group.members[0].member_assignment) == (b"", b"")
    member.sync()
    (group,) = client.request("DescribeGroups", version, groups=["g"]).groups
    assert (group.error_code, group.group_id, group.group_state) == (0, "g", "Stable")
    assert (group.protocol_type, group.protocol_data) == ("consumer", "range")
    (found,) = group.members
    assert (found.member_id, found.client_id, found.client_host) == (member.id, "raw", "/127.0.0.1")
    assert (found.member_metadata, found.member_assignment) == (b"told", member.id.encode())
    assert found.group_instance_id == ("one" if version >= 4 else None)


def test_group_that_nobody_knows_is_dead(client: RawClient) -> None:
    (group,) = client.request(
        "DescribeGroups", 5, groups=["no-such"], include_authorized_operations=True
    ).groups
    assert (group.error_code, group.group_state, group.members) == (0, "Dead", [])
    assert (group.group_id, group.authorized_operations) == ("no-such", 328)


def test_group_under_kip_848_is_none_of_the_classic_ones(client: RawClient, broker: Broker) -> None:
    with Consumer(broker, group_id="g") as consumer:
        consumer.subscribe(["t"])
        consumer.poll(0)
        (group,) = client.request("DescribeGroups", 5, groups=["g"]).groups
        assert (group.error_code, group.group_state) == (0, "Dead")
    (group,) = client.request("DescribeGroups", 5, groups=["g"]).groups
    assert (group.group_state, group.protocol_type) == ("Empty", "consumer")


def test_groups_are_listed_by_state_and_type(
    connect: Connect, client: RawClient, broker: Broker
) -> None:
    offset = {TopicPartition("t", 0): OffsetAndMetadata(1)}
    broker.group_coordinator.commit_offsets("simple", "", -1, offset)
    member = WireMember(connect(), "classic", protocol_type="connect")
    member.join()
    member.sync()
    with Consumer(broker, group_id="new") as consumer:
        consumer.subscribe(["t"])
        consumer.poll(0)

        def listed(**filters: list[str]) -> list[tuple[str, str, str, str]]:
            response = client.request("ListGroups", 5, **filters)
            assert response.error_code == 0
            return [
                (one.group_id, one.protocol_type, one.group_state, one.group_type)
                for one in response.groups
            ]

        classic = ("classic", "connect", "Stable", "classic")
        new = ("new", "consumer", "Stable", "consumer")
        simple = ("simple", "", "Empty", "classic")
        assert listed() == [classic, new, simple]
        assert listed(states_filter=["stable"]) == [classic, new]
        assert listed(types_filter=["Consumer"]) == [new]
        assert listed(states_filter=["Empty", "Dead"], types_filter=["classic"]) == [simple]
        assert listed(states_filter=["Reconciling"]) == []


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_old_clients_list_names_and_protocol_types(client: RawClient, version: int) -> None:
    WireMember(client).join()
    (group,) = client.request("ListGroups", version).groups
    assert (group.group_id, group.protocol_type) == ("g", "consumer")
    assert group.group_state == ("CompletingRebalance" if version >= 4 else "")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_grp_12_groups_without_members_are_deleted(
    connect: Connect, client: RawClient, broker: Broker, version: int
) -> None:
    offset = {TopicPartition("t", 0): OffsetAndMetadata(1)}
    broker.group_coordinator.commit_offsets("idle", "", -1, offset)
    WireMember(connect(), "busy").join()
    response = client.request(
        "DeleteGroups", version, groups_names=["busy", "idle", "idle", "no-such"]
    )
    assert [(one.group_id, one.error_code) for one in response.results] == [
        ("busy", NON_EMPTY),
        ("idle", 0),
        ("no-such", NOT_FOUND),
    ]
    assert [one.group_id for one in broker.group_coordinator.list_groups()] == ["busy"]


def test_groups_that_cannot_be_read_are_an_error_each(
    client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    WireMember(client).join()

    def load(store: GroupStore, home: Partition) -> None:
        raise CorruptLogError("__consumer_offsets-1: damaged")

    monkeypatch.setattr(GroupStore, "load", load)
    assert client.request("ListGroups", 4).error_code == 2
    (group,) = client.request("DescribeGroups", 5, groups=["g"]).groups
    assert (group.group_id, group.error_code, group.group_state) == ("g", 2, "")
    assert WireMember(client, "other", version=3).try_join().error_code == 2

"""Heartbeat and LeaveGroup; GRP-7, KIP-345."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from tests.support.wire import RawClient
from tests.support.wire_group import WireMember

Connect = Callable[[], RawClient]

ILLEGAL_GENERATION, UNKNOWN_MEMBER, FENCED = 22, 25, 82


def member_count(broker: Broker) -> int:
    return len(broker.group_coordinator.describe("g").members)


def leave(client: RawClient, *members: dict[str, Any], version: int = 5) -> list[int]:
    response = client.request("LeaveGroup", version, group_id="g", members=list(members))
    assert response.error_code == 0
    assert [(one.member_id, one.group_instance_id) for one in response.members] == [
        (one.get("member_id", ""), one.get("group_instance_id")) for one in members
    ]
    return [one.error_code for one in response.members]


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_grp_7_heartbeat_tells_what_is_wrong(client: RawClient, version: int) -> None:
    member = WireMember(client)
    member.join()
    member.sync()

    def heartbeat(group: str, generation: int, member_id: str) -> int:
        response = client.request(
            "Heartbeat", version, group_id=group, generation_id=generation, member_id=member_id
        )
        return int(response.error_code)

    assert heartbeat("g", 1, member.id) == 0
    assert heartbeat("g", 2, member.id) == ILLEGAL_GENERATION
    assert heartbeat("g", 1, "stranger") == UNKNOWN_MEMBER
    assert heartbeat("other", 1, member.id) == UNKNOWN_MEMBER


@pytest.mark.parametrize("version", [0, 1, 2])
def test_member_leaves_in_the_old_way(client: RawClient, broker: Broker, version: int) -> None:
    member = WireMember(client)
    member.join()
    response = client.request("LeaveGroup", version, group_id="g", member_id=member.id)
    assert response.error_code == 0
    assert member_count(broker) == 0
    response = client.request("LeaveGroup", version, group_id="g", member_id=member.id)
    assert response.error_code == UNKNOWN_MEMBER


def test_each_of_several_members_that_leave_has_its_own_error(
    connect: Connect, client: RawClient, broker: Broker
) -> None:
    static = WireMember(connect(), instance_id="one")
    static.join()
    codes = leave(
        client,
        {"member_id": "stranger"},
        {"group_instance_id": "nobody"},
        {"member_id": "not-it", "group_instance_id": "one"},
        {"group_instance_id": "one"},
        {"member_id": static.id, "group_instance_id": "one"},
    )
    assert codes == [UNKNOWN_MEMBER, UNKNOWN_MEMBER, FENCED, 0, UNKNOWN_MEMBER]
    assert member_count(broker) == 0


def test_static_member_that_leaves_over_the_wire_leaves_for_good(
    client: RawClient, broker: Broker
) -> None:
    """A client that only closes says nothing at all."""
    static = WireMember(client, instance_id="one")
    static.join()
    assert leave(client, {"member_id": static.id}, version=3) == [0]
    assert member_count(broker) == 0


def test_member_is_not_taken_for_a_static_one_of_a_name_that_nobody_has(
    client: RawClient, broker: Broker
) -> None:
    """Kafka ``ClassicGroup.validateMember``."""
    member = WireMember(client)
    member.join()
    named = {"member_id": member.id, "group_instance_id": "nobody"}
    response = client.request("Heartbeat", 3, group_id="g", generation_id=1, **named)
    assert response.error_code == UNKNOWN_MEMBER
    assert leave(client, named) == [UNKNOWN_MEMBER]
    assert member_count(broker) == 1


def test_id_that_nobody_joined_with_yet_can_leave(client: RawClient) -> None:
    member = WireMember(client)
    member.get_id()
    assert leave(client, {"member_id": member.id}) == [0]
    assert member.try_join().error_code == UNKNOWN_MEMBER


def test_leaving_a_group_that_does_not_exist_is_an_error(client: RawClient) -> None:
    assert leave(client, {"member_id": "x"}, {"group_instance_id": "y"}) == [UNKNOWN_MEMBER] * 2

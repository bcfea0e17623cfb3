"""JoinGroup and SyncGroup, byte for byte; GRP-2 to GRP-11."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import GroupIdNotFoundError
from streamlog.runtime import VirtualClock
from streamlog.wire.listener import Listener
from tests.support.eventually import eventually
from tests.support.wire import RawClient
from tests.support.wire_group import SESSION_MS, WireMember

Connect = Callable[[], RawClient]

UNKNOWN_MEMBER, REBALANCING, MEMBER_ID_REQUIRED, FENCED = 25, 27, 79, 82
INCONSISTENT, INVALID_GROUP, ILLEGAL_GENERATION, INVALID_SESSION_TIMEOUT = 23, 24, 22, 26


def member_count(broker: Broker, group: str = "g") -> int:
    try:
        return len(broker.group_coordinator.describe(group).members)
    except GroupIdNotFoundError:
        return 0


def pair(connect: Connect) -> tuple[WireMember, WireMember]:
    """Two members that have their assignments."""
    a, b = WireMember(connect()), WireMember(connect())
    a.join()
    a.sync()
    b.get_id()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    a.send_join()
    a.receive_join()
    b.receive_join()
    b.send_sync()
    assert a.sync().assignment == a.id.encode()
    assert b.client.receive().assignment == b.id.encode()
    return a, b


@pytest.mark.parametrize("version", [4, 5, 6, 7])
def test_grp_2_first_join_is_given_an_id_from_version_4_on(client: RawClient, version: int) -> None:
    member = WireMember(client, version=version)
    refused = member.try_join()
    assert (refused.error_code, refused.generation_id) == (MEMBER_ID_REQUIRED, -1)
    assert refused.member_id.startswith("raw-")
    assert refused.protocol_name == (None if version >= 7 else "")
    joined = member.try_join()
    assert (joined.error_code, joined.generation_id, joined.protocol_name) == (0, 1, "range")
    assert joined.leader == joined.member_id == refused.member_id
    assert joined.protocol_type == ("consumer" if version >= 7 else None)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_grp_2_first_join_of_an_old_client_is_let_in_at_once(
    client: RawClient, version: int
) -> None:
    """Pitfall 9: before KIP-394 nobody comes back with the id."""
    joined = WireMember(client, version=version).try_join()
    assert (joined.error_code, joined.generation_id) == (0, 1)
    assert joined.leader == joined.member_id


def test_grp_5_leader_gets_the_metadata_of_all_as_they_sent_it_and_followers_none(
    connect: Connect,
) -> None:
    told = b"\x00\xff any bytes"
    a = WireMember(connect(), protocols=(("x", b"no"), ("range", told)))
    b = WireMember(connect(), protocols=(("range", b"b's"),))
    a.join()
    a.sync()
    b.get_id()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    a.send_join()
    joined = a.receive_join()
    assert {one.member_id: one.metadata for one in joined.members} == {a.id: told, b.id: b"b's"}
    assert [one.group_instance_id for one in joined.members] == [None, None]
    followed = b.receive_join()
    assert (followed.members, followed.leader) == ([], a.id)
    assert followed.generation_id == joined.generation_id == 2


def test_sync_of_a_follower_waits_for_the_leader(connect: Connect) -> None:
    a, b = WireMember(connect()), WireMember(connect())
    a.join()
    a.sync()
    b.get_id()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    a.send_join()
    a.receive_join()
    b.receive_join()
    b.send_sync()
    synced = a.sync()
    assert (synced.protocol_type, synced.protocol_name) == ("consumer", "range")
    assert synced.assignment == a.id.encode()
    assert b.client.receive().assignment == b.id.encode()


def test_sync_that_waits_is_told_of_the_next_rebalance(connect: Connect, broker: Broker) -> None:
    a, b, c = (WireMember(connect()) for _ in range(3))
    a.join()
    a.sync()
    b.get_id()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    a.send_join()
    a.receive_join()
    b.receive_join()
    b.send_sync()
    eventually(lambda: waits_for_the_leader(broker, b))
    c.get_id()
    c.send_join()
    refused = b.client.receive()
    assert (refused.error_code, refused.assignment) == (REBALANCING, b"")
    assert refused.protocol_name is None


@pytest.mark.parametrize("comes", [True, False])
def test_join_phase_waits_for_who_was_just_given_an_id(
    connect: Connect, broker: Broker, clock: VirtualClock, comes: bool
) -> None:
    """There was a generation without it, and another one a moment later. Kafka ``ClassicGroup.hasAllMembersJoined``."""
    a, b, c = (WireMember(connect()) for _ in range(3))
    a.join()
    a.sync()
    b.get_id()
    c.get_id()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    a.send_join()
    eventually(lambda: waits_for_the_others(broker, a))
    if comes:
        assert c.try_join().generation_id == 2
    else:
        clock.advance(SESSION_MS)
    assert a.receive_join().generation_id == b.receive_join().generation_id == 2
    assert len(a.joined.members) == (3 if comes else 2)


def test_id_that_is_given_back_is_not_waited_for(connect: Connect) -> None:
    a, b, c = (WireMember(connect()) for _ in range(3))
    a.join()
    a.sync()
    b.get_id()
    c.get_id()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    a.send_join()
    c.client.request("LeaveGroup", 0, group_id="g", member_id=c.id)
    assert a.receive_join().generation_id == b.receive_join().generation_id == 2


def waits_for_the_others(broker: Broker, member: WireMember) -> bool:
    classic = broker.group_coordinator._store.find("g").classic
    return classic is not None and classic.members[member.id].joining is not None


def waits_for_the_leader(broker: Broker, member: WireMember) -> bool:
    classic = broker.group_coordinator._store.find("g").classic
    return classic is not None and classic.members[member.id].syncing is not None


def test_members_that_come_at_once_are_in_the_first_generation(broker: Broker) -> None:
    """Pitfall 9: a second rebalance would wait for the heartbeat of the first member."""
    with broker.listen(initial_rebalance_delay_ms=50) as listener:
        assert listener.endpoint.settings.initial_rebalance_delay_ms == 50
        with (
            RawClient(listener.bootstrap_servers) as one,
            RawClient(listener.bootstrap_servers) as two,
        ):
            a, b = WireMember(one), WireMember(two)
            a.get_id()
            b.get_id()
            a.send_join()
            b.send_join()
            eventually(lambda: member_count(broker) == 2)
            clock = broker.runtime.clock
            assert isinstance(clock, VirtualClock)
            clock.advance(100)
            assert a.receive_join().generation_id == b.receive_join().generation_id == 1


def test_listener_waits_a_moment_for_more_members_by_default(broker: Broker) -> None:
    """Pitfall 9: 50 ms, not 3 s."""
    with broker.listen() as listener:
        assert listener.endpoint.settings.initial_rebalance_delay_ms == 50


def test_grp_6_session_timeout_out_of_bounds_is_refused(client: RawClient) -> None:
    response = client.request(
        "JoinGroup", 5, group_id="g", session_timeout_ms=100, protocol_type="consumer",
        protocols=[{"name": "range"}],
    )  # fmt: skip
    assert response.error_code == INVALID_SESSION_TIMEOUT


def test_grp_6_bounds_of_the_session_timeout_are_the_brokers() -> None:
    """Pitfall 10: suites differ in what they expect to be refused."""
    with Broker(group_min_session_timeout_ms=100) as broker:
        with broker.listen(initial_rebalance_delay_ms=0) as listener:
            with RawClient(listener.bootstrap_servers) as client:
                response = client.request(
                    "JoinGroup", 3, group_id="g", session_timeout_ms=100, rebalance_timeout_ms=100,
                    protocol_type="consumer", protocols=[{"name": "range"}],
                )  # fmt: skip
                assert response.error_code == 0


def test_group_without_a_name_is_invalid(client: RawClient) -> None:
    assert WireMember(client, group="").try_join().error_code == INVALID_GROUP
    assert client.request("SyncGroup", 3, group_id="").error_code == INVALID_GROUP
    assert client.request("Heartbeat", 3, group_id="").error_code == INVALID_GROUP
    assert client.request("LeaveGroup", 3, group_id="").error_code == INVALID_GROUP


def test_members_of_another_protocol_type_are_refused_while_there_are_some(
    connect: Connect,
) -> None:
    worker = WireMember(connect(), protocol_type="connect", protocols=(("default", b"\x01"),))
    joined = worker.join()
    assert joined.protocol_type == "connect"
    assert worker.sync().assignment == worker.id.encode()
    assert WireMember(connect()).try_join().error_code == INCONSISTENT
    no_type = WireMember(connect(), protocol_type="")
    assert no_type.try_join().error_code == INCONSISTENT
    leave(worker)
    assert WireMember(connect()).join().protocol_type == "consumer"


def leave(member: WireMember) -> None:
    response = member.client.request(
        "LeaveGroup", 3, group_id=member.group, members=[{"member_id": member.id}]
    )
    assert [one.error_code for one in response.members] == [0]


def test_group_of_another_protocol_type_can_be_looked_at(broker: Broker, client: RawClient) -> None:
    """What its members write is nobody's business, and was taken for subscriptions."""
    worker = WireMember(client, protocol_type="connect", protocols=(("default", b"\x01"),))
    worker.join()
    worker.sync()
    (member,) = broker.group_coordinator.describe("g").members
    assert (member.topics, member.assignment) == ((), ())
    broker.group_coordinator.expire_offsets()


def test_sync_that_believes_in_another_protocol_is_refused(client: RawClient) -> None:
    """KIP-559."""
    member = WireMember(client)
    member.join()
    both = {"protocol_type": "consumer", "protocol_name": "range"}
    for told in (
        {**both, "protocol_type": "connect"},
        {**both, "protocol_name": "sticky"},
        {**both, "protocol_type": None},
        {**both, "protocol_name": None},
    ):
        response = client.request(
            "SyncGroup", 5, group_id="g", generation_id=1, member_id=member.id, **told
        )
        assert (response.error_code, response.protocol_name) == (INCONSISTENT, None)
    assert member.sync().error_code == 0


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_sync_before_version_5_has_no_protocol_to_name(client: RawClient, version: int) -> None:
    member = WireMember(client)
    member.join()
    synced = client.request(
        "SyncGroup",
        version,
        group_id="g",
        generation_id=1,
        member_id=member.id,
        assignments=[{"member_id": member.id, "assignment": b"all"}],
    )
    assert (synced.error_code, synced.assignment) == (0, b"all")


def test_errors_of_a_sync_are_those_of_the_rebalance(client: RawClient) -> None:
    member = WireMember(client)
    member.join()
    member.generation = 7
    assert member.sync().error_code == ILLEGAL_GENERATION
    member.id = "stranger"
    assert member.sync().error_code == UNKNOWN_MEMBER
    member.group = "other"
    assert member.sync().error_code == UNKNOWN_MEMBER


# ---- time-outs


def test_member_that_is_not_heard_of_for_its_session_timeout_is_removed(
    connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    """GRP-7: whatever its rebalance time-out is, which counts for members of this process."""
    a, b = pair(connect)
    clock.advance(SESSION_MS - 1)
    assert a.heartbeat() == 0
    clock.advance(1)
    assert member_count(broker) == 1
    assert a.heartbeat() == REBALANCING
    assert b.heartbeat() == UNKNOWN_MEMBER
    assert a.try_join().generation_id == 3


def test_heartbeat_keeps_a_member_also_when_it_is_told_to_join_again(
    connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    a, _ = pair(connect)
    c = WireMember(connect())
    c.get_id()
    c.send_join()
    eventually(lambda: member_count(broker) == 3)
    for _ in range(3):
        clock.advance(SESSION_MS - 1)
        assert a.heartbeat() == REBALANCING
    assert member_count(broker) == 2, "the other was silent"
    assert a.try_join().error_code == 0
    assert c.receive_join().error_code == 0


def test_commit_is_a_sign_of_life(client: RawClient, broker: Broker, clock: VirtualClock) -> None:
    member = WireMember(client)
    member.join()
    member.sync()
    for _ in range(2):
        clock.advance(SESSION_MS - 1)
        response = client.request(
            "OffsetCommit", 8, group_id="g", generation_id_or_member_epoch=1, member_id=member.id,
            topics=[{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 1}]}],
        )  # fmt: skip
        assert response.topics[0].partitions[0].error_code == 0
    assert member_count(broker) == 1


def test_member_that_waits_for_the_others_needs_no_heartbeat(
    connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    a, _ = pair(connect)
    c = WireMember(connect())
    c.get_id()
    c.send_join()
    eventually(lambda: member_count(broker) == 3)
    for _ in range(4):
        clock.advance(SESSION_MS - 1)
        assert a.heartbeat() == REBALANCING
    assert member_count(broker) == 2
    assert a.try_join().error_code == 0
    assert c.receive_join().error_code == 0
    # Its session begins with the answer.
    clock.advance(SESSION_MS - 1)
    assert c.heartbeat() == 0


@pytest.mark.parametrize(("version", "is_waited_for"), [(0, False), (1, True)])
def test_rebalance_timeout_is_the_session_timeout_in_version_0(
    connect: Connect, clock: VirtualClock, version: int, is_waited_for: bool
) -> None:
    """Later versions say both; here that of the rebalance is a minute."""
    a, b = WireMember(connect(), version=version), WireMember(connect(), version=version)
    a.join()
    a.sync()
    b.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    clock.advance(SESSION_MS - 1)
    assert a.heartbeat() == REBALANCING
    clock.advance(1)
    assert a.heartbeat() == (REBALANCING if is_waited_for else UNKNOWN_MEMBER)


def test_member_whose_connection_breaks_while_it_joins_stays_until_its_session_ends(
    connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    a, b = WireMember(connect()), WireMember(connect())
    a.join()
    a.sync()
    b.get_id()
    b.send_join()
    eventually(lambda: member_count(broker) == 2)
    clock.advance(SESSION_MS - 1)
    assert a.heartbeat() == REBALANCING
    waiting = broker.group_coordinator._store.find("g").classic.members[b.id].joining  # type: ignore[union-attr]
    assert waiting is not None
    b.client.close()
    eventually(lambda: waiting.abandoned_ms < float("inf"))
    clock.advance(SESSION_MS - 1)
    assert a.heartbeat() == REBALANCING
    assert member_count(broker) == 2
    clock.advance(1)
    assert member_count(broker) == 1
    assert a.try_join().generation_id == 2


def test_connection_that_breaks_before_the_join_is_parked_counts_as_broken(
    connect: Connect, broker: Broker, listener: Listener, clock: VirtualClock
) -> None:
    """The worker came back to a connection that was gone, and the member was waited for as long as a rebalance may take."""
    a, b = WireMember(connect()), WireMember(connect())
    a.join()
    a.sync()
    b.get_id()
    with broker.group_coordinator._lock:
        b.send_join()
        eventually(lambda: any(one._is_busy for one in listener.endpoint._connections))
        b.client.close()
        eventually(
            lambda: sum(one.socket is not None for one in listener.endpoint._connections) == 1
        )
    eventually(lambda: member_count(broker) == 2)
    waiting = broker.group_coordinator._store.find("g").classic.members[b.id].joining  # type: ignore[union-attr]
    assert waiting is not None
    eventually(lambda: waiting.abandoned_ms < float("inf"))
    clock.advance(SESSION_MS - 1)
    assert a.heartbeat() == REBALANCING
    clock.advance(1)
    assert member_count(broker) == 1


def test_id_that_nobody_joins_with_is_forgotten(
    client: RawClient, broker: Broker, clock: VirtualClock
) -> None:
    """One was kept for each first join of a client that never came back."""
    member = WireMember(client)
    member.get_id()
    clock.advance(SESSION_MS)
    assert member.try_join().error_code == UNKNOWN_MEMBER


# ---- static members


def test_grp_11_static_member_that_comes_back_is_told_who_leads(connect: Connect) -> None:
    """Nobody, it was told. Kafka ``updateStaticMemberThenRebalanceOrCompleteJoin``."""
    leader = WireMember(connect(), instance_id="one")
    leader.join()
    leader.sync()
    follower = WireMember(connect(), instance_id="two")
    follower.send_join()
    eventually(lambda: leader.heartbeat() == REBALANCING)
    leader.join()
    follower.receive_join()
    follower.send_sync()
    leader.sync()
    assert follower.client.receive().error_code == 0
    again = WireMember(connect(), instance_id="two").join()
    assert (again.leader, again.members) == (leader.id, [])


def test_grp_11_static_member_that_comes_back_takes_its_place(
    connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    old = WireMember(connect(), instance_id="one")
    joined = old.join()
    assert joined.members[0].group_instance_id == "one"
    old.sync()
    old.client.close()
    clock.advance(SESSION_MS - 1)
    new = WireMember(connect(), instance_id="one")
    joined = new.join()
    assert joined.generation_id == 1
    assert new.id != old.id
    # It led, and its assignment stands: what it is not told it cannot do again (KIP-814).
    assert (joined.leader, joined.members) == (old.id, [])
    assert new.sync().assignment == old.id.encode()
    assert new.heartbeat() == 0
    old.client = connect()
    assert old.heartbeat() == FENCED


def test_grp_11_join_that_waits_is_told_that_its_place_was_taken(connect: Connect) -> None:
    a = WireMember(connect())
    a.join()
    a.sync()
    old, new = (WireMember(connect(), instance_id="one") for _ in range(2))
    old.send_join()
    eventually(lambda: a.heartbeat() == REBALANCING)
    new.send_join()
    fenced = old.receive_join()
    assert (fenced.error_code, fenced.generation_id, fenced.protocol_name) == (FENCED, -1, None)
    assert fenced.members == []
    a.send_join()
    assert a.receive_join().generation_id == new.receive_join().generation_id == 2


def test_grp_11_static_member_that_stays_away_is_removed_when_its_session_ends(
    connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    old = WireMember(connect(), instance_id="one")
    old.join()
    old.sync()
    old.client.close()
    clock.advance(SESSION_MS)
    assert member_count(broker) == 0


def test_listener_closes_with_joins_and_syncs_parked(broker: Broker, listener: Listener) -> None:
    with RawClient(listener.bootstrap_servers) as one, RawClient(listener.bootstrap_servers) as two:
        a, b = WireMember(one), WireMember(two)
        a.join()
        b.get_id()
        b.send_join()
        eventually(lambda: member_count(broker) == 2)
        listener.close()
        with pytest.raises(ConnectionError):
            b.client.receive()

"""What the coordinator does for members in other processes; what they see of it is tested over the wire."""

from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.classic.consumer_protocol import ConsumerSubscription, encode_subscription
from streamlog.broker.classic.requests import JoinRequest, JoinResponse, Reply, SyncRequest
from streamlog.broker.group import GroupState
from streamlog.broker.group_member import Subscription
from streamlog.broker.group_membership import Heartbeat
from streamlog.broker.group_records import GroupEpoch
from streamlog.broker.member_session import RemoteSession
from streamlog.errors import (
    FencedInstanceIdError,
    GroupIdNotFoundError,
    StaleMemberEpochError,
    UnknownMemberIdError,
)
from streamlog.runtime import VirtualClock

SESSION_MS = 10_000


@pytest.fixture(autouse=True)
def topic(broker: Broker) -> None:
    broker.create_topic("t", partitions=2)


def session(broker: Broker, session_ms: int = SESSION_MS) -> RemoteSession:
    return RemoteSession(session_ms, 60_000, broker.runtime.clock.monotonic_ms())


def join(
    broker: Broker,
    *,
    member_id: str = "",
    instance_id: str | None = None,
    session_ms: int = SESSION_MS,
    told: bytes = b"told",
) -> JoinResponse:
    reply: Reply[JoinResponse] = Reply(lambda: None)
    request = JoinRequest(
        "g", member_id, instance_id, "c", session_ms, 60_000, (("range", told),),
        session(broker, session_ms), client_host="/10.0.0.1", requires_member_id=False,
    )  # fmt: skip
    broker.group_coordinator.join(request, reply)
    return reply.take()


def heartbeat(broker: Broker, name: str, epoch: int = 0, *, instance_id: str | None = None) -> int:
    request = Heartbeat(
        "g", name, epoch, "c", Subscription(frozenset({"t"})), session(broker), frozenset(),
        instance_id=instance_id,
    )  # fmt: skip
    return broker.group_coordinator.heartbeat(request).member_epoch


def test_member_that_joins_again_keeps_its_session_with_the_time_outs_it_says_now(
    broker: Broker, clock: VirtualClock
) -> None:
    first = join(broker)
    clock.advance(SESSION_MS - 1)
    join(broker, member_id=first.member_id, session_ms=2 * SESSION_MS)
    clock.advance(2 * SESSION_MS - 1)
    assert len(broker.group_coordinator.remote.describe_classic("g").members) == 1
    clock.advance(1)
    assert broker.group_coordinator.remote.describe_classic("g").members == ()


@pytest.mark.parametrize("is_classic", [True, False])
def test_member_leaves_by_its_id_or_by_its_name(broker: Broker, is_classic: bool) -> None:
    remote = broker.group_coordinator.remote
    member_id = "m"
    if is_classic:
        member_id = join(broker, instance_id="one").member_id
    else:
        heartbeat(broker, member_id, instance_id="one")
    with pytest.raises(UnknownMemberIdError):
        remote.leave("g", "stranger", None)
    with pytest.raises(UnknownMemberIdError):
        remote.leave("g", "", "other")
    with pytest.raises(FencedInstanceIdError):
        remote.leave("g", "stranger", "one")
    remote.leave("g", "", "one")
    with pytest.raises(UnknownMemberIdError, match=f"{member_id!r} is not a member"):
        remote.leave("g", member_id, None)


def test_leaving_a_group_that_nobody_knows_is_an_error(broker: Broker) -> None:
    with pytest.raises(UnknownMemberIdError, match="'m' is not a member"):
        broker.group_coordinator.remote.leave("no-such", "m", None)


def test_signs_of_life_of_no_member_change_nothing(broker: Broker) -> None:
    broker.group_coordinator.remote.heard("g", "m")
    join(broker)
    broker.group_coordinator.remote.heard("g", "stranger")


def test_epoch_is_that_of_a_member_under_kip_848(broker: Broker) -> None:
    remote = broker.group_coordinator.remote
    remote.check_epoch("g", None, -1)
    remote.check_epoch("g", "", -1)
    remote.check_epoch("no-such", "m", 1)
    epoch = heartbeat(broker, "m")
    remote.check_epoch("g", "m", epoch)
    with pytest.raises(StaleMemberEpochError, match="expected epoch 1, found 0"):
        remote.check_epoch("g", "m", 0)
    with pytest.raises(UnknownMemberIdError):
        remote.check_epoch("g", "stranger", epoch)
    with pytest.raises(UnknownMemberIdError):
        remote.check_epoch("g", "", -1)
    remote.check_epoch("g", None, -1)


def test_classic_group_shows_the_bytes_once_it_is_stable(broker: Broker) -> None:
    coordinator = broker.group_coordinator
    joined = join(broker)
    view = coordinator.remote.describe_classic("g")
    assert (view.state, view.protocol) == (GroupState.COMPLETING_REBALANCE, "")
    assert (view.members[0].metadata, view.members[0].assignment) == (b"", b"")
    request = SyncRequest("g", joined.member_id, None, 1, {joined.member_id: b"share"})
    coordinator.sync(request, Reply(lambda: None))
    view = coordinator.remote.describe_classic("g")
    assert (view.state, view.protocol_type, view.protocol) == (
        GroupState.STABLE,
        "consumer",
        "range",
    )
    assert view.members == ((joined.member_id, None, "c", "/10.0.0.1", b"told", b"share"),)
    with pytest.raises(GroupIdNotFoundError, match="not a consumer group"):
        coordinator.remote.describe_consumer("g")


def test_group_under_kip_848_shows_what_its_members_are_to_read(broker: Broker) -> None:
    remote = broker.group_coordinator.remote
    heartbeat(broker, "b")
    heartbeat(broker, "a")
    view = remote.describe_consumer("g")
    assert (view.state, view.epoch, view.assignor) == (GroupState.RECONCILING, 2, "range")
    assert [one.member_id for one in view.members] == ["a", "b"]
    assert sum(map(len, view.targets.values())) == 2
    with pytest.raises(GroupIdNotFoundError, match="not a classic group"):
        remote.describe_classic("g")
    assert remote.subscription_of("g", "a").topics == {"t"}
    assert remote.subscription_of("g", "stranger") == Subscription()


def test_unknown_group_is_not_found(broker: Broker) -> None:
    remote = broker.group_coordinator.remote
    with pytest.raises(GroupIdNotFoundError):
        remote.describe_classic("no-such")
    with pytest.raises(GroupIdNotFoundError):
        remote.describe_consumer("no-such")


def test_groups_are_listed_with_their_kind(broker: Broker) -> None:
    coordinator = broker.group_coordinator
    heartbeat(broker, "m")
    assert coordinator.remote.list_groups() == [("g", GroupState.STABLE, "consumer", False)]
    coordinator.remote.leave("g", "m", None)
    # It was a classic one as soon as it was empty.
    assert coordinator.remote.list_groups() == [("g", GroupState.EMPTY, "consumer", False)]
    join(broker)
    assert [one.is_classic for one in coordinator.remote.list_groups()] == [True]


def test_group_of_an_older_directory_is_listed_as_a_classic_one_until_somebody_joins(
    broker: Broker,
) -> None:
    coordinator = broker.group_coordinator
    heartbeat(broker, "m")
    coordinator.remote.leave("g", "m", None)
    group = coordinator._store.groups["g"]
    coordinator._store.apply(group, [GroupEpoch("g", group.epoch, None)])
    assert coordinator.remote.list_groups() == [("g", GroupState.EMPTY, "consumer", True)]
    with pytest.raises(GroupIdNotFoundError, match="not a consumer group"):
        coordinator.remote.describe_consumer("g")
    heartbeat(broker, "m")
    assert [one.is_classic for one in coordinator.remote.list_groups()] == [False]


def test_time_to_give_partitions_back_ends_when_the_group_goes_back_to_the_classic_protocol(
    broker: Broker, clock: VirtualClock
) -> None:
    """It went on, and removed the member as soon as the group was under KIP-848 again."""
    told = encode_subscription(ConsumerSubscription(frozenset({"t"})))
    heartbeat(broker, "m")
    classic_id = join(broker, told=told).member_id
    group = broker.group_coordinator._store.find("g")
    session = group.members[classic_id].session
    assert isinstance(session, RemoteSession)
    session.revoke_by_ms = clock.monotonic_ms() + 5
    broker.group_coordinator.remote.leave("g", "m", None)
    assert group.members == {}, "the classic one was left alone"
    heartbeat(broker, "m")
    clock.advance(10)
    assert set(group.members) == {classic_id, "m"}

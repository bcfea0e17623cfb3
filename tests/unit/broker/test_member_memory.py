"""What members elsewhere may make the groups keep; GRP-6, GRP-12."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    encode_assignment,
    encode_subscription,
)
from streamlog.broker.classic.requests import JoinRequest, JoinResponse, Reply, SyncRequest
from streamlog.broker.group_member import Subscription
from streamlog.broker.group_membership import Heartbeat
from streamlog.broker.member_memory import kept_bytes
from streamlog.broker.member_session import RemoteSession
from streamlog.client.consumer import Consumer
from streamlog.errors import DiskFullError, GroupMaxSizeReachedError, MemberIdRequiredError
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition

LIMIT = 100_000
SESSION_MS = 10_000
T0 = TopicPartition("t", 0)
Open = Callable[..., Broker]


@pytest.fixture
def opened(clock: VirtualClock) -> Iterator[Open]:
    brokers: list[Broker] = []

    def open_broker(**config: int) -> Broker:
        broker = Broker(clock=clock, seed=1, **{"group_metadata_max_bytes": LIMIT, **config})  # type: ignore[arg-type]
        broker.create_topic("t", partitions=2)
        brokers.append(broker)
        return broker

    yield open_broker
    for broker in brokers:
        broker.group_coordinator._check()
        broker.close()


@pytest.fixture
def broker(opened: Open) -> Broker:
    return opened()


def session(broker: Broker) -> RemoteSession:
    return RemoteSession(SESSION_MS, 60_000, broker.runtime.clock.monotonic_ms())


def join(
    broker: Broker,
    group: str = "g",
    size: int = 10,
    *,
    member_id: str = "",
    instance_id: str | None = None,
    told: bytes | None = None,
    requires_member_id: bool = False,
) -> Reply[JoinResponse]:
    """Join by the classic protocol with *size* bytes, or what is *told*."""
    reply: Reply[JoinResponse] = Reply(lambda: None)
    metadata = bytes(size) if told is None else told
    request = JoinRequest(
        group, member_id, instance_id, "c", SESSION_MS, 60_000, (("range", metadata),), session(broker),
        requires_member_id=requires_member_id,
    )  # fmt: skip
    broker.group_coordinator.join(request, reply)
    return reply


def joined(
    broker: Broker,
    group: str = "g",
    size: int = 10,
    *,
    instance_id: str | None = None,
    told: bytes | None = None,
) -> str:
    """Join, and return the member's id."""
    return join(broker, group, size, instance_id=instance_id, told=told).take().member_id


def share(broker: Broker, member_id: str, data: bytes, generation: int = 1) -> None:
    request = SyncRequest(
        "g", member_id, None, generation, {member_id: data, "stranger": bytes(LIMIT)}
    )
    broker.group_coordinator.sync(request, Reply(lambda: None))


def heartbeat(broker: Broker, name: str, topics: int, epoch: int = 0, group: str = "g") -> int:
    """Subscribe to *topics* by names of 100 characters."""
    wanted = Subscription(frozenset(f"{name}{number}".ljust(100, "x") for number in range(topics)))
    request = Heartbeat(group, name, epoch, "c", wanted, session(broker), frozenset())
    return broker.group_coordinator.heartbeat(request).member_epoch


def kept(broker: Broker) -> int:
    return sum(map(kept_bytes, broker.group_coordinator._store.groups.values()))


def listed(broker: Broker) -> list[str]:
    return [one.group_id for one in broker.group_coordinator.list_groups()]


def test_member_that_there_is_no_room_for_is_refused_and_its_group_not_remembered(
    broker: Broker,
) -> None:
    member_id = joined(broker, "a", 60_000)
    message = r"group 'b': all groups together keep 6\d+ bytes .* group_metadata_max_bytes=100000, found a request for 6\d+ more"
    with pytest.raises(GroupMaxSizeReachedError, match=message):
        join(broker, "b", 60_000)
    assert list(broker.group_coordinator._store.groups) == ["a"]
    assert joined(broker, "b", 20_000)
    assert join(broker, "a", 60_000, member_id=member_id).take().member_id == member_id


def test_member_joins_again_with_as_much_as_before_and_not_with_more(broker: Broker) -> None:
    first = joined(broker, "a", 60_000, instance_id="one")
    joined(broker, "b", 20_000)
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, "a", 90_000, member_id=first, instance_id="one")
    view = broker.group_coordinator.remote.describe_classic("a")
    assert [one.member_id for one in view.members] == [first]
    again = joined(broker, "a", 60_000, instance_id="one")  # by its name, as after a restart
    assert again != first
    join(broker, "a", 10, member_id=again, instance_id="one")


def test_room_of_those_who_left_is_found_a_second_later(
    broker: Broker, clock: VirtualClock
) -> None:
    joined(broker, "a", 60_000)
    member_id = joined(broker, "b", 20_000)
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, "c", 7000)
    broker.group_coordinator.remote.leave("b", member_id, None)
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, "c", 7000)
    clock.advance(1000)
    assert joined(broker, "c", 7000)


def test_room_of_those_who_are_silent_is_found_when_their_session_ends(
    broker: Broker, clock: VirtualClock
) -> None:
    joined(broker, "a", 60_000)
    clock.advance(SESSION_MS - 1)
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, "b", 60_000)
    clock.advance(1000)
    assert joined(broker, "b", 60_000)


def test_member_under_kip_848_subscribes_to_as_much_as_there_is_room_for(broker: Broker) -> None:
    epoch = heartbeat(broker, "m", 200)
    with pytest.raises(GroupMaxSizeReachedError):
        heartbeat(broker, "m", 900, epoch)
    assert len(broker.group_coordinator.remote.subscription_of("g", "m").topics) == 200
    with pytest.raises(GroupMaxSizeReachedError):
        heartbeat(broker, "other", 500)
    with pytest.raises(GroupMaxSizeReachedError):
        heartbeat(broker, "other", 500, group="elsewhere")
    assert listed(broker) == ["g"]
    assert heartbeat(broker, "m", 200, epoch) == epoch
    assert heartbeat(broker, "m", 0) > epoch


def test_what_a_pattern_matches_takes_room_once_for_all_who_have_it(
    broker: Broker, clock: VirtualClock
) -> None:
    for number in range(50):
        broker.create_topic(f"topic-{number}")

    def subscribe(name: str, pattern: str) -> None:
        request = Heartbeat(
            name, name, 0, "c", Subscription(pattern=re.compile(pattern)), session(broker), frozenset()
        )  # fmt: skip
        broker.group_coordinator.heartbeat(request)

    memory = broker.group_coordinator._memory
    subscribe("a", "topic-.*")
    before = memory.used_bytes
    subscribe("b", "topic-.*")
    for_member = memory.used_bytes - before
    subscribe("c", "(topic-.*)")
    for_pattern = memory.used_bytes - before - 2 * for_member
    assert 50 * 64 <= for_pattern < 50 * 64 + 100
    with pytest.raises(GroupMaxSizeReachedError):
        for number in range(100):
            subscribe(f"m{number}", f"topic-.*|{number}")
    clock.advance(1000)
    with pytest.raises(GroupMaxSizeReachedError):
        subscribe("last", "topic-.*|x")
    members = len(broker.group_coordinator.list_groups())
    assert 10 < members < LIMIT // (for_member + for_pattern) + 2


def test_leader_assigns_as_much_as_there_is_room_for(broker: Broker) -> None:
    member_id = joined(broker)
    with pytest.raises(GroupMaxSizeReachedError):
        share(broker, member_id, bytes(LIMIT))
    share(broker, member_id, bytes(80_000))
    (member,) = broker.group_coordinator.remote.describe_classic("g").members
    assert len(member.assignment) == 80_000
    with pytest.raises(GroupMaxSizeReachedError):
        joined(broker, "other", 20_000)
    join(broker, member_id=member_id)
    share(broker, member_id, bytes(80_000), generation=2)
    with pytest.raises(GroupMaxSizeReachedError):
        joined(broker, "other", 20_000)


def test_ids_that_were_handed_out_take_room_until_they_expire(
    broker: Broker, clock: VirtualClock
) -> None:
    for _ in range(1000):
        try:
            join(broker, requires_member_id=True)
        except MemberIdRequiredError:
            continue
        except GroupMaxSizeReachedError:
            break
    pending = broker.group_coordinator._store.groups["g"].classic
    assert pending is not None
    assert 50 < len(pending.pending_ids) < 100
    clock.advance(SESSION_MS)
    with pytest.raises(MemberIdRequiredError):
        join(broker, requires_member_id=True)
    assert kept(broker) < 10_000


def test_grp_12_groups_with_nothing_but_a_past_make_room(broker: Broker) -> None:
    broker.group_coordinator.commit_offsets("offsets", "", -1, {T0: OffsetAndMetadata(0)})
    for number in range(200):
        member_id = joined(broker, f"g{number}", 1000)
        broker.group_coordinator.remote.leave(f"g{number}", member_id, None)
        assert kept(broker) <= LIMIT
    joined(broker, "offsets", 60_000)
    found = listed(broker)
    assert 1 < len(found) < 50
    assert "offsets" in found
    broker.group_coordinator.delete("g199")


def test_groups_that_cannot_be_forgotten_take_their_room(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def flood() -> None:
        for number in range(100):
            member_id = joined(broker, f"g{number}", 1000)
            broker.group_coordinator.remote.leave(f"g{number}", member_id, None)

    store = broker.group_coordinator._store
    apply = store.apply

    def full(group: Any, records: Any) -> None:
        if type(records[0]).__name__ == "GroupTombstone":
            raise DiskFullError("full")
        apply(group, records)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(store, "apply", full)
        with pytest.raises(GroupMaxSizeReachedError):
            flood()
    assert "groups without members and offsets were not forgotten: full" in caplog.text
    assert kept(broker) <= LIMIT


def test_consumers_of_this_process_take_no_room_and_are_not_refused(broker: Broker) -> None:
    joined(broker, "a", 90_000)
    for protocol in ("classic", "consumer"):
        consumer = Consumer(broker, group_id=protocol, group_protocol=protocol)
        consumer.subscribe([f"{number}".zfill(100) for number in range(1000)])
        consumer.poll(0)
        assert kept_bytes(broker.group_coordinator._store.groups[protocol]) == 0
        consumer.close()


def test_ngp_5_group_does_not_go_over_when_what_its_members_say_takes_too_much_room(
    broker: Broker,
) -> None:
    """A name takes many times as much as its bytes in the request."""
    topics = frozenset(f"{number:03}" for number in range(1000))
    told = encode_subscription(ConsumerSubscription(topics))
    member_id = joined(broker, told=told)
    share(broker, member_id, encode_assignment(ConsumerAssignment(frozenset({T0}))))
    with pytest.raises(GroupMaxSizeReachedError):
        heartbeat(broker, "m", 1)
    view = broker.group_coordinator.remote.describe_classic("g")
    assert [one.member_id for one in view.members] == [member_id]
    broker.group_coordinator.classic_heartbeat("g", member_id, None, 1)


def test_what_a_leader_assigned_takes_room_when_the_group_goes_over(broker: Broker) -> None:
    told = encode_subscription(ConsumerSubscription(frozenset({"t"})))
    member_id = joined(broker, told=told)
    partitions = frozenset(TopicPartition("none", number) for number in range(1000))
    share(broker, member_id, encode_assignment(ConsumerAssignment(partitions)))
    with pytest.raises(GroupMaxSizeReachedError):
        heartbeat(broker, "m", 1)


def test_classic_member_of_a_group_under_kip_848_is_counted_as_both(broker: Broker) -> None:
    heartbeat(broker, "m", 1)
    topics = frozenset(f"{number:03}" for number in range(1000))
    told = encode_subscription(ConsumerSubscription(topics))
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, told=told)
    small = encode_subscription(ConsumerSubscription(frozenset({"t"})))
    member_id = joined(broker, told=small)
    before = kept(broker)
    join(broker, told=small, member_id=member_id)
    assert kept(broker) == before
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, told=told, member_id=member_id)


def test_grp_6_group_under_kip_848_has_as_many_members_as_it_may_have(opened: Open) -> None:
    broker = opened(group_consumer_max_size=2)
    heartbeat(broker, "a", 1)
    epoch = heartbeat(broker, "b", 1)
    with pytest.raises(GroupMaxSizeReachedError, match="at most group_consumer_max_size=2 members"):
        heartbeat(broker, "c", 1)
    told = encode_subscription(ConsumerSubscription(frozenset({"t"})))
    with pytest.raises(GroupMaxSizeReachedError):
        join(broker, told=told)
    assert heartbeat(broker, "b", 1) >= epoch, "who is a member may join again"
    assert heartbeat(broker, "c", 1, group="other") == 1


def test_grp_6_classic_group_does_not_go_over_when_there_is_no_room_for_one_more(
    opened: Open,
) -> None:
    """It went over and back, and all of its members had to join again."""
    broker = opened(group_consumer_max_size=1)
    told = encode_subscription(ConsumerSubscription(frozenset({"t"})))
    member_id = joined(broker, told=told)
    share(broker, member_id, b"")
    for topics in (1, 1000):
        with pytest.raises(GroupMaxSizeReachedError):
            heartbeat(broker, "m", topics)
        broker.group_coordinator.classic_heartbeat("g", member_id, None, 1)
    broker.group_coordinator.remote.leave_classic("g", member_id, None)
    with pytest.raises(GroupMaxSizeReachedError, match="group_metadata_max_bytes"):
        heartbeat(broker, "m", 1000)
    assert heartbeat(broker, "m", 1) == 3


def test_flood_of_joins_into_many_groups_keeps_no_more_than_the_limit(opened: Open) -> None:
    broker = opened(group_metadata_max_bytes=4_000_000)
    refused = 0
    for number in range(1000):
        try:
            join(broker, f"g{number}", 60_000)
        except GroupMaxSizeReachedError:
            refused += 1
    assert 3_900_000 < kept(broker) <= 4_000_000
    assert 930 < refused < 940
    assert len(broker.group_coordinator._store.groups) == 1000 - refused

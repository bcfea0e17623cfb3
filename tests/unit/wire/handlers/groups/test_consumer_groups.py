"""ConsumerGroupHeartbeat and ConsumerGroupDescribe; NGP-1 to NGP-5."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    decode_assignment,
    encode_assignment,
)
from streamlog.client.consumer import Consumer
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from streamlog.wire.handlers.groups import consumer_groups
from streamlog.wire.topic_pattern import TopicPattern, compile_pattern
from tests.support.wire import RawClient
from tests.support.wire_group import WireMember

Connect = Callable[[], RawClient]

INCONSISTENT, UNKNOWN_MEMBER, REBALANCING, INVALID_REQUEST = 23, 25, 27, 42
NOT_FOUND, FENCED_INSTANCE = 69, 82
FENCED_EPOCH, UNRELEASED, UNSUPPORTED_ASSIGNOR, STALE_EPOCH, INVALID_REGEX = 110, 111, 112, 113, 128
SESSION_MS = 45_000
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
REBALANCE_MS = 20_000


class NewMember:
    """A member under KIP-848: what it does not say is left out, as clients do."""

    def __init__(self, broker: Broker, client: RawClient, name: str, **fields: Any) -> None:
        self.client = client
        self.fields = {"group_id": "g", "member_id": name, **fields}
        self.epoch = 0
        self.has: dict[str, list[int]] | None = None
        self.names = {bytes.fromhex(broker.topic(name).topic_id): name for name in broker.topics()}
        self.ids = {name: topic_id for topic_id, name in self.names.items()}

    def heartbeat(self, **fields: Any) -> Any:
        told = {"member_epoch": self.epoch, **self.fields, **fields}
        response = self.client.request("ConsumerGroupHeartbeat", 1, **told)
        if not response.error_code:
            self.epoch = response.member_epoch
            if response.assignment is not None:
                self.has = {
                    self.names[one.topic_id]: one.partitions
                    for one in response.assignment.topic_partitions
                }
        return response

    def join(self, **fields: Any) -> Any:
        told: dict[str, Any] = {"subscribed_topic_names": ["t"], **fields}
        response = self.heartbeat(
            member_epoch=0, rebalance_timeout_ms=REBALANCE_MS, topic_partitions=[], **told
        )
        assert response.error_code == 0, response.error_message
        return response

    def confirm(self) -> Any:
        """Say that it reads what it was given, and no more."""
        assert self.has is not None
        owned = [
            {"topic_id": self.ids[name], "partitions": numbers}
            for name, numbers in self.has.items()
        ]
        return self.heartbeat(topic_partitions=owned)


@pytest.fixture
def new_member(broker: Broker, connect: Connect) -> Callable[..., NewMember]:
    return lambda name="a", **fields: NewMember(broker, connect(), name, **fields)


Make = Callable[..., NewMember]


def member_count(broker: Broker) -> int:
    return len(broker.group_coordinator.describe("g").members)


def test_ngp_1_member_joins_under_the_name_it_chose(new_member: Make) -> None:
    response = new_member().join()
    assert (response.member_id, response.member_epoch) == ("a", 1)
    assert response.heartbeat_interval_ms == 500


def test_ngp_1_assignment_is_told_when_it_changed_and_to_who_tells_everything(
    new_member: Make,
) -> None:
    a = new_member()
    a.join()
    assert a.has == {"t": [0, 1]}
    assert a.heartbeat().assignment is None
    assert a.confirm().assignment is None
    everything: dict[str, Any] = {
        "rebalance_timeout_ms": REBALANCE_MS,
        "subscribed_topic_names": ["t"],
        "topic_partitions": [{"topic_id": a.ids["t"], "partitions": [0, 1]}],
    }
    assert a.heartbeat(**everything).assignment is not None
    for left_out in everything:
        told = {name: value for name, value in everything.items() if name != left_out}
        assert a.heartbeat(**told).assignment is None
    # Of names and regular expression one is enough.
    everything["subscribed_topic_regex"] = everything.pop("subscribed_topic_names")[0]
    assert a.heartbeat(**everything).assignment is not None


def test_version_0_is_given_a_name(client: RawClient) -> None:
    response = client.request(
        "ConsumerGroupHeartbeat", 0, group_id="g", rebalance_timeout_ms=1,
        subscribed_topic_names=["t"], topic_partitions=[],
    )  # fmt: skip
    assert response.error_code == 0
    assert response.member_id.startswith("raw-")


def test_version_0_gives_a_name_to_who_joins_only(client: RawClient) -> None:
    response = client.request("ConsumerGroupHeartbeat", 0, group_id="g", member_epoch=1)
    assert (response.error_code, response.error_message) == (INVALID_REQUEST, "member_id is empty")


def test_ngp_3_partitions_move_once_they_were_given_back(new_member: Make) -> None:
    a, b = new_member("a"), new_member("b")
    a.join()
    b.join()
    assert b.has == {}
    response = a.heartbeat()
    assert (response.member_epoch, len(a.has or {})) == (1, 1)
    (kept,) = (a.has or {})["t"]
    b.heartbeat()
    assert b.has == {}, "nothing was given back yet"
    # It says nothing of what it reads: so that is what it read before.
    assert a.heartbeat().member_epoch == 1
    assert a.confirm().member_epoch == 2
    b.heartbeat()
    assert b.has == {"t": [1 - kept]}
    assert b.epoch == 2


def test_ngp_3_partition_does_not_move_while_a_member_says_that_it_reads_it(
    new_member: Make,
) -> None:
    a, b = new_member("a"), new_member("b")
    a.join()
    b.join()
    a.heartbeat()
    both = [{"topic_id": a.ids["t"], "partitions": [0, 1]}]
    assert a.heartbeat(topic_partitions=both).member_epoch == 1
    b.heartbeat()
    assert b.has == {}
    assert a.confirm().member_epoch == 2
    b.heartbeat()
    assert len((b.has or {})["t"]) == 1


def test_member_may_say_that_it_reads_a_topic_that_is_gone(
    new_member: Make, broker: Broker, client: RawClient
) -> None:
    broker.create_topic("gone")
    a = new_member()
    a.join(subscribed_topic_names=["t", "gone"])
    broker.delete_topic("gone")
    (group,) = client.request("ConsumerGroupDescribe", 0, group_ids=["g"]).groups
    assert [one.topic_name for one in group.members[0].assignment.topic_partitions] == ["t"]
    assert a.confirm().error_code == 0
    assert a.has == {"t": [0, 1]}


def test_assignment_is_told_in_the_order_of_topics_and_partitions(
    new_member: Make, broker: Broker
) -> None:
    names = [f"logs-{number}" for number in range(8)]
    for name in names:
        broker.create_topic(name, partitions=3)
    a = new_member()
    a.join(subscribed_topic_names=names)
    assert a.has is not None
    assert list(a.has.items()) == [(name, [0, 1, 2]) for name in names]


def test_ngp_3_member_that_does_not_give_back_in_time_is_removed(
    new_member: Make, broker: Broker, clock: VirtualClock
) -> None:
    a, b = new_member("a"), new_member("b")
    a.join()
    b.join()
    a.heartbeat()
    clock.advance(REBALANCE_MS - 1)
    assert a.heartbeat().error_code == b.heartbeat().error_code == 0
    clock.advance(1)
    assert a.heartbeat().error_code == UNKNOWN_MEMBER
    b.heartbeat()
    assert b.has == {"t": [0, 1]}
    clock.advance(REBALANCE_MS)
    assert b.heartbeat().error_code == 0


def test_member_that_is_not_heard_of_for_the_session_timeout_is_removed(
    new_member: Make, broker: Broker, clock: VirtualClock
) -> None:
    a = new_member()
    a.join()
    clock.advance(SESSION_MS - 1)
    a.heartbeat()
    clock.advance(SESSION_MS - 1)
    commit(a, 5)
    clock.advance(SESSION_MS - 1)
    assert member_count(broker) == 1
    clock.advance(1)
    assert member_count(broker) == 0
    assert a.heartbeat().error_code == UNKNOWN_MEMBER


def commit(member: NewMember, offset: int, **fields: Any) -> int:
    response = member.client.request(
        "OffsetCommit",
        9,
        group_id="g",
        member_id=member.fields["member_id"],
        generation_id_or_member_epoch=fields.get("epoch", member.epoch),
        topics=[{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": offset}]}],
    )
    return int(response.topics[0].partitions[0].error_code)


def test_ngp_4_epochs_that_are_over_are_refused(new_member: Make) -> None:
    a = new_member()
    a.join()
    assert commit(a, 5, epoch=0) == STALE_EPOCH
    assert commit(a, 5) == 0

    def fetch(member_id: str | None, epoch: int) -> int:
        group = {"group_id": "g", "member_id": member_id, "member_epoch": epoch, "topics": None}
        response = a.client.request("OffsetFetch", 9, groups=[group])
        return int(response.groups[0].error_code)

    assert fetch("a", 1) == fetch(None, -1) == 0
    assert fetch("a", 0) == STALE_EPOCH
    assert fetch("stranger", 1) == UNKNOWN_MEMBER
    assert a.heartbeat(member_epoch=7).error_code == FENCED_EPOCH
    assert a.heartbeat(member_id="stranger", member_epoch=1).error_code == UNKNOWN_MEMBER
    a.heartbeat(member_epoch=-1)
    assert fetch("a", 1) == fetch("", -1) == UNKNOWN_MEMBER, "also when nobody is left"
    assert fetch(None, -1) == 0


def test_member_leaves_with_epoch_minus_1(new_member: Make, broker: Broker) -> None:
    a = new_member()
    a.join()
    response = a.heartbeat(member_epoch=-1)
    assert (response.error_code, response.member_id, response.member_epoch) == (0, "a", -1)
    assert member_count(broker) == 0
    assert a.heartbeat(member_epoch=-1).error_code == UNKNOWN_MEMBER


def test_static_member_that_leaves_with_epoch_minus_1_leaves_for_good(
    new_member: Make, broker: Broker
) -> None:
    a = new_member(instance_id="one")
    a.join()
    assert a.heartbeat(member_epoch=-1, member_id="b").error_code == FENCED_INSTANCE
    assert member_count(broker) == 1
    assert a.heartbeat(member_epoch=-1).member_epoch == -1
    assert member_count(broker) == 0


def test_only_who_has_the_place_can_leave_it_for_now(new_member: Make) -> None:
    a = new_member(instance_id="one")
    a.join()
    assert a.heartbeat(member_epoch=-2, member_id="b").error_code == FENCED_INSTANCE
    assert a.heartbeat(member_epoch=-2, instance_id="two").error_code == UNKNOWN_MEMBER
    assert a.heartbeat().error_code == 0


def test_member_does_not_leave_in_the_classic_way(
    new_member: Make, client: RawClient, broker: Broker
) -> None:
    """It did. Kafka ``throwIfMemberDoesNotUseClassicProtocol``."""
    new_member("a").join()
    new_member("b", instance_id="one").join()
    members = [
        {"member_id": "a"},
        {"group_instance_id": "one"},
        {"member_id": "b", "group_instance_id": "one"},
    ]
    response = client.request("LeaveGroup", 5, group_id="g", members=members)
    assert [one.error_code for one in response.members] == [UNKNOWN_MEMBER] * 3
    assert member_count(broker) == 2


def test_classic_member_leaves_a_group_under_kip_848(
    new_member: Make, connect: Connect, broker: Broker
) -> None:
    new_member().join()
    classic = WireMember(connect(), protocols=(("range", TOLD),))
    classic.join()
    assert member_count(broker) == 2
    leave = {"group_id": "g", "members": [{"member_id": classic.id}]}
    response = classic.client.request("LeaveGroup", 5, **leave)
    assert [one.error_code for one in response.members] == [0]
    assert member_count(broker) == 1


def test_static_member_that_left_for_now_keeps_its_place(
    new_member: Make, broker: Broker, clock: VirtualClock
) -> None:
    old, new = new_member("old", instance_id="one"), new_member("new", instance_id="one")
    old.join()
    refused = new.heartbeat(
        rebalance_timeout_ms=1, subscribed_topic_names=["t"], topic_partitions=[]
    )
    assert refused.error_code == UNRELEASED
    assert "'one' is in use by 'old'" in refused.error_message
    assert old.heartbeat(member_epoch=-2).member_epoch == -2
    clock.advance(SESSION_MS - 1)
    assert new.join().member_epoch == 1
    assert new.has == {"t": [0, 1]}
    assert new.heartbeat(member_epoch=-2).error_code == 0
    clock.advance(SESSION_MS)
    assert member_count(broker) == 0


def test_static_member_that_falls_silent_is_removed_when_its_session_ends(
    new_member: Make, broker: Broker, clock: VirtualClock
) -> None:
    new_member(instance_id="one").join()
    clock.advance(SESSION_MS)
    assert member_count(broker) == 0


def test_topics_are_subscribed_to_by_name_and_by_regular_expression(
    new_member: Make, broker: Broker
) -> None:
    for name in ("logs-a", "logs-b", "other"):
        broker.create_topic(name)
    a = new_member()
    a.join(subscribed_topic_regex="logs-.*")
    assert a.has == {"t": [0, 1], "logs-a": [0], "logs-b": [0]}
    a.heartbeat(subscribed_topic_regex="logs-a")
    a.confirm()
    assert a.has == {"t": [0, 1], "logs-a": [0]}
    a.heartbeat(subscribed_topic_names=[])
    a.confirm()
    assert a.has == {"logs-a": [0]}
    a.heartbeat(subscribed_topic_regex="", subscribed_topic_names=["other"])
    a.confirm()
    assert a.has == {"other": [0]}


def test_regular_expression_alone_is_a_subscription(new_member: Make) -> None:
    a = new_member()
    a.join(subscribed_topic_names=None, subscribed_topic_regex="t")
    assert a.has == {"t": [0, 1]}


def test_member_that_joins_again_keeps_what_it_does_not_name(
    new_member: Make, broker: Broker
) -> None:
    """Kafka ``ConsumerGroupMember.Builder.maybeUpdateSubscribedTopicNames``."""
    broker.create_topic("logs")
    a = new_member()
    a.join()
    a.join(subscribed_topic_names=None, subscribed_topic_regex="logs")
    assert a.has == {"t": [0, 1], "logs": [0]}


def test_regular_expression_is_compiled_once_for_each_heartbeat_that_has_it(
    new_member: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_and_tell(text: str) -> TopicPattern:
        compiled.append(text)
        return compile_pattern(text)

    monkeypatch.setattr(consumer_groups, "compile_pattern", compile_and_tell)
    a = new_member()
    a.join(subscribed_topic_regex="t.*")
    a.heartbeat(subscribed_topic_regex="t")
    a.heartbeat()
    assert compiled == ["t.*", "t"]


def test_others_are_served_while_a_pattern_is_matched(
    new_member: Make, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for the coordinator, and it took a second without RE2."""
    begun, others_done = Event(), Event()

    def match(name: str) -> bool:
        begun.set()
        assert others_done.wait(60)
        return name == "t"

    monkeypatch.setattr(consumer_groups, "compile_pattern", lambda text: TopicPattern(text, match))
    slow = new_member()
    slow.client.send(
        "ConsumerGroupHeartbeat",
        1,
        group_id="g",
        member_id="slow",
        rebalance_timeout_ms=REBALANCE_MS,
        topic_partitions=[],
        subscribed_topic_regex="t",
    )
    assert begun.wait(60)
    new_member("b").join()
    WireMember(connect(), "other").join()
    assert connect().request("ListGroups", 5).error_code == 0
    others_done.set()
    assert slow.client.receive().error_code == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"group_id": ""}, INVALID_REQUEST),
        ({"member_id": ""}, INVALID_REQUEST),
        ({"instance_id": ""}, INVALID_REQUEST),
        ({"rack_id": ""}, INVALID_REQUEST),
        ({"member_epoch": -3}, INVALID_REQUEST),
        ({"member_epoch": -2}, INVALID_REQUEST),
        ({"rebalance_timeout_ms": -1}, INVALID_REQUEST),
        ({"topic_partitions": None}, INVALID_REQUEST),
        ({"topic_partitions": [{"topic_id": bytes(16), "partitions": [0]}]}, INVALID_REQUEST),
        ({"subscribed_topic_names": None}, INVALID_REQUEST),
        ({"server_assignor": "best"}, UNSUPPORTED_ASSIGNOR),
        ({"subscribed_topic_regex": "(("}, INVALID_REGEX),
        # These were no errors of the pattern for Python, and ended the connection.
        ({"subscribed_topic_regex": "(?=x)x"}, INVALID_REGEX),
    ],
)
def test_request_that_contradicts_itself_is_refused_with_the_reason(
    new_member: Make, fields: dict[str, Any], code: int
) -> None:
    told: dict[str, Any] = {
        "rebalance_timeout_ms": 1,
        "subscribed_topic_names": ["t"],
        "topic_partitions": [],
    }
    response = new_member().heartbeat(**{**told, **fields})
    assert response.error_code == code
    assert next(iter(fields)) in response.error_message


def test_regular_expression_that_python_warns_of_is_refused_with_the_reason(
    new_member: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where warnings are errors, as here, it ended the connection."""
    monkeypatch.setitem(sys.modules, "re2", None)
    a = new_member()
    a.join()
    response = a.heartbeat(subscribed_topic_regex="[[a]x")
    assert response.error_code == INVALID_REGEX
    assert response.error_message.startswith("subscribed_topic_regex '[[a]x': '[[' within []")
    assert a.heartbeat().error_code == 0


def test_assignor_is_the_one_most_members_ask_for(new_member: Make, broker: Broker) -> None:
    a = new_member()
    a.join()
    assert broker.group_coordinator.describe("g").assignor == "uniform"
    a.heartbeat(server_assignor="range")
    assert broker.group_coordinator.describe("g").assignor == "range"
    a.heartbeat()
    assert broker.group_coordinator.describe("g").assignor == "range"


def test_assignor_may_be_asked_for_when_joining(new_member: Make, broker: Broker) -> None:
    new_member().join(server_assignor="range")
    assert broker.group_coordinator.describe("g").assignor == "range"


def test_consumer_of_this_process_shares_the_group(new_member: Make, broker: Broker) -> None:
    a = new_member()
    with Consumer(broker, group_id="g") as consumer:
        consumer.subscribe(["t"])
        consumer.poll(0)
        a.join()
        consumer.poll(0)
        a.heartbeat()
        assert (a.has or {})["t"] == [1 - one.partition for one in consumer.assignment()]
    a.heartbeat()
    assert a.has == {"t": [0, 1]}


def test_ngp_5_classic_members_over_the_wire_go_on_in_the_group(
    new_member: Make, connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    told = b"\x00\x00" + b"\x00\x00\x00\x01" + b"\x00\x01t" + b"\xff\xff\xff\xff"
    classic = WireMember(connect(), protocols=(("range", told),))
    classic.share = b""
    classic.join()
    classic.sync()
    a = new_member()
    a.join()
    assert classic.heartbeat() == 27
    for _ in range(3):
        classic.join()
        classic.sync()
        a.heartbeat()
        a.confirm()
    assert classic.heartbeat() == 0
    assert a.has in ({"t": [0]}, {"t": [1]})
    clock.advance(9_999)
    assert classic.heartbeat() == 0
    clock.advance(10_000)
    assert classic.heartbeat() == UNKNOWN_MEMBER, "its session time-out is its own"
    a.heartbeat()
    assert a.has == {"t": [0, 1]}


TOLD = b"\x00\x00" + b"\x00\x00\x00\x01" + b"\x00\x01t" + b"\xff\xff\xff\xff"
"""The subscription of a classic member to t."""


def pair(new_member: Make, connect: Connect) -> tuple[NewMember, WireMember]:
    """A group with a member of either protocol, each with a partition."""
    a = new_member()
    a.join()
    classic = WireMember(connect(), protocols=(("range", TOLD), ("other", TOLD)))
    classic.join()
    for _ in range(3):
        a.heartbeat()
        a.confirm()
        classic.join()
    return a, classic


def test_classic_member_is_told_its_assignment_in_the_version_it_subscribed_in(
    new_member: Make, connect: Connect
) -> None:
    """It was the newest one. Kafka ``prepareAssignment``."""
    _, classic = pair(new_member, connect)
    synced = classic.sync()
    assert (synced.error_code, synced.protocol_name) == (0, "range")
    share = encode_assignment(ConsumerAssignment(frozenset({T1})), version=0)
    assert synced.assignment == share


def test_ngp_5_classic_member_that_believes_in_another_protocol_is_told_so(
    new_member: Make, connect: Connect
) -> None:
    """It was not, in a group under KIP-848. Kafka ``throwIfClassicProtocolUnmatched``."""
    _, classic = pair(new_member, connect)
    me = {"group_id": "g", "member_id": classic.id, "generation_id": classic.generation}
    for told in (
        {"protocol_type": "connect", "protocol_name": "range"},
        {"protocol_type": "consumer", "protocol_name": "other"},
    ):
        assert classic.client.request("SyncGroup", 5, **me, **told).error_code == INCONSISTENT
    told = {"protocol_type": "consumer", "protocol_name": "range"}
    assert classic.client.request("SyncGroup", 5, **me, **told).error_code == 0
    assert classic.client.request("SyncGroup", 3, **me).error_code == 0


def test_ngp_5_classic_member_that_is_behind_joins_again_before_it_fetches_its_assignment(
    new_member: Make, connect: Connect, clock: VirtualClock
) -> None:
    """It was given the one of before. Kafka ``throwIfRebalanceInProgress``."""
    a, classic = pair(new_member, connect)
    new_member("b").join()
    assert classic.sync().error_code == REBALANCING
    for _ in range(11):
        clock.advance(5_000)
        a.heartbeat()
        assert classic.sync().error_code == REBALANCING
    clock.advance(5_000)
    assert classic.sync().error_code == UNKNOWN_MEMBER, "it did not join again in time"


def test_ngp_5_classic_member_that_has_to_give_back_is_told_what_it_keeps(
    new_member: Make, connect: Connect
) -> None:
    classic = WireMember(connect(), protocols=(("range", TOLD),))
    classic.share = encode_assignment(ConsumerAssignment(frozenset({T0, T1})))
    classic.join()
    classic.sync()
    new_member().join()
    both = b"\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01"
    classic.protocols = (
        ("range", b"\x00\x01" + TOLD[2:] + both),
    )  # a cooperative one: it owns both still
    assert classic.join().generation_id == 1
    synced = classic.sync()
    assert synced.error_code == 0
    assert len(decode_assignment(synced.assignment).partitions) == 1
    assert classic.heartbeat() == REBALANCING


def test_ngp_5_classic_members_have_an_assignor_in_common_also_in_a_group_under_kip_848(
    new_member: Make, connect: Connect
) -> None:
    """They had none when they were among themselves again. Kafka ``supportsClassicProtocols``."""
    _, classic = pair(new_member, connect)
    stranger = WireMember(connect(), protocols=(("sticky", TOLD),))
    assert stranger.try_join().error_code == INCONSISTENT
    other = WireMember(connect(), protocols=(("sticky", TOLD), ("other", TOLD)))
    other.join()
    stranger.protocols = (("range", TOLD),)
    assert stranger.try_join().error_code == INCONSISTENT
    classic.protocols = (("sticky", TOLD),)
    classic.join()


def test_ngp_5_static_classic_member_that_was_removed_is_told_so(
    new_member: Make, connect: Connect
) -> None:
    """It came back under the id it had. Kafka ``throwIfStaticMemberIsUnknown``."""
    new_member().join()
    classic = WireMember(connect(), instance_id="one", protocols=(("range", TOLD),))
    classic.join()
    leave = {"group_id": "g", "members": [{"group_instance_id": "one"}]}
    assert classic.client.request("LeaveGroup", 5, **leave).members[0].error_code == 0
    assert classic.try_join().error_code == UNKNOWN_MEMBER
    classic.id = ""
    assert classic.try_join().error_code == 0


def test_classic_member_that_sends_heartbeats_and_does_not_join_again_is_removed(
    new_member: Make, connect: Connect, broker: Broker, clock: VirtualClock
) -> None:
    """It kept its partitions for as long as it sent them. Kafka ``scheduleConsumerGroupJoinTimeoutIfAbsent``."""
    classic = WireMember(connect(), protocols=(("range", TOLD),))
    classic.share = encode_assignment(ConsumerAssignment(frozenset({T0, T1})))
    classic.join()
    classic.sync()
    a = new_member()
    a.join()
    for _ in range(12):
        assert classic.heartbeat() == 27
        clock.advance(5_000)
        a.heartbeat()
    assert classic.heartbeat() == UNKNOWN_MEMBER
    a.heartbeat()
    assert a.has == {"t": [0, 1]}


def test_static_member_that_comes_back_with_the_new_protocol_takes_its_place(
    new_member: Make, connect: Connect, broker: Broker
) -> None:
    """A classic one does not say that it leaves: it was in the way of its own upgrade until its session ended."""
    old = WireMember(connect(), instance_id="one", protocols=(("range", TOLD),))
    old.share = encode_assignment(ConsumerAssignment(frozenset({T0, T1})))
    old.join()
    old.sync()
    other = WireMember(connect(), instance_id="two", protocols=(("range", TOLD),))
    other.send_join()
    old.client.close()
    new = new_member("new", instance_id="one")
    new.join()
    members = broker.group_coordinator.describe("g").members
    assert sorted(one.group_instance_id or "" for one in members) == ["one", "two"]
    again = new_member("newer", instance_id="one")
    response = again.heartbeat(
        rebalance_timeout_ms=REBALANCE_MS, subscribed_topic_names=["t"], topic_partitions=[]
    )
    assert response.error_code == UNRELEASED, "two of the new one are two programs"


@pytest.mark.parametrize(
    ("protocol_type", "told"), [("connect", b"\x00\x01"), ("consumer", b"no subscription")]
)
def test_ngp_5_classic_group_that_is_not_understood_stays_one(
    new_member: Make, connect: Connect, broker: Broker, protocol_type: str, told: bytes
) -> None:
    classic = WireMember(connect(), protocol_type=protocol_type, protocols=(("x", told),))
    classic.join()
    classic.sync()
    response = new_member().heartbeat(
        rebalance_timeout_ms=1, subscribed_topic_names=["t"], topic_partitions=[]
    )
    assert response.error_code == NOT_FOUND
    assert "stays one" in response.error_message
    assert classic.heartbeat() == 0


def test_classic_member_that_is_not_understood_cannot_join_the_others(
    new_member: Make, connect: Connect
) -> None:
    new_member().join()
    for fields in ({"protocol_type": "connect"}, {"protocols": (("x", b"no subscription"),)}):
        classic = WireMember(connect(), **fields)  # type: ignore[arg-type]
        classic.get_id()
        assert classic.try_join().error_code == 23


# ---- looks


def test_group_is_described(new_member: Make, broker: Broker, client: RawClient) -> None:
    a, b = new_member("a", instance_id="one"), new_member("b")
    a.join(subscribed_topic_regex="x.*")
    b.join(subscribed_topic_names=["v", "u", "t", "s"])
    a.heartbeat()
    (group,) = client.request("ConsumerGroupDescribe", 0, group_ids=["g"]).groups
    assert (group.group_id, group.error_code, group.group_state) == ("g", 0, "Reconciling")
    assert (group.group_epoch, group.assignment_epoch, group.assignor_name) == (2, 2, "uniform")
    one, two = group.members
    assert (one.member_id, one.instance_id, one.member_epoch) == ("a", "one", 1)
    assert (two.member_id, two.instance_id, two.member_epoch) == ("b", None, 2)
    assert (one.client_id, one.client_host) == ("raw", "/127.0.0.1")
    assert (one.subscribed_topic_names, one.subscribed_topic_regex) == (["t"], "x.*")
    assert (two.subscribed_topic_names, two.subscribed_topic_regex) == (["s", "t", "u", "v"], "")
    (topic,) = one.assignment.topic_partitions
    assert (topic.topic_name, topic.topic_id.hex()) == ("t", broker.topic("t").topic_id)
    assert two.assignment.topic_partitions == []
    (target,) = two.target_assignment.topic_partitions
    assert sorted(topic.partitions + target.partitions) == [0, 1]


def test_classic_and_unknown_groups_are_not_found(
    connect: Connect, client: RawClient, broker: Broker
) -> None:
    WireMember(connect(), "classic").join()
    found = client.request("ConsumerGroupDescribe", 0, group_ids=["classic", "no-such"]).groups
    assert [one.group_id for one in found] == ["classic", "no-such"]
    assert [one.error_code for one in found] == [NOT_FOUND, NOT_FOUND]
    assert found[0].error_message == "group 'classic' is not a consumer group"


def test_group_with_offsets_alone_is_a_classic_one(client: RawClient, broker: Broker) -> None:
    offset = {TopicPartition("t", 0): OffsetAndMetadata(1)}
    broker.group_coordinator.commit_offsets("simple", "", -1, offset)
    (group,) = client.request("ConsumerGroupDescribe", 0, group_ids=["simple"]).groups
    assert (group.error_code, group.error_message) == (
        NOT_FOUND,
        "group 'simple' is not a consumer group",
    )
    (group,) = client.request("DescribeGroups", 5, groups=["simple"]).groups
    assert (group.error_code, group.group_state) == (0, "Empty")


@pytest.mark.parametrize("told", [b"", b"\x00", b"\x00\x00\x00\x00\x00\x07", None])
def test_classic_member_whose_join_is_refused_stays_as_it_is(
    new_member: Make, connect: Connect, broker: Broker, told: bytes | None
) -> None:
    """The group had nothing any more to turn classic with: its last member under KIP-848 could not leave."""
    a, classic = pair(new_member, connect)
    protocols = classic.protocols
    classic.protocols = () if told is None else (("range", told),)
    assert classic.try_join().error_code == INCONSISTENT
    me = {"group_id": "g", "member_id": classic.id, "generation_id": classic.generation}
    assert classic.client.request("SyncGroup", 3, **me).error_code == 0
    assert a.heartbeat(member_epoch=-1).error_code == 0
    assert [one.member_id for one in broker.group_coordinator.describe("g").members] == [classic.id]
    classic.protocols = protocols
    classic.join()

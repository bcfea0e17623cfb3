"""`Admin` and groups: seen, reset, taken apart."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.classic.state import ClassicState
from streamlog.broker.config_entry import AlterConfigOp, OpType
from streamlog.broker.group import GroupState
from streamlog.broker.group_description import ConsumerGroupListing, GroupOffset
from streamlog.broker.group_member import MemberState
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.client.admin import Admin
from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer
from streamlog.client.reset_to import ResetTo
from streamlog.errors import (
    DiskFullError,
    GroupIdNotFoundError,
    GroupNotEmptyError,
    GroupSubscribedToTopicError,
    InvalidGroupIdError,
    InvalidRequestError,
    PolicyViolationError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.producing import failing_partitions

if TYPE_CHECKING:
    from collections.abc import Iterator

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
START_MS = 1_700_000_000_000


@pytest.fixture
def admin(broker: Broker) -> Iterator[Admin]:
    """Ten records in t-0, a second apart, and none in t-1."""
    broker.create_topic("t", partitions=2)
    with Producer(broker) as producer:
        for number in range(10):
            producer.send("t", b"%d" % number, partition=0, timestamp_ms=START_MS + 1000 * number)
    with Admin(broker) as admin:
        yield admin


def offsets(found: dict[TopicPartition, OffsetAndMetadata]) -> dict[int, int]:
    return {tp.partition: position.offset for tp, position in found.items()}


# ---- looking


def test_no_group_is_listed_before_anybody_used_one(admin: Admin, broker: Broker) -> None:
    assert admin.list_consumer_groups() == []
    assert admin.list_consumer_group_offsets("g") == {}
    assert admin.list_consumer_group_offsets("g", [T0]) == {T0: None}
    with pytest.raises(GroupIdNotFoundError, match="'g'"):
        admin.describe_consumer_groups(["g"])
    assert broker.topics(include_internal=True) == ["t"]  # looking creates nothing


def test_groups_are_listed_by_name_with_their_state(admin: Admin, broker: Broker) -> None:
    admin.alter_consumer_group_offsets("simple", {T0: 1})
    with Consumer(broker, "t", group_id="live") as consumer:
        consumer.poll()
        live = ConsumerGroupListing("live", GroupState.STABLE, is_simple=False)
        simple = ConsumerGroupListing("simple", GroupState.EMPTY, is_simple=True)
        assert admin.list_consumer_groups() == [live, simple]
        assert admin.list_consumer_groups(states=[GroupState.STABLE]) == [live]
    assert [group.state for group in admin.list_consumer_groups()] == [GroupState.EMPTY] * 2


def test_description_has_members_assignment_and_lag(admin: Admin, broker: Broker) -> None:
    with Consumer(
        broker, "t", group_id="g", client_id="app", auto_offset_reset="earliest"
    ) as consumer:
        consumer.poll(max_records=4)
        consumer.commit()
        group = admin.describe_consumer_groups(["g"])["g"]
        (member,) = group.members
        assert member.member_id == consumer.group_metadata().member_id
        assert (member.client_id, member.state) == ("app", MemberState.STABLE)
        assert member.topics == ("t",)
        assert member.assignment == member.target_assignment == (T0, T1)
        assert (group.state, group.epoch, member.epoch) == (GroupState.STABLE, 1, 1)
        assert (group.assignor, group.is_simple) == ("range", False)
        assert group.offsets[0] == GroupOffset(T0, 4, 10, 6, member.member_id)
        assert group.lag == 6
    closed = admin.describe_consumer_groups(["g"])["g"]
    assert (closed.members, closed.state) == ((), GroupState.EMPTY)
    assert closed.offsets[0] == GroupOffset(T0, 4, 10, 6, None)


def test_partition_without_commit_has_no_lag(admin: Admin, broker: Broker) -> None:
    with Consumer(broker, "t", group_id="g", enable_auto_commit=False) as consumer:
        consumer.poll()
        group = admin.describe_consumer_groups(["g"])["g"]
        assert [(one.committed_offset, one.lag) for one in group.offsets] == [(None, None)] * 2
        assert group.lag == 0


def test_lag_counts_only_records_that_are_still_there(admin: Admin) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 2})
    admin.delete_records({T0: 7})
    assert admin.describe_consumer_groups(["g"])["g"].lag == 3


def test_offsets_of_a_deleted_topic_are_not_told(admin: Admin, broker: Broker) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 2})
    broker.delete_topic("t")
    assert admin.list_consumer_group_offsets("g") == {}
    assert admin.describe_consumer_groups(["g"])["g"].offsets == ()


def test_groups_are_known_again_after_reopening(clock: VirtualClock) -> None:
    filesystem = MemoryFileSystem()
    with Broker("/d", clock=clock, filesystem=filesystem) as broker, Admin(broker) as admin:
        broker.create_topic("t")
        for name in ("a", "b", "c"):
            admin.alter_consumer_group_offsets(name, {T0: 0})
        admin.delete_consumer_groups(["b"])
    with Broker("/d", clock=clock, filesystem=filesystem) as broker, Admin(broker) as admin:
        assert [group.group_id for group in admin.list_consumer_groups()] == ["a", "c"]


# ---- deleting


def test_group_with_members_is_not_deleted_and_an_empty_one_is(
    admin: Admin, broker: Broker
) -> None:
    # GRP-12
    with Consumer(broker, "t", group_id="g", auto_offset_reset="earliest") as consumer:
        consumer.poll()
        consumer.commit()
        with pytest.raises(GroupNotEmptyError, match="'g': expected no members, found 1"):
            admin.delete_consumer_groups(["g"])
    admin.delete_consumer_groups(["g"])
    assert admin.list_consumer_groups() == []
    assert admin.list_consumer_group_offsets("g") == {}
    with pytest.raises(GroupIdNotFoundError, match="'g'"):
        admin.delete_consumer_groups(["g"])


def test_grp_1_deleted_classic_group_is_dead_and_no_rebalance_brings_it_back(
    admin: Admin, broker: Broker, clock: VirtualClock
) -> None:
    consumer = Consumer(
        broker, "t", group_id="g", group_protocol="classic", enable_auto_commit=False
    )
    consumer.poll()
    group = broker.group_coordinator._store.groups["g"]
    classic = group.classic
    assert classic is not None
    assert classic.state is ClassicState.STABLE
    with failing_partitions() as failures:
        failures.forever = lambda: DiskFullError("no room")
        consumer.close()
        # The generation without members could not be stored, and is to be tried again.
        assert classic.state is ClassicState.PREPARING_REBALANCE
    admin.delete_consumer_groups(["g"])
    assert classic.state is ClassicState.DEAD
    clock.advance(60_000)
    assert admin.list_consumer_groups() == []


def test_group_of_a_deleted_name_starts_afresh(admin: Admin, broker: Broker) -> None:
    for _ in range(2):
        with Consumer(broker, "t", group_id="g", auto_offset_reset="earliest") as consumer:
            assert len(consumer.poll()) == 10
            assert consumer.group_metadata().generation_id == 1
        admin.delete_consumer_groups(["g"])


def test_offsets_are_deleted_unless_a_member_reads_the_topic(admin: Admin, broker: Broker) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 3, T1: 0})
    with Consumer(broker, "t", group_id="g", enable_auto_commit=False) as consumer:
        consumer.poll()
        with pytest.raises(GroupSubscribedToTopicError, match="t-1: expected no member subscribed"):
            admin.delete_consumer_group_offsets("g", [T1])
    admin.delete_consumer_group_offsets("g", [T1])
    assert admin.list_consumer_group_offsets("g") == {T0: OffsetAndMetadata(3)}
    with pytest.raises(GroupIdNotFoundError, match="'h'"):
        admin.delete_consumer_group_offsets("h", [T1])


# ---- moving


def test_altered_offsets_are_where_the_group_goes_on(admin: Admin, broker: Broker) -> None:
    admin.alter_consumer_group_offsets("g", {T0: OffsetAndMetadata(8, "by hand")})
    assert admin.list_consumer_group_offsets("g", [T0])[T0] == OffsetAndMetadata(8, "by hand")
    with Consumer(broker, "t", group_id="g") as consumer:
        assert consumer.poll().values() == [b"8", b"9"]
        # CON-12
        with pytest.raises(UnknownMemberIdError, match="only while the group has no members"):
            admin.alter_consumer_group_offsets("g", {T0: 0})


def test_unknown_partition_alters_no_offset(admin: Admin) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="t-2"):
        admin.alter_consumer_group_offsets("g", {T0: 1, TopicPartition("t", 2): 1})
    assert admin.list_consumer_group_offsets("g") == {}


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        (ResetTo.earliest(), 2),
        (ResetTo.latest(), 10),
        (ResetTo.current(), 5),
        (ResetTo.offset(7), 7),
        (ResetTo.offset(0), 2),
        (ResetTo.offset(99), 10),
        (ResetTo.shift(3), 8),
        (ResetTo.shift(-1), 4),
        (ResetTo.shift(-4), 2),
        (ResetTo.time(START_MS + 4_001), 5),
        (ResetTo.time(START_MS + 60_000), 10),
        (ResetTo.time(datetime(2023, 11, 14, 22, 13, 24, tzinfo=timezone.utc)), 4),
        (ResetTo.duration(timedelta(seconds=14)), 6),
        (ResetTo.duration("PT14S"), 6),
        (ResetTo.duration("P30000D"), 2),
    ],
    ids=lambda value: value.text if isinstance(value, ResetTo) else None,
)
def test_reset_goes_where_the_console_tool_would(
    admin: Admin, clock: VirtualClock, to: ResetTo, expected: int
) -> None:
    # CLI-3; an offset outside the log stands for its nearer end.
    admin.delete_records({T0: 2})
    admin.alter_consumer_group_offsets("g", {T0: 5})
    clock.advance(20_000)
    assert offsets(admin.reset_consumer_group_offsets("g", to, [T0], dry_run=True)) == {0: expected}
    assert admin.list_consumer_group_offsets("g") == {T0: OffsetAndMetadata(5)}
    assert offsets(admin.reset_consumer_group_offsets("g", to, [T0])) == {0: expected}
    assert admin.list_consumer_group_offsets("g") == {T0: OffsetAndMetadata(expected)}


def test_reset_without_partitions_means_all_topics_that_were_committed(
    admin: Admin, broker: Broker
) -> None:
    broker.create_topic("other")
    admin.alter_consumer_group_offsets("g", {T1: 0})
    assert offsets(admin.reset_consumer_group_offsets("g", ResetTo.latest())) == {0: 10, 1: 0}


def test_reset_prepares_a_group_that_does_not_exist_yet(admin: Admin, broker: Broker) -> None:
    with pytest.raises(GroupIdNotFoundError, match="'new'"):
        admin.reset_consumer_group_offsets("new", ResetTo.earliest())
    admin.reset_consumer_group_offsets("new", ResetTo.offset(9), "t")
    with Consumer(broker, "t", group_id="new") as consumer:
        assert consumer.poll().values() == [b"9"]


def test_reset_is_refused_while_the_group_has_members(admin: Admin, broker: Broker) -> None:
    # CLI-3
    with Consumer(broker, "t", group_id="g") as consumer:
        consumer.poll()
        with pytest.raises(GroupNotEmptyError, match="while its offsets are reset"):
            admin.reset_consumer_group_offsets("g", ResetTo.earliest(), ["t"])


def test_shift_needs_a_committed_offset_and_then_changes_nothing(admin: Admin) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 5})
    with pytest.raises(InvalidRequestError, match="t-1: expected a committed offset to shift by 1"):
        admin.reset_consumer_group_offsets("g", ResetTo.shift(1), ["t"])
    assert admin.list_consumer_group_offsets("g") == {T0: OffsetAndMetadata(5)}


def test_names_are_not_taken_letter_by_letter(admin: Admin) -> None:
    with pytest.raises(TypeError, match="expected a list of names, found the str 'abc'"):
        admin.describe_consumer_groups("abc")


@pytest.mark.parametrize(
    ("change", "consequence"),
    [
        (lambda admin, name: admin.create_partitions({name: 90}), "its number of partitions"),
        (lambda admin, name: admin.create_partitions({name: 90}, validate_only=True), "number of"),
        (lambda admin, name: admin.delete_topics([name]), "it cannot be deleted"),
        *[
            (
                lambda admin, name, op=op: admin.incremental_alter_configs({name: [op]}),
                f"own: {op.name}: expected",
            )
            for op in (
                AlterConfigOp("cleanup_policy", "delete"),
                AlterConfigOp("cleanup_policy", "delete", OpType.APPEND),
                AlterConfigOp("cleanup_policy", None, OpType.DELETE),
                AlterConfigOp("retention_ms", 5),
                AlterConfigOp("retention_bytes", 5),
            )
        ],
    ],
)
def test_offsets_topic_keeps_what_groups_committed_whatever_is_asked_of_it(
    broker: Broker, admin: Admin, change: Any, consequence: str
) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 1})
    before = broker.describe_topic(OFFSETS_TOPIC)
    with pytest.raises(
        PolicyViolationError, match="'__consumer_offsets' is the broker's"
    ) as caught:
        change(admin, OFFSETS_TOPIC)
    assert consequence in str(caught.value)
    assert broker.describe_topic(OFFSETS_TOPIC) == before
    assert admin.list_consumer_group_offsets("g") == {T0: OffsetAndMetadata(1)}


def test_offsets_topic_takes_configuration_that_deletes_nothing(
    broker: Broker, admin: Admin
) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 1})
    changed = broker.alter_topic_configs(
        OFFSETS_TOPIC, {"segment_bytes": 1_000_000, "cleanup_policy": "compact"}
    )
    assert changed.segment_bytes == 1_000_000


@pytest.mark.parametrize("to", ["earliest", 5, None, ResetTo, ResetTo.earliest])
def test_aim_that_is_no_reset_to_is_a_type_error_that_shows_how_to_make_one(
    admin: Admin, to: Any
) -> None:
    with pytest.raises(TypeError, match=r"expected a ResetTo such as ResetTo\.earliest\(\)"):
        admin.reset_consumer_group_offsets("g", to, ["t"], dry_run=True)


GROUP_CALLS = [
    lambda admin, group_id: admin.describe_consumer_groups([group_id]),
    lambda admin, group_id: admin.delete_consumer_groups(["g", group_id]),
    lambda admin, group_id: admin.list_consumer_group_offsets(group_id),
    lambda admin, group_id: admin.list_consumer_group_offsets(group_id, [T0]),
    lambda admin, group_id: admin.alter_consumer_group_offsets(group_id, {T0: 1}),
    lambda admin, group_id: admin.reset_consumer_group_offsets(group_id, ResetTo.latest(), ["t"]),
    lambda admin, group_id: admin.delete_consumer_group_offsets(group_id, [T0]),
]


@pytest.mark.parametrize("call", GROUP_CALLS)
def test_group_id_that_can_be_no_groups_is_refused_and_nothing_is_changed(
    admin: Admin, call: Any
) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 1})
    for no_text in (5, None, b"g", ["g"]):
        with pytest.raises(TypeError, match="expected a group id"):
            call(admin, no_text)
    with pytest.raises(InvalidGroupIdError, match="found an empty one"):
        call(admin, "")
    for no_id in ("\ud800", "x" * 32_768):
        with pytest.raises(InvalidGroupIdError, match="group id: expected"):
            call(admin, no_id)
    assert [listed.group_id for listed in admin.list_consumer_groups()] == ["g"]


def test_state_may_be_given_by_its_value_and_nothing_else_is_silently_no_group(
    admin: Admin,
) -> None:
    admin.alter_consumer_group_offsets("g", {T0: 1})
    assert admin.list_consumer_groups(states=["empty"]) == admin.list_consumer_groups()
    assert admin.list_consumer_groups(states=["stable"]) == []
    for wrong in ([5], [None], "empty"):
        with pytest.raises(TypeError):
            admin.list_consumer_groups(states=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected some of 'empty', .*, found 'Asleep'"):
        admin.list_consumer_groups(states=["Asleep"])

"""Which protocol a group is under, after its last member left and its process ended (GRP-1, GRP-12, NGP-5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from streamlog import Admin, Broker, Consumer, GroupState, OffsetAndMetadata, TopicPartition
from streamlog.broker.classic.requests import JoinRequest, Reply
from streamlog.broker.member_session import RemoteSession
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.errors import (
    DiskFullError,
    InvalidSessionTimeoutError,
    MemberIdRequiredError,
    UnknownMemberIdError,
)
from streamlog.testing import CrashLab
from tests.support.producing import failing_partitions

Protocol = Literal["consumer", "classic"]
BOTH: tuple[Protocol, ...] = ("consumer", "classic")
T0 = TopicPartition("t", 0)


@pytest.fixture
def lab() -> CrashLab:
    return CrashLab(seed=1, offsets_topic_num_partitions=1)


@pytest.fixture
def reopen(lab: CrashLab) -> Iterator[Callable[[], Broker]]:
    """Opens the one directory, after killing the broker that has it."""
    with lab.open_broker() as broker:
        broker.create_topic("t")
    brokers: list[Broker] = []

    def opened() -> Broker:
        lab.kill()
        brokers.append(lab.open_broker())
        return brokers[-1]

    yield opened
    brokers[-1].close()


def member(broker: Broker, protocol: Protocol) -> Consumer:
    consumer = Consumer(broker, "t", group_id="g", group_protocol=protocol)
    consumer.poll(0)
    return consumer


def use(broker: Broker, protocol: Protocol) -> None:
    """Be the only member for a moment."""
    with member(broker, protocol) as consumer:
        consumer.commit({T0: OffsetAndMetadata(0)})


def types(broker: Broker) -> list[tuple[str, str]]:
    """Return type and protocol type of all groups, as they are listed."""
    listed = broker.group_coordinator.remote.list_groups()
    return [("classic" if one.is_classic else "consumer", one.protocol_type) for one in listed]


def described(broker: Broker) -> tuple[str, GroupState]:
    found = Admin(broker).describe_consumer_groups(["g"])["g"]
    return found.protocol, found.state


def join(broker: Broker, member_id: str = "", session_ms: int = 10_000) -> None:
    """Join by a request of the classic protocol, as clients elsewhere do."""
    session = RemoteSession(session_ms, 10_000, broker.runtime.clock.monotonic_ms())
    request = JoinRequest(
        "g", member_id, None, "c", session_ms, 10_000, (("range", b""),), session, "connect",
        requires_member_id=True,
    )  # fmt: skip
    broker.group_coordinator.join(request, Reply(lambda: None))


@pytest.mark.parametrize("last", BOTH)
@pytest.mark.parametrize("first", BOTH)
def test_emptied_group_is_of_the_protocol_of_its_last_members_also_after_a_kill(
    reopen: Callable[[], Broker], first: Protocol, last: Protocol
) -> None:
    broker = reopen()
    use(broker, first)
    assert types(broker) == [(first, "consumer")]
    use(broker, last)
    for _ in range(2):
        assert types(broker) == [(last, "consumer")]
        assert described(broker) == (last, GroupState.EMPTY)
        broker = reopen()
    use(broker, first)
    assert types(reopen()) == [(first, "consumer")]


@pytest.mark.parametrize("protocol", BOTH)
def test_group_whose_process_died_with_members_is_of_their_protocol(
    reopen: Callable[[], Broker], protocol: Protocol
) -> None:
    member(reopen(), protocol)
    broker = reopen()
    assert types(broker) == [(protocol, "consumer")]
    assert described(broker) == (protocol, GroupState.EMPTY)


def test_ngp_5_group_that_went_back_is_classic_before_its_members_joined_again(
    reopen: Callable[[], Broker],
) -> None:
    broker = reopen()
    classic, modern = member(broker, "classic"), member(broker, "consumer")
    assert described(broker)[0] == "consumer"
    modern.close()
    assert described(broker) == ("classic", GroupState.PREPARING_REBALANCE)
    assert described(reopen()) == ("classic", GroupState.EMPTY)
    del classic


def test_ngp_5_group_goes_back_also_when_that_cannot_be_stored(
    reopen: Callable[[], Broker],
) -> None:
    broker = reopen()
    classic, modern = member(broker, "classic"), member(broker, "consumer")
    with failing_partitions() as failures:
        failures.forever = lambda: DiskFullError("full")
        modern.close()
        assert described(broker) == ("classic", GroupState.PREPARING_REBALANCE)
    classic.poll(0)
    assert described(broker) == ("classic", GroupState.STABLE)
    assert described(reopen())[0] == "classic"


def test_commit_of_a_consumer_in_no_group_leaves_the_type_as_it_is(
    reopen: Callable[[], Broker],
) -> None:
    broker = reopen()
    use(broker, "consumer")
    broker = reopen()
    broker.group_coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(0, "note")})
    broker = reopen()
    assert types(broker) == [("consumer", "consumer")]
    assert Admin(broker).list_consumer_group_offsets("g") == {T0: OffsetAndMetadata(0, "note")}


def test_grp_12_deleted_group_of_the_same_name_is_a_simple_one(
    reopen: Callable[[], Broker],
) -> None:
    use(reopen(), "consumer")
    broker = reopen()
    broker.group_coordinator.delete("g")
    assert types(broker) == []
    broker = reopen()
    assert types(broker) == []
    broker.group_coordinator.commit_offsets("g", "", -1, {T0: OffsetAndMetadata(0)})
    assert types(broker) == types(reopen()) == [("classic", "")]


def test_compaction_keeps_the_last_type(reopen: Callable[[], Broker]) -> None:
    broker = reopen()
    for protocol in ("classic", "consumer", "classic", "consumer"):
        use(broker, protocol)  # type: ignore[arg-type]
    home = broker.partition(OFFSETS_TOPIC, 0)
    (result,) = broker.compact(OFFSETS_TOPIC, roll=True)
    assert result.records_after < result.records_before
    assert home.log_end_offset > 2
    broker = reopen()
    assert types(broker) == [("consumer", "consumer")]
    assert set(Admin(broker).list_consumer_group_offsets("g")) == {T0}


def test_classic_join_makes_a_group_that_kip_848_left_classic_at_once(
    reopen: Callable[[], Broker],
) -> None:
    """Also one that is only told to join again under an id. Source: Kafka ``maybeDeleteEmptyConsumerGroup``."""
    use(reopen(), "consumer")
    broker = reopen()
    with pytest.raises(MemberIdRequiredError):
        join(broker)
    assert types(broker) == [("classic", "connect")]
    broker = reopen()
    assert types(broker) == [("classic", "")]
    assert Admin(broker).list_consumer_group_offsets("g")


def test_classic_join_that_is_refused_leaves_the_group_under_kip_848(
    reopen: Callable[[], Broker],
) -> None:
    broker = reopen()
    use(broker, "consumer")
    with pytest.raises(UnknownMemberIdError):
        join(broker, member_id="stranger")
    with pytest.raises(InvalidSessionTimeoutError):
        join(broker, session_ms=1)
    with failing_partitions() as failures:
        failures.forever = lambda: DiskFullError("full")
        with pytest.raises(DiskFullError):
            join(broker)
    assert types(broker) == types(reopen()) == [("consumer", "consumer")]


def test_what_members_of_a_classic_group_say_that_they_are_is_stored(
    reopen: Callable[[], Broker],
) -> None:
    broker = reopen()
    with pytest.raises(MemberIdRequiredError) as refused:
        join(broker)
    join(broker, member_id=refused.value.member_id)
    assert types(broker) == [("classic", "connect")]
    assert types(reopen()) == [("classic", "connect")]

"""Groups that change their protocol while their members read on (NGP-5)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from streamlog import Admin, Broker, Consumer, GroupState, TopicPartition
from streamlog.broker.classic.state import ClassicState
from streamlog.errors import (
    CommitFailedError,
    DiskFullError,
    FencedInstanceIdError,
    InvalidSessionTimeoutError,
    UnreleasedInstanceIdError,
)
from streamlog.runtime import VirtualClock
from tests.support.consuming import Recorder, fill
from tests.support.producing import failing_partitions

Join = Callable[..., Consumer]
EAGER, COOPERATIVE = "range", "cooperative-sticky"


@pytest.fixture
def join(broker: Broker) -> Join:
    """Makes members of one group that reads a topic of 6 partitions."""
    broker.create_topic("t", partitions=6)

    def joined(assignor: str | None = None, **options: Any) -> Consumer:
        if assignor is not None:
            options |= {"group_protocol": "classic", "partition_assignment_strategy": [assignor]}
        return Consumer(broker, "t", group_id="g", auto_offset_reset="earliest", **options)

    return joined


def settle(*consumers: Consumer) -> list[bytes]:
    values: list[Any] = []
    for _ in range(8):
        for consumer in consumers:
            values += consumer.poll().values()
    return values


def numbers(consumer: Consumer) -> list[int]:
    return sorted(tp.partition for tp in consumer.assignment())


def check_shares(broker: Broker, *consumers: Consumer) -> None:
    broker.group_coordinator._check()
    shares = [numbers(consumer) for consumer in consumers]
    assert sorted(n for share in shares for n in share) == list(range(6))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def described(broker: Broker) -> tuple[str, GroupState]:
    found = Admin(broker).describe_consumer_groups(["g"])["g"]
    return found.protocol, found.state


@pytest.mark.parametrize("assignor", [EAGER, COOPERATIVE])
def test_ngp_5_group_goes_over_member_by_member_and_back(
    join: Join, broker: Broker, assignor: str
) -> None:
    old = [join(assignor), join(assignor)]
    settle(*old)
    new = [join()]
    settle(*old, *new)
    check_shares(broker, *old, *new)
    assert described(broker) == ("consumer", GroupState.STABLE)
    old.pop().close()
    new.append(join())
    settle(*old, *new)
    check_shares(broker, *old, *new)
    old.append(join(assignor))  # a classic member may join what is a KIP-848 group by now
    settle(*old, *new)
    check_shares(broker, *old, *new)
    for consumer in new:
        consumer.close()
    assert described(broker) == ("classic", GroupState.PREPARING_REBALANCE)
    settle(*old)
    check_shares(broker, *old)
    assert described(broker) == ("classic", GroupState.STABLE)


def test_grp_1_classic_group_is_dead_once_it_is_of_the_other_protocol(
    join: Join, broker: Broker
) -> None:
    old = join(EAGER)
    settle(old)
    group = broker.group_coordinator._store.groups["g"]
    before = group.classic
    new = join()
    settle(old, new)
    assert before is not None
    assert before.state is ClassicState.DEAD
    new.close()
    settle(old)
    assert group.classic is not None
    assert group.classic is not before
    assert group.classic.state is ClassicState.STABLE
    assert before.state is ClassicState.DEAD


def test_ngp_5_cooperative_member_loses_only_what_moves(join: Join) -> None:
    a = join(COOPERATIVE)
    recorder = Recorder()
    a.subscribe(["t"], listener=recorder)
    settle(a)
    recorder.take()
    b = join()
    settle(a, b)
    (revoked,) = [numbers for name, numbers in recorder.take() if name == "revoked"]
    assert sorted(revoked) == numbers(b)
    b.close()
    settle(a)
    assert [call for call in recorder.take() if call[1]] == [("assigned", sorted(revoked))]


def test_group_in_the_middle_of_a_classic_rebalance_goes_over_as_well(
    join: Join, broker: Broker
) -> None:
    a, b = join(EAGER), join(EAGER)
    settle(a, b)
    c = join(EAGER)
    c.poll()  # waits for the others to join
    a.poll()
    d = join()
    settle(a, b, c, d)
    check_shares(broker, a, b, c, d)


def test_commits_of_classic_members_go_by_their_generation(join: Join) -> None:
    a, b = join(EAGER, enable_auto_commit=False), join()
    settle(a, b)
    mine = min(a.assignment())
    a.commit({mine: 3})
    assert b.committed(mine).offset == 3  # type: ignore[union-attr]
    coordinator = a._broker.group_coordinator
    stale = a.group_metadata().generation_id - 1
    a._membership.epoch = stale  # type: ignore[union-attr]
    with pytest.raises(CommitFailedError, match="expected epoch"):
        a.commit({mine: 4})
    coordinator._check()


def test_classic_member_that_does_not_poll_is_evicted(
    join: Join, broker: Broker, clock: VirtualClock
) -> None:
    a, b = join(COOPERATIVE, max_poll_interval_ms=1_000), join(max_poll_interval_ms=1_000_000)
    settle(a, b)
    clock.advance(1_000)
    settle(b)
    check_shares(broker, b)
    settle(a, b)
    check_shares(broker, a, b)


def test_group_goes_back_when_its_last_other_member_is_evicted(
    join: Join, broker: Broker, clock: VirtualClock
) -> None:
    a, b = join(COOPERATIVE, max_poll_interval_ms=1_000_000), join(max_poll_interval_ms=1_000)
    settle(a, b)
    clock.advance(1_000)
    settle(a)
    check_shares(broker, a)
    assert described(broker) == ("classic", GroupState.STABLE)
    settle(a, b)  # it had not left on purpose: the group goes over again
    check_shares(broker, a, b)
    assert described(broker)[0] == "consumer"


def test_static_members_go_over_one_after_the_other_without_losing_their_places(
    join: Join, broker: Broker
) -> None:
    old = {name: join(EAGER, group_instance_id=name) for name in ("one", "two")}
    settle(*old.values())
    shares = {name: numbers(consumer) for name, consumer in old.items()}
    new = {}
    for name in ("one", "two"):
        old.pop(name).close()
        new[name] = join(group_instance_id=name)
        settle(*old.values(), *new.values())
        check_shares(broker, *old.values(), *new.values())
    assert {name: numbers(consumer) for name, consumer in new.items()} == shares


def test_static_classic_member_takes_the_last_other_members_place_and_the_group_goes_back(
    join: Join, broker: Broker
) -> None:
    a, b = join(EAGER), join(group_instance_id="one")
    settle(a, b)
    b.close()
    again = join(EAGER, group_instance_id="one")
    settle(a, again)
    check_shares(broker, a, again)
    assert described(broker) == ("classic", GroupState.STABLE)


def test_absent_static_member_is_waited_for_after_the_group_went_back(
    join: Join, broker: Broker, clock: VirtualClock
) -> None:
    a, b = join(COOPERATIVE), join()
    static = join(COOPERATIVE, group_instance_id="one", session_timeout_ms=10_000)
    settle(a, b, static)
    static.close()
    b.close()
    settle(a)
    clock.advance(10_000)
    settle(a)
    clock.advance(300_000)
    settle(a)
    check_shares(broker, a)


def test_name_of_a_classic_member_that_is_there_is_refused_and_the_group_stays_classic(
    join: Join, broker: Broker
) -> None:
    a = join(COOPERATIVE, group_instance_id="one")
    settle(a)
    with pytest.raises(UnreleasedInstanceIdError):
        join(group_instance_id="one").poll()
    settle(a)
    check_shares(broker, a)
    assert described(broker) == ("classic", GroupState.STABLE)


def test_older_classic_member_of_a_name_is_fenced(join: Join, broker: Broker) -> None:
    b, a = join(), join(EAGER, group_instance_id="one")
    settle(a, b)
    again = join(EAGER, group_instance_id="one")
    again.poll()
    with pytest.raises(FencedInstanceIdError):
        a.poll()
    settle(again, b)
    check_shares(broker, again, b)


def test_group_stays_classic_when_the_other_member_could_not_be_stored(
    join: Join, broker: Broker
) -> None:
    a = join(COOPERATIVE)
    settle(a)
    with failing_partitions() as failures:
        failures.forever = lambda: DiskFullError("full")
        with pytest.raises(DiskFullError):
            join().poll()
    settle(a)
    check_shares(broker, a)
    assert described(broker) == ("classic", GroupState.STABLE)


def test_bounds_of_session_timeouts_hold_in_a_mixed_group(join: Join) -> None:
    settle(join())
    with pytest.raises(InvalidSessionTimeoutError):
        join(EAGER, session_timeout_ms=1).poll()


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("assignor", [EAGER, COOPERATIVE])
def test_members_of_both_kinds_come_and_go_and_every_record_is_read_once(
    join: Join, broker: Broker, assignor: str, seed: int
) -> None:
    chance = random.Random(seed)
    members: list[Consumer] = []
    read: Counter[bytes] = Counter()
    sent = 0
    for _ in range(60):
        step = chance.choice(["join", "leave", "poll", "poll", "poll", "poll", "send"])
        if step == "join" and len(members) < 5:
            kind = chance.choice([None, assignor])
            members.append(join(kind, max_poll_records=3, client_id=chance.choice("abc")))
        elif step == "leave" and members:
            members.pop(chance.randrange(len(members))).close()
        elif step == "send":
            for partition in range(6):
                fill(broker, 2, TopicPartition("t", partition))
                sent += 2
        elif members:
            read.update(chance.choice(members).poll().values())  # type: ignore[arg-type]
        broker.group_coordinator._check()
        owned = [tp for consumer in members for tp in consumer.assignment()]
        assert len(set(owned)) == len(owned)
    members.append(join(chance.choice([None, assignor])))
    for _ in range(4):
        read.update(settle(*members))
    check_shares(broker, *members)
    assert (len(read), max(read.values(), default=1)) == (sent, 1)

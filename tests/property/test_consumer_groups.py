"""Consumers of one group joining, leaving, being evicted and paused, while topics grow and time jumps.

Held after every step: no partition has two owners; what members claim is what the coordinator says.
Held at the end, once everybody polled and nobody interferes: the partitions of the topics are shared
without a rest, and every record was returned at least once, exactly once where nobody was evicted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from streamlog.broker.broker import Broker
from streamlog.broker.group import GroupState
from streamlog.client.consumer import Consumer
from streamlog.errors import CommitFailedError, RebalanceInProgressError
from streamlog.runtime import VirtualClock
from streamlog.structs import TopicPartition
from tests.support.consuming import append
from tests.support.invariants import check_broker, check_consumer

GROUP = "g"
INTERVAL_MS = 10_000
TOPICS = ("t-a", "t-b")


class GroupMachine(RuleBasedStateMachine):
    """A broker under a virtual clock, driven by one thread."""

    consumers: Bundle[Consumer] = Bundle("consumers")
    options: ClassVar[list[dict[str, Any]]] = [{}]
    """How consumers are configured: each in one of these ways."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.broker = Broker(clock=self.clock, seed=0, offsets_topic_num_partitions=1)
        self.members: list[Consumer] = []
        self.produced: list[bytes] = []
        self.returned: Counter[bytes] = Counter()
        self.was_evicted = False

    @initialize(partitions=st.integers(1, 4))
    def topic(self, partitions: int) -> None:
        self.broker.create_topic(TOPICS[0], partitions=partitions)

    # ---- what happens to the group

    @rule(
        target=consumers,
        by_pattern=st.booleans(),
        max_records=st.integers(1, 4),
        choice=st.integers(0, 2),
    )
    def join(self, by_pattern: bool, max_records: int, choice: int) -> Consumer:
        consumer = Consumer(
            self.broker,
            group_id=GROUP,
            auto_offset_reset="earliest",
            max_poll_records=max_records,
            max_poll_interval_ms=INTERVAL_MS,
            allow_auto_create_topics=False,
            **self.options[choice % len(self.options)],
        )
        if by_pattern:
            consumer.subscribe(pattern="t-.*")
        else:
            consumer.subscribe(list(TOPICS))
        self.members.append(consumer)
        return consumer

    @rule(consumer=consumers, times=st.integers(1, 3))
    def poll(self, consumer: Consumer, times: int) -> None:
        for _ in range(times):
            self.returned.update(consumer.poll().values())

    @rule(consumer=consumes(consumers))
    def leave(self, consumer: Consumer) -> None:
        consumer.close()
        self.members.remove(consumer)

    @rule(consumer=consumers)
    def commit(self, consumer: Consumer) -> None:
        try:
            consumer.commit()
        except (CommitFailedError, RebalanceInProgressError):
            pass  # evicted, or not joined while others are members, or assignments are being made

    @rule(consumer=consumers)
    def pause_all(self, consumer: Consumer) -> None:
        consumer.pause(consumer.assignment())

    @rule(consumer=consumers)
    def resume_all(self, consumer: Consumer) -> None:
        consumer.resume(consumer.paused())

    @rule(consumer=consumers)
    def change_subscription(self, consumer: Consumer) -> None:
        pattern = consumer._subscription.request.pattern
        consumer.unsubscribe()
        if pattern is None:
            consumer.subscribe(pattern="t-.*")
        else:
            consumer.subscribe(list(TOPICS))

    @rule(ms=st.sampled_from([1, 4_000, 6_000, INTERVAL_MS + 1]))
    def time_passes(self, ms: int) -> None:
        before = self.member_ids()
        self.clock.advance(ms)
        if before - self.member_ids():
            self.was_evicted = True

    def member_ids(self) -> set[str]:
        group = self.broker.group_coordinator._store.groups.get(GROUP)
        if group is None:
            return set()
        return set(group.members if group.classic is None else group.classic.members)

    # ---- what happens to the topics

    @rule(count=st.integers(1, 3), number=st.integers(0, 5), name=st.sampled_from(TOPICS))
    def produce(self, count: int, number: int, name: str) -> None:
        if name not in self.broker.topics():
            return
        number %= len(self.broker.topic(name).partitions)
        values = [b"%d" % n for n in range(len(self.produced), len(self.produced) + count)]
        append(self.broker, values, TopicPartition(name, number))
        self.produced += values

    @rule()
    def second_topic(self) -> None:
        if TOPICS[1] not in self.broker.topics():
            self.broker.create_topic(TOPICS[1], partitions=2)

    @rule(name=st.sampled_from(TOPICS))
    def grow(self, name: str) -> None:
        if name in self.broker.topics():
            present = len(self.broker.topic(name).partitions)
            if present < 6:
                self.broker.create_partitions(name, present + 1)

    # ---- what must hold

    @invariant()
    def structures_are_consistent(self) -> None:
        check_broker(self.broker)
        for consumer in self.members:
            check_consumer(consumer)

    @invariant()
    def no_two_members_read_one_partition(self) -> None:
        reading: Counter[TopicPartition] = Counter()
        known = self.member_ids()
        for consumer in self.members:
            if consumer.group_metadata().member_id in known:
                reading.update(consumer.assignment())
        assert not reading or max(reading.values()) == 1

    @invariant()
    def no_partition_has_two_owners(self) -> None:
        group = self.broker.group_coordinator._store.groups.get(GROUP)
        if group is None or group.classic is not None:
            return
        claims: Counter[TopicPartition] = Counter()
        for member in group.members.values():
            claims.update(member.current.claimed)
            for tp in member.current.claimed:
                assert group.owners[tp] == member.member_id
        assert not claims or max(claims.values()) == 1
        assert set(claims) == set(group.owners)
        # And no consumer that is still a member reads anything else.
        for consumer in self.members:
            membership = consumer._membership
            assert membership is not None
            known = group.members.get(membership.member_id)
            if known is not None:
                assert consumer.assignment() <= known.current.claimed

    @invariant()
    def commits_are_not_beyond_what_exists(self) -> None:
        group = self.broker.group_coordinator._store.groups.get(GROUP)
        for tp, commit in (group.offsets if group is not None else {}).items():
            assert commit.offset <= self.broker.partition(*tp).log_end_offset

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.broker.close()

    def settle(self) -> None:
        if not self.broker.topics():
            return
        if not self.members:
            self.join(by_pattern=True, max_records=4, choice=0)
        for consumer in self.members:
            consumer.resume(consumer.paused())
        for _ in range(len(self.produced) + 6):
            for consumer in self.members:
                self.returned.update(consumer.poll().values())
        group = self.broker.group_coordinator._store.groups[GROUP]
        assert group.state is GroupState.STABLE
        everything = {
            TopicPartition(name, number)
            for name in self.broker.topics()
            for number in range(len(self.broker.topic(name).partitions))
        }
        shares = [consumer.assignment() for consumer in self.members]
        assert set().union(*shares) == everything
        assert sum(map(len, shares)) == len(everything)
        assert set(self.returned) == set(self.produced), "nothing is skipped"
        if not self.was_evicted:
            assert all(count == 1 for count in self.returned.values())


def classic(*assignors: str) -> type[GroupMachine]:
    """The same under the classic protocol, with each of its ways to share partitions out."""
    return type("Classic", (GroupMachine,), {"options": [classic_options(*assignors)]})


def classic_options(*assignors: str) -> dict[str, Any]:
    """How a member is configured to speak the classic protocol."""
    return {"group_protocol": "classic", "partition_assignment_strategy": assignors}


MACHINES: dict[str, type[GroupMachine]] = {
    "consumer_range": GroupMachine,
    "consumer_uniform": type(
        "Uniform", (GroupMachine,), {"options": [{"group_remote_assignor": "uniform"}]}
    ),
    "classic_range": classic("range", "cooperative-sticky"),
    "classic_round_robin": classic("roundrobin"),
    "classic_sticky": classic("sticky"),
    "classic_cooperative_sticky": classic("cooperative-sticky"),
    "both_protocols": type(
        "Both",
        (GroupMachine,),
        {
            "options": [
                {},
                classic_options("range"),
                classic_options("cooperative-sticky", "range"),
            ]
        },
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MACHINES)
def test_groups_keep_their_promises_whatever_happens(name: str) -> None:
    machine = MACHINES[name]
    # A part of the examples for each: together they take longer than any other property.
    examples = max(settings.default.max_examples // 5, 5)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine, settings=settings(stateful_step_count=40, max_examples=examples)
    )

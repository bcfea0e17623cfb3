"""Members elsewhere, of both protocols, do anything at any time: the group stays sound, and forgets all who fall silent."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    encode_assignment,
    encode_subscription,
)
from streamlog.broker.classic.requests import (
    JoinRequest,
    JoinResponse,
    Reply,
    SyncRequest,
    SyncResponse,
)
from streamlog.broker.group_member import Subscription
from streamlog.broker.group_membership import Heartbeat
from streamlog.broker.member_session import RemoteSession
from streamlog.errors import MemberIdRequiredError, StreamlogError
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition

SESSION_MS = 10_000
REBALANCE_MS = 25_000
STEPS = 120
TOPICS = frozenset({"t"})


class Walker:
    """One client, which remembers what it was told, or does not."""

    def __init__(self, broker: Broker, chance: random.Random, number: int) -> None:
        self.broker = broker
        self.chance = chance
        self.instance_id = f"i{number}" if chance.random() < 0.3 else None
        self.is_new = chance.random() < 0.4
        self.id = f"new-{number}" if self.is_new else ""
        self.epoch = 0
        self.has: frozenset[TopicPartition] = frozenset()
        self.join_reply: Reply[JoinResponse] | None = None
        self.sync_reply: Reply[SyncResponse] | None = None
        self.wanted = TOPICS

    def session(self) -> RemoteSession:
        now_ms = self.broker.runtime.clock.monotonic_ms()
        return RemoteSession(SESSION_MS, REBALANCE_MS, now_ms)

    def step(self) -> None:
        verbs = (
            (self.beat, self.beat, self.beat, self.rejoin, self.leave, self.commit)
            if self.is_new
            else (self.join, self.sync, self.sync, self.beat, self.leave, self.commit, self.hang_up)
        )
        try:
            self.chance.choice(verbs)()
        except MemberIdRequiredError as error:
            self.id = error.member_id
        except StreamlogError:
            if self.chance.random() < 0.7:
                self.start_over()

    def start_over(self) -> None:
        self.epoch, self.has = 0, frozenset()
        self.id = self.id if self.is_new else ""

    # ---- KIP-848

    def rejoin(self) -> None:
        self.epoch, self.has = 0, frozenset()
        self.beat()

    def beat(self) -> None:
        coordinator = self.broker.group_coordinator
        if not self.is_new:
            coordinator.classic_heartbeat("g", self.id, self.instance_id, self.epoch)
            return
        is_join = self.epoch == 0
        says_all = is_join or self.chance.random() < 0.5
        response = coordinator.heartbeat(
            Heartbeat(
                "g",
                self.id,
                self.epoch,
                "c",
                Subscription(self.wanted) if says_all else None,
                self.session(),
                self.has if says_all else None,
                self.chance.choice(("range", "uniform")) if says_all else None,
                self.instance_id,
            )
        )
        self.epoch, self.has = response.member_epoch, response.assignment

    # ---- classic

    def join(self) -> None:
        told = encode_subscription(ConsumerSubscription(self.wanted, owned=tuple(self.has)))
        self.join_reply = Reply(lambda: None)
        request = JoinRequest(
            "g",
            self.id,
            self.instance_id,
            "c",
            SESSION_MS,
            REBALANCE_MS,
            (("range", told),),
            self.session(),
            requires_member_id=self.chance.random() < 0.7,
            initial_delay_ms=self.chance.choice((0, 50)),
        )
        self.broker.group_coordinator.join(request, self.join_reply)

    def sync(self) -> None:
        if self.sync_reply is not None and self.sync_reply.is_ready:
            self.sync_reply, reply = None, self.sync_reply
            reply.take()
        if self.join_reply is None or not self.join_reply.is_ready:
            return
        self.join_reply, join_reply = None, self.join_reply
        joined = join_reply.take()
        self.id, self.epoch = joined.member_id, joined.generation
        share = encode_assignment(ConsumerAssignment(frozenset({TopicPartition("t", 0)})))
        self.sync_reply = Reply(lambda: None)
        assignments = dict.fromkeys(joined.members, b"")
        if joined.is_leader:
            assignments[joined.member_id] = share
        self.broker.group_coordinator.sync(
            SyncRequest("g", self.id, self.instance_id, self.epoch, assignments), self.sync_reply
        )

    def hang_up(self) -> None:
        now_ms = self.broker.runtime.clock.monotonic_ms()
        waiting: tuple[Reply[Any] | None, ...] = (self.join_reply, self.sync_reply)
        for reply in waiting:
            if reply is not None and not reply.is_ready:
                reply.abandoned_ms = now_ms
        self.join_reply = self.sync_reply = None

    # ---- both

    def leave(self) -> None:
        if self.chance.random() < 0.6:
            return  # less often than the rest
        coordinator = self.broker.group_coordinator
        if self.is_new and self.instance_id is not None and self.chance.random() < 0.5:
            coordinator.remote.check_member("g", self.id, self.instance_id)
            coordinator.leave("g", self.id, self.instance_id)
        else:
            coordinator.remote.leave("g", self.id, self.instance_id)
        self.start_over()

    def commit(self) -> None:
        coordinator = self.broker.group_coordinator
        offset = {TopicPartition("t", 0): OffsetAndMetadata(1)}
        coordinator.commit_offsets("g", self.id, self.epoch, offset, self.instance_id)
        coordinator.remote.heard("g", self.id)


@pytest.mark.parametrize("seed", range(30))
def test_group_stays_sound_whatever_members_elsewhere_do(seed: int) -> None:
    chance = random.Random(seed)
    clock = VirtualClock()
    with Broker(clock=clock, seed=seed) as broker:
        broker.create_topic("t", partitions=3)
        coordinator = broker.group_coordinator
        walkers = [Walker(broker, chance, number) for number in range(5)]
        for _ in range(STEPS):
            chance.choice(walkers).step()
            if chance.random() < 0.3:
                clock.advance(chance.choice((1, 60, 1_000, SESSION_MS // 2, SESSION_MS)))
            coordinator._check()
            coordinator.remote.list_groups()
        for one in walkers:
            one.hang_up()
        # Longer than anybody may be silent, be away, or be waited for.
        for _ in range(20):
            clock.advance(SESSION_MS)
            coordinator._check()
        groups = coordinator.remote.list_groups()
        assert [one.state.value for one in groups] in ([], ["empty"])
        assert not coordinator._classic_timers.armed
        assert not coordinator._watch.watched

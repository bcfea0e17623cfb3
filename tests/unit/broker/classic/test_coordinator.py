"""The classic protocol, request by request; nobody ever waits in one."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest

from streamlog.broker.classic.coordinator import ClassicCoordinator
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.requests import (
    JoinRequest,
    JoinResponse,
    Reply,
    SyncRequest,
    SyncResponse,
)
from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group_timers import GroupTimers
from streamlog.broker.member_session import MemberSession, RemoteSession
from streamlog.config import BrokerConfig
from streamlog.errors import (
    DiskFullError,
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    MemberIdRequiredError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from streamlog.runtime import Signal, VirtualClock
from streamlog.runtime.threads import Lock

INTERVAL_MS = 60_000
SESSION_MS = 10_000


class Lab:
    """One group, its coordinator, and a clock that jumps."""

    def __init__(self, **config: Any) -> None:
        self.clock = VirtualClock()
        self.generation = 0
        self.is_full = False
        self.timers = GroupTimers(self.clock.new_scheduler("test"), Lock())
        numbers = itertools.count(1)
        self.coordinator = ClassicCoordinator(
            BrokerConfig(**config),
            self.clock,
            self.timers,
            self.store_generation,
            lambda group_id, client_id: f"{client_id}-{next(numbers)}",
        )
        self.group = ClassicGroup("g", 0)

    def store_generation(self, group_id: str) -> int:
        if self.is_full:
            raise DiskFullError("no room")
        self.generation += 1
        return self.generation

    def member(self, name: str, **settings: Any) -> Member:
        return Member(self, name, **settings)

    def stable(self, *names: str, **settings: Any) -> list[Member]:
        """Members that have joined and been assigned their own names."""
        members = [self.member(name, **settings) for name in names]
        for one in members:
            one.join()
        self.settle(*members)
        assert self.group.state is ClassicState.STABLE
        return members

    def settle(self, *members: Member) -> None:
        while self.group.state is ClassicState.PREPARING_REBALANCE:
            for one in members:
                if self.group.members[one.id].joining is None:
                    one.join()
        for one in members:
            one.sync({other.id: other.name.encode() for other in members})
        self.check()

    def check(self) -> None:
        self.group._check()
        self.coordinator._check([self.group])


class Member:
    """A client reduced to its requests."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        *,
        instance_id: str | None = None,
        protocols: tuple[tuple[str, bytes], ...] = (("range", b"t"),),
        session_timeout_ms: int = SESSION_MS,
        is_remote: bool = False,
        **fields: Any,
    ) -> None:
        self.lab = lab
        self.name = name
        self.instance_id = instance_id
        self.protocols = protocols
        self.session_timeout_ms = session_timeout_ms
        now_ms = lab.clock.monotonic_ms()
        self.session = MemberSession(Signal(), INTERVAL_MS, now_ms)
        if is_remote:
            self.session = RemoteSession(session_timeout_ms, INTERVAL_MS, now_ms)
        self.fields = fields
        self.id = ""
        self.join_reply: Reply[JoinResponse] = Reply(self.session.notify)
        self.sync_reply: Reply[SyncResponse] = Reply(self.session.notify)

    @property
    def joined(self) -> JoinResponse | None:
        return self.join_reply.value

    def poll(self) -> None:
        """Show a sign of life."""
        self.session.last_poll_ms = self.lab.clock.monotonic_ms()

    def join(self) -> None:
        self.poll()
        try:
            self.try_join()
        except MemberIdRequiredError as error:
            self.id = error.member_id
            self.try_join()
        if self.instance_id is not None:
            self.id = self.lab.group.static_ids[self.instance_id]

    def try_join(self) -> None:
        self.join_reply = Reply(self.session.notify)
        request = JoinRequest(
            "g",
            self.id,
            self.instance_id,
            self.name,
            self.session_timeout_ms,
            INTERVAL_MS,
            self.protocols,
            self.session,
            **self.fields,
        )
        self.lab.coordinator.join(self.lab.group, request, self.join_reply)

    def sync(self, assignments: dict[str, bytes]) -> None:
        joined = self.join_reply.take()
        self.id = joined.member_id
        self.sync_reply = Reply(self.session.notify)
        request = SyncRequest(
            "g",
            self.id,
            self.instance_id,
            joined.generation,
            assignments if joined.is_leader else {},
        )
        self.lab.coordinator.sync(self.lab.group, request, self.sync_reply)

    def heartbeat(self, generation: int | None = None) -> None:
        if generation is None:
            generation = self.lab.group.generation
        self.lab.coordinator.heartbeat(self.lab.group, self.id, self.instance_id, generation)

    @property
    def assignment(self) -> bytes:
        return self.sync_reply.take().assignment


@pytest.fixture
def lab() -> Lab:
    return Lab()


# ---- joining


def test_grp_2_first_join_is_given_an_id_and_the_second_takes_it(lab: Lab) -> None:
    one = lab.member("a")
    with pytest.raises(MemberIdRequiredError, match="join again as 'a-1'") as caught:
        one.try_join()
    assert caught.value.member_id == "a-1"
    assert lab.group.members == {}
    one.id = "a-1"
    one.try_join()
    assert one.joined is not None
    assert (one.joined.member_id, one.joined.generation) == ("a-1", 1)


def test_grp_2_id_that_was_not_handed_out_is_unknown(lab: Lab) -> None:
    one = lab.member("a")
    one.id = "made-up"
    with pytest.raises(UnknownMemberIdError, match="'made-up' is not a member"):
        one.try_join()


def test_grp_5_leader_alone_is_told_the_members_and_everybody_waits_for_its_assignment(
    lab: Lab,
) -> None:
    a, b = lab.member("a"), lab.member("b")
    a.join()
    assert a.joined is not None
    assert a.joined.is_leader
    b.join()
    assert b.joined is None, "a has to join again first"
    assert lab.group.state is ClassicState.PREPARING_REBALANCE
    a.join()
    assert a.joined == JoinResponse(
        2, "range", a.id, a.id, {a.id: (None, b"t"), b.id: (None, b"t")}
    )
    assert b.joined == JoinResponse(2, "range", a.id, b.id, {})
    b.sync({})
    assert not b.sync_reply.is_ready
    a.sync({a.id: b"for a", b.id: b"for b"})
    assert (a.assignment, b.assignment) == (b"for a", b"for b")
    assert lab.group.state is ClassicState.STABLE


def test_grp_5_protocol_is_common_to_all_and_has_most_votes(lab: Lab) -> None:
    orders = {"a": "xyz", "b": "yxz", "c": "zyx", "d": "yx"}
    members = [
        lab.member(name, protocols=tuple((letter, b"") for letter in order))
        for name, order in orders.items()
    ]
    for one in members * 2:
        one.join()
    assert lab.group.protocol == "y"
    assert lab.group.common_protocols() == {"x", "y"}


def test_grp_6_assignor_that_others_lack_is_inconsistent(lab: Lab) -> None:
    lab.stable("a")
    with pytest.raises(
        InconsistentGroupProtocolError, match=r"all members have, \['range'\], found \['sticky'\]"
    ):
        lab.member("b", protocols=(("sticky", b""),)).join()
    with pytest.raises(InconsistentGroupProtocolError, match="expected an assignor, found none"):
        lab.member("b", protocols=()).join()


def test_the_only_member_may_change_its_assignor(lab: Lab) -> None:
    (a,) = lab.stable("a")
    a.protocols = (("sticky", b""),)
    a.join()
    assert lab.group.protocol == "sticky"


@pytest.mark.parametrize("session_timeout_ms", [5_999, 1_800_001])
def test_grp_6_session_timeout_out_of_bounds_is_refused(lab: Lab, session_timeout_ms: int) -> None:
    with pytest.raises(InvalidSessionTimeoutError, match=f"found {session_timeout_ms}"):
        lab.member("a", session_timeout_ms=session_timeout_ms).join()


def test_grp_6_full_group_takes_no_more() -> None:
    lab = Lab(group_max_size=2)
    lab.stable("a", "b")
    for settings in ({}, {"instance_id": "i"}):
        with pytest.raises(GroupMaxSizeReachedError, match="at most group_max_size=2"):
            lab.member("c", **settings).join()


def test_grp_3_first_rebalance_waits_for_others_as_long_as_they_come() -> None:
    lab = Lab(group_initial_rebalance_delay_ms=3_000)
    a, b = lab.member("a"), lab.member("b")
    a.join()
    lab.clock.advance(2_000)
    b.join()
    lab.clock.advance(1_500)
    assert a.joined is b.joined is None, "b came meanwhile, so it waits once more"
    lab.clock.advance(3_000)
    assert a.joined is not None
    assert b.joined is not None
    assert a.joined.generation == b.joined.generation == 1
    lab.settle(a, b)
    a.join()
    b.join()
    assert lab.group.generation == 2, "only the first rebalance of an empty group waits"


def test_grp_3_waiting_ends_with_the_rebalance_timeout() -> None:
    lab = Lab(group_initial_rebalance_delay_ms=25_000)
    lab.member("a").join()
    for name in "bcd":
        lab.clock.advance(20_000)
        lab.member(name).join()
    assert lab.group.generation == 1


# ---- who does not come


def test_grp_4_dynamic_members_that_do_not_join_again_are_removed(lab: Lab) -> None:
    a, b = lab.stable("a", "b")
    c = lab.member("c")
    c.join()
    b.join()
    for _ in range(6):
        lab.clock.advance(INTERVAL_MS / 6)
        b.poll()
        c.poll()
        a.poll()  # it lives, and does not join
    assert b.joined is not None
    assert b.joined.generation == 3
    assert b.joined.is_leader, "GRP-5: the leader did not join again"
    assert set(lab.group.members) == {b.id, c.id}
    with pytest.raises(UnknownMemberIdError):
        a.heartbeat()


def test_grp_4_absent_static_members_stay(lab: Lab) -> None:
    (a,) = lab.stable("a", instance_id="i")
    b = lab.member("b")
    b.join()
    for _ in range(6):
        lab.clock.advance(INTERVAL_MS / 6)
        a.poll()
        b.poll()
    assert b.joined is not None
    assert set(lab.group.members) == {a.id, b.id}
    assert b.joined.members == {a.id: ("i", b"t"), b.id: (None, b"t")}


def test_grp_10_members_that_never_sync_are_removed_and_the_others_go_on(lab: Lab) -> None:
    a, b = lab.member("a"), lab.member("b")
    a.join()
    b.join()
    a.join()
    a.sync({a.id: b"1", b.id: b"2"})
    assert lab.group.state is ClassicState.STABLE
    for _ in range(6):
        lab.clock.advance(INTERVAL_MS / 6)
        a.poll()
        b.poll()
    assert set(lab.group.members) == {a.id}
    with pytest.raises(RebalanceInProgressError):
        a.heartbeat()


def test_con_14_silent_member_is_removed(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    a, b = lab.stable("a", "b")
    lab.clock.advance(INTERVAL_MS / 2)
    a.poll()
    lab.clock.advance(INTERVAL_MS / 2)
    assert set(lab.group.members) == {a.id}
    assert f"removed member {b.id!r}" in caplog.text
    lab.clock.advance(INTERVAL_MS)
    assert lab.group.state is ClassicState.EMPTY


def test_member_that_waits_in_poll_is_not_silent(lab: Lab) -> None:
    (a,) = lab.stable("a")
    a.session.last_poll_ms = float("inf")
    lab.clock.advance(5 * INTERVAL_MS)
    assert set(lab.group.members) == {a.id}


def test_silent_static_member_is_removed_when_its_session_ends_too(lab: Lab) -> None:
    # CON-14
    (a,) = lab.stable("a", instance_id="i")
    lab.clock.advance(INTERVAL_MS + SESSION_MS - 1)
    assert set(lab.group.members) == {a.id}
    lab.clock.advance(1)
    assert lab.group.members == {}


# ---- in a stable group


def test_grp_9_leader_that_joins_again_starts_a_rebalance(lab: Lab) -> None:
    a, b = lab.stable("a", "b")
    a.join()
    assert a.joined is None
    assert lab.group.state is ClassicState.PREPARING_REBALANCE
    b.join()
    assert a.joined is not None


def test_grp_9_unchanged_follower_that_joins_again_is_told_what_is(lab: Lab) -> None:
    _, b = lab.stable("a", "b")
    generation = lab.group.generation
    b.join()
    assert b.joined is not None
    assert b.joined.generation == generation
    assert lab.group.state is ClassicState.STABLE


def test_grp_9_changed_follower_starts_a_rebalance(lab: Lab) -> None:
    a, b = lab.stable("a", "b")
    b.protocols = (("range", b"other"),)
    b.join()
    assert lab.group.state is ClassicState.PREPARING_REBALANCE
    a.join()
    assert a.joined is not None
    assert a.joined.members[b.id] == (None, b"other")


def test_grp_9_lost_answer_is_given_again_while_assignments_are_made(lab: Lab) -> None:
    a = lab.member("a")
    a.join()
    first = a.joined
    a.join()
    assert a.joined == first
    assert lab.group.state is ClassicState.COMPLETING_REBALANCE


def test_grp_7_heartbeats(lab: Lab) -> None:
    a, b = lab.stable("a", "b")
    a.heartbeat()
    with pytest.raises(IllegalGenerationError, match="expected generation 2, found 1"):
        a.heartbeat(1)
    b.protocols = (("range", b"other"),)
    b.join()
    with pytest.raises(RebalanceInProgressError):
        a.heartbeat()
    stranger = lab.member("x")
    with pytest.raises(UnknownMemberIdError):
        stranger.heartbeat()


def test_members_are_told_of_a_rebalance_at_once(lab: Lab) -> None:
    (a,) = lab.stable("a")
    news = a.session.news
    lab.member("b").join()
    assert a.session.news == news + 1


def test_rebalance_while_syncing_sends_everybody_back(lab: Lab) -> None:
    a, b = lab.member("a"), lab.member("b")
    a.join()
    b.join()
    a.join()
    b.sync({})
    lab.member("c").join()
    with pytest.raises(RebalanceInProgressError):
        b.sync_reply.take()
    with pytest.raises(RebalanceInProgressError):
        a.sync({})


def test_leaving_starts_a_rebalance_and_the_last_one_leaves_the_group_empty(lab: Lab) -> None:
    a, b = lab.stable("a", "b")
    lab.coordinator.leave(lab.group, b.id)
    with pytest.raises(RebalanceInProgressError):
        a.heartbeat()
    lab.coordinator.leave(lab.group, a.id)
    assert (lab.group.state, lab.group.leader_id, lab.group.protocol) == (
        ClassicState.EMPTY,
        None,
        None,
    )
    lab.coordinator.leave(lab.group, a.id)  # once more, for nothing
    assert lab.group.state is ClassicState.EMPTY


def test_leaving_while_others_wait_lets_them_go_on(lab: Lab) -> None:
    a, b = lab.stable("a", "b")
    b.protocols = (("range", b"other"),)
    b.join()
    lab.coordinator.leave(lab.group, a.id)
    assert b.joined is not None
    assert b.joined.is_leader


# ---- static members


def test_grp_11_static_member_comes_back_without_a_rebalance(lab: Lab) -> None:
    a = lab.member("a", instance_id="i")
    b = lab.member("b")
    a.join()
    b.join()
    a.join()
    lab.settle(a, b)
    generation, old_id = lab.group.generation, a.id
    again = lab.member("a", instance_id="i")
    again.join()
    assert again.joined is not None
    assert again.joined.generation == generation
    assert again.joined.member_id != old_id
    assert again.joined.skip_assignment, "KIP-814: it leads, and nothing changes"
    again.sync({})
    assert again.assignment == b"a"
    b.heartbeat()
    with pytest.raises(FencedInstanceIdError, match="another consumer joined as 'i'"):
        a.heartbeat()
    with pytest.raises(FencedInstanceIdError):
        a.try_join()


def test_grp_11_static_member_that_was_waiting_is_fenced_when_another_takes_its_place(
    lab: Lab,
) -> None:
    (a,) = lab.stable("a")
    b = lab.member("b", instance_id="i")
    b.join()
    again = lab.member("b", instance_id="i")
    again.join()
    with pytest.raises(FencedInstanceIdError):
        b.join_reply.take()
    a.join()
    assert again.joined is not None
    lab.settle(a, again)
    assert again.assignment == b"b"


def test_grp_11_static_member_with_another_assignor_starts_a_rebalance(lab: Lab) -> None:
    lab.stable("a", instance_id="i")
    again = lab.member("a", instance_id="i", protocols=(("sticky", b""),))
    again.join()
    assert again.joined is not None
    assert (again.joined.generation, again.joined.protocol) == (2, "sticky")


def test_con_15_closed_static_member_keeps_its_place_for_its_session(lab: Lab) -> None:
    (a,) = lab.stable("a", instance_id="i")
    lab.coordinator.detach(lab.group, a.id)
    lab.clock.advance(SESSION_MS - 1)
    assert set(lab.group.members) == {a.id}
    again = lab.member("a", instance_id="i")
    again.join()
    lab.clock.advance(SESSION_MS)
    assert lab.group.static_ids == {"i": again.joined and again.joined.member_id}
    lab.coordinator.detach(lab.group, "gone")
    lab.coordinator.detach(lab.group, lab.group.static_ids["i"])
    lab.clock.advance(SESSION_MS)
    assert lab.group.members == {}


def test_static_members_alone_and_all_silent_end_with_their_sessions(lab: Lab) -> None:
    (a,) = lab.stable("a", instance_id="i")
    b = lab.member("b")
    b.join()
    lab.coordinator.leave(lab.group, b.id)
    lab.clock.advance(2 * (INTERVAL_MS + SESSION_MS))
    assert a.id not in lab.group.members
    assert lab.group.state is ClassicState.EMPTY


# ---- what can go wrong


def test_generation_that_cannot_be_stored_is_tried_again(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.is_full = True
    a = lab.member("a")
    a.join()
    assert a.joined is None
    assert "rebalance not completed: no room" in caplog.text
    lab.is_full = False
    lab.clock.advance(1_000)
    assert a.joined is not None
    assert a.joined.generation == 1


# ---- members elsewhere


def test_grp_2_old_client_is_let_in_by_its_first_join(lab: Lab) -> None:
    one = lab.member("a", requires_member_id=False)
    one.try_join()
    assert one.joined is not None
    assert (one.joined.member_id, one.joined.generation) == ("a-1", 1)
    assert lab.group.pending_ids == set()


def test_id_that_nobody_joins_with_is_forgotten_after_the_session_timeout(lab: Lab) -> None:
    one = lab.member("a")
    with pytest.raises(MemberIdRequiredError):
        one.try_join()
    lab.clock.advance(SESSION_MS - 1)
    assert lab.group.pending_ids == {"a-1"}
    lab.check()
    lab.clock.advance(1)
    assert lab.group.pending_ids == set()
    lab.check()


def test_id_that_leaves_before_it_joined_is_forgotten(lab: Lab) -> None:
    with pytest.raises(MemberIdRequiredError):
        lab.member("a").try_join()
    lab.coordinator.leave(lab.group, "a-1")
    assert lab.group.pending_ids == set()
    lab.check()


def test_members_of_another_protocol_type_are_inconsistent(lab: Lab) -> None:
    (a,) = lab.stable("a", protocol_type="connect")
    assert a.joined is not None
    assert (a.joined.protocol_type, a.sync_reply.take().protocol_type) == ("connect", "connect")
    with pytest.raises(
        InconsistentGroupProtocolError,
        match="expected protocol type 'connect', as its members have",
    ):
        lab.member("b").try_join()
    with pytest.raises(
        InconsistentGroupProtocolError, match="expected a protocol type, found none"
    ):
        lab.member("b", protocol_type="").try_join()
    lab.coordinator.leave(lab.group, a.id)
    lab.stable("b")
    assert lab.group.protocol_type == "consumer"


@pytest.mark.parametrize("told", [{"protocol_type": "connect"}, {"protocol": "sticky"}])
def test_sync_that_believes_in_another_protocol_is_inconsistent(
    lab: Lab, told: dict[str, str]
) -> None:
    (a,) = lab.stable("a")
    request = SyncRequest("g", a.id, None, 1, {}, **told)
    with pytest.raises(InconsistentGroupProtocolError, match="expected protocol"):
        lab.coordinator.sync(lab.group, request, Reply(lambda: None))


def test_grp_3_members_may_ask_for_a_moment_before_the_first_rebalance(lab: Lab) -> None:
    a, b = lab.member("a", initial_delay_ms=50), lab.member("b", initial_delay_ms=50)
    a.join()
    lab.clock.advance(49)
    b.join()
    lab.clock.advance(1)
    assert (a.joined, b.joined) == (None, None), "somebody came: another moment"
    lab.clock.advance(50)
    assert a.joined is not None
    assert b.joined is not None
    assert a.joined.generation == b.joined.generation == 1
    lab.check()


@pytest.mark.parametrize("instance_id", [None, "one"])
def test_grp_7_member_elsewhere_is_removed_when_its_session_ends(
    lab: Lab, instance_id: str | None
) -> None:
    """Static or not, and however long it may take to rebalance."""
    (a,) = lab.stable("a", is_remote=True, instance_id=instance_id)
    lab.clock.advance(SESSION_MS - 1)
    a.heartbeat()
    lab.clock.advance(SESSION_MS - 1)
    assert list(lab.group.members) == [a.id]
    lab.clock.advance(1)
    assert lab.group.members == {}
    lab.check()


def test_heartbeat_that_is_refused_for_its_generation_keeps_nobody_alive(lab: Lab) -> None:
    (a,) = lab.stable("a", is_remote=True)
    lab.clock.advance(SESSION_MS - 1)
    with pytest.raises(IllegalGenerationError):
        a.heartbeat(generation=9)
    lab.clock.advance(1)
    assert lab.group.members == {}


def test_member_elsewhere_that_waits_for_an_answer_is_alive_and_then_has_its_whole_session(
    lab: Lab,
) -> None:
    (a,) = lab.stable("a")
    b = lab.member("b", is_remote=True)
    b.join()
    lab.clock.advance(SESSION_MS * 3)
    assert b.id in lab.group.members
    a.join()
    lab.clock.advance(SESSION_MS - 1)
    b.sync({})  # waits for the leader
    lab.clock.advance(SESSION_MS * 3)
    assert b.id in lab.group.members
    a.sync({a.id: b"", b.id: b"b"})
    assert b.assignment == b"b"
    lab.clock.advance(SESSION_MS - 1)
    assert b.id in lab.group.members
    lab.clock.advance(1)
    assert b.id not in lab.group.members


def test_member_elsewhere_whose_connection_broke_has_its_session_from_then_on(lab: Lab) -> None:
    (a,) = lab.stable("a")
    b = lab.member("b", is_remote=True)
    b.join()
    lab.clock.advance(SESSION_MS + 5)
    b.join_reply.abandoned_ms = lab.clock.monotonic_ms()
    lab.clock.advance(100)
    a.join()  # gives the answer that nobody waits for
    lab.clock.advance(SESSION_MS - 101)
    assert b.id in lab.group.members
    lab.clock.advance(1)
    assert b.id not in lab.group.members
    lab.check()

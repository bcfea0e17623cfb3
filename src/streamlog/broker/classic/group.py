"""A classic group: its members, and the rebalance they are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from streamlog.broker.classic.member import ClassicMember
from streamlog.broker.classic.requests import JoinResponse, SyncResponse
from streamlog.broker.classic.state import ClassicEvent, ClassicState, following


class ClassicGroup:
    """Members and state; what is allowed when is in `rebalance`.

    Threads: whoever holds the coordinator's lock. Source: Kafka ``ClassicGroup``.
    """

    def __init__(self, group_id: str, generation: int) -> None:
        self.group_id = group_id
        self.generation = generation
        """Grows when a join phase ends (GRP-4)."""
        self.state = ClassicState.EMPTY
        self.protocol_type = ""
        """What the last member to come to the empty group said; see `JoinRequest`. Empty where nobody came yet."""
        self.protocol: str | None = None
        """The assignor in force; None without members."""
        self.leader_id: str | None = None
        self.members: dict[str, ClassicMember] = {}
        """By member id, in the order in which they came."""
        self.pending_ids: set[str] = set()
        """Ids handed out to members that have yet to join with them (GRP-2)."""
        self.static_ids: dict[str, str] = {}
        """Member id by instance id."""
        self.unsynced: frozenset[str] = frozenset()
        """Members of this generation that have not asked for their assignment (GRP-10)."""
        self.is_delayed = False
        """Whether the first join phase waits for more members, also when all there are have joined."""
        self.has_newcomers = False
        """Whether somebody came since that was last asked (GRP-3)."""

    @property
    def longest_rebalance_ms(self) -> int:
        """How long the others wait for a member to join again (GRP-4)."""
        return max((one.rebalance_timeout_ms for one in self.members.values()), default=0)

    @property
    def longest_initial_delay_ms(self) -> int:
        """How long the members want an empty group to wait for others (GRP-3)."""
        return max((one.initial_delay_ms for one in self.members.values()), default=0)

    def generation_of(self, member: ClassicMember) -> int:
        """Return the generation that *member* has to name."""
        return self.generation if member.generation is None else member.generation

    # ---- state

    def happens(self, event: ClassicEvent) -> None:
        """Move to the state after *event*. Raises IllegalStateError when it cannot happen now."""
        self.state = following(self.state, event)

    def begin_generation(self, generation: int) -> None:
        """End the join phase with the members there are."""
        self.generation = generation
        for member in self.members.values():
            member.generation = None
        if not self.members:
            self.happens(ClassicEvent.EMPTIED)
            self.protocol = self.leader_id = None
            return
        self.happens(ClassicEvent.JOINED)
        self.protocol = self.choose_protocol()

    # ---- members

    def add(self, member: ClassicMember) -> None:
        """Take in a member; the first one leads (GRP-5)."""
        self.pending_ids.discard(member.member_id)
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self.static_ids[member.instance_id] = member.member_id
        if self.leader_id is None:
            self.leader_id = member.member_id

    def remove(self, member_id: str) -> ClassicMember:
        """Let a member go. If it led, the next to join again will."""
        member = self.members.pop(member_id)
        if member.instance_id is not None and self.static_ids.get(member.instance_id) == member_id:
            del self.static_ids[member.instance_id]
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        return member

    def rename(self, old_id: str, new_id: str) -> ClassicMember:
        """Give a static member that came back its new id, in the place of the old (GRP-11)."""
        self.members = {
            new_id if name == old_id else name: one for name, one in self.members.items()
        }
        member = self.members[new_id]
        member.member_id = new_id
        assert member.instance_id is not None
        self.static_ids[member.instance_id] = new_id
        if self.leader_id == old_id:
            self.leader_id = new_id
        return member

    def choose_leader_among_joined(self) -> None:
        """Replace a leader that did not join again by the first that did (GRP-5)."""
        leader = self.members.get(self.leader_id or "")
        if leader is None or leader.joining is None:
            joined = [name for name, one in self.members.items() if one.joining is not None]
            if joined:
                self.leader_id = joined[0]

    # ---- protocols

    def common_protocols(self, but: Collection[str] = ()) -> frozenset[str]:
        """Return the assignors that every member supports, leaving out the members *but*."""
        # Asked at each join, hence for all members times all members in a rebalance: most say the same.
        supported = {
            one.protocol_names for member_id, one in self.members.items() if member_id not in but
        }
        return frozenset.intersection(*supported) if supported else frozenset()

    def choose_protocol(self) -> str:
        """Return the assignor with most votes; each member votes for its first common one (GRP-5)."""
        candidates = self.common_protocols()
        votes = Counter(one.vote(candidates) for one in self.members.values())
        # Of equals the one that came first, as Counter keeps the order.
        return votes.most_common(1)[0][0]

    # ---- answers

    def join_response(
        self, member: ClassicMember, *, skip_assignment: bool = False
    ) -> JoinResponse:
        """Return what *member* is told at the end of the join phase."""
        assert self.protocol is not None and self.leader_id is not None
        members = {}
        if self.leader_id == member.member_id:
            members = {
                name: (one.instance_id, one.metadata(self.protocol))
                for name, one in self.members.items()
            }
        return JoinResponse(
            self.generation,
            self.protocol,
            self.leader_id,
            member.member_id,
            members,
            skip_assignment,
            self.protocol_type,
        )

    def sync_response(self, member: ClassicMember) -> SyncResponse:
        """Return what *member* is told once there is an assignment."""
        assert self.protocol is not None
        return SyncResponse(self.protocol, member.assignment, self.protocol_type)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        members = self.members
        statics = {}
        for name, member in members.items():
            assert name == member.member_id
            assert self.generation_of(member) <= self.generation
            if member.instance_id is not None:
                statics[member.instance_id] = name
            for reply in (member.joining, member.syncing):
                assert reply is None or not reply.is_ready, "who was answered waits no longer"
        assert self.static_ids == statics
        assert not self.pending_ids & members.keys()
        assert self.unsynced <= members.keys()
        if members:
            assert self.leader_id in members
        else:
            assert self.leader_id is None
        self._check_state()

    def _check_state(self) -> None:
        """Assert what holds in the present state."""
        members, state = self.members.values(), self.state
        assert state is not ClassicState.DEAD, "dead groups are forgotten"
        waiting = {one.member_id for one in members if one.syncing is not None}
        if state is ClassicState.PREPARING_REBALANCE:
            assert not waiting and not self.unsynced
            return
        assert not self.is_delayed
        assert all(one.joining is None and one.generation is None for one in members)
        assert bool(members) == (state is not ClassicState.EMPTY)
        if not members:
            assert self.protocol is None
            return
        assert self.protocol in self.common_protocols()
        assert not waiting & self.unsynced
        if state is ClassicState.STABLE:
            assert not waiting
        else:
            assert self.leader_id not in waiting, "with the leader's sync all are answered"

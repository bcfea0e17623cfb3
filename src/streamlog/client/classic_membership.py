"""A consumer's side of a classic group: join, sync, and what follows from the assignment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streamlog.broker.assignors import MemberSubscription
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    decode_assignment,
    decode_subscription,
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
from streamlog.client.listener_calls import ListenerCalls
from streamlog.client.membership import NO_EPOCH, nothing
from streamlog.client.partition_assignor import make_assignors
from streamlog.errors import (
    FencedInstanceIdError,
    IllegalGenerationError,
    MemberIdRequiredError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.group_coordinator import GroupCoordinator
    from streamlog.broker.member_session import MemberSession
    from streamlog.client.partition_assignor import PartitionAssignor
    from streamlog.client.subscription import SubscriptionState
    from streamlog.config import ConsumerConfig

_log = logging.getLogger("streamlog")


class ClassicMembership:
    """Membership of one consumer in a classic group. Threads: the consumer's, inside its calls.

    `update` goes as far as it can without waiting: an answer that depends on others comes by the
    session's signal, and the next poll goes on from there. So two consumers driven in turn by one
    thread get through a rebalance.

    Eager rebalancing gives up everything before joining again. Cooperative rebalancing goes on reading,
    gives up what the new assignment lacks, and joins once more so that others get it (GRP-13, ASG-6).
    Source: Kafka ``ConsumerCoordinator``, ``AbstractCoordinator``; CON-13.
    """

    def __init__(
        self,
        coordinator: GroupCoordinator,
        group_id: str,
        config: ConsumerConfig,
        subscription: SubscriptionState,
        session: MemberSession,
    ) -> None:
        self._coordinator = coordinator
        self._group_id = group_id
        self._config = config
        self._subscription = subscription
        self.assignors = make_assignors(config.partition_assignment_strategy)
        self._is_cooperative = all(assignor.is_cooperative for assignor in self.assignors)
        self.calls = ListenerCalls(group_id, subscription)
        self.before_revocation: Callable[[], object] = nothing
        """Called while the partitions to be revoked are still assigned: auto-commit (CON-8)."""
        self.session = session
        self.instance_id = config.group_instance_id
        self.member_id = ""
        """Given by the coordinator; empty for a consumer that is no member."""
        self.epoch = NO_EPOCH
        """The generation."""
        self.news_seen = session.news
        """The ``session.news`` that was last looked at."""
        self._reply: Reply[JoinResponse] | Reply[SyncResponse] | None = None
        self._has_to_join = True
        self._is_prepared = False
        # What the present assignment was made for: my topics, and as the leader everybody's.
        self._joined_topics: frozenset[str] = frozenset()
        self._counts: Mapping[str, int] | None = None
        self._fenced: FencedInstanceIdError | None = None

    def update(self) -> None:
        """Bring the assignment up to date with the group, joining it first if need be.

        Raises StreamlogError with the first exception of the listener as its cause, after everything
        was done all the same; `FencedInstanceIdError` from when another consumer took this one's
        instance id (GRP-11); `InconsistentGroupProtocolError`, `GroupMaxSizeReachedError`,
        `InvalidSessionTimeoutError` (GRP-6); whatever an assignor of the user's raises.
        """
        if self._fenced is not None:
            raise FencedInstanceIdError(str(self._fenced))
        while self._step():
            pass
        self.calls.raise_error()

    def request_rejoin(self) -> None:
        """Let the next `update` start a rebalance."""
        self._has_to_join = True

    def _step(self) -> bool:
        """Do what can be done now; return whether there may be more."""
        self.news_seen = self.session.news
        try:
            if self._reply is not None:
                if not self._reply.is_ready:
                    return False
                reply, self._reply = self._reply, None
                answer = reply.take()
                if isinstance(answer, JoinResponse):
                    self._sync(answer)
                else:
                    self._take_over(answer)
                return True
            if not self._has_to_join and not self._is_outdated():
                self._coordinator.classic_heartbeat(
                    self._group_id, self.member_id, self.instance_id, self.epoch
                )
                return False
            self._has_to_join = True
            self._join()
        except MemberIdRequiredError as error:
            self.member_id = error.member_id
        except RebalanceInProgressError:
            self._has_to_join = True
        except FencedInstanceIdError as error:
            self._lose()
            self._fenced = error
            raise
        except (UnknownMemberIdError, IllegalGenerationError) as error:
            _log.warning("Joining the group again: %s", error)
            # Still a member in the second case: the others would wait for one that nobody is.
            member_id = self.member_id if isinstance(error, IllegalGenerationError) else ""
            self._lose()
            self.member_id = member_id
        return True

    # ---- the two phases

    def _join(self) -> None:
        if not self._is_prepared:
            self._prepare_to_join()
        topics = self._wanted()
        owned = tuple(self._subscription.assigned)
        protocols = tuple(
            (
                assignor.name,
                encode_subscription(
                    ConsumerSubscription(
                        topics, assignor.subscription_user_data(topics), owned, self.epoch
                    )
                ),
            )
            for assignor in self.assignors
        )
        if self.member_id == "":
            # Whoever still watches the old session watches a member that is silent from now on.
            self.session = self.session.renewed()
            self.news_seen = self.session.news
        config = self._config
        reply: Reply[JoinResponse] = Reply(self.session.notify)
        request = JoinRequest(
            self._group_id,
            self.member_id,
            self.instance_id,
            config.client_id,
            config.session_timeout_ms,
            config.max_poll_interval_ms,
            protocols,
            self.session,
        )
        self._joined_topics = topics
        self._reply = reply
        try:
            self._coordinator.join(request, reply)
        except BaseException:
            self._reply = None
            raise

    def _prepare_to_join(self) -> None:
        """Give up what must not be read during the rebalance, once for each."""
        owned = frozenset(self._subscription.assigned)
        if self._is_cooperative:
            wanted = self._wanted()
            owned = frozenset(tp for tp in owned if tp.topic not in wanted)
        if owned:
            self._revoke(owned)
        self._is_prepared = True

    def _sync(self, joined: JoinResponse) -> None:
        """The join phase is over: fetch the assignment, after making it if this one leads (GRP-5)."""
        self.member_id, self.epoch = joined.member_id, joined.generation
        self._counts = None
        assignments: dict[str, bytes] = {}
        if joined.is_leader:
            members = _subscriptions(joined)
            self._counts = self._partition_counts(members)
            if not joined.skip_assignment:
                assignments = self._assign(joined, members, self._counts)
        reply: Reply[SyncResponse] = Reply(self.session.notify)
        request = SyncRequest(
            self._group_id, self.member_id, self.instance_id, self.epoch, assignments
        )
        self._reply = reply
        try:
            self._coordinator.sync(request, reply)
        except BaseException:
            self._reply = None
            raise

    def _assign(
        self,
        joined: JoinResponse,
        members: list[MemberSubscription],
        counts: Mapping[str, int],
    ) -> dict[str, bytes]:
        shares = self._assignor(joined.protocol).assign(members, counts)
        return {
            member.member_id: encode_assignment(
                ConsumerAssignment(frozenset(shares.get(member.member_id, ())))
            )
            for member in members
        }

    def _take_over(self, synced: SyncResponse) -> None:
        """Read what was assigned, and no more."""
        assigned = decode_assignment(synced.assignment).partitions
        subscription = self._subscription
        owned = frozenset(subscription.assigned)
        self._is_prepared = False
        self._has_to_join = False
        revoked = owned - assigned
        if revoked:
            self._revoke(revoked)
            self._has_to_join = True  # others get it in the next round (KIP-429)
        subscription.assign_from_group(assigned)
        self._assignor(synced.protocol).on_assignment(assigned, self.epoch)
        self.calls.assigned(assigned - owned)

    # ---- the end

    def prepare_to_leave(self) -> None:
        """Let what was read be committed before `leave`, also in the middle of a rebalance."""
        if self.epoch != NO_EPOCH and self._subscription.assigned:
            generation = self._coordinator.begin_classic_leave(self._group_id, self.member_id)
            if generation is not None:
                self.epoch = generation

    def leave(self) -> None:
        """Give up everything and leave; a static member keeps its place for its session time-out
        (CON-15). Nothing happens for a consumer that is no member.

        Raises as `update` does, after having left.
        """
        if self.member_id == "":
            return
        owned = frozenset(self._subscription.assigned)
        try:
            self._coordinator.check_committer(
                self._group_id, self.member_id, self.epoch, self.instance_id
            )
        except (UnknownMemberIdError, FencedInstanceIdError):
            self._lose()
            self.calls.raise_error()
            return
        except (IllegalGenerationError, RebalanceInProgressError):
            pass  # in the middle of a rebalance, perhaps before its first generation: a member all the same
        if owned:
            self._revoke(owned)
        self._coordinator.classic_leave(self._group_id, self.member_id, self.instance_id)
        self._forget()
        self.calls.raise_error()

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        is_in_generation = self.epoch != NO_EPOCH
        assert not is_in_generation or self.member_id != ""
        assert self._reply is None or self._has_to_join, "an answer is awaited in a rebalance alone"
        assert self._has_to_join or (is_in_generation and not self._is_prepared)
        assert self._fenced is None or self.member_id == ""
        if self._subscription.is_by_group and not is_in_generation:
            assert not self._subscription.assigned
        self.calls._check()

    def _revoke(self, revoked: frozenset[TopicPartition]) -> None:
        self.before_revocation()
        self.calls.revoked(revoked)
        subscription = self._subscription
        subscription.assign_from_group(frozenset(subscription.assigned) - revoked)

    def _lose(self) -> None:
        owned = frozenset(self._subscription.assigned)
        self._forget()
        if owned:
            self.calls.lost(owned)
            self._subscription.assign_from_group(frozenset())

    def _forget(self) -> None:
        self.member_id = ""
        self.epoch = NO_EPOCH
        self._reply = None
        self._has_to_join = True
        self._is_prepared = False
        self._counts = None

    # ---- topics

    def _is_outdated(self) -> bool:
        """Whether the assignment was made for other topics than there are, or are wanted, now."""
        if self._wanted() != self._joined_topics:
            return True
        counts = self._counts
        return counts is not None and counts != self._counts_of(counts)

    def _wanted(self) -> frozenset[str]:
        return self._coordinator.topics().resolve(self._subscription.request)

    def _partition_counts(self, members: list[MemberSubscription]) -> dict[str, int]:
        return self._counts_of(frozenset[str]().union(*(member.topics for member in members)))

    def _counts_of(self, names: Mapping[str, int] | frozenset[str]) -> dict[str, int]:
        """Return how many partitions each topic has; 0 for one that may come to exist."""
        facts = self._coordinator.topics().facts
        return {name: facts[name].partition_count if name in facts else 0 for name in names}

    def _assignor(self, name: str) -> PartitionAssignor:
        return next(assignor for assignor in self.assignors if assignor.name == name)


def _subscriptions(joined: JoinResponse) -> list[MemberSubscription]:
    """Return what the members told the leader, sorted by member id; of one that cannot be read, that it wants nothing."""
    members = []
    for member_id, (instance_id, metadata) in sorted(joined.members.items()):
        try:
            told = decode_subscription(metadata)
        except ValueError as error:  # of some other program: no reason to fail for this one
            _log.warning("member %r gets no partitions: its subscription: %s", member_id, error)
            told = ConsumerSubscription(frozenset())
        members.append(
            MemberSubscription(
                member_id, told.topics, instance_id, told.owned, told.generation, told.user_data
            )
        )
    return members

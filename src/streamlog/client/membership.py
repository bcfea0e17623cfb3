"""A consumer's side of its group: heartbeats, and the steps that follow from what they bring."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamlog.broker.group_membership import JOIN_EPOCH, Heartbeat
from streamlog.broker.member_session import MemberSession
from streamlog.client.listener_calls import ListenerCalls
from streamlog.client.subscription import SubscriptionState
from streamlog.errors import (
    FencedInstanceIdError,
    FencedMemberEpochError,
    StaleMemberEpochError,
    UnknownMemberIdError,
)
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.group_coordinator import GroupCoordinator
    from streamlog.config import ConsumerConfig

NO_EPOCH = -1
"""The generation of a consumer that is no member. Source: Kafka ``JoinGroupRequest``."""

_log = logging.getLogger("streamlog")


class Membership:
    """Membership of one consumer in one group. Threads: the consumer's, inside its calls.

    `update` sends heartbeats until there is nothing left to do: give up what is taken away, confirm
    it, take what is new. Nothing here waits: what another member still holds comes by a later
    heartbeat, for which the coordinator sets the session's signal. Source: Kafka
    ``ConsumerMembershipManager``; NGP-3, CON-13.
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
        self._client_id = config.client_id
        self._subscription = subscription
        self._assignor = config.group_remote_assignor
        self.calls = ListenerCalls(group_id, subscription)
        self.before_revocation: Callable[[], object] = nothing
        """Called while the partitions to be revoked are still assigned: auto-commit (CON-8)."""
        self.session = session
        """Another one after each join: see `_prepare_to_join`."""
        self.instance_id = config.group_instance_id
        self.member_id = ""
        """Empty for a consumer that is no member."""
        self._joins_as = ""
        """The member id of the next join, once chosen: the answer to a join may get lost."""
        self.epoch = NO_EPOCH
        """The member epoch, which users know as the generation."""
        self.news_seen = session.news
        """The ``session.news`` that the last heartbeat answered."""
        self._fenced: FencedInstanceIdError | None = None
        self._owes_assigned = False
        """Whether something was revoked and the listener was not yet told what it got for that."""

    def update(self) -> None:
        """Bring the assignment up to date with the group, joining it first if need be.

        Raises StreamlogError with the first exception of the listener as its cause, after everything
        was done all the same; `UnreleasedInstanceIdError` while another consumer is in the group by this
        one's instance id, and `FencedInstanceIdError` from when another took it over (NGP-4).
        """
        if self._fenced is not None:
            raise FencedInstanceIdError(str(self._fenced))
        while self._heartbeat():
            pass
        self.calls.raise_error()

    def _heartbeat(self) -> bool:
        """Send one heartbeat and carry out the answer; return whether another has to follow."""
        subscription = self._subscription
        is_joining = self.member_id == ""
        if is_joining:
            self._prepare_to_join()
        session = self.session
        owned = frozenset(subscription.assigned)
        news = session.news
        try:
            response = self._coordinator.heartbeat(
                Heartbeat(
                    self._group_id,
                    self._joins_as if is_joining else self.member_id,
                    JOIN_EPOCH if is_joining else self.epoch,
                    self._client_id,
                    subscription.request,
                    session,
                    owned,
                    self._assignor,
                    self.instance_id,
                )
            )
        except FencedInstanceIdError as error:
            self._lose(owned)
            self._fenced = error
            raise
        except (UnknownMemberIdError, FencedMemberEpochError) as error:
            _log.warning("Joining the group again: %s", error)
            still_known_as = self.member_id if isinstance(error, FencedMemberEpochError) else ""
            self._lose(owned)
            self._joins_as = still_known_as
            return True
        self.member_id, self.epoch = response.member_id, response.member_epoch
        self.news_seen = news
        revoked = owned - response.assignment
        if revoked:
            self._revoke(revoked)
            self._owes_assigned = True
            return True
        added = response.assignment - owned
        if added:
            subscription.assign_from_group(response.assignment)
        if added or is_joining or self._owes_assigned:
            # Also when nothing was added: a listener learns by it that the rebalance is over (CON-13).
            self._owes_assigned = False
            self.calls.assigned(added)
        return False

    def _prepare_to_join(self) -> None:
        """Take a new session, and a name unless a join under that name may have been carried out.

        Ctrl-C can come between a join and its answer. Repeated under the same name it replaces the
        member that nobody answers for; and whatever still watches the old session, such as a timer that
        is just running, will not see it alive.
        """
        self.session = self.session.renewed()
        if self._joins_as == "":
            self._joins_as = self._coordinator.new_member_id(self._group_id, self._client_id)

    def prepare_to_leave(self) -> None:
        """Do nothing: a member of such a group may commit at any time."""

    def leave(self) -> None:
        """Give up everything and leave; a static member keeps its place for a while (CON-15). Nothing
        happens for a consumer that is no member.

        Raises as `update` does, after having left.
        """
        if self.member_id == "":
            if self._joins_as != "":  # the answer to a join may have been lost
                self._coordinator.leave(self._group_id, self._joins_as, self.instance_id)
                self._forget()
            return
        owned = frozenset(self._subscription.assigned)
        try:
            self._coordinator.check_committer(self._group_id, self.member_id, self.epoch)
        except (UnknownMemberIdError, StaleMemberEpochError):
            self._lose(owned)
        else:
            if owned:
                self._revoke(owned)
            self._coordinator.leave(self._group_id, self.member_id, self.instance_id)
            self._forget()
        self.calls.raise_error()

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert (self.member_id == "") == (self.epoch == NO_EPOCH)
        self.calls._check()

    def _revoke(self, revoked: frozenset[TopicPartition]) -> None:
        self.before_revocation()
        self.calls.revoked(revoked)
        subscription = self._subscription
        subscription.assign_from_group(frozenset(subscription.assigned) - revoked)

    def _lose(self, owned: frozenset[TopicPartition]) -> None:
        self._forget()
        if owned:
            self.calls.lost(owned)
            self._subscription.assign_from_group(frozenset())

    def _forget(self) -> None:
        self.member_id = self._joins_as = ""
        self.epoch = NO_EPOCH
        self._owes_assigned = False


def nothing() -> None:
    """Do nothing."""

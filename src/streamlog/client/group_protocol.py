"""Which of the two group protocols a consumer speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.classic_membership import ClassicMembership
from streamlog.client.membership import Membership

if TYPE_CHECKING:
    from streamlog.broker.group_coordinator import GroupCoordinator
    from streamlog.broker.member_session import MemberSession
    from streamlog.client.subscription import SubscriptionState
    from streamlog.config import ConsumerConfig

AnyMembership = Membership | ClassicMembership
"""The same verbs under either protocol: ``update``, ``leave``, and what a commit has to name."""


def make_membership(
    coordinator: GroupCoordinator,
    group_id: str,
    config: ConsumerConfig,
    subscription: SubscriptionState,
    session: MemberSession,
) -> AnyMembership:
    """Return the membership that ``group_protocol`` asks for; it joins when it is first updated."""
    kind = ClassicMembership if config.group_protocol == "classic" else Membership
    return kind(coordinator, group_id, config, subscription, session)

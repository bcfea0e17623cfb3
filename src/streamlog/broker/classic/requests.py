"""What members of a classic group ask, and what they are told.

Metadata and assignments are bytes that the coordinator never looks into, as in Kafka, so that members
of other languages may be in one group with those of this process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import attrs

from streamlog.broker.member_session import MemberSession

T = TypeVar("T")

CONSUMER_PROTOCOL = "consumer"
"""The protocol type of consumers, and the only one whose bytes anybody but a member reads."""


@attrs.frozen
class JoinRequest:
    """Source: Kafka ``JoinGroupRequest``."""

    group_id: str
    member_id: str
    """Empty at first; then the one that `MemberIdRequiredError` brought (GRP-2)."""
    instance_id: str | None
    client_id: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    """How long the others wait for it to join again (GRP-4): its ``max_poll_interval_ms``."""
    protocols: tuple[tuple[str, bytes], ...]
    """Names of assignors, the preferred one first, each with the member's subscription."""
    session: MemberSession
    protocol_type: str = CONSUMER_PROTOCOL
    """What the bytes mean to the members: all members of a group have the same."""
    client_host: str = ""
    """Where it calls from; empty in this process."""
    requires_member_id: bool = True
    """Whether a first join is only given an id (GRP-2): clients from before KIP-394 do not come back with it."""
    initial_delay_ms: int = 0
    """How long at least an empty group is to wait for others (GRP-3): members that learn of a rebalance by
    their next heartbeat alone are late for the second one.
    """


class JoinResponse(NamedTuple):
    """Source: Kafka ``JoinGroupResponse``."""

    generation: int
    protocol: str
    """The assignor in force."""
    leader_id: str
    member_id: str
    members: Mapping[str, tuple[str | None, bytes]]
    """For the leader alone: instance id and subscription of each member, by id (GRP-5)."""
    skip_assignment: bool = False
    """For a leader that came back as a static member: the assignment stays as it is (KIP-814)."""
    protocol_type: str = CONSUMER_PROTOCOL
    leader_before: str = ""
    """For a static member that came back, and needs no rebalance: who led before, which may be itself under its old id."""

    @property
    def is_leader(self) -> bool:
        """Whether this member is to compute the assignment."""
        return self.leader_id == self.member_id


@attrs.frozen
class SyncRequest:
    """Source: Kafka ``SyncGroupRequest``."""

    group_id: str
    member_id: str
    instance_id: str | None
    generation: int
    assignments: Mapping[str, bytes]
    """The leader's; empty from everybody else."""
    protocol_type: str | None = None
    protocol: str | None = None
    """What the member believes the two are; None believes nothing."""


class SyncResponse(NamedTuple):
    """Source: Kafka ``SyncGroupResponse``."""

    protocol: str
    assignment: bytes
    protocol_type: str = CONSUMER_PROTOCOL


class Reply(Generic[T]):
    """An answer that may come later: the coordinator parks it, and nobody waits in a call.

    Given once, with the coordinator's lock held; *on_ready* then takes a note and returns. Threads:
    any.
    """

    __slots__ = ("_on_ready", "abandoned_ms", "error", "value")

    def __init__(self, on_ready: Callable[[], object]) -> None:
        self._on_ready = on_ready
        self.abandoned_ms = math.inf
        """When whoever waited for it went away (monotonic clock). A member elsewhere that waits for an answer need not send
        heartbeats; one whose connection broke has its session time-out from then on.
        """
        self.value: T | None = None
        self.error: Exception | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it was given."""
        return self.value is not None or self.error is not None

    def give(self, value: T) -> None:
        """Answer with *value*."""
        self.value = value
        self._on_ready()

    def fail(self, error: Exception) -> None:
        """Answer with *error*."""
        self.error = error
        self._on_ready()

    def take(self) -> T:
        """Return the answer, or raise it. Only once `is_ready`."""
        if self.error is not None:
            raise self.error
        assert self.value is not None
        return self.value

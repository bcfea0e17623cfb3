"""The step that takes one member from what it has towards its target, without two owners on the way."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from streamlog.broker.group_member import MemberAssignment, MemberState
from streamlog.structs import TopicPartition


class MemberEvent(Enum):
    """What a heartbeat, or going away, means for a member."""

    HAS_TO_GIVE_BACK = "has to give partitions back"
    """Its target lacks what it reads."""
    HAS_TO_WAIT = "has to wait for others"
    """It gave back what it had to, and others have not: it lacks some of its target."""
    HAS_ALL = "has its target"
    """It gave back what it had to, and received all that was left."""
    LEFT_FOR_NOW = "left for now"
    """A static member closed: it owes nothing, and keeps what it may read (epoch -2)."""


_GIVING, _WAITING, _STABLE = (
    MemberState.UNREVOKED_PARTITIONS,
    MemberState.UNRELEASED_PARTITIONS,
    MemberState.STABLE,
)
TRANSITIONS: Mapping[tuple[MemberState, MemberEvent], MemberState] = {
    (_STABLE, MemberEvent.HAS_TO_GIVE_BACK): _GIVING,
    (_STABLE, MemberEvent.HAS_TO_WAIT): _WAITING,
    (_STABLE, MemberEvent.HAS_ALL): _STABLE,
    (_STABLE, MemberEvent.LEFT_FOR_NOW): _STABLE,
    (_GIVING, MemberEvent.HAS_TO_GIVE_BACK): _GIVING,
    (_GIVING, MemberEvent.HAS_TO_WAIT): _WAITING,
    (_GIVING, MemberEvent.HAS_ALL): _STABLE,
    (_GIVING, MemberEvent.LEFT_FOR_NOW): _STABLE,
    (_WAITING, MemberEvent.HAS_TO_GIVE_BACK): _GIVING,
    (_WAITING, MemberEvent.HAS_TO_WAIT): _WAITING,
    (_WAITING, MemberEvent.HAS_ALL): _STABLE,
    (_WAITING, MemberEvent.LEFT_FOR_NOW): _STABLE,
}
"""Every pair: the target may change at any moment, and a member may leave at any."""


def reconcile(
    member_id: str,
    current: MemberAssignment,
    reported: frozenset[TopicPartition],
    target_epoch: int,
    target: frozenset[TopicPartition],
    owners: Mapping[TopicPartition, str],
) -> MemberAssignment:
    """Return where the member stands after a heartbeat in which it *reported* what it still reads.

    *owners* says who claims which partition, in the whole group. First everything that is not in
    the target is taken away; only once the member no longer reports any of it does it move to
    *target_epoch* and receive what it lacks, as far as others have let go. Returns *current* itself
    when nothing changes. Source: Kafka ``CurrentAssignmentBuilder``; NGP-3.
    """
    if current.state is MemberState.UNREVOKED_PARTITIONS and reported & current.pending_revocation:
        return current
    if current.state is MemberState.STABLE and current.epoch == target_epoch:
        return current
    kept = current.assigned & target
    revoked = current.assigned - kept
    if revoked:
        return MemberAssignment(
            current.epoch,
            current.previous_epoch,
            TRANSITIONS[current.state, MemberEvent.HAS_TO_GIVE_BACK],
            assigned=kept,
            pending_revocation=revoked,
        )
    # What this member itself was just made to give back counts as free: it confirmed.
    free = {tp for tp in target - kept if owners.get(tp, member_id) == member_id}
    assigned = kept | free
    event = MemberEvent.HAS_ALL if assigned == target else MemberEvent.HAS_TO_WAIT
    previous = current.previous_epoch if current.epoch == target_epoch else current.epoch
    state = TRANSITIONS[current.state, event]
    following = MemberAssignment(target_epoch, previous, state, assigned)
    return current if following == current else following

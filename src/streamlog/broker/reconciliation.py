"""The step that takes one member from what it has towards its target, without two owners on the way."""

from __future__ import annotations

from collections.abc import Mapping

from streamlog.broker.group_member import MemberAssignment, MemberState
from streamlog.structs import TopicPartition


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
            MemberState.UNREVOKED_PARTITIONS,
            assigned=kept,
            pending_revocation=revoked,
        )
    # What this member itself was just made to give back counts as free: it confirmed.
    free = {tp for tp in target - kept if owners.get(tp, member_id) == member_id}
    assigned = kept | free
    state = MemberState.STABLE if assigned == target else MemberState.UNRELEASED_PARTITIONS
    previous = current.previous_epoch if current.epoch == target_epoch else current.epoch
    following = MemberAssignment(target_epoch, previous, state, assigned)
    return current if following == current else following

"""NGP-3: give up first, confirm, only then receive, and never what another still claims."""

from __future__ import annotations

from itertools import product

from streamlog.broker.group_member import MemberAssignment, MemberState
from streamlog.broker.reconciliation import TRANSITIONS, MemberEvent, reconcile
from streamlog.structs import TopicPartition


def tps(*numbers: int) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition("t", number) for number in numbers)


NEW = MemberAssignment()


def test_every_state_has_an_answer_to_every_event() -> None:
    assert set(TRANSITIONS) == set(product(MemberState, MemberEvent))
    assert set(TRANSITIONS.values()) == set(MemberState)


def test_ngp_3_new_member_receives_its_target_and_the_epoch() -> None:
    after = reconcile("a", NEW, tps(), 1, tps(0, 1), {})
    assert after == MemberAssignment(1, 0, MemberState.STABLE, tps(0, 1))


def test_ngp_3_partition_that_another_claims_is_waited_for() -> None:
    owners = dict.fromkeys(tps(1), "b")
    after = reconcile("a", NEW, tps(), 3, tps(0, 1), owners)
    assert after == MemberAssignment(3, 0, MemberState.UNRELEASED_PARTITIONS, tps(0))
    # Nothing changes until it is free.
    assert reconcile("a", after, tps(0), 3, tps(0, 1), owners) is after
    freed = reconcile("a", after, tps(0), 3, tps(0, 1), {})
    assert freed == MemberAssignment(3, 0, MemberState.STABLE, tps(0, 1))


def test_ngp_3_member_gives_up_before_it_moves_to_the_new_epoch() -> None:
    owner = MemberAssignment(1, 0, MemberState.STABLE, tps(0, 1, 2))
    owners = dict.fromkeys(tps(0, 1, 2), "a")
    revoking = reconcile("a", owner, tps(0, 1, 2), 2, tps(0, 5), owners)
    assert revoking == MemberAssignment(
        1, 0, MemberState.UNREVOKED_PARTITIONS, tps(0), pending_revocation=tps(1, 2)
    )
    assert revoking.claimed == tps(0, 1, 2)
    # It still reports one of them: not confirmed.
    assert reconcile("a", revoking, tps(0, 2), 2, tps(0, 5), owners) is revoking
    done = reconcile("a", revoking, tps(0), 2, tps(0, 5), owners)
    assert done == MemberAssignment(2, 1, MemberState.STABLE, tps(0, 5))


def test_ngp_3_target_that_changes_during_a_revocation_is_met_step_by_step() -> None:
    owners = dict.fromkeys(tps(0, 1), "a")
    revoking = MemberAssignment(
        1, 0, MemberState.UNREVOKED_PARTITIONS, tps(0), pending_revocation=tps(1)
    )
    # By now the target wants 1 back and 0 gone: 1 is confirmed, then 0 is taken away, then 1 returns.
    second = reconcile("a", revoking, tps(0), 3, tps(1), owners)
    assert second == MemberAssignment(
        1, 0, MemberState.UNREVOKED_PARTITIONS, tps(), pending_revocation=tps(0)
    )
    third = reconcile("a", second, tps(), 3, tps(1), dict.fromkeys(tps(0), "a"))
    assert third == MemberAssignment(3, 1, MemberState.STABLE, tps(1))


def test_settled_member_stays_as_it_is() -> None:
    settled = MemberAssignment(4, 3, MemberState.STABLE, tps(0))
    assert reconcile("a", settled, tps(0), 4, tps(0), dict.fromkeys(tps(0), "a")) is settled


def test_unchanged_target_only_moves_the_epoch() -> None:
    settled = MemberAssignment(4, 3, MemberState.STABLE, tps(0))
    after = reconcile("a", settled, tps(0), 5, tps(0), dict.fromkeys(tps(0), "a"))
    assert after == MemberAssignment(5, 4, MemberState.STABLE, tps(0))


def test_waiting_member_keeps_its_previous_epoch_while_it_waits() -> None:
    waiting = MemberAssignment(5, 4, MemberState.UNRELEASED_PARTITIONS, tps())
    after = reconcile("a", waiting, tps(), 5, tps(0), {})
    assert (after.epoch, after.previous_epoch) == (5, 4)

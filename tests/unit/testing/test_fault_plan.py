from __future__ import annotations

import errno

import pytest

from streamlog.testing import FILE_SYSTEM_CALLS, FaultPlan, VirtualClock


def outcomes(plan: FaultPlan, *calls: tuple[str, str]) -> list[int | None]:
    """Return the error number that each (call, path) is to fail with."""
    return [
        None if (fault := plan.check(call, path)) is None else fault.errno for call, path in calls
    ]


SYNC = ("sync", "/d/a.log")


def test_a_fault_fires_once_at_the_next_call_unless_told_otherwise() -> None:
    plan = FaultPlan()
    fault = plan.fail("sync", errno.EIO)
    assert outcomes(plan, SYNC, SYNC) == [errno.EIO, None]
    assert (fault.seen, fault.injected) == (2, 1)


def test_at_and_times_choose_which_of_the_matching_calls_fail() -> None:
    plan = FaultPlan()
    plan.fail("sync", errno.EIO, at=2, times=2)
    other = ("unlink", "/x")
    assert outcomes(plan, SYNC, other, SYNC, SYNC, SYNC) == [
        None,
        None,
        errno.EIO,
        errno.EIO,
        None,
    ]


def test_times_none_holds_from_then_on_until_it_is_ended() -> None:
    plan = FaultPlan()
    fault = plan.fail("*", errno.ENOSPC, times=None)
    assert outcomes(plan, SYNC, SYNC) == [errno.ENOSPC] * 2
    fault.end()
    assert outcomes(plan, SYNC) == [None]


def test_call_and_path_are_patterns() -> None:
    plan = FaultPlan()
    plan.fail("sync*", errno.EIO, path="*.log", times=None)
    asked = [("sync_data", "/a.log"), ("sync_dir", "/a"), ("unlink", "/a.log"), ("sync", "/b.log")]
    assert outcomes(plan, *asked) == [errno.EIO, None, None, errno.EIO]


def test_calls_are_counted_from_when_the_rule_was_added() -> None:
    plan = FaultPlan()
    outcomes(plan, SYNC, SYNC)
    plan.fail("sync", errno.EIO, at=1)
    assert outcomes(plan, SYNC) == [errno.EIO]
    assert plan.injections == [(3, "sync", "/d/a.log")]
    assert (plan.count, plan.calls) == (3, {"sync": 3})
    assert repr(plan) == "<FaultPlan 1 of 3 calls went wrong>"


def test_first_error_decides_and_the_other_rule_waits_for_its_turn() -> None:
    plan = FaultPlan()
    plan.fail("sync", errno.EIO)
    plan.fail("sync", errno.ENOSPC)
    assert outcomes(plan, SYNC, SYNC, SYNC) == [errno.EIO, errno.ENOSPC, None]


def test_slow_call_takes_virtual_time_and_delays_add_up() -> None:
    clock = VirtualClock(0)
    ran: list[float] = []
    clock.new_scheduler("s").call_later(5, lambda: ran.append(clock.now))
    plan = FaultPlan(clock)
    plan.slow("sync", 20, times=1)
    plan.slow("*", 3)
    assert outcomes(plan, SYNC) == [None]
    assert (clock.now, ran) == (23, [])
    assert outcomes(plan, SYNC) == [None]
    assert clock.now == 26
    assert len(plan.injections) == 3


def test_slow_call_without_a_clock_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected FaultPlan\(VirtualClock\(\)\)"):
        FaultPlan().slow("sync", 1)


def test_short_write_says_so() -> None:
    plan = FaultPlan()
    plan.write_short(errno.ENOSPC)
    fault = plan.check("write_at", "/a")
    assert fault is not None
    assert fault.is_short
    assert repr(fault) == f"<Fault write_at *: errno {errno.ENOSPC} after half of the data, 1 of 1>"


def test_clear_ends_every_rule_and_keeps_the_counts() -> None:
    plan = FaultPlan()
    plan.fail("*", errno.EIO, times=None)
    outcomes(plan, SYNC)
    plan.clear()
    assert outcomes(plan, SYNC) == [None]
    assert (plan.count, len(plan.injections)) == (2, 1)


def test_unknown_call_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="found 'sync_dat', did you mean 'sync_data'"):
        FaultPlan().fail("sync_dat", errno.EIO)
    with pytest.raises(ValueError, match=r"expected one of \['pwrite'\], found 'sync'$"):
        FaultPlan(calls=["pwrite"]).fail("sync", errno.EIO)


def test_at_counts_from_one() -> None:
    with pytest.raises(ValueError, match="expected 1 for the next call, or more, found 0"):
        FaultPlan().fail("sync", errno.EIO, at=0)


def test_every_known_call_can_be_named() -> None:
    plan = FaultPlan()
    for call in sorted(FILE_SYSTEM_CALLS):
        plan.fail(call, errno.EIO)
        assert outcomes(plan, (call, "/a")) == [errno.EIO]

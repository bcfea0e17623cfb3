from __future__ import annotations

from streamlog.runtime import VirtualClock


def test_run_due_runs_only_its_own_timers() -> None:
    clock = VirtualClock(0)
    mine, other = clock.new_scheduler("mine"), clock.new_scheduler("other")
    ran: list[str] = []
    other.call_at(0, lambda: ran.append("other"))
    mine.call_at(0, lambda: ran.append("mine"))
    mine.call_at(5, lambda: ran.append("later"))
    assert mine.run_due() == 1
    assert ran == ["mine"]
    assert clock.advance(5) == 2


def test_close_cancels_only_its_own_timers() -> None:
    clock = VirtualClock(0)
    mine, other = clock.new_scheduler("mine"), clock.new_scheduler("other")
    ran: list[str] = []
    timer = mine.call_at(1, lambda: ran.append("mine"))
    other.call_at(1, lambda: ran.append("other"))
    mine.close()
    mine.close()
    assert timer.cancelled
    clock.advance(1)
    assert ran == ["other"]


def test_timer_added_after_close_comes_back_cancelled() -> None:
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("s")
    scheduler.close()
    assert scheduler.call_later(0, list).cancelled
    assert clock.advance(1) == 0


def test_call_later_counts_from_virtual_now() -> None:
    clock = VirtualClock(100)
    assert clock.new_scheduler("s").call_later(7.5, list).when_ms == 107.5


def test_cancelled_timer_does_not_run() -> None:
    clock = VirtualClock(0)
    timer = clock.new_scheduler("s").call_later(1, list)
    assert timer.cancel()
    assert clock.advance(2) == 0


def test_repr_names_the_scheduler() -> None:
    assert repr(VirtualClock().new_scheduler("linger")) == "<VirtualScheduler 'linger'>"

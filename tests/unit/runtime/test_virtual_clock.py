from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import DeadlockError
from streamlog.runtime import Signal, VirtualClock

START_MS = 1_700_000_000_000


def test_both_clocks_start_at_the_same_time_and_stand_still() -> None:
    clock = VirtualClock()
    assert clock.is_virtual
    assert clock.now == clock.monotonic_ms() == clock.time_ms() == START_MS
    assert clock.time_ns() == START_MS * 1_000_000
    assert repr(clock) == "<VirtualClock at 1700000000000.000 ms with 0 timers>"


def test_advance_moves_both_clocks() -> None:
    clock = VirtualClock(1000)
    clock.advance(5)
    assert (clock.now, clock.time_ms()) == (1005, 1005)
    clock.advance_to(2000)
    assert (clock.now, clock.time_ms()) == (2000, 2000)


def test_time_ns_keeps_fractions_of_a_millisecond() -> None:
    clock = VirtualClock()
    clock.advance(0.25)
    assert clock.time_ns() == START_MS * 1_000_000 + 250_000
    assert clock.time_ms() == START_MS


def test_wall_clock_may_jump_and_timers_do_not_notice() -> None:
    clock = VirtualClock(1000)
    ran: list[float] = []
    clock.new_scheduler("s").call_later(10, lambda: ran.append(clock.now))
    clock.set_wall_ms(5)
    assert (clock.time_ms(), clock.now) == (5, 1000)
    clock.advance(10)
    assert (clock.time_ms(), clock.now) == (15, 1010)
    clock.set_wall_ms(9_000)
    assert (clock.time_ms(), ran) == (9_000, [1010])


def test_time_does_not_go_back() -> None:
    clock = VirtualClock(1000)
    with pytest.raises(ValueError, match="-1 ms"):
        clock.advance(-1)
    clock.advance_to(500)
    assert clock.now == 1000


def test_time_that_elapses_in_a_slow_call_runs_nothing_and_timers_run_late() -> None:
    clock = VirtualClock(1000)
    ran: list[float] = []
    clock.new_scheduler("s").call_later(10, lambda: ran.append(clock.now))
    clock.elapse(25)
    assert (clock.now, clock.time_ms(), ran) == (1025, 1025, [])
    assert clock.run_due() == 1
    assert ran == [1025]
    with pytest.raises(ValueError, match="-1 ms"):
        clock.elapse(-1)


def test_advance_runs_what_falls_due_on_the_way_at_its_own_time() -> None:
    clock = VirtualClock(0)
    one, other = clock.new_scheduler("one"), clock.new_scheduler("other")
    ran: list[tuple[str, float]] = []
    one.call_at(20, lambda: ran.append(("one", clock.now)))
    other.call_at(10, lambda: ran.append(("other", clock.now)))
    one.call_at(10, lambda: ran.append(("one again", clock.now)))
    one.call_at(31, lambda: ran.append(("too late", clock.now)))
    assert clock.advance(30) == 3
    assert ran == [("other", 10), ("one again", 10), ("one", 20)]
    assert clock.now == 30


def test_advance_runs_timers_that_timers_add() -> None:
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("s")
    ran: list[float] = []

    def again() -> None:
        ran.append(clock.now)
        scheduler.call_later(10, again)

    scheduler.call_later(10, again)
    clock.advance(35)
    assert ran == [10, 20, 30]


def test_run_due_lets_no_time_pass() -> None:
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("s")
    ran: list[str] = []
    scheduler.call_later(0, lambda: ran.append("now"))
    scheduler.call_at(-5, lambda: ran.append("overdue"))
    scheduler.call_later(1, lambda: ran.append("later"))
    assert clock.run_due() == 2
    assert (ran, clock.now) == (["overdue", "now"], 0)


def test_wait_for_what_is_true_takes_no_time() -> None:
    clock = VirtualClock(0)
    assert clock.wait_until(lambda: True, Signal(), None)
    assert clock.now == 0


def test_wait_jumps_to_the_deadline_when_nothing_is_scheduled() -> None:
    clock = VirtualClock(0)
    assert not clock.wait_until(lambda: False, Signal(), 30_000)
    assert clock.now == 30_000


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_wait_without_time_runs_only_what_is_due(timeout_ms: float) -> None:
    clock = VirtualClock(0)
    ready: list[bool] = []
    clock.new_scheduler("s").call_later(0, lambda: ready.append(True))
    clock.new_scheduler("s").call_later(1, lambda: ready.append(True))
    assert clock.wait_until(lambda: bool(ready), Signal(), timeout_ms)
    assert (ready, clock.now) == ([True], 0)


@pytest.mark.parametrize("timeout_ms", [None, 100, 1_000])
def test_wait_stops_at_the_timer_that_makes_it_true(timeout_ms: float | None) -> None:
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("s")
    ran: list[int] = []
    for when_ms in (50, 100, 150):
        scheduler.call_at(when_ms, lambda when_ms=when_ms: ran.append(when_ms))
    assert clock.wait_until(lambda: 100 in ran, Signal(), timeout_ms)
    assert (ran, clock.now) == ([50, 100], 100)


def test_wait_leaves_timers_after_its_deadline_alone() -> None:
    clock = VirtualClock(0)
    ran: list[int] = []
    clock.new_scheduler("s").call_at(100, lambda: ran.append(100))
    assert not clock.wait_until(lambda: bool(ran), Signal(), 99)
    assert (ran, clock.now) == ([], 99)


def test_predicate_about_time_itself_is_asked_at_the_deadline() -> None:
    clock = VirtualClock(0)
    assert clock.wait_until(lambda: clock.now >= 30, Signal(), 30)


def test_wait_clears_the_signal_before_it_asks() -> None:
    clock, signal = VirtualClock(0), Signal()
    signal.set()
    states: list[bool] = []
    clock.wait_until(lambda: bool(states.append(signal.is_set())), signal, 1)
    assert states[0] is False


def test_wait_without_limit_and_without_timers_is_a_deadlock() -> None:
    with pytest.raises(DeadlockError, match=r"At 7 ms of virtual time.*no timer is left"):
        VirtualClock(7).wait_until(lambda: False, Signal(), None)


def test_wait_without_limit_that_timers_do_not_end_is_a_deadlock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamlog.runtime.virtual_clock._TIMERS_IN_VAIN", 50)
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("periodic")

    def again() -> None:
        scheduler.call_later(1, again)

    again()
    with pytest.raises(DeadlockError, match="50 timers did not bring"):
        clock.wait_until(lambda: False, Signal(), None)
    assert clock.now == 50


def test_wait_inside_a_timer_lets_time_pass_for_the_outer_wait() -> None:
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("s")
    events: list[tuple[str, float]] = []

    def outer() -> None:
        events.append(("outer begins", clock.now))
        clock.wait_until(lambda: ("inner", 30.0) in events, Signal(), 1_000)
        events.append(("outer ends", clock.now))

    scheduler.call_at(10, outer)
    scheduler.call_at(30, lambda: events.append(("inner", clock.now)))
    assert clock.wait_until(lambda: len(events) == 3, Signal(), 20)
    assert events == [("outer begins", 10), ("inner", 30), ("outer ends", 30)]
    assert clock.now == 30  # past the deadline of 20, because a timer took that long


def test_advance_inside_a_timer_is_not_undone() -> None:
    clock = VirtualClock(0)
    clock.new_scheduler("s").call_at(10, lambda: clock.advance(100))
    clock.advance(20)
    assert clock.now == 110


def test_failing_timer_is_logged_and_does_not_end_the_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = VirtualClock(0)
    scheduler = clock.new_scheduler("s")
    ran: list[int] = []
    scheduler.call_at(1, lambda: 1 // 0)
    scheduler.call_at(2, lambda: ran.append(2))
    assert clock.wait_until(lambda: bool(ran), Signal(), None)
    assert "ZeroDivisionError" in caplog.text


def test_what_another_thread_brings_is_seen_before_deadlock_is_called() -> None:
    answers = iter([False, True])
    assert VirtualClock(0).wait_until(lambda: next(answers), Signal(), None)


@pytest.mark.stress
def test_several_real_threads_break_nothing_and_lose_no_timer() -> None:
    clock = VirtualClock(0)
    ran: list[tuple[int, int]] = []

    def work(number: int) -> None:
        scheduler = clock.new_scheduler(f"s{number}")
        for index in range(300):
            scheduler.call_later(index % 7, lambda name=(number, index): ran.append(name))
            clock.wait_until(lambda index=index: (number, index) in ran, Signal(), 3)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    clock.advance(10)
    assert sorted(ran) == [(number, index) for number in range(4) for index in range(300)]


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3)), max_size=30),
    st.lists(st.integers(0, 40), max_size=10),
)
def test_any_program_runs_timers_in_order_and_in_time(
    timers: list[tuple[int, int]], steps: list[int]
) -> None:
    clock = VirtualClock(0)
    schedulers = [clock.new_scheduler(f"s{number}") for number in range(4)]
    ran: list[tuple[int, int]] = []
    late: list[float] = []
    for index, (when_ms, owner) in enumerate(timers):

        def callback(when_ms: int = when_ms, index: int = index) -> None:
            ran.append((when_ms, index))
            late.append(clock.now - when_ms)

        schedulers[owner].call_at(when_ms, callback)
    for step in steps:
        clock.advance(step)
    expected = sorted((when, i) for i, (when, _) in enumerate(timers) if when <= sum(steps))
    if steps:
        assert ran == expected
    assert not any(late)
    assert clock.now == sum(steps)

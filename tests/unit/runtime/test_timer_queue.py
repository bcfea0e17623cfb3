from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.runtime.timer_queue import TimerQueue


def nothing() -> None:
    pass


def test_timers_come_out_by_time_and_equal_times_in_order_of_insertion() -> None:
    queue = TimerQueue()
    late, _ = queue.add(20, nothing, None)
    first, _ = queue.add(10, nothing, None)
    second, _ = queue.add(10, nothing, None)
    assert [queue.take_due(100) for _ in range(4)] == [first, second, late, None]


def test_add_tells_whether_the_timer_is_now_the_first() -> None:
    queue = TimerQueue()
    assert queue.add(10, nothing, None)[1]
    assert not queue.add(10, nothing, None)[1]
    assert not queue.add(11, nothing, None)[1]
    assert queue.add(9, nothing, None)[1]


def test_take_due_leaves_what_is_due_later() -> None:
    queue = TimerQueue()
    queue.add(10, nothing, None)
    assert queue.take_due(9.999) is None
    assert len(queue) == 1
    assert queue.first_due_ms() == 10
    assert queue.take_due(10) is not None
    assert queue.first_due_ms() is None


def test_cancel_takes_out_one_timer_once() -> None:
    queue = TimerQueue()
    timer, _ = queue.add(10, nothing, None)
    other, _ = queue.add(10, nothing, None)
    assert timer.cancel()
    assert timer.cancelled
    assert not timer.cancel()
    assert queue.take_due(10) is other


def test_cancel_after_it_was_taken_out_says_that_it_was_too_late() -> None:
    queue = TimerQueue()
    timer, _ = queue.add(10, nothing, None)
    assert queue.take_due(10) is timer
    assert not timer.cancel()
    assert not timer.cancelled


def test_owner_limits_what_is_taken_and_cancelled() -> None:
    queue = TimerQueue()
    alice, bob = object(), object()
    of_alice, _ = queue.add(1, nothing, alice)
    of_bob, _ = queue.add(2, nothing, bob)
    assert queue.take_due(10, bob) is of_bob
    assert queue.take_due(10, bob) is None
    assert queue.cancel_all(bob) == 0
    assert queue.cancel_all(alice) == 1
    assert of_alice.cancelled
    assert len(queue) == 0


def test_starting_over_forgets_timers_and_a_lock_that_is_held() -> None:
    queue = TimerQueue()
    timer, _ = queue.add(10, nothing, None)
    queue._lock.acquire()
    queue.start_over()
    assert not timer.cancel()
    assert (len(queue), queue.first_due_ms()) == (0, None)


def test_repr_of_a_timer_shows_time_and_state() -> None:
    timer, _ = TimerQueue().add(1.5, nothing, None)
    assert repr(timer).startswith("<Timer at 1.500 ms: <function nothing")
    timer.cancel()
    assert repr(timer).startswith("<Timer cancelled at 1.500 ms")


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans())), st.integers(-1, 6))
def test_any_mix_of_added_and_cancelled_comes_out_sorted(
    plan: list[tuple[int, bool]], limit_ms: int
) -> None:
    queue = TimerQueue()
    timers = [queue.add(when_ms, nothing, None)[0] for when_ms, _ in plan]
    for timer, (_, cancel) in zip(timers, plan, strict=True):
        if cancel:
            timer.cancel()
    kept = [timer for timer, (_, cancel) in zip(timers, plan, strict=True) if not cancel]
    expected = [t for t in sorted(kept, key=lambda t: t.when_ms) if t.when_ms <= limit_ms]
    taken = []
    while (timer_or_none := queue.take_due(limit_ms)) is not None:
        taken.append(timer_or_none)
    assert taken == expected
    assert len(queue) == len(kept) - len(expected)

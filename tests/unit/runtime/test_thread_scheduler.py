from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from streamlog.runtime import Signal, SystemClock
from streamlog.runtime.thread_scheduler import ThreadScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAR_MS = 3_600_000


class StoppedClock(SystemClock):
    """A clock that shows what it is told, so that nothing falls due by itself."""

    __slots__ = ("shown_ms",)

    def __init__(self) -> None:
        self.shown_ms = 0.0

    def monotonic_ms(self) -> float:
        return self.shown_ms


@pytest.fixture
def scheduler() -> Iterator[ThreadScheduler]:
    scheduler = ThreadScheduler(SystemClock(), "test-scheduler")
    yield scheduler
    scheduler.close()


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_no_thread_before_the_first_timer_and_one_after(scheduler: ThreadScheduler) -> None:
    assert "test-scheduler" not in thread_names()
    scheduler.call_later(FAR_MS, list)
    scheduler.call_later(FAR_MS, list)
    assert thread_names().count("test-scheduler") == 1


def test_callback_runs_in_the_schedulers_thread(scheduler: ThreadScheduler) -> None:
    done = Signal()
    names: list[str] = []

    def callback() -> None:
        names.append(threading.current_thread().name)
        done.set()

    scheduler.call_later(0, callback)
    assert done.wait(10)
    assert names == ["test-scheduler"]


def test_earlier_timer_wakes_a_thread_that_sleeps_for_a_later_one(
    scheduler: ThreadScheduler,
) -> None:
    late = scheduler.call_later(FAR_MS, list)
    done = Signal()
    scheduler.call_later(1, done.set)
    assert done.wait(10)
    assert late.cancel()


def test_timers_run_in_the_order_in_which_they_are_due(scheduler: ThreadScheduler) -> None:
    ran: list[str] = []
    are_added, done = Signal(), Signal()
    now_ms = SystemClock().monotonic_ms()
    # Until then nothing runs, however long this thread is kept from adding the earlier ones.
    scheduler.call_at(now_ms, lambda: are_added.wait(10))
    scheduler.call_at(now_ms + 30, done.set)
    scheduler.call_at(now_ms + 20, lambda: ran.append("second"))
    scheduler.call_at(now_ms + 10, lambda: ran.append("first"))
    scheduler.call_at(now_ms + 20, lambda: ran.append("third"))
    are_added.set()
    assert done.wait(10)
    assert ran == ["first", "second", "third"]


def test_failing_callback_is_logged_and_the_next_one_runs(
    scheduler: ThreadScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    done = Signal()

    def fail() -> None:
        raise RuntimeError("broken on purpose")

    now_ms = SystemClock().monotonic_ms()
    scheduler.call_at(now_ms, fail)
    scheduler.call_at(now_ms + 1, done.set)
    assert done.wait(10)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("streamlog", logging.ERROR)
    assert "broken on purpose" in caplog.text


def test_callback_may_re_arm_itself(scheduler: ThreadScheduler) -> None:
    done = Signal()
    left = [3]

    def again() -> None:
        left[0] -= 1
        if left[0]:
            scheduler.call_later(0, again)
        else:
            done.set()

    scheduler.call_later(0, again)
    assert done.wait(10)


def test_cancelled_timer_does_not_run() -> None:
    clock = StoppedClock()
    scheduler = ThreadScheduler(clock, "test-scheduler")
    ran: list[str] = []
    timer = scheduler.call_at(10, lambda: ran.append("cancelled"))
    scheduler.call_at(10, lambda: ran.append("kept"))
    assert timer.cancel()
    clock.shown_ms = 10
    assert scheduler.run_due() == 1
    assert ran == ["kept"]
    scheduler.close()


def test_run_due_runs_in_the_calling_thread_what_is_due_now() -> None:
    clock = StoppedClock()
    scheduler = ThreadScheduler(clock, "test-scheduler")
    threads: list[int] = []
    for when_ms in (10, 20, 30):
        scheduler.call_at(when_ms, lambda: threads.append(threading.get_ident()))
    assert scheduler.run_due() == 0
    clock.shown_ms = 20
    assert scheduler.run_due() == 2
    assert threads == [threading.get_ident()] * 2
    scheduler.close()
    clock.shown_ms = 30
    assert scheduler.run_due() == 0


def test_run_due_ends_although_a_callback_re_arms_itself_at_once() -> None:
    clock = StoppedClock()
    scheduler = ThreadScheduler(clock, "test-scheduler")
    scheduler.call_at(5, lambda: scheduler.call_later(1, list))
    clock.shown_ms = 5
    assert scheduler.run_due() == 1
    scheduler.close()


def test_close_cancels_and_ends_the_thread(scheduler: ThreadScheduler) -> None:
    timer = scheduler.call_later(FAR_MS, list)
    scheduler.close()
    assert timer.cancelled
    assert "test-scheduler" not in thread_names()
    scheduler.close()


def test_close_without_a_thread_returns(scheduler: ThreadScheduler) -> None:
    scheduler.close()
    assert "test-scheduler" not in thread_names()


def test_timer_added_after_close_comes_back_cancelled(scheduler: ThreadScheduler) -> None:
    scheduler.close()
    assert scheduler.call_later(0, list).cancelled
    assert "test-scheduler" not in thread_names()


def test_close_waits_for_the_callback_that_is_running(scheduler: ThreadScheduler) -> None:
    started, go_on = Signal(), Signal()
    finished: list[bool] = []

    def callback() -> None:
        started.set()
        go_on.wait(10)
        finished.append(True)

    scheduler.call_later(0, callback)
    assert started.wait(10)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    go_on.set()
    closer.join(10)
    assert finished == [True]
    assert not closer.is_alive()


def test_close_from_a_callback_does_not_wait_for_itself(scheduler: ThreadScheduler) -> None:
    done = Signal()
    threads: list[threading.Thread] = []

    def close() -> None:
        threads.append(threading.current_thread())
        scheduler.close()
        done.set()

    scheduler.call_later(0, close)
    assert done.wait(10)
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_no_thread_to_be_had_raises_and_keeps_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("streamlog.runtime.thread_scheduler.spawn", no_thread)
    scheduler = ThreadScheduler(StoppedClock(), "test-scheduler")
    with pytest.raises(RuntimeError, match="new thread"):
        scheduler.call_at(0, list)
    assert scheduler.run_due() == 0


def test_forked_child_refuses_use_and_close_does_not_hang(run_python: Callable[..., str]) -> None:
    answer = run_python(
        """
        import os
        from streamlog.errors import ForkedError
        from streamlog.runtime import SystemClock, Signal

        scheduler = SystemClock().new_scheduler("parent")
        ready = Signal()
        scheduler.call_later(0, ready.set)
        assert ready.wait(10)
        timer = scheduler.call_later(60_000, list)
        scheduler._queue._lock.acquire()  # as if another thread were adding a timer
        child = os.fork()
        if child == 0:
            refused = [] if not timer.cancel() else ["cancelled the parent's timer"]
            for use in (lambda: scheduler.call_later(0, list), lambda: scheduler.call_at(0, list),
                        scheduler.run_due):
                try:
                    use()
                except ForkedError as error:
                    refused.append(str(error))
            scheduler.close()
            own = SystemClock().new_scheduler("child")
            done = Signal()
            own.call_later(0, done.set)
            ok = done.wait(10) and refused == ["Scheduler 'parent' belongs to the parent process"] * 3
            own.close()
            os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        scheduler._queue._lock.release()
        done = Signal()
        scheduler.call_later(0, done.set)
        print(os.waitstatus_to_exitcode(status), done.wait(10))
        scheduler.close()
        """
    )
    assert answer == "0 True"


def test_repr_names_scheduler_and_timers(scheduler: ThreadScheduler) -> None:
    scheduler.call_later(FAR_MS, list)
    assert repr(scheduler) == "<ThreadScheduler 'test-scheduler' with 1 timers>"


@pytest.mark.stress
def test_timers_added_and_cancelled_by_many_threads_each_run_once_or_never(
    scheduler: ThreadScheduler,
) -> None:
    lock = threading.Lock()
    ran: list[tuple[int, int]] = []
    cancelled: list[tuple[int, int]] = []

    def add(number: int) -> None:
        for index in range(300):

            def callback(name: tuple[int, int] = (number, index)) -> None:
                with lock:
                    ran.append(name)

            timer = scheduler.call_later(index % 3, callback)
            if index % 2 and timer.cancel():
                with lock:
                    cancelled.append((number, index))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    last = Signal()
    scheduler.call_later(10, last.set)
    assert last.wait(20)
    assert sorted(ran + cancelled) == sorted((n, i) for n in range(4) for i in range(300))

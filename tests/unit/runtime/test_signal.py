from __future__ import annotations

import sys
import threading

import pytest

from streamlog.runtime import Signal, spawn


def test_new_signal_is_clear() -> None:
    assert not Signal().is_set()


def test_set_twice_then_clear_once_is_clear() -> None:
    signal = Signal()
    signal.set()
    signal.set()
    assert signal.is_set()
    signal.clear()
    assert not signal.is_set()
    signal.clear()
    assert not signal.is_set()


def test_wait_leaves_the_flag_up() -> None:
    signal = Signal()
    signal.set()
    assert signal.wait()
    assert signal.wait(0)
    assert signal.wait(1)
    assert signal.is_set()


@pytest.mark.parametrize("timeout_s", [0, -1, -0.001, 0.001])
def test_wait_for_a_flag_that_stays_down_returns_false(timeout_s: float) -> None:
    signal = Signal()
    assert not signal.wait(timeout_s)
    assert not signal.is_set()


def test_wait_longer_than_the_system_can_count_is_woken() -> None:
    signal = Signal()
    thread = spawn("setter", signal.set)
    assert signal.wait(float("inf"))
    thread.join(10)


def test_flag_can_be_set_after_a_wait_ran_out() -> None:
    signal = Signal()
    assert not signal.wait(0.001)
    signal.set()
    assert signal.wait(0)


def test_setter_that_was_overtaken_by_another_one_raises_nothing() -> None:
    signal = Signal()
    signal.set()
    signal._is_down = lambda: True  # what it saw before the other one was quicker
    signal.set()
    assert signal.wait(0.001)


def test_set_between_waking_and_raising_the_flag_again_is_kept() -> None:
    signal = Signal()
    signal.set()
    acquire = signal._acquire

    def acquire_and_be_set(*arguments: float) -> bool:
        acquired = acquire(*arguments)
        signal.set()
        return acquired

    signal._acquire = acquire_and_be_set
    assert signal.wait(5)
    assert signal.is_set()


def test_repr_says_whether_it_is_set() -> None:
    signal = Signal()
    assert repr(signal) == "<Signal clear>"
    signal.set()
    assert repr(signal) == "<Signal set>"


@pytest.fixture
def tiny_switch_interval() -> object:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.stress
@pytest.mark.usefixtures("tiny_switch_interval")
def test_racing_setters_neither_fail_nor_lose_a_wake_up() -> None:
    """Each setter adds work and sets; the waiter must see all of it without ever waiting in vain."""
    signal = Signal()
    setters, rounds = 4, 2000
    work = [0] * setters
    failures: list[BaseException] = []

    def make_setter(number: int) -> threading.Thread:
        def run() -> None:
            try:
                for _ in range(rounds):
                    work[number] += 1
                    signal.set()
            except BaseException as error:
                failures.append(error)

        return spawn(f"setter-{number}", run)

    threads = [make_setter(number) for number in range(setters)]
    woken_in_vain = 0
    while True:
        signal.clear()
        if sum(work) == setters * rounds:
            break
        # Nothing but a lost wake-up can make this run out: some setter is still at work.
        if not signal.wait(20):
            woken_in_vain += 1
            break
    for thread in threads:
        thread.join(20)
    assert (failures, woken_in_vain) == ([], 0)


@pytest.mark.stress
@pytest.mark.usefixtures("tiny_switch_interval")
def test_two_threads_hand_over_many_times_without_stalling() -> None:
    ping, pong = Signal(), Signal()
    rounds = 3000
    answered = 0

    def answer() -> None:
        nonlocal answered
        for _ in range(rounds):
            if not ping.wait(20):
                return
            ping.clear()
            answered += 1
            pong.set()

    thread = spawn("answer", answer)
    for _ in range(rounds):
        ping.set()
        assert pong.wait(20)
        pong.clear()
    thread.join(20)
    assert answered == rounds

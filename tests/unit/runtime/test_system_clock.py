from __future__ import annotations

import time

import pytest

from streamlog.runtime import Signal, SystemClock, spawn


def test_time_ns_is_the_builtin_itself() -> None:
    """Hot paths call it once per record: there must be no Python function in between."""
    assert SystemClock().time_ns is time.time_ns


def test_time_ms_is_the_wall_clock_rounded_down() -> None:
    before = time.time_ns() // 1_000_000
    shown = SystemClock().time_ms()
    assert before <= shown <= time.time_ns() // 1_000_000


def test_monotonic_ms_counts_milliseconds() -> None:
    before = time.monotonic() * 1000
    assert before <= SystemClock().monotonic_ms() <= time.monotonic() * 1000


def test_is_not_virtual() -> None:
    assert not SystemClock().is_virtual
    assert repr(SystemClock()) == "SystemClock()"


@pytest.mark.parametrize("timeout_ms", [None, 0, -5, 60_000])
def test_predicate_that_is_true_returns_at_once(timeout_ms: float | None) -> None:
    asked: list[int] = []
    assert SystemClock().wait_until(lambda: not asked.append(1), Signal(), timeout_ms)
    assert len(asked) == 1


@pytest.mark.parametrize("timeout_ms", [0, -5])
def test_no_time_asks_once_and_does_not_wait(timeout_ms: float) -> None:
    asked: list[int] = []
    assert not SystemClock().wait_until(lambda: bool(asked.append(1)), Signal(), timeout_ms)
    assert len(asked) == 1


def test_time_that_runs_out_asks_a_last_time() -> None:
    asked: list[int] = []
    answers = iter([False, True])

    def predicate() -> bool:
        asked.append(1)
        return next(answers)

    assert SystemClock().wait_until(predicate, Signal(), 1)
    assert len(asked) == 2


def test_wait_lasts_as_long_as_it_says() -> None:
    before = time.monotonic()
    assert not SystemClock().wait_until(lambda: False, Signal(), 5)
    assert time.monotonic() - before >= 0.005


@pytest.mark.parametrize("timeout_ms", [None, 60_000.0])
def test_set_signal_asks_again_until_the_predicate_is_true(timeout_ms: float | None) -> None:
    signal, asked = Signal(), Signal()
    answers: list[bool] = []
    ready = False

    def predicate() -> bool:
        answers.append(ready)
        asked.set()
        return ready

    def set_twice() -> None:
        nonlocal ready
        asked.wait(10)
        asked.clear()
        signal.set()  # in vain: nothing has changed
        asked.wait(10)
        ready = True
        signal.set()

    thread = spawn("setter", set_twice)
    assert SystemClock().wait_until(predicate, signal, timeout_ms)
    thread.join(10)
    assert answers == [False, False, True]


def test_signal_from_before_the_wait_does_not_count() -> None:
    """What it stood for is visible to the predicate, which is asked after the signal is cleared."""
    signal = Signal()
    signal.set()
    asked: list[int] = []
    assert not SystemClock().wait_until(lambda: bool(asked.append(1)), signal, 1)
    assert len(asked) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("timeout_ms", [None, 3_600_000])
def test_set_while_the_predicate_is_asked_is_not_lost(timeout_ms: float | None) -> None:
    signal = Signal()
    answers = iter([False, False, False, True])

    def predicate() -> bool:
        signal.set()
        return next(answers)

    assert SystemClock().wait_until(predicate, signal, timeout_ms)

"""Ctrl-C at any moment: it comes out, nothing hangs, and what was acknowledged is there once."""

from __future__ import annotations

import os
import random

import pytest

from streamlog.runtime import TokenLock
from tests.crash.interrupt_loop import WORKLOADS, interrupt_loop
from tests.support.interrupts import interrupted_at, moments

INTERRUPTS = int(os.environ.get("STREAMLOG_INTERRUPTS", "60"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", WORKLOADS)
def test_ctrl_c_at_any_moment_neither_hangs_nor_loses_nor_doubles(name: str) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    counts = interrupt_loop(INTERRUPTS, seed, [name])
    assert counts["interrupts"] > INTERRUPTS * 0.9


def test_a_lock_that_ctrl_c_can_keep_is_found() -> None:
    """What the others rely on: `TokenLock.release` is a function, and on entering one the interrupt may come out."""

    def work() -> None:
        lock.acquire()
        try:
            held.append(lock.locked())
        finally:
            lock.release()

    lock, held = TokenLock(), list[bool]()
    left_locked = []
    for moment in moments(work, of_each=1, watched=__file__):
        lock = TokenLock()
        interrupted_at(moment, work, watched=__file__)
        left_locked.append(lock.locked())
    assert any(left_locked)
    assert not all(left_locked)


def test_interrupt_that_the_interpreter_drops_is_not_held_against_the_next_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that comes out as a generator is let go of half-way has nobody to go to."""

    def work() -> None:
        assert any(number > 0 for number in (1, 2))

    dropped: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda unraisable: dropped.append(unraisable))
    last = max(moments(work, of_each=1, watched=__file__))
    # Each instruction, and not only those where the interpreter looks: a moment may be another one in the next run.
    came_out = [interrupted_at(moment, work, watched=__file__) for moment in range(1, last)]
    assert any(came_out)
    assert not dropped

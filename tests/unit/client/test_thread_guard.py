from __future__ import annotations

import pytest

from streamlog.client.thread_guard import ThreadGuard
from streamlog.errors import ClosedError, ConcurrentModificationError, ForkedError
from streamlog.runtime import spawn


def enter_elsewhere(guard: ThreadGuard) -> BaseException | None:
    caught: list[BaseException] = []

    def enter() -> None:
        try:
            with guard:
                pass
        except BaseException as error:
            caught.append(error)

    thread = spawn("test", enter)
    thread.join(10)
    return caught[0] if caught else None


def test_con_2_second_thread_is_refused_while_the_first_is_inside() -> None:
    guard = ThreadGuard()
    with guard:
        assert isinstance(enter_elsewhere(guard), ConcurrentModificationError)
    assert enter_elsewhere(guard) is None


def test_owner_may_enter_again() -> None:
    guard = ThreadGuard()
    with guard, guard:
        assert isinstance(enter_elsewhere(guard), ConcurrentModificationError)


def test_refusal_is_raised_afresh_each_time() -> None:
    guard = ThreadGuard()
    guard.refusal = ClosedError("closed")
    caught = []
    for _ in range(2):
        with pytest.raises(ClosedError, match="closed") as info, guard:
            pass
        caught.append(info.value)
    assert caught[0] is not caught[1]


def test_forked_guard_has_a_free_lock_and_refuses() -> None:
    guard = ThreadGuard()
    guard.try_acquire(False)
    guard.forked(ForkedError("child"))
    assert isinstance(enter_elsewhere(guard), ForkedError)


def test_a_second_thread_is_told_that_the_broker_is_closing() -> None:
    guard = ThreadGuard()
    guard.closing = ClosedError("the broker is closing")
    with guard:
        assert isinstance(enter_elsewhere(guard), ClosedError)

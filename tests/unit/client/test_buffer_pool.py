from __future__ import annotations

from threading import Thread

import pytest

from streamlog.client.buffer_pool import BufferPool
from streamlog.runtime import SystemClock, VirtualClock


def test_what_is_taken_is_not_free_until_it_is_given_back(clock: VirtualClock) -> None:
    pool = BufferPool(100, clock)
    assert pool.try_take(60, [0])
    assert not pool.try_take(41, [0])
    assert pool.available_bytes == 40
    pool.give_back(60)
    assert pool.try_take(100, [0])


def test_prd_6_waiting_ends_with_the_timeout(clock: VirtualClock) -> None:
    pool = BufferPool(100, clock)
    assert pool.try_take(100, [0])
    before = clock.now
    assert not pool.take(1, [0], 250)
    assert clock.now - before == 250
    assert pool.waiting == 0
    assert not pool.take(1, [0], 0)


def test_prd_6_waiting_ends_when_there_is_room(clock: VirtualClock) -> None:
    pool = BufferPool(100, clock)
    assert pool.try_take(100, [0])
    clock.new_scheduler("s").call_later(30, lambda: pool.give_back(50))
    before = clock.now
    assert pool.take(50, [0], 1000)
    assert clock.now - before == 30
    assert pool.available_bytes == 0


def test_prd_6_waiters_are_served_first_come_first_served() -> None:
    """Also when the first asks for much and the next for little."""
    pool = BufferPool(100, SystemClock())
    assert pool.try_take(100, [0])
    served = []

    def wait(size: int) -> None:
        assert pool.take(size, [0], 30_000)
        served.append(size)

    threads = []
    for number, size in enumerate((90, 5, 6)):
        thread = Thread(target=wait, args=(size,))
        thread.start()
        threads.append(thread)
        while pool.waiting < number + 1:
            pass
    pool.give_back(10)
    assert pool.waiting == 3, "the first waiter does not have enough yet"
    assert not pool.try_take(1, [0]), "and nobody overtakes"
    pool.give_back(80)
    while len(served) < 1:
        pass
    assert served == [90]
    pool.give_back(11)
    for thread in threads:
        thread.join()
    assert sorted(served[1:]) == [5, 6]
    assert pool.available_bytes == 0


def test_a_waiter_that_gives_up_lets_the_next_one_through(clock: VirtualClock) -> None:
    pool = BufferPool(100, clock)
    assert pool.try_take(60, [0])
    outcome = []
    clock.new_scheduler("s").call_later(10, lambda: outcome.append(pool.take(30, [0], 500)))
    assert not pool.take(90, [0], 100)
    assert outcome == [False], "the wait inside the timer ended before the one around it"
    assert pool.try_take(40, [0])


@pytest.mark.stress
def test_racing_threads_never_take_more_than_there_is() -> None:
    pool = BufferPool(10, SystemClock())
    taken = [0]
    most = [0]

    def use() -> None:
        for n in range(2000):
            size = n % 7 + 1
            assert pool.take(size, [0], 30_000)
            taken[0] += size
            most[0] = max(most[0], 10 - pool.available_bytes)
            pool.give_back(size)

    threads = [Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.available_bytes == 10
    assert pool.waiting == 0
    assert most[0] <= 10


def test_ctrl_c_while_waiting_for_room_keeps_nobody_else_waiting() -> None:
    """The one who had gone was still the first in the row, for ever."""

    class Interrupting(VirtualClock):
        def wait_until(self, *_: object) -> bool:
            raise KeyboardInterrupt

    pool = BufferPool(100, Interrupting())
    assert pool.try_take(60, [0])
    with pytest.raises(KeyboardInterrupt):
        pool.take(80, [0], 1000)
    assert pool.waiting == 0
    assert pool.try_take(40, [0])
    pool.give_back(100)
    assert pool.available_bytes == 100


def test_who_is_interrupted_after_it_was_served_has_what_it_took() -> None:
    class Interrupting(VirtualClock):
        def wait_until(self, *_: object) -> bool:
            pool.give_back(60)
            raise KeyboardInterrupt

    pool, taken = BufferPool(100, Interrupting()), [0]
    assert pool.try_take(60, [0])
    with pytest.raises(KeyboardInterrupt):
        pool.take(80, taken, 1000)
    assert taken == [80]
    assert pool.available_bytes == 20
    assert pool.waiting == 0

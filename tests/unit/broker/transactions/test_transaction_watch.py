from __future__ import annotations

import gc
import math

import pytest

from streamlog.broker.transactions.watch import TransactionWatch
from streamlog.runtime import VirtualClock


class Owner:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.looks: list[float] = []
        self.watch = TransactionWatch(clock, clock.new_scheduler("test"), self.look)

    def look(self) -> None:
        self.looks.append(self.clock.monotonic_ms())


@pytest.fixture
def owner(clock: VirtualClock) -> Owner:
    return Owner(clock)


def test_it_looks_once_at_the_earliest_time_asked_for(clock: VirtualClock, owner: Owner) -> None:
    start = clock.monotonic_ms()
    assert owner.watch.when_ms == math.inf
    for delay_ms in (100, 200, 50, 300):
        owner.watch.arm(delay_ms)
    assert owner.watch.when_ms == start + 50
    clock.advance(1_000)
    assert owner.looks == [start + 50]
    assert owner.watch.when_ms == math.inf


def test_look_that_arms_it_again_is_followed_by_another(
    clock: VirtualClock,
) -> None:
    class Again(Owner):
        def look(self) -> None:
            super().look()
            self.watch.arm(10)

    owner = Again(clock)
    owner.watch.arm(10)
    clock.advance(35)
    assert len(owner.looks) == 3


def test_closed_watch_looks_no_more(clock: VirtualClock, owner: Owner) -> None:
    owner.watch.arm(10)
    owner.watch.close()
    owner.watch.arm(10)
    assert owner.watch.when_ms == math.inf
    clock.advance(100)
    assert owner.looks == []


def test_owner_that_nobody_holds_is_not_kept_by_its_timer(clock: VirtualClock) -> None:
    owner = Owner(clock)
    looks, watch = owner.looks, owner.watch
    watch.arm(10)
    del owner
    gc.collect()
    clock.advance(100)
    assert looks == []

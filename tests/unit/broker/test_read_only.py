from __future__ import annotations

import gc
import logging

import pytest

from streamlog.broker.read_only import RefreshTimer, refusal
from streamlog.errors import ReadOnlyError
from streamlog.runtime import Signal, VirtualClock


def passes(clock: VirtualClock, ms: float) -> None:
    clock.wait_until(lambda: False, Signal(), ms)


def test_a_refusal_names_what_where_and_what_to_do() -> None:
    error = refusal("create topic 'a'", "/data")
    assert isinstance(error, ReadOnlyError)
    assert str(error).startswith("create topic 'a': /data was opened with read_only=True")
    assert "open it without read_only once nobody has" in str(error)


def test_it_looks_at_intervals_while_somebody_waits_and_then_no_more(clock: VirtualClock) -> None:
    looks: list[float] = []

    def look() -> bool:
        looks.append(clock.monotonic_ms() - start)
        return len(looks) < 3

    start = clock.monotonic_ms()
    timer = RefreshTimer(clock.new_scheduler("r"), 100, look)
    passes(clock, 500)
    assert looks == []
    start = clock.monotonic_ms()
    timer.arm()
    timer.arm()
    passes(clock, 1000)
    assert looks == [100, 200, 300]


def test_a_look_that_fails_is_not_the_last_one(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        raise OSError("no disk")

    timer = RefreshTimer(clock.new_scheduler("r"), 100, look)
    timer.arm()
    with caplog.at_level(logging.CRITICAL):
        passes(clock, 350)
    assert len(looks) == 3


def test_the_scheduler_keeps_nobody_alive(clock: VirtualClock) -> None:
    looks: list[int] = []
    timer = RefreshTimer(clock.new_scheduler("r"), 100, lambda: not looks.append(1))
    timer.arm()
    del timer
    gc.collect()
    passes(clock, 500)
    assert looks == []

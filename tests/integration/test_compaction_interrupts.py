"""Ctrl-C at any moment of compaction: nothing is lost, the next call does the rest, and the directory closes and opens clean."""

from __future__ import annotations

import random
from typing import Any

import pytest

from streamlog import Broker, TableView
from streamlog.record import build_batch
from streamlog.testing import MemoryFileSystem, VirtualClock
from tests.support.interrupts import interrupted_at, moments

NOW_MS = 1_700_000_000_000


def prepared() -> tuple[Broker, MemoryFileSystem, dict[Any, Any]]:
    """Return a broker with a dirty log, its files, and what is in the log by key."""
    disk = MemoryFileSystem()
    broker = Broker("/data", clock=VirtualClock(), filesystem=disk, seed=1)
    broker.create_topic("t", configs={"cleanup_policy": "compact", "segment_bytes": 400})
    expected: dict[Any, Any] = {}
    for number in range(8):
        key, value = b"%d" % (number % 3), None if number == 4 else b"%060d" % number
        expected[key] = value
        broker.partition("t", 0).append(build_batch([value], NOW_MS, [key]))
    return broker, disk, {key: value for key, value in expected.items() if value is not None}


def contents(broker: Broker) -> dict[Any, Any]:
    with TableView(broker, "t") as view:
        return dict(view)


@pytest.mark.stress
def test_ctrl_c_at_any_moment_of_compaction_loses_nothing() -> None:
    """What was found by it: a log that took itself for being cleaned for ever; a swap that was announced, and its file closed; a file
    that had its name already, and was to be renamed again.
    """
    broker, _, expected = prepared()
    places = moments(lambda: broker.compact("t", roll=True), of_each=1)
    assert contents(broker) == expected
    broker.close()
    assert len(places) > 200
    # Every fifth, another fifth in each run; all of them take half a minute.
    first = random.SystemRandom().randrange(5)
    for moment in places[first::5]:
        broker, disk, expected = prepared()
        interrupted_at(moment, lambda broker=broker: broker.compact("t", roll=True))  # type: ignore[misc]
        assert contents(broker) == expected, moment
        (*_, result) = broker.compact("t", roll=True)
        assert result.is_complete, moment
        assert contents(broker) == expected, moment
        log = broker.partition("t", 0).log
        assert log.first_dirty_offset == log.segments[-1].base_offset, moment
        broker.close()
        left = [name for name in disk.list_dir("/data/topics/t-0") if "cleaned" in name]
        assert left == [], moment
        with Broker("/data", clock=VirtualClock(), filesystem=disk, seed=1) as broker:
            assert broker.recovery_report.clean, moment
            assert contents(broker) == expected, moment

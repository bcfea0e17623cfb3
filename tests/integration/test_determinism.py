"""One seed decides everything: time, randomness and files are arguments, so that any run can be had again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from streamlog import Broker, Producer
from streamlog.testing import VirtualClock
from tests.support.scenario import Scenario

ROOT = Path(__file__).parents[2]


def run_elsewhere(seed: int, hash_seed: int) -> list[str]:
    """Return the log of a run in another process, whose sets and dicts of strings are in another order."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.scenario", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_same_seed_gives_the_same_events_and_files_in_every_process() -> None:
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    log = Scenario(seed).run()
    times_ms = [float(line.split()[0]) for line in log]
    assert times_ms == sorted(times_ms), "time only goes forward"
    # It must have been a day worth telling.
    for event in (
        "delivered",
        "reads",
        "is assigned",
        "gives up",
        "has lost",
        "deleted extra",
        "classic",
        "outside had",
        "committed",
        "_ChangeOfMindError",
    ):
        assert any(event in line for line in log), event
    for hash_seed in (0, 4_294_967_295):
        assert run_elsewhere(seed, hash_seed) == log


def choices(seed: int | None) -> tuple[str, list[int]]:
    """Return what the library chose in a program that always does the same."""
    with Broker(clock=VirtualClock(), seed=seed) as broker:
        topic = broker.create_topic("t", partitions=8)
        with Producer(broker, partitioner="random") as producer:
            futures = [producer.send("t", b"v") for _ in range(40)]
        return topic.topic_id, [future.result().partition for future in futures]


def test_choices_follow_from_the_seed_and_differ_without_one() -> None:
    assert choices(7) == choices(7)
    for other in (8, None):
        topic_id, partitions = choices(other)
        assert topic_id != choices(7)[0]
        assert partitions != choices(7)[1]


def test_seed_that_was_drawn_can_be_read_and_given_again() -> None:
    with Broker() as broker:
        topic = broker.create_topic("t", partitions=8)
        seed = broker.runtime.random.seed
    assert choices(seed)[0] == topic.topic_id

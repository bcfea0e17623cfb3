"""Promise P1: an acknowledged record survives the death of the process at any instant."""

from __future__ import annotations

import os
import random

import pytest

from tests.crash.child import MODES
from tests.crash.kill_loop import kill_loop

KILLS = int(os.environ.get("STREAMLOG_KILLS", "56"))


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_loses_and_doubles_nothing_acknowledged() -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    counts = kill_loop(KILLS, seed)
    assert counts["kills"] == KILLS
    # The loop must have had something to lose.
    assert counts["records acknowledged"] > 10 * KILLS
    assert sum(counts[f"kills in mode {mode}"] for mode in MODES) == KILLS

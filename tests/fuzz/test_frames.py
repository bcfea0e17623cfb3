"""Malformed frames end in an answer or in the end of their connection. ``make wire-frames`` sends millions."""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz.frames import run

FRAMES = int(os.environ.get("STREAMLOG_FRAMES", "20000"))


@pytest.mark.slow
def test_malformed_frames_harm_nobody() -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    outcomes, _ = run(FRAMES, seed)
    assert sum(outcomes.values()) == FRAMES
    # Frames that never get past the first check would show nothing.
    assert outcomes["answered"] > FRAMES // 10, f"seed {seed}: {outcomes}"
    assert outcomes["closed"] > FRAMES // 10, f"seed {seed}: {outcomes}"

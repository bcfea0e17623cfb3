"""Promises P2 and P3: what is acknowledged as durable survives a power loss, and of the rest a prefix does, on a real file system."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.power_cuts import SKIPPED_STATUS

SCRIPT = Path(__file__).with_name("power_cuts.py")
CUTS = int(os.environ.get("STREAMLOG_POWER_CUTS", "25"))


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_power_cut_at_any_moment_takes_nothing_that_was_on_the_disk() -> None:
    seed = random.randrange(1 << 31)
    command = [sys.executable, str(SCRIPT), str(CUTS), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    if done.returncode == SKIPPED_STATUS:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    cuts, acked = re.findall(r"^all +([\d,]+) +([\d,]+) ", done.stdout, re.MULTILINE)[0]
    assert int(cuts.replace(",", "")) == CUTS
    assert int(acked.replace(",", "")) > CUTS, "there must have been something to lose"

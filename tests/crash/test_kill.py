"""Promise P1: what was acknowledged survives the death of the process at any instant."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_loop.py")
KILLS = int(os.environ.get("STREAMLOG_KILLS", "50"))


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="forks, signals and limits as Linux has them")
def test_con_9_killed_at_any_moment_loses_doubles_and_skips_nothing_that_was_promised() -> None:
    """Also I17 (recovery can be killed), I18 (a clean close costs no scan), I19 (nothing is left over)."""
    # In a process of its own: it forks, and nobody can fork a process whose threads and traps are the test runner's.
    command = [sys.executable, str(SCRIPT), str(KILLS), "--seed", str(random.randrange(1 << 31))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    kills, acked = re.findall(r"^all +(\d+) +([\d,]+) ", done.stdout, re.MULTILINE)[0]
    assert int(kills) == KILLS
    assert int(acked.replace(",", "")) > 10 * KILLS, "the loop must have had something to lose"

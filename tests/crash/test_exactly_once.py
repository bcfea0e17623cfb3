"""Promise P8 on a real disk: a loop of transactions that is killed at any moment has done everything exactly once."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("exactly_once.py")
KILLS = int(os.environ.get("STREAMLOG_EXACTLY_ONCE_KILLS", "50"))


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="forks and signals as Linux has them")
def test_txn_7_output_of_a_loop_that_is_killed_again_and_again_is_the_input_once() -> None:
    """I4, I9: records and offsets of one transaction are there together or not at all, and no commit that returned is lost."""
    # In a process of its own: it forks, and nobody can fork a process whose threads are the test runner's.
    command = [sys.executable, str(SCRIPT), str(KILLS), "--seed", str(random.randrange(1 << 31))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    kills, commits = re.findall(r"^all +(\d+) +([\d,]+) ", done.stdout, re.MULTILINE)[0]
    assert int(kills) == KILLS
    assert int(commits.replace(",", "")) > KILLS, "the loop must have had something to do twice"

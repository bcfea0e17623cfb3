"""Running a program as its reader would: in its own process, in a directory of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_program(path: Path, *arguments: str, cwd: Path) -> str:
    """Run the Python program at *path* and return what it printed; fail with all of it otherwise.

    Warnings are errors there as they are in the tests.
    """
    command = [sys.executable, "-W", "error", str(path), *arguments]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, f"{path} {arguments}\n{done.stdout}\n{done.stderr}"
    assert done.stderr == ""
    return done.stdout

"""The command line in a pseudo-terminal, as a person has it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect

from tests.support.programs import ROOT

TIMEOUT_S = 100
"""How long a terminal may take to show what is expected: a machine may be busy."""


def spawn(
    data: Path, *arguments: str, columns: int = 120, lines: int = 40, home: Path | None = None
) -> pexpect.spawn[str]:
    """Run ``streamlog`` on *data* in a terminal of that size; its home, with the history, is beside the data."""
    home = home or data.parent
    environment = {
        **os.environ,
        "TERM": "xterm",
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONPATH": str(ROOT / "src"),
        "STREAMLOG_DATA": str(data),
    }
    environment.pop("COLUMNS", None)
    environment.pop("LINES", None)
    return pexpect.spawn(
        sys.executable,
        ["-W", "error", "-m", "streamlog.cli", *arguments],
        env=environment,
        dimensions=(lines, columns),
        timeout=TIMEOUT_S,
        encoding="utf-8",
    )

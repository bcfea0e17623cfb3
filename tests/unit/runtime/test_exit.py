from __future__ import annotations

import subprocess
import sys


def test_callbacks_run_at_the_end_latest_first() -> None:
    program = (
        "from streamlog.runtime.exit import at_exit\n"
        "at_exit(lambda: print('first'))\n"
        "at_exit(lambda: print('second'))\n"
        "print('end of program')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    assert done.stdout.split("\n") == ["end of program", "second", "first", ""]

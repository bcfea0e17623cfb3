"""The script `streamlog`, outside of the package: whatever it imports, Ctrl-C ends it quietly."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, see `streamlog.cli.__main__`. Ctrl-C while the library is being loaded exits with 130."""
    try:
        from streamlog.cli.__main__ import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()

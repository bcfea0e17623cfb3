"""``python -m streamlog.cli``, and what the script `streamlog` does once the library is loaded."""

from __future__ import annotations

import logging
import sys

_EXTRA = ("click", "rich")
# `failures.INTERRUPTED`, which needs click.
_INTERRUPTED = 130


def main() -> None:
    """Run the command in ``sys.argv`` and exit with its code.

    Without the extra ``cli`` say in one line how to install it, and exit with 1. Ctrl-C while the program is being
    loaded ends it as quietly as later.
    """
    try:
        from streamlog.cli.app import app
    except KeyboardInterrupt:  # before there is anybody else to see to it
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit("streamlog: the command line needs more: pip install 'streamlog-broker[cli]'")
    # What the broker logs while a command runs, such as bytes that a crash left behind, is said in one line.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("streamlog: %(levelname)s: %(message)s"))
    logging.getLogger("streamlog").addHandler(handler)
    app.main(prog_name="streamlog")


if __name__ == "__main__":
    main()

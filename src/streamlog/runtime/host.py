"""What can be asked about this machine and this process."""

from __future__ import annotations

import os
import sys
from functools import cache

_NO_LIMIT = 1_048_576
_BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"


def pid() -> int:
    """Return the id of this process; a forked child gets its own."""
    return os.getpid()


@cache
def boot_id() -> str:
    """Return a name that changes with every start of the operating system.

    Two equal ids prove that the system did not go down in between. "" means not known here: then
    nothing is proved, and a caller has to assume that it did.
    """
    try:
        with open(_BOOT_ID_FILE, encoding="ascii") as file:
            return file.read(64).strip()
    except (OSError, ValueError):
        return ""


def fd_limit() -> int:
    """Return how many file descriptors this process may have open.

    The soft limit, at most 1,048,576. Every open file takes one and, before Python 3.13, every map
    of a file another.
    """
    if sys.platform == "win32":
        return 512  # the C runtime's limit; there is no setting to read
    else:  # noqa: RET505 - mypy takes what follows an `if` by platform for dead code
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _NO_LIMIT if soft == resource.RLIM_INFINITY else min(soft, _NO_LIMIT)

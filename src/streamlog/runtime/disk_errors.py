"""Turning the operating system's errors into ours."""

from __future__ import annotations

import errno
import os
from typing import NoReturn

from streamlog.errors import ClosedError, DiskFullError

# EDQUOT does not exist on Windows.
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

CLOSED_FD = -1
"""What a closed file holds in place of its descriptor; the system answers EBADF to it."""


def raise_translated(error: OSError, path: str, attempt: str) -> NoReturn:
    """Raise what callers should see for *error*, which came up on the attempt to *attempt*.

    * no space, quota or file size left: DiskFullError, with errno and filename;
    * a closed file: ClosedError;
    * anything else: *error* itself, with the filename added if it had none.
    """
    if error.errno is not None and error.errno in _NO_ROOM:
        raise disk_full(path, attempt, error.errno) from error
    if error.errno == errno.EBADF:
        raise closed(path) from error
    if error.filename is None and error.errno is not None:
        error.filename = path
    raise error


def disk_full(path: str, attempt: str, number: int) -> DiskFullError:
    """Return the error for having no room to *attempt*."""
    error = DiskFullError(f"{path}: no room to {attempt}", errno=number)
    error.filename = path
    error.strerror = f"No room to {attempt}"  # what str() shows, between number and filename
    return error


def injected_error(number: int, path: str | None = None, target: str | None = None) -> OSError:
    """Return the error that the system raises under *number*, for tests that make calls fail.

    *path* and *target* are the names that were in the call; None where it was given a descriptor.
    """
    if path is None:
        return OSError(number, os.strerror(number))
    if target is None:
        return OSError(number, os.strerror(number), path)
    return OSError(number, os.strerror(number), path, None, target)


def closed(path: str) -> ClosedError:
    """Return the error for using a file after its `close`."""
    return ClosedError(f"{path}: the file is closed, or was opened before a fork")

"""Waiting for what another thread is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable

_LIMIT_S = 60.0


def eventually(is_so: Callable[[], object]) -> None:
    """Return once *is_so* says so; fail if that takes far too long."""
    end = time.monotonic() + _LIMIT_S
    while not is_so():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.001)

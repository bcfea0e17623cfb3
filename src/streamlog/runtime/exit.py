"""Doing something when the interpreter ends."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def at_exit(callback: Callable[[], object]) -> None:
    """Call *callback* when the interpreter ends in an orderly way, latest registered first.

    Other threads may still run. Never called after a signal that kills, ``os._exit`` or a crash, so
    nothing may depend on it; called in a forked child that ends in an orderly way as well.
    """
    atexit.register(callback)

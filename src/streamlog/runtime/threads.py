"""The thread primitives, so that no other layer imports `threading`.

A test that drives everything from one thread replaces the clock, not these.
"""

from __future__ import annotations

from threading import (
    TIMEOUT_MAX,
    Condition,
    Lock,
    RLock,
    Thread,
    current_thread,
    get_ident,
)
from threading import (
    enumerate as _all_threads,
)
from threading import local as ThreadLocal  # noqa: N812 - it is a class
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "TIMEOUT_MAX",
    "Condition",
    "Lock",
    "RLock",
    "Thread",
    "ThreadLocal",
    "current_thread",
    "get_ident",
    "is_alive",
    "spawn",
]


def is_alive(ident: int) -> bool:
    """Return whether a thread of that `get_ident` is running; an ident may be given again."""
    return any(thread.ident == ident for thread in _all_threads())


def spawn(name: str, target: Callable[[], None]) -> Thread:
    """Start *target* in a new thread called *name* and return the thread.

    The thread is a daemon: it never keeps the interpreter alive. Correctness must not depend on its
    last words, which a kill would swallow as well.

    Raises RuntimeError when the system has no thread left or the interpreter is shutting down.
    """
    thread = Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread

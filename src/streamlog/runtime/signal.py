"""Waking one waiting thread, as fast as the interpreter allows."""

from __future__ import annotations

import threading

# The raw lock behind threading.Condition. The documented name would be threading.Lock(), which is
# the same object; `allocate_lock` only says what it is used for here: a binary semaphore.
from _thread import allocate_lock

_LONGEST_WAIT_S = threading.TIMEOUT_MAX


class Signal:
    """A flag that one thread waits for and any thread may set.

    It works like `threading.Event` for a single waiter and costs a fraction: the flag *is* one raw
    lock, held while the flag is down. Waiting acquires the lock, setting releases it, so a wake is
    a single hand-over, where a `Condition` allocates a lock per wait and takes a second one again
    after waking.

    The order that loses no wake-up::

        signal.clear()               # waiter
        if not ready():              # waiter: looks after clearing
            signal.wait(timeout_s)

        make_ready()                 # setter: sets after the change is visible
        signal.set()

    Threads: `set` and `is_set` any, at any time; `clear` and `wait` by one thread at a time.
    """

    __slots__ = ("__weakref__", "_acquire", "_is_down", "_release")

    def __init__(self) -> None:
        lock = allocate_lock()
        lock.acquire()
        # Bound once: an attribute load is a good part of what set() costs.
        self._acquire = lock.acquire
        self._release = lock.release
        self._is_down = lock.locked

    def set(self) -> None:
        """Raise the flag and wake the waiter. Setting it again changes nothing."""
        if self._is_down():
            try:
                self._release()
            except RuntimeError:
                pass  # another thread raised it in between: the flag is up, which was the aim

    def clear(self) -> None:
        """Take the flag down. Taking it down again changes nothing."""
        self._acquire(False)

    def is_set(self) -> bool:
        """Return whether the flag is up."""
        return not self._is_down()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the flag is up; return False if *timeout_s* seconds passed before that.

        None waits without a limit, 0 or less does not wait. The flag stays up. In the main thread,
        Ctrl-C ends the wait.
        """
        if timeout_s is None:
            self._acquire()
        elif timeout_s <= 0:
            return not self._is_down()
        elif not self._acquire(True, min(timeout_s, _LONGEST_WAIT_S)):
            return False
        # The flag stays up for the next look at it. A set() between the two lines is not lost:
        # it raises the flag, and then this one has nothing left to do.
        try:
            self._release()
        except RuntimeError:
            pass
        return True

    def __repr__(self) -> str:
        return f"<Signal {'set' if self.is_set() else 'clear'}>"

"""What a disk that can lose its power knows about all of its files at once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamlog.runtime import RLock

if TYPE_CHECKING:
    from streamlog.testing.crash_content import CrashContent
    from streamlog.testing.crash_directory import CrashDirectory


class CrashJournal:
    """The order of everything that was done to one disk, and what of it is not yet safe.

    Files and directories of the disk share it. Each change takes a `step` before it is made and tells
    `done` after it; between two steps the disk stands still, so that is where crashes happen.

    Threads: the lock is held from a step to the end of what it caused.
    """

    __slots__ = (
        "capacity_bytes",
        "changed",
        "dirty",
        "is_off",
        "is_recording",
        "last_step",
        "lock",
        "on_step",
        "time_ms",
        "used_bytes",
    )

    def __init__(self, time_ms: Callable[[], int], capacity_bytes: int | None) -> None:
        self.lock = RLock()
        self.time_ms = time_ms
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        #: Whether versions are kept. Without, the disk is a plain one: what is stored is safe at once.
        self.is_recording = True
        self.is_off = False
        self.last_step = 0
        #: Called after each change with a few words about it.
        self.on_step: Callable[[str], None] | None = None
        # Ordered by when they first had something to lose.
        self.dirty: dict[CrashContent, None] = {}
        self.changed: dict[CrashDirectory, None] = {}

    def step(self) -> int:
        """Return the number of the change that is about to be made."""
        if self.is_off:
            raise OSError(errno.EIO, "The power of this disk was cut")
        self.last_step += 1
        return self.last_step

    def done(self, what: str, path: str) -> None:
        """Tell that a change was made."""
        if self.on_step is not None:
            self.on_step(f"{what} {path}")

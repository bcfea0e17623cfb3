"""A program on a disk that may crash at any step: what the explorer needs of each."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable

from streamlog.runtime import VirtualClock
from streamlog.testing import CrashFileSystem
from streamlog.testing.crash_images import CrashImage, kill_image, power_images


class CrashSession(ABC):
    """One program from its first open to its last step. Every operation is a method; chance chooses its arguments."""

    def __init__(self, name: str, capacity_bytes: int | None) -> None:
        self.chance = random.Random(name)
        self.disk = CrashFileSystem(capacity_bytes=capacity_bytes)
        self.clock = VirtualClock()
        #: Whether the broker is recovering from a power cut, so that no more than that spared is owed.
        self.power_failed = False
        self._on_step: Callable[[str], None] | None = None

    @property
    def on_step(self) -> Callable[[str], None] | None:
        """Called after each change of the disk."""
        return self._on_step

    @on_step.setter
    def on_step(self, callback: Callable[[str], None] | None) -> None:
        self._on_step = self.disk.on_step = callback

    def run(self, operation: str) -> None:
        """Do one operation; one that makes no sense now does nothing."""
        getattr(self, operation)()

    def kill(self) -> None:
        self._crash(kill_image(self.disk))

    def power(self) -> None:
        images = list(power_images(self.disk, self.chance))
        self._crash(self.chance.choice([*images[:2], self.chance.choice(images)]))

    @abstractmethod
    def _crash(self, image: CrashImage) -> None:
        """Go on with a new broker on the disk that *image* is."""

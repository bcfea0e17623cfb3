"""The outside world, bundled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from streamlog.runtime.clock import Clock
    from streamlog.runtime.filesystem import FileSystem
    from streamlog.runtime.randomness import RandomSource


@frozen
class Runtime:
    """Time, files and chance of one broker. Replace all three and every run is the same."""

    clock: Clock
    """What time it is and how to wait."""

    filesystem: FileSystem
    """Where files are."""

    random: RandomSource
    """Where chance comes from."""

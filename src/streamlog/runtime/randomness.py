"""Chance as an argument: one seed, any number of independent streams."""

from __future__ import annotations

import hashlib
import itertools
import os
from random import Random
from uuid import UUID

Chance = Random
"""What `RandomSource.stream` gives out, for layers that may not import `random`."""


class RandomSource:
    """Gives out random generators that all follow from one seed.

    The n-th request for a name always yields the same generator for the same seed, whatever other
    names were asked for in between, in every process and under every ``PYTHONHASHSEED``.

    >>> RandomSource(7).stream("partitioner").random() == RandomSource(7).stream("partitioner").random()
    True

    Threads: any. Not for secrets.
    """

    __slots__ = ("_requests", "seed")

    def __init__(self, seed: int | None = None) -> None:
        self.seed = int.from_bytes(os.urandom(8), "big") if seed is None else seed
        """The seed in use; without one given, a fresh one that can be noted and passed again."""
        self._requests: dict[str, itertools.count[int]] = {}

    def stream(self, name: str) -> Random:
        """Return a new generator for *name*, independent of all others.

        Asking for the same name again gives a different generator: two producers that both ask for
        ``"partitioner"`` do not choose alike. Keep the generator; making one costs microseconds.
        """
        return Random(int.from_bytes(self._digest(name), "big"))

    def uuid(self, name: str) -> UUID:
        """Return a new version 4 UUID; a different one at each call."""
        return UUID(bytes=self._digest(f"uuid:{name}")[:16], version=4)

    def _digest(self, name: str) -> bytes:
        # Both steps are atomic: two threads never get the same number.
        number = next(self._requests.setdefault(name, itertools.count()))
        # hash() depends on PYTHONHASHSEED, and neighbouring integer seeds give related generators.
        return hashlib.sha256(f"{self.seed}/{number}/{name}".encode()).digest()

"""What the requests and answers of all connections of a listener take in memory."""

from __future__ import annotations

from typing import Protocol

#: As much as a transport reads at once.
_READ_BYTES = 256 * 1024
#: An answer takes at most that part of what is left, so that there is some for the next.
_PART = 4


class Holder(Protocol):
    """A connection."""

    def read_on(self) -> None:
        """There is room now."""


class RequestMemory:
    """Bounds what is read of requests that are not answered yet. Threads: the listener's loop.

    When the bound is reached, whoever wants more waits, in the order in which they came. One of them is let through all the same until it
    is answered: a request larger than the bound is served, and many halves that fill it up together do not wait for each other for ever.
    Source: Kafka ``queued.max.request.bytes`` (KIP-72), which counts what a request says it will be as soon as it says so.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[Holder, int] = {}
        self._waiting: dict[Holder, None] = {}
        self._favoured: Holder | None = None
        self.used_bytes = 0
        """What is held by all together."""

    @property
    def is_short(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def hold(self, holder: Holder, size_bytes: int) -> None:
        """Say how much *holder* has now, instead of what it said before: less when a request was answered, whatever came behind it. With 0 it
        is forgotten unless it waits.
        """
        before = self._held.pop(holder, 0)
        self.used_bytes += size_bytes - before
        if size_bytes:
            self._held[holder] = size_bytes
        if self.used_bytes < self._limit_bytes or (
            size_bytes < before and holder is self._favoured
        ):
            self._favoured = None
        if size_bytes < before:
            self._wake()

    def may_read(self, holder: Holder) -> bool:
        """Return whether *holder* may read on; if not it waits, for a call of its `read_on`."""
        if self.used_bytes < self._limit_bytes or holder is self._favoured:
            return True
        if self._favoured is None:
            self._favoured = holder
            return True
        self._waiting[holder] = None
        return False

    def forget(self, holder: Holder) -> None:
        """It wants no more. What it holds is its own until it says otherwise."""
        self._waiting.pop(holder, None)
        if holder is self._favoured:
            self._favoured = None
            self._wake()

    def _wake(self) -> None:
        room = self._limit_bytes - self.used_bytes
        while self._waiting and self._favoured is None:  # nobody is while there is room
            holder = next(iter(self._waiting))
            del self._waiting[holder]
            if room <= 0:
                self._favoured = holder
            room -= _READ_BYTES
            holder.read_on()


class ResponseMemory:
    """Counts what clients have not read yet of their answers. Threads: the listener's loop; `room_bytes` any."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0
        """What waits to be read by all together."""

    @property
    def room_bytes(self) -> int:
        """How large an answer may be that can be made smaller: a quarter of what is left."""
        return max(self._limit_bytes - self.used_bytes, 0) // _PART

    @property
    def is_short(self) -> bool:
        """Whether little is left."""
        return self.used_bytes > self._limit_bytes - self._limit_bytes // _PART

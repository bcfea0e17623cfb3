"""A compacted topic of an application: what is put there, and what a key has to show after a death.

A key belongs to one thread, so what was put for it came in one order. Of all that was put since the topic was last read, the last that
was acknowledged or anything newer may be what the key shows now; never anything older, nor what a tombstone had removed.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import attrs

TABLE = "table"

PARTITIONS = 2

KEYS_A_THREAD = 7

CONFIGS: dict[str, object] = {
    "cleanup_policy": "compact",
    "segment_bytes": 3_000,
    "file_delete_delay_ms": 1,
    # A tombstone goes with the second pass that meets it.
    "delete_retention_ms": 0,
    "min_cleanable_dirty_ratio": 0.0,
}


class Put(NamedTuple):
    """What was sent for a key: the run and the number name it, and make its value."""

    run: int
    number: int
    is_tombstone: bool = False


NOTHING = Put(-1, -1, is_tombstone=True)
"""Before anything was put."""


def value_of(key: str, put: Put) -> bytes | None:
    """Return the value that goes with *put*, which says by itself what it is."""
    if put.is_tombstone:
        return None
    name = b"%s|%d|%d|" % (key.encode(), put.run, put.number)
    return name + b"." * (zlib.crc32(name) % 200)


def put_of(key: str, value: bytes | None) -> Put | None:
    """Return what was put, None for a tombstone; ValueError when nobody sent it."""
    if value is None:
        return None
    _, run, number, _ = value.split(b"|")
    put = Put(int(run), int(number))
    if value != value_of(key, put):
        raise ValueError(value)
    return put


@attrs.define
class KeyLedger:
    """One key: what was put for it since it was last read, in order, and how much of that was promised."""

    puts: list[Put] = attrs.Factory(lambda: [NOTHING])
    #: Index of the last one that was acknowledged, and of the last one that survives a power loss.
    acked: int = 0
    durable: int = 0

    def put(self, put: Put) -> None:
        """Take down what is about to be sent."""
        self.puts.append(put)

    def stored(self, run: int, number: int, *, is_durable: bool) -> None:
        """Take down that it was acknowledged."""
        self.acked = max(self.acked, self._index(run, number))
        if is_durable:
            self.durable = self.acked

    def _index(self, run: int, number: int) -> int:
        return next(i for i, put in enumerate(self.puts) if put[:2] == (run, number))

    def problem(self, found: Put | None, *, lost_power: bool) -> str | None:
        """Return why the key must not show *found* (None: it is not there), None if it may."""
        allowed = self.puts[self.durable if lost_power else self.acked :]
        shown = [None if put.is_tombstone else put for put in allowed]
        return None if found in shown else f"expected one of {shown[:5]}, found {found}"

    def take_over(self, found: Put | None) -> None:
        """Go on from what the key shows."""
        self.puts, self.acked, self.durable = [found or NOTHING], 0, 0

"""``fetch_min_bytes``: small arrivals wait for each other, up to ``fetch_max_wait_ms``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamlog.client.assigned_partition import AssignedPartition
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from streamlog.config import ConsumerConfig

NEVER = float("inf")


class MinBytesGate:
    """Decides when a fetch has enough to be answered. Only made when ``fetch_min_bytes`` > 1.

    Open: what was there when it opened may be returned, by as many polls as it takes. Closed: a fetch
    is under way since some moment, also between polls, and opens the gate when the bytes or the time
    are reached. A fetch that found nothing in its time starts again, as Kafka's consumer sends the
    next one.

    Threads: the consumer's. Source: Kafka ``DelayedFetch``.
    """

    def __init__(self, config: ConsumerConfig) -> None:
        self._min_bytes = config.fetch_min_bytes
        self._max_wait_ms = config.fetch_max_wait_ms
        self._max_partition_bytes = config.max_partition_fetch_bytes
        self._isolation = config.isolation_level
        # How far each partition may be returned, as found when the gate opened.
        self._released: dict[AssignedPartition, int] = {}
        self._since_ms: float | None = None
        self.due_ms = NEVER
        """When what is there will be returned although it is little; infinity when nothing is."""

    def is_open(self, partitions: Iterable[AssignedPartition], now_ms: float) -> bool:
        """Return whether records may be returned now."""
        active = [one for one in partitions if one.is_fetchable]
        if any(one.taken < self._released.get(one, -1) for one in active):
            return True
        if self._since_ms is None:
            self._since_ms = now_ms
        available_bytes = self._available_bytes(active)
        waited_ms = now_ms - self._since_ms
        if self.due_ms == NEVER and self._max_wait_ms:
            # Nothing was there so far: the fetches that came back empty do not count.
            waited_ms %= self._max_wait_ms
            self._since_ms = now_ms - waited_ms
        if available_bytes >= self._min_bytes or (
            available_bytes and waited_ms >= self._max_wait_ms
        ):
            self._open(active)
            return True
        self.due_ms = self._since_ms + self._max_wait_ms if available_bytes else NEVER
        return False

    def _open(self, active: list[AssignedPartition]) -> None:
        self._since_ms = None
        self.due_ms = NEVER
        self._released = {}
        for one in active:
            try:
                if one.partition is not None:
                    self._released[one] = one.partition.end_offset(self._isolation)
            except StreamlogError:
                continue

    def _available_bytes(self, active: list[AssignedPartition]) -> int:
        """Return how much could be read, counted up to ``fetch_min_bytes``."""
        found = 0
        for one in active:
            if one.partition is None:
                continue
            wanted = min(self._min_bytes - found, self._max_partition_bytes)
            try:
                end_offset = one.partition.end_offset(self._isolation)
                batches = one.partition.read_batches(one.taken, wanted, end_offset)
            except StreamlogError:
                return self._min_bytes  # collect meets it as well, and deals with it
            found += sum([view.size_bytes for view in batches])
            if found >= self._min_bytes:
                break
        return found

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

    Open: what is there may be returned, until all of it was. Closed: a fetch is under way since
    some moment, also between polls, and opens the gate when the bytes or the time are reached. A
    fetch that found nothing in its time starts again, as Kafka's consumer sends the next one.

    Threads: the consumer's. Source: Kafka ``DelayedFetch``.
    """

    def __init__(self, config: ConsumerConfig) -> None:
        self._min_bytes = config.fetch_min_bytes
        self._max_wait_ms = config.fetch_max_wait_ms
        self._max_partition_bytes = config.max_partition_fetch_bytes
        self._isolation = config.isolation_level
        self._is_open = False
        self._since_ms: float | None = None
        self.due_ms = NEVER
        """When what is there will be returned although it is little; infinity when nothing is."""

    def is_open(self, partitions: Iterable[AssignedPartition], now_ms: float) -> bool:
        """Return whether records may be returned now."""
        if self._is_open:
            return True
        if self._since_ms is None:
            self._since_ms = now_ms
        available_bytes = self._available_bytes(partitions)
        waited_ms = now_ms - self._since_ms
        if available_bytes >= self._min_bytes or (
            available_bytes and waited_ms >= self._max_wait_ms
        ):
            self._is_open = True
            self._since_ms = None
            self.due_ms = NEVER
        elif available_bytes:
            self.due_ms = self._since_ms + self._max_wait_ms
        else:
            self._since_ms = now_ms - (waited_ms % self._max_wait_ms if self._max_wait_ms else 0)
            self.due_ms = NEVER
        return self._is_open

    def close(self) -> None:
        """Everything was returned: the next fetch waits again."""
        self._is_open = False

    def _available_bytes(self, partitions: Iterable[AssignedPartition]) -> int:
        """Return how much could be read, counted up to ``fetch_min_bytes``."""
        found = 0
        for assigned in partitions:
            partition = assigned.partition
            if partition is None or assigned.position is None or assigned.paused:
                continue
            wanted = min(self._min_bytes - found, self._max_partition_bytes)
            try:
                found += len(partition.read(assigned.position, wanted, self._isolation))
            except StreamlogError:
                return self._min_bytes  # collect meets it as well, and deals with it
            if found >= self._min_bytes:
                break
        return found

"""A partition's name. Lowest of all modules, so that errors can carry it; import it from structs."""

from __future__ import annotations

from typing import NamedTuple


class TopicPartition(NamedTuple):
    """A topic name and a partition number; sorts by topic, then number. ``str()`` is ``orders-3``."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"

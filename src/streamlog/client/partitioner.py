"""Which partition a record goes to. Source: semantics C7; Kafka ``BuiltInPartitioner``, librdkafka.

A partitioner sees the *serialized* key. The same key must go to the same partition today, after a
restart, and from a Kafka client in another language, so nothing here depends on the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from zlib import crc32

from streamlog.client.murmur2 import murmur2
from streamlog.errors import InvalidConfigurationError


class RandomNumbers(Protocol):
    """What partitioners need of a `random.Random`."""

    def random(self) -> float:
        """Return the next number, 0 included, 1 excluded."""
        ...


class Partitioner(Protocol):
    """Chooses partitions; the caller's own may be passed as ``partitioner``. Threads: any, so one
    that keeps state must guard it.
    """

    memoisable: bool
    """True: for a non-empty key the answer depends on nothing but key and partition count, so a
    producer may remember it.
    """

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int | None:
        """Return a partition from 0 to *partition_count* - 1; None leaves it to the producer, which
        fills one partition's batch after the other (`StickyPartition`).
        """
        ...


PartitionFunction = Callable[[str, "bytes | None", "bytes | None", int], int]
"""``function(topic, key, value, partition_count)``, the short form of the caller's own partitioner.
"""


class Murmur2Partitioner:
    """Kafka's default: murmur2 of the key, an empty one too; sticky without a key (PAR-1)."""

    __slots__ = ()
    memoisable = True

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int | None:
        """Return ``(murmur2(key) & 0x7fffffff) % partition_count``, None for a null key."""
        if key is None:
            return None
        return (murmur2(key) & 0x7FFFFFFF) % partition_count


class Murmur2RandomPartitioner:
    """librdkafka's ``murmur2_random``: as Kafka's default, but random without a key (PAR-3)."""

    __slots__ = ("_random",)
    memoisable = True

    def __init__(self, random: RandomNumbers) -> None:
        self._random = random.random

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int:
        """Return murmur2's partition, a random one for a null key."""
        if key is None:
            return int(self._random() * partition_count)
        return (murmur2(key) & 0x7FFFFFFF) % partition_count


class ConsistentPartitioner:
    """librdkafka's ``consistent``: CRC-32 of the key; null and empty keys go to partition 0."""

    __slots__ = ()
    memoisable = True

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int:
        """Return ``crc32(key) % partition_count``."""
        return crc32(key or b"") % partition_count


class ConsistentRandomPartitioner:
    """librdkafka's default: CRC-32 of the key, random for a null *or empty* key (PAR-3)."""

    __slots__ = ("_random",)
    memoisable = True

    def __init__(self, random: RandomNumbers) -> None:
        self._random = random.random

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int:
        """Return ``crc32(key) % partition_count``, a random one without a key."""
        if not key:
            return int(self._random() * partition_count)
        return crc32(key) % partition_count


class RandomPartitioner:
    """A random partition for each record, whatever its key. Keeps no order of a key."""

    __slots__ = ("_random",)
    memoisable = False

    def __init__(self, random: RandomNumbers) -> None:
        self._random = random.random

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int:
        """Return a random partition."""
        return int(self._random() * partition_count)


class RoundRobinPartitioner:
    """Each topic's partitions in turn from 0, whatever the keys (PAR-4). Keeps no order of a key."""

    __slots__ = ("_counters",)
    memoisable = False

    def __init__(self) -> None:
        # next() of a count is one step of the interpreter, so threads need no lock to share it.
        self._counters: dict[str, Iterator[int]] = {}

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int:
        """Return the partition after the one returned last for *topic*."""
        counter = self._counters.get(topic)
        if counter is None:
            counter = self._counters.setdefault(topic, itertools.count())
        return next(counter) % partition_count


class StickyPartitioner:
    """Every record as if it had no key: one partition until its batch is full, then another
    (PAR-2).
    """

    __slots__ = ()
    memoisable = False

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> None:
        """Return None: the producer chooses."""
        return


class CustomPartitioner:
    """The caller's own, with its answers checked (PRD-11)."""

    __slots__ = ("_choose", "_may_be_none", "memoisable")

    def __init__(self, partitioner: Partitioner | PartitionFunction) -> None:
        method = getattr(partitioner, "partition", None)
        self._may_be_none = method is not None  # a function that gives None forgot its return
        self._choose: Callable[..., Any] = partitioner if method is None else method  # type: ignore[assignment]
        self.memoisable = bool(getattr(partitioner, "memoisable", False))

    def partition(
        self, topic: str, key: bytes | None, value: bytes | None, partition_count: int
    ) -> int | None:
        """Return the caller's choice; ValueError when it is no partition of the topic."""
        chosen = self._choose(topic, key, value, partition_count)
        if chosen is None and self._may_be_none:
            return None
        if isinstance(chosen, bool) or not isinstance(chosen, int):
            raise TypeError(
                f"topic {topic!r}: partitioner {self._choose!r}: expected an int, found {chosen!r}"
            )
        if not 0 <= chosen < partition_count:
            raise ValueError(
                f"topic {topic!r}: partitioner {self._choose!r}: expected a partition from 0 to"
                f" {partition_count - 1}, found {chosen}"
            )
        return chosen


def resolve_partitioner(
    spec: str | Partitioner | PartitionFunction | None,
    random: RandomNumbers,
    *,
    ignore_keys: bool = False,
) -> Partitioner:
    """Return the partitioner that the producer's ``partitioner`` key asks for.

    None is Kafka's default; *ignore_keys* (``partitioner_ignore_keys``) makes that treat every key
    as null. *random* serves those that choose at random. InvalidConfigurationError for an unknown
    name.
    """
    if spec is None or spec == "murmur2":
        return StickyPartitioner() if ignore_keys else Murmur2Partitioner()
    if not isinstance(spec, str):
        return CustomPartitioner(spec)
    makers: dict[str, Callable[[], Partitioner]] = {
        "murmur2_random": lambda: Murmur2RandomPartitioner(random),
        "consistent": ConsistentPartitioner,
        "consistent_random": lambda: ConsistentRandomPartitioner(random),
        "random": lambda: RandomPartitioner(random),
        "round_robin": RoundRobinPartitioner,
        "sticky": StickyPartitioner,
    }
    if spec not in makers:
        names = ", ".join(map(repr, ("murmur2", *makers)))
        raise InvalidConfigurationError(f"unknown partitioner {spec!r}: expected one of {names}")
    return makers[spec]()

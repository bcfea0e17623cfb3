"""What consumers put into the bytes that a classic group's coordinator passes on.

Kafka's own layouts, so that consumers of other languages can be in one group with ours: numbers are
big-endian; text has its length in two bytes, -1 for null; lists and byte strings theirs in four.

============  =======================================================================================
subscription  version i16, topics [text], user data bytes, then from version 1 owned partitions
              [text, [i32]], from 2 generation i32, from 3 rack text
assignment    version i16, partitions [text, [i32]], user data bytes
============  =======================================================================================

Reading is total: ValueError for anything that is cut short or makes no sense; what follows the fields
of a known version belongs to a newer one and is skipped. Source: Kafka
``ConsumerProtocolSubscription.json``, ``ConsumerProtocolAssignment.json``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from streamlog.structs import TopicPartition

SUBSCRIPTION_VERSION = 3
ASSIGNMENT_VERSION = 3
NO_GENERATION = -1

_I16, _I32 = struct.Struct(">h"), struct.Struct(">i")


class ConsumerSubscription(NamedTuple):
    """What one member tells the leader."""

    topics: frozenset[str]
    user_data: bytes | None = None
    owned: tuple[TopicPartition, ...] = ()
    generation: int = NO_GENERATION


class ConsumerAssignment(NamedTuple):
    """What the leader tells one member."""

    partitions: frozenset[TopicPartition]
    user_data: bytes | None = None


def encode_subscription(subscription: ConsumerSubscription) -> bytes:
    """Return *subscription* in the newest layout."""
    topics = sorted(subscription.topics)
    return b"".join(
        (
            _I16.pack(SUBSCRIPTION_VERSION),
            _I32.pack(len(topics)),
            *map(_text, topics),
            _bytes(subscription.user_data),
            _partitions(subscription.owned),
            _I32.pack(subscription.generation),
            _I16.pack(-1),  # no rack
        )
    )


def decode_subscription(data: bytes) -> ConsumerSubscription:
    """Return what `encode_subscription`, or any Kafka client, wrote. Raises ValueError."""
    reader = _Reader(data)
    version = reader.i16()
    if version < 0:
        raise ValueError(f"subscription: expected a version of 0 or more, found {version}")
    topics = frozenset(reader.text() for _ in range(reader.count()))
    user_data = reader.optional_bytes()
    owned = tuple(reader.partitions()) if version >= 1 else ()
    generation = reader.i32() if version >= 2 else NO_GENERATION
    return ConsumerSubscription(topics, user_data, owned, generation)


def version_of(subscription: bytes) -> int:
    """Return the version of a subscription, or of the newest layout if that is older. Raises ValueError."""
    return min(max(_Reader(subscription).i16(), 0), ASSIGNMENT_VERSION)


def encode_assignment(assignment: ConsumerAssignment, version: int = ASSIGNMENT_VERSION) -> bytes:
    """Return *assignment* in the newest layout, which is that of all versions; *version* is what it says that it is."""
    return b"".join(
        (
            _I16.pack(version),
            _partitions(assignment.partitions),
            _bytes(assignment.user_data),
        )
    )


def decode_assignment(data: bytes) -> ConsumerAssignment:
    """Return what `encode_assignment`, or any Kafka client, wrote; nothing for no bytes at all, which is
    what a member gets that the leader forgot. Raises ValueError.
    """
    if not data:
        return ConsumerAssignment(frozenset())
    reader = _Reader(data)
    version = reader.i16()
    if version < 0:
        raise ValueError(f"assignment: expected a version of 0 or more, found {version}")
    return ConsumerAssignment(frozenset(reader.partitions()), reader.optional_bytes())


def encode_owned(partitions: Iterable[TopicPartition], generation: int) -> bytes:
    """Return the user data of the sticky assignor. Source: Kafka ``StickyAssignorUserData`` v1."""
    return _partitions(partitions) + _I32.pack(generation)


def decode_owned(data: bytes | None) -> tuple[tuple[TopicPartition, ...], int]:
    """Return what `encode_owned` wrote; nothing of a member that tells nothing. Raises ValueError."""
    if data is None:
        return (), NO_GENERATION
    reader = _Reader(data)
    partitions = tuple(reader.partitions())
    # Version 0 had no generation.
    return partitions, reader.i32() if reader.is_more else NO_GENERATION


def _text(text: str) -> bytes:
    data = text.encode()
    return _I16.pack(len(data)) + data


def _bytes(data: bytes | None) -> bytes:
    return _I32.pack(-1) if data is None else _I32.pack(len(data)) + data


def _partitions(partitions: Iterable[TopicPartition]) -> bytes:
    numbers: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        numbers.setdefault(topic, []).append(number)
    parts = [_I32.pack(len(numbers))]
    for topic, of_topic in numbers.items():
        parts += _text(topic), _I32.pack(len(of_topic)), *map(_I32.pack, of_topic)
    return b"".join(parts)


class _Reader:
    """Takes fields off the front. Raises ValueError at the end of the bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def is_more(self) -> bool:
        return self._position < len(self._data)

    def i16(self) -> int:
        (number,) = _I16.unpack(self._take(2))
        return int(number)

    def i32(self) -> int:
        (number,) = _I32.unpack(self._take(4))
        return int(number)

    def count(self) -> int:
        """The length of a list, which cannot be more than there are bytes left."""
        count = self.i32()
        if not 0 <= count <= len(self._data) - self._position:
            raise ValueError(f"expected the length of a list, found {count}")
        return count

    def text(self) -> str:
        return self._take(self.i16()).decode()

    def optional_bytes(self) -> bytes | None:
        size = self.i32()
        return None if size == -1 else self._take(size)

    def partitions(self) -> list[TopicPartition]:
        found = []
        for _ in range(self.count()):
            topic = self.text()
            found += [TopicPartition(topic, self.i32()) for _ in range(self.count())]
        return found

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if size < 0 or end > len(self._data):
            raise ValueError(
                f"expected {size} more bytes, found {len(self._data) - self._position}"
            )
        data = self._data[self._position : end]
        self._position = end
        return data

"""Which records are the newest of their keys, in so much memory and no more."""

from __future__ import annotations

from collections.abc import Sequence
from operator import eq

#: What a key costs besides its bytes: the object around them, a number, and its share of a table that was just doubled.
ENTRY_BYTES = 176


class KeyMap:
    """The keys of the part of a log that no pass has seen, and which of its records are the newest of theirs.

    Filled once, front to back; what does not fit is left to a later pass. A record goes by its number among those that were added, so that the second time
    nobody has to look its key up again: that would be three misses of the processor's cache for each.

    Threads: one. Source: Kafka ``SkimpyOffsetMap``, which keeps hashes in place of keys and so may, once in a very long time, lose a record.
    """

    __slots__ = ("_limit_bytes", "is_newest", "newest", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        #: The number of the last record of each key.
        self.newest: dict[bytes | None, int] = {}
        #: By the number of a record: 1 if it is the last one of its key, 0 if not, or if its key is null.
        self.is_newest = bytearray()
        #: An estimate of the memory that all this takes.
        self.used_bytes = 0

    def add(self, keys: Sequence[bytes | None] | None, record_count: int) -> bool:
        """Note the *keys* of one batch, behind all that were added before; None: all are null.

        Returns False, with nothing noted, when there is no room for them. The first batch always fits, or no pass would ever get on.
        """
        newest, is_newest = self.newest, self.is_newest
        if keys is None:
            self.used_bytes += record_count
            is_newest += bytes(record_count)
            return True
        before = list(map(newest.get, keys))
        key_bytes = sum(map(len, filter(None, keys)))
        used_bytes = self.used_bytes + record_count
        at_most = used_bytes + key_bytes + ENTRY_BYTES * before.count(None)
        if at_most > self._limit_bytes and newest:
            new = set(keys).difference(newest)
            new.discard(None)
            at_least = sum(map(len, filter(None, new))) + ENTRY_BYTES * len(new)
            if used_bytes + at_least > self._limit_bytes:
                return False
        for number in before:
            if number is not None:
                is_newest[number] = 0
        known, start = len(newest), len(is_newest)
        numbers = range(start, start + record_count)
        newest.update(zip(keys, numbers, strict=True))
        newest.pop(None, None)
        if len(set(keys)) == record_count and None not in keys:
            is_newest += b"\1" * record_count
        else:
            # Not those that have the key of a later one of the same batch.
            is_newest += bytes(map(eq, map(newest.get, keys), numbers))
        grown = len(newest) - known
        self.used_bytes = used_bytes + ENTRY_BYTES * grown + key_bytes * grown // record_count
        return True

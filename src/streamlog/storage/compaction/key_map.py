"""Which records are the newest of their keys, in so much memory and no more."""

from __future__ import annotations

from collections.abc import Sequence

#: What a key costs besides its bytes: the object around them, a number, and its share of a table that was just doubled.
ENTRY_BYTES = 176


class KeyMap:
    """The keys of the part of a log that no pass has seen, and which of its records are the newest of theirs.

    Filled once, front to back, and only then asked; what does not fit is left to a later pass. A record goes by its number among those that
    were added, so that nobody has to look its key up again: a look-up is two or three misses of the processor's cache, and most of what
    a record costs.

    Threads: one. Source: Kafka ``SkimpyOffsetMap``, which keeps hashes in place of keys and so may, once in a very long time, lose a record.
    """

    __slots__ = ("_is_newest", "_limit_bytes", "_record_count", "newest", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        #: The number of the last record of each key.
        self.newest: dict[bytes | None, int] = {}
        # Made when all keys are there.
        self._is_newest: bytearray | None = None
        self._record_count = 0
        #: An estimate of the memory that all this takes.
        self.used_bytes = 0

    def add(self, keys: Sequence[bytes | None] | None, record_count: int) -> bool:
        """Note the *keys* of one batch, behind all that were added before; None: all are null.

        Returns False, with nothing noted, when there is no room for them. The first batch always fits, or no pass would ever get on.
        """
        self._is_newest = None
        newest, start = self.newest, self._record_count
        if keys is None:
            self.used_bytes += record_count
            self._record_count += record_count
            return True
        key_bytes = sum(map(len, filter(None, keys)))
        used_bytes = self.used_bytes + record_count
        if used_bytes + key_bytes + ENTRY_BYTES * record_count > self._limit_bytes and newest:
            # If all were new there would be no room: find out what is.
            new = set(keys).difference(newest)
            new.discard(None)
            needed_bytes = sum(map(len, filter(None, new))) + ENTRY_BYTES * len(new)
            if used_bytes + needed_bytes > self._limit_bytes:
                return False
        known = len(newest)
        newest.update(zip(keys, range(start, start + record_count), strict=True))
        newest.pop(None, None)
        grown = len(newest) - known
        self._record_count += record_count
        self.used_bytes = used_bytes + ENTRY_BYTES * grown + key_bytes * grown // record_count
        return True

    @property
    def is_newest(self) -> bytearray:
        """By the number of a record: 1 if it is the last one of its key, 0 if not, or if its key is null. Made at the first call behind an `add`."""
        flags = self._is_newest
        if flags is None:
            self._is_newest = flags = bytearray(self._record_count)
            for number in self.newest.values():
                flags[number] = 1
        return flags

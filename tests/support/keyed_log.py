"""What compaction may take from a log, and what it has to, as a list: the oracle of programs that compact.

`KeyedLog` is told when a pass begins and what it says it did. A record may be gone once a newer one of its key was in reach of a pass, once
its transaction is aborted, or once its horizon is over when it is a tombstone (CMP-3 to CMP-5); after a pass that ended it has to be.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator

import attrs

from tests.support.transaction_model import Entry, LogModel, Outcome, ShownLog, Transaction

KEYS = 4
DELETE_RETENTION_MS = 2_000
#: Later than the times of all markers, so that a lookup by time finds records alone.
FIRST_MS = 1_700_003_000_000


def content_of(name: bytes) -> tuple[bytes, bytes | None, int]:
    """Return key, value and timestamp of the record of this *name*; one in four is a tombstone."""
    crc = zlib.crc32(name)
    return b"key-%d" % (crc % KEYS), None if crc // 7 % 4 == 0 else name, FIRST_MS + crc % 1000


@attrs.define(eq=False)
class KeyedEntry(Entry):
    """One record; its `value` is its name."""

    #: When a pass that may have seen it began, and when one that did: of a tombstone.
    may_be_seen_ms: int | None = None
    seen_ms: int | None = None
    may_be_gone: bool = False
    must_be_gone: bool = False

    @property
    def key(self) -> bytes:
        return content_of(self.value)[0]

    @property
    def is_tombstone(self) -> bool:
        return content_of(self.value)[1] is None

    @property
    def is_aborted(self) -> bool:
        return self.transaction is not None and self.transaction.outcome is Outcome.ABORTED


@attrs.define(eq=False)
class KeyedLog(LogModel):
    """One partition; all of its records have their offsets from the moment when they are about to be appended."""

    #: Where the next record goes: the log says so.
    log_end: Callable[[], int] = attrs.field(default=lambda: 0)
    #: Up to here a pass has been that told so.
    cleaned_end: int = 0
    #: So many of the entries the crash had to spare.
    survived: int = 0

    def sent(self, values: list[bytes], transaction: Transaction | None) -> list[Entry]:
        start = self.log_end()
        entries: list[Entry] = [
            KeyedEntry(value, transaction, offset) for offset, value in enumerate(values, start)
        ]
        self.entries += entries
        return entries

    def acknowledged(self, *, last_offset: int, on_disk: bool) -> None:
        assert self.entries[-1].offset == last_offset, (self.entries[-1], last_offset)
        self.process_end = len(self.entries)
        if on_disk:
            self.disk_end = self.process_end

    # ---- compaction

    def pass_begins(self, now_ms: int, end_offset: int) -> None:
        """A pass may go up to *end_offset*, of which everything below is decided."""
        for entry, is_newest in self._below(end_offset):
            if entry.is_aborted or not is_newest:
                entry.may_be_gone = True
            elif entry.is_tombstone and entry.may_be_seen_ms is None:
                entry.may_be_seen_ms = now_ms
            elif entry.is_tombstone and now_ms >= entry.may_be_seen_ms + DELETE_RETENTION_MS:
                entry.may_be_gone = True

    def pass_ended(self, now_ms: int, end_offset: int) -> None:
        """A pass that began at *now_ms* says that it came to *end_offset*."""
        self.cleaned_end = max(self.cleaned_end, end_offset)
        below = sum(entry.offset < end_offset for entry in self.entries)  # type: ignore[operator]
        self.disk_end = max(self.disk_end, below)  # it syncs before it compares
        for entry, is_newest in self._below(end_offset):
            if entry.is_aborted or not is_newest:
                entry.must_be_gone = True
            elif entry.is_tombstone and entry.seen_ms is None:
                entry.seen_ms = now_ms
            elif entry.is_tombstone and now_ms >= entry.seen_ms + DELETE_RETENTION_MS:
                entry.must_be_gone = True

    def _below(self, end_offset: int) -> list[tuple[KeyedEntry, bool]]:
        """Return the records below *end_offset*, each with whether it is the newest of its key there."""
        found: list[tuple[KeyedEntry, bool]] = []
        keys: set[bytes] = set()
        for entry in reversed(self.entries):
            assert isinstance(entry, KeyedEntry)
            assert entry.offset is not None
            if entry.offset < end_offset:
                found.append((entry, entry.key not in keys))
                if not entry.is_aborted:
                    keys.add(entry.key)
        return found

    # ---- what must be

    def recovered(self, found: ShownLog) -> None:
        del self.entries[self._end_of(found, self.survived) :]
        self.process_end = len(self.entries)
        self.disk_end = min(self.disk_end, self.process_end)

    def _end_of(self, found: ShownLog, owed: int) -> int:
        """Return how many of the entries were in the log that *found* was made of, at least *owed*. Markers may have the places of
        those behind."""
        last = max((offset for offset, _ in found.uncommitted), default=-1)
        count = sum(entry.offset <= last for entry in self.entries)  # type: ignore[operator]
        return max(count, owed)

    def differences(
        self, found: ShownLog, owed: int, committed: set[Transaction], *, crashed: bool
    ) -> Iterator[str]:
        if owed and found.end <= (last := self.entries[owed - 1].offset):
            yield f"I1: acknowledged up to {last}, the log ends at {found.end}"
        by_offset = {entry.offset: entry for entry in self.entries}
        offsets = [offset for offset, _ in found.uncommitted]
        if offsets != sorted(set(offsets)):
            yield f"I5: offsets {offsets}"
        for offset, name in found.uncommitted:
            entry = by_offset.get(offset)
            if entry is None or entry.value != name:
                yield f"I2, I3: expected {entry}, found {name!r} at {offset}"
        left = set(offsets)
        count = self._end_of(found, owed)
        for number, entry in enumerate(self.entries):
            assert isinstance(entry, KeyedEntry)
            if number >= count:
                if entry.transaction in committed and not entry.may_be_gone:
                    yield f"I9: committed, and not there: {entry}"
            elif entry.offset not in left and not entry.may_be_gone:
                yield f"CMP-3: nothing took its place, and it is gone: {entry}"
            elif entry.offset in left and entry.must_be_gone:
                yield f"CMP-3, CMP-4, CMP-5: a pass was to take it, and it is there: {entry}"
        stable_end = self.stable_end(found, crashed=crashed)
        if found.last_stable_offset != stable_end:
            yield f"TXN-13: last stable offset: expected {stable_end}, found {found.last_stable_offset}"
        counting = [
            entry
            for entry in self.entries[:count]
            if entry.offset < stable_end
            and (entry.transaction is None or entry.transaction in committed)
        ]
        expected = [(e.offset, e.value) for e in counting if e.offset in left]
        if found.committed != expected:
            yield f"I9, CMP-4: read_committed: expected {expected}, found {found.committed}"
        wanted = as_map(entry.value for entry in counting)
        replayed = as_map(name for _, name in found.committed)
        if replayed != wanted:
            yield f"CMP-9: a full replay gives {replayed}, not {wanted}"


def as_map(names: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return what who reads all these records has in the end."""
    contents: dict[bytes, bytes] = {}
    for name in names:
        key, value, _ = content_of(name)
        contents.pop(key, None)
        if value is not None:
            contents[key] = value
    return contents

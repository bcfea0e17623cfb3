"""What transactions and idempotent producers should leave behind, as lists.

The oracle of `tests.property.test_transactions` and of the crash programs with transactions. `TransactionModel` is told what is about to
be done and what returned; `TransactionModel.differences` compares a broker's `Shown` with that. I4: nothing is there twice. I9: of a
transaction all or nothing is visible under read_committed, over all partitions and the group's offset; what was aborted, or never
ended, never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import attrs

At = tuple[int, "bytes | None"]
"""Offset and value of a record."""


class Outcome(Enum):
    """What became of a transaction."""

    OPEN = "open"
    #: Its commit was asked for and did not return: all of it is there, or nothing.
    ENDING = "ending"
    COMMITTED = "committed"
    ABORTED = "aborted"


@attrs.define(eq=False)
class Transaction:
    """One transaction of one producer."""

    name: str
    outcome: Outcome = Outcome.OPEN
    #: When it was first heard of by the coordinator, None: not yet.
    began_ms: int | None = None


@attrs.define(eq=False)
class Entry:
    """One record in the order of a log. Its offset is known once the append returned."""

    value: bytes
    transaction: Transaction | None
    offset: int | None = None


@attrs.define(eq=False)
class LogModel:
    """The records of one partition, without the markers between them."""

    entries: list[Entry] = attrs.Factory(list)
    #: So many of them survive the process, and the power.
    process_end: int = 0
    disk_end: int = 0

    def sent(self, values: list[bytes], transaction: Transaction | None) -> list[Entry]:
        """Note records that are about to be appended."""
        entries = [Entry(value, transaction) for value in values]
        self.entries += entries
        return entries

    def acknowledged(self, *, last_offset: int, on_disk: bool) -> None:
        """Note that all were appended, the newest at *last_offset* and those of its run before it."""
        offset = last_offset
        for entry in reversed(self.entries):
            if entry.offset is not None:
                break
            entry.offset = offset
            offset -= 1
        self.process_end = len(self.entries)
        if on_disk:
            self.disk_end = self.process_end

    def not_sent(self) -> None:
        """Forget what was to be appended: it was refused, and cannot be anywhere."""
        del self.entries[self.process_end :]

    def recovered(self, found: ShownLog) -> None:
        """Go on from what a crash left, which was found to be right."""
        del self.entries[len(found.uncommitted) :]
        for entry, (offset, _) in zip(self.entries, found.uncommitted, strict=True):
            entry.offset = offset
        self.process_end = len(self.entries)
        self.disk_end = min(self.disk_end, self.process_end)

    def differences(
        self, found: ShownLog, owed: int, committed: set[Transaction], *, crashed: bool
    ) -> Iterator[str]:
        """Yield, in words, what *found* must not be; *owed* entries have to be there."""
        count = len(found.uncommitted)
        if count < owed:
            yield f"I1: acknowledged: {owed} records, found {count}"
        for (offset, value), entry in zip(found.uncommitted, self.entries, strict=False):
            if value != entry.value or entry.offset not in (None, offset):
                yield f"I2, I4, I5: expected {entry}, found {value!r} at {offset}"
                return
        if count > len(self.entries):
            yield f"I3, I4: never sent: {found.uncommitted[len(self.entries) :]}"
            return
        torn = [e for e in self.entries[count:] if e.transaction in committed]
        if torn:
            yield f"I9: committed, and not there: {torn}"
        stable_end = self.stable_end(found, crashed=crashed)
        if found.last_stable_offset != stable_end:
            yield f"TXN-13: last stable offset: expected {stable_end}, found {found.last_stable_offset}"
        expected = [
            (offset, entry.value)
            for (offset, _), entry in zip(found.uncommitted, self.entries, strict=False)
            if offset < stable_end and (entry.transaction is None or entry.transaction in committed)
        ]
        if found.committed != expected:
            yield f"I9: read_committed: expected {expected}, found {found.committed}"

    def stable_end(self, found: ShownLog, *, crashed: bool) -> int:
        """Return the last stable offset that *found* should have: after a crash nothing is open."""
        if crashed:
            return found.end
        is_open = (Outcome.OPEN, Outcome.ENDING)
        unstable = [
            e.offset
            for e in self.entries
            if e.transaction is not None and e.transaction.outcome in is_open
        ]
        return min([o for o in unstable if o is not None], default=found.end)


@attrs.define(eq=False)
class OffsetCommit:
    """One offset of the group, in the order in which they were stored; *transaction* None: by itself."""

    offset: int
    transaction: Transaction | None


@attrs.frozen
class ShownLog:
    """One partition, read by two consumers."""

    uncommitted: list[At]
    committed: list[At]
    last_stable_offset: int
    end: int


@attrs.frozen
class Shown:
    """What a broker shows of itself."""

    logs: list[ShownLog]
    group_offset: int | None


@attrs.define(eq=False)
class TransactionModel:
    """Everything the program knows. *is_closed*: closed, and nothing touched since."""

    logs: list[LogModel]
    commits: list[OffsetCommit] = attrs.Factory(list)
    commits_process_end: int = 0
    commits_disk_end: int = 0
    is_closed: bool = False

    # ---- what happens

    def ending(self, transaction: Transaction) -> None:
        """A commit begins."""
        transaction.outcome = Outcome.ENDING

    def committed(self, transaction: Transaction) -> None:
        """A commit returned: whatever happens to the power, all of it is there (durability 3.14)."""
        transaction.outcome = Outcome.COMMITTED
        self._reached_disk(transaction)

    def _reached_disk(self, transaction: Transaction) -> None:
        for log in self.logs:
            ends = [n for n, e in enumerate(log.entries, 1) if e.transaction is transaction]
            log.disk_end = max([log.disk_end, *ends])
        ends = [n for n, one in enumerate(self.commits, 1) if one.transaction is transaction]
        self.commits_disk_end = max([self.commits_disk_end, *ends])

    def offset_stored(self) -> None:
        """The newest of the commits is stored."""
        self.commits_process_end = len(self.commits)

    def synced(self) -> None:
        """All that was acknowledged is on the disk."""
        for log in self.logs:
            log.disk_end = log.process_end
        self.commits_disk_end = self.commits_process_end

    def recovered(self, shown: Shown) -> None:
        """Go on from what a crash left, which was found to be right: what was open is over, nothing more is owed."""
        visible = {value for log in shown.logs for _, value in log.committed}
        for transaction in self._transactions():
            if transaction.outcome is Outcome.ENDING:
                is_committed = self._was_committed(transaction, visible, shown)
                transaction.outcome = Outcome.COMMITTED if is_committed else Outcome.ABORTED
            elif transaction.outcome is Outcome.OPEN:
                transaction.outcome = Outcome.ABORTED
        for log, found in zip(self.logs, shown.logs, strict=True):
            log.recovered(found)
        kept = [n for n, one in enumerate(self.commits, 1) if one.offset == shown.group_offset]
        # What was stored behind the one that counts was aborted, or lost.
        end = max([self.commits_disk_end, *kept])
        on_disk = set(self.commits[: self.commits_disk_end])
        self.commits = [
            one
            for one in self.commits[:end]
            if one.transaction is None or one.transaction.outcome is Outcome.COMMITTED
        ]
        self.commits_process_end = len(self.commits)
        self.commits_disk_end = sum(one in on_disk for one in self.commits)
        self.is_closed = False

    def _transactions(self) -> set[Transaction]:
        found = {entry.transaction for log in self.logs for entry in log.entries}
        found |= {one.transaction for one in self.commits}
        return {transaction for transaction in found if transaction is not None}

    # ---- what must be

    def differences(
        self, shown: Shown, *, crashed: bool = False, power_failed: bool = False
    ) -> Iterator[str]:
        """Yield, in words, what *shown* must not be; after a crash what was open is aborted, and the ends may be missing."""
        visible = {value for log in shown.logs for _, value in log.committed}
        committed = {
            transaction
            for transaction in self._transactions()
            if self._was_committed(transaction, visible, shown)
        }
        for number, (log, found) in enumerate(zip(self.logs, shown.logs, strict=True)):
            owed = log.disk_end if power_failed else log.process_end
            for difference in log.differences(found, owed, committed, crashed=crashed):
                yield f"partition {number}: {difference}"
        yield from self._group_differences(shown, committed, power_failed=power_failed)

    def _was_committed(self, transaction: Transaction, visible: set[bytes], shown: Shown) -> bool:
        if transaction.outcome is not Outcome.ENDING:
            return transaction.outcome is Outcome.COMMITTED
        values = {e.value for log in self.logs for e in log.entries if e.transaction is transaction}
        if values:
            return bool(values & visible)
        return any(
            one.transaction is transaction and one.offset == shown.group_offset
            for one in self.commits
        )

    def _group_differences(
        self, shown: Shown, committed: set[Transaction], *, power_failed: bool
    ) -> Iterator[str]:
        """The offset stored last counts, of those that count at all; a power cut takes the end of the list."""
        least = self.commits_disk_end if power_failed else self.commits_process_end
        counts = [one.transaction is None or one.transaction in committed for one in self.commits]
        for number, one in enumerate(self.commits, 1):
            if one.transaction is not None and counts[number - 1]:
                least = max(least, number)
        allowed: set[int | None] = set()
        for end in range(least, len(self.commits) + 1):
            stored = [one.offset for one, c in zip(self.commits[:end], counts, strict=False) if c]
            allowed.add(stored[-1] if stored else None)
        if shown.group_offset not in allowed:
            yield f"I9: group offset: expected one of {allowed}, found {shown.group_offset}"

    def fingerprint(self) -> object:
        """Return what decides which disks are right."""
        return (
            self.is_closed,
            tuple((len(log.entries), log.process_end, log.disk_end) for log in self.logs),
            (len(self.commits), self.commits_process_end, self.commits_disk_end),
            tuple(sorted((t.name, t.outcome.value) for t in self._transactions())),
        )

"""One directory of a disk that can lose its power: its names, and which of their changes are safe."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from streamlog.testing.crash_content import CrashContent
from streamlog.testing.crash_journal import CrashJournal


class CrashDirectory:
    """Names and what they stand for.

    Syncing a file says nothing about its name: a name that was made, changed or removed is safe after
    a sync of the directory that holds it. Until then each change may have happened or not, but two of
    one name never out of order, and a rename as a whole or not at all, also between directories.

    Threads: whoever holds the journal's lock.
    """

    __slots__ = ("entries", "journal", "pending", "safe")

    def __init__(self, journal: CrashJournal) -> None:
        self.journal = journal
        self.entries: dict[str, CrashDirectory | CrashContent] = {}
        self.safe: dict[str, CrashDirectory | CrashContent] = {}
        self.pending: list[NameChange] = []

    def sync(self) -> None:
        """Make every change of a name in here safe."""
        for change in list(self.pending):
            _make_safe(change)

    def names_after(self, survived: Container[int]) -> dict[str, CrashDirectory | CrashContent]:
        """Return the entries when of all changes that are not safe only the steps in *survived* happened."""
        if not self.pending:
            return self.safe
        names = dict(self.safe)
        for change in self.pending:
            if change.step in survived:
                _apply(change, self, names)
        return names


class NameChange(NamedTuple):
    """What one call did to names: for each the directory, the name, and what it stands for now (None: nothing)."""

    step: int
    parts: tuple[tuple[CrashDirectory, str, CrashDirectory | CrashContent | None], ...]


def change_names(
    step: int, *parts: tuple[CrashDirectory, str, CrashDirectory | CrashContent | None]
) -> None:
    """Make the change, to be safe after a sync of one of its directories."""
    change = NameChange(step, parts)
    journal = parts[0][0].journal
    for directory in {id(part[0]): part[0] for part in parts}.values():
        _apply(change, directory, directory.entries)
        if journal.is_recording:
            directory.pending.append(change)
            journal.changed[directory] = None
        else:
            _apply(change, directory, directory.safe)


def without(changes: list[NameChange], lost: Container[int]) -> set[int]:
    """Return the steps of *changes* that happened when those in *lost* did not: nor what followed on the same names."""
    survived: set[int] = set()
    unknown: set[tuple[int, str]] = set()
    for change in changes:
        names = {(id(directory), name) for directory, name, _ in change.parts}
        if change.step in lost or names & unknown:
            unknown |= names
        else:
            survived.add(change.step)
    return survived


def _apply(
    change: NameChange,
    directory: CrashDirectory,
    names: dict[str, CrashDirectory | CrashContent],
) -> None:
    for where, name, node in change.parts:
        if where is not directory:
            continue
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _make_safe(change: NameChange) -> None:
    for directory, name, _ in change.parts:
        # What another directory of this change still had to say about the name comes first.
        for earlier in list(directory.pending):
            if earlier.step < change.step and any(
                where is directory and other == name for where, other, _ in earlier.parts
            ):
                _make_safe(earlier)
    for directory in {id(part[0]): part[0] for part in change.parts}.values():
        if change in directory.pending:
            directory.pending.remove(change)
            _apply(change, directory, directory.safe)
            if not directory.pending:
                directory.journal.changed.pop(directory, None)

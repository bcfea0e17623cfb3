"""What can be left of a disk when the process dies, or the power goes, at this moment."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import attrs

from streamlog.runtime import Chance
from streamlog.testing.crash_content import (
    PAGE_BYTES,
    SECTOR_BYTES,
    ZERO_PAGE,
    CrashContent,
    FileVersion,
    cut_to_size,
    key_of,
)
from streamlog.testing.crash_directory import CrashDirectory, NameChange, without
from streamlog.testing.crash_filesystem import CrashFileSystem
from streamlog.testing.crash_journal import CrashJournal

#: Of so many changes of names each subset is tried, of more than that only some.
_ALL_SUBSETS_OF = 3

_EVERYTHING = 1 << 62


@attrs.frozen(eq=False)
class CrashImage:
    """One thing that a crash can leave behind. Valid as long as the disk it is of is not changed."""

    #: In words, for messages.
    description: str
    #: Whether the power went, so that what was not synced may be gone. Without, only the process died.
    power_failed: bool
    _disk: CrashFileSystem
    # What is left of the files that have something to lose; the others are as they were synced.
    _files: dict[CrashContent, FileVersion]
    # The steps of the changes of names that happened.
    _names: frozenset[int]

    def key(self) -> int:
        """Return a number that tells this image from others, within one run of the interpreter."""
        return hash((self.power_failed, self._disk.boot, self._key_of(self._disk.root)))

    def _key_of(self, directory: CrashDirectory) -> int:
        entries = directory.names_after(self._names)
        keys = []
        for name in sorted(entries):
            node = entries[name]
            if isinstance(node, CrashDirectory):
                keys.append((name, self._key_of(node)))
            else:
                version = self._files.get(node)
                keys.append((name, node.safe_key if version is None else key_of(version)))
        return hash(tuple(keys))

    def filesystem(self, *, recording: bool = True) -> CrashFileSystem:
        """Return a new disk with this on it, where the next boot, or the next process, finds it.

        After a power cut all that is there is safe. After a mere kill what was not safe still is
        not: the next power cut may take it. Without *recording* the new disk cannot crash itself.
        """
        old = self._disk
        disk = CrashFileSystem(time_ms=old.journal.time_ms)
        disk.boot = old.boot + self.power_failed
        journal = disk.journal
        journal.capacity_bytes = old.journal.capacity_bytes
        journal.is_recording = recording
        journal.last_step = old.journal.last_step
        disk._temporary_number = old._temporary_number
        if self.power_failed or not recording:
            disk.root = self._rebuilt(old.root, journal)
        else:
            disk.root = _twin(old.root, journal)
        journal.used_bytes = _used_bytes(disk.root)
        return disk

    def _rebuilt(self, directory: CrashDirectory, journal: CrashJournal) -> CrashDirectory:
        new = CrashDirectory(journal)
        for name, node in directory.names_after(self._names).items():
            if isinstance(node, CrashDirectory):
                new.entries[name] = self._rebuilt(node, journal)
            else:
                version = self._files.get(node) or FileVersion(node.safe, node.safe_size)
                copy = CrashContent(journal, cut_to_size(version))
                copy.modified_ms = node.modified_ms
                new.entries[name] = copy
        new.safe = dict(new.entries)
        return new


def kill_image(disk: CrashFileSystem) -> CrashImage:
    """Return what the next process finds when this one dies now: everything."""
    return _Moment(disk).image("kill", _EVERYTHING, power_failed=False)


def power_images(
    disk: CrashFileSystem, chance: Chance, *, subsets: int = 4
) -> Iterator[CrashImage]:
    """Yield what the next boot may find when the power goes now, the likeliest to matter first.

    Nothing that was not synced; everything; everything up to each step; everything but each step;
    random pages in random versions, torn between sectors, with random names (*subsets* times, as
    *chance* has it); the last page torn at each sector; the names in every combination; sizes
    without the bytes. Many will be equal: compare `CrashImage.key`.
    """
    moment = _Moment(disk)
    yield moment.image("nothing unsynced", 0)
    yield moment.image("everything", _EVERYTHING)
    steps = moment.steps()
    for step in steps[:-1]:
        yield moment.image(f"up to step {step}", step)
    for step in steps:
        yield moment.image_without(step)
    for number in range(subsets if steps else 0):
        yield moment.random_image(number, chance)
    yield from moment.torn_images()
    yield from moment.name_images(chance)
    if moment.contents:
        yield moment.image_of_sizes()


class _Moment:
    """A disk that stands still, and the ways in which its power can go."""

    def __init__(self, disk: CrashFileSystem) -> None:
        self.disk = disk
        self.contents: list[CrashContent] = list(disk.journal.dirty)
        changes = {c.step: c for d in disk.journal.changed for c in d.pending}
        self.changes: list[NameChange] = [changes[step] for step in sorted(changes)]
        self._all_names = frozenset(changes)

    def steps(self) -> list[int]:
        """Return every step that has an effect which may be lost."""
        steps = set(self._all_names)
        for content in self.contents:
            steps.update(step for step, _ in content.sizes)
            for versions in content.versions.values():
                steps.update(step for step, _ in versions)
        return sorted(steps)

    def image(self, description: str, last_step: int, *, power_failed: bool = True) -> CrashImage:
        files = {content: content.version_at(last_step) for content in self.contents}
        names = frozenset(step for step in self._all_names if step <= last_step)
        return CrashImage(description, power_failed, self.disk, files, names)

    def image_without(self, step: int) -> CrashImage:
        files = {content: content.without(step) for content in self.contents}
        names = self._all_names
        if step in names:
            names = frozenset(without(self.changes, {step}))
        return CrashImage(f"all but step {step}", True, self.disk, files, names)

    def random_image(self, number: int, chance: Chance) -> CrashImage:
        loss = chance.choice((0.2, 0.5, 0.8))
        files = {content: _random_version(content, chance, loss) for content in self.contents}
        lost = {change.step for change in self.changes if chance.random() < loss}
        names = frozenset(without(self.changes, lost))
        return CrashImage(f"pages and names by chance, {number}", True, self.disk, files, names)

    def torn_images(self) -> Iterator[CrashImage]:
        last: tuple[int, CrashContent, int] | None = None
        for content in self.contents:
            for page, versions in content.versions.items():
                if last is None or versions[-1][0] > last[0]:
                    last = versions[-1][0], content, page
        if last is None:
            return
        _, torn, page = last
        versions = torn.versions[page]
        new = versions[-1][1]
        old = torn.safe.get(page, ZERO_PAGE)
        for position in range(SECTOR_BYTES, PAGE_BYTES, SECTOR_BYTES):
            files = {content: content.version_at(_EVERYTHING) for content in self.contents}
            files[torn].pages[page] = new[:position] + old[position:]
            what = f"last page torn at byte {position}"
            yield CrashImage(what, True, self.disk, files, self._all_names)

    def name_images(self, chance: Chance) -> Iterator[CrashImage]:
        steps = [change.step for change in self.changes]
        if not steps:
            return
        if len(steps) <= _ALL_SUBSETS_OF:
            lost_sets = [set(c) for n in range(1, len(steps) + 1) for c in combinations(steps, n)]
        else:
            lost_sets = [{s for s in steps if chance.random() < 0.5} for _ in range(4)]
            lost_sets.append(set(steps))
        for lost in lost_sets:
            names = frozenset(without(self.changes, lost))
            for what, last_step in (("everything", _EVERYTHING), ("nothing unsynced", 0)):
                files = {content: content.version_at(last_step) for content in self.contents}
                description = f"{what} but the names of steps {sorted(lost)}"
                if last_step == 0:
                    description = f"of bytes nothing unsynced, of names all but {sorted(lost)}"
                yield CrashImage(description, True, self.disk, files, names)

    def image_of_sizes(self) -> CrashImage:
        files = {c: FileVersion(dict(c.safe), c.size) for c in self.contents}
        return CrashImage("sizes without their bytes", True, self.disk, files, self._all_names)


def _random_version(content: CrashContent, chance: Chance, loss: float) -> FileVersion:
    pages = dict(content.safe)
    for page, versions in content.versions.items():
        candidates = [content.safe.get(page, ZERO_PAGE), *(data for _, data in versions)]
        if chance.random() < loss:
            chosen = chance.choice(candidates)
        else:
            chosen = candidates[-1]
        if chance.random() < 0.2:
            other = chance.choice(candidates)
            chosen = b"".join(
                chance.choice((chosen, other))[at : at + SECTOR_BYTES]
                for at in range(0, PAGE_BYTES, SECTOR_BYTES)
            )
        pages[page] = chosen
    sizes = [content.safe_size, *(size for _, size in content.sizes)]
    return FileVersion(pages, chance.choice(sizes) if chance.random() < loss else sizes[-1])


def _twin(directory: CrashDirectory, journal: CrashJournal) -> CrashDirectory:
    """Return a copy of a directory and all below it, with everything that is not safe yet."""
    twins: dict[int, CrashDirectory | CrashContent] = {}

    def twin_of(node: CrashDirectory | CrashContent) -> CrashDirectory | CrashContent:
        found = twins.get(id(node))
        if found is not None:
            return found
        if isinstance(node, CrashContent):
            twins[id(node)] = content = node.twin(journal)
            return content
        twins[id(node)] = copy = CrashDirectory(journal)
        copy.entries = {name: twin_of(entry) for name, entry in node.entries.items()}
        copy.safe = {name: twin_of(entry) for name, entry in node.safe.items()}
        return copy

    root = twin_of(directory)
    assert isinstance(root, CrashDirectory)
    seen: dict[int, NameChange] = {}
    changed = list(directory.journal.changed)
    # Renames of directories that are themselves gone by now may lead to more that have to be known.
    for old in changed:
        copy = twin_of(old)
        assert isinstance(copy, CrashDirectory)
        for change in old.pending:
            if change.step not in seen:
                parts = []
                for where, name, node in change.parts:
                    place = twin_of(where)
                    assert isinstance(place, CrashDirectory)
                    parts.append((place, name, None if node is None else twin_of(node)))
                seen[change.step] = NameChange(change.step, tuple(parts))
            copy.pending.append(seen[change.step])
        journal.changed[copy] = None
    return root


def _used_bytes(directory: CrashDirectory) -> int:
    return sum(
        _used_bytes(node) if isinstance(node, CrashDirectory) else node.size
        for node in directory.entries.values()
    )

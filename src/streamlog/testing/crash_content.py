"""The bytes of one file as they are, as they were when last synced, and every page in between."""

from __future__ import annotations

import errno
from typing import NamedTuple

from streamlog.runtime.disk_errors import disk_full
from streamlog.testing.crash_journal import CrashJournal

PAGE_BYTES = 4096
SECTOR_BYTES = 512
ZERO_PAGE = bytes(PAGE_BYTES)

#: Stores of up to so many bytes are one store of the processor: nobody sees half of one.
_ATOMIC_BYTES = 8


class FileVersion(NamedTuple):
    """What a crash left of a file: its pages by number (those not here are zero), and its size."""

    pages: dict[int, bytes]
    size: int


class CrashContent:
    """The bytes behind a name: what a file system calls an inode.

    The system may write any page back at any time, in any order, so after a power cut each page of
    the file is as it was at the last sync or after any store since; and so, apart from them, is the
    size. Stores are cut in two with a step in between: a process may die in the middle of copying.

    Threads: as for `File`; each change holds the journal's lock.
    """

    __slots__ = (
        "_safe_key",
        "journal",
        "live",
        "modified_ms",
        "safe",
        "safe_size",
        "size",
        "sizes",
        "versions",
    )

    def __init__(self, journal: CrashJournal, version: FileVersion | None = None) -> None:
        self.journal = journal
        self.safe: dict[int, bytes] = {} if version is None else version.pages
        self.safe_size = self.size = 0 if version is None else version.size
        self.live = bytearray(-(-self.size // PAGE_BYTES) * PAGE_BYTES)
        for page, data in self.safe.items():
            self.live[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = data
        #: (step, content) of each page since the last sync, by number; (step, size) since then.
        self.versions: dict[int, list[tuple[int, bytes]]] = {}
        self.sizes: list[tuple[int, int]] = []
        self.modified_ms = journal.time_ms()
        self._safe_key: int | None = None

    # ---- as a file

    def read_at(self, position: int, size: int) -> bytes:
        """Return *size* bytes from *position*; fewer where the file ends."""
        _check_position(position, size)
        return bytes(self.live[position : min(position + size, self.size)])

    def write_at(self, position: int, data: bytes, path: str) -> None:
        """Store *data* at *position*, growing the file as needed."""
        _check_position(position, len(data))
        for start, end in _pieces(len(data)):
            with self.journal.lock:
                step = self.journal.step()
                if position + end > self.size:
                    self._resize(step, position + end, path)
                self._store(step, position + start, data[start:end])
                self.journal.done("write", path)

    def store(self, position: int, data: bytes, path: str) -> None:
        """Store *data* through a map, which cannot grow the file."""
        if position + len(data) > len(self.live):
            raise RuntimeError(
                f"{path}: SIGBUS: a store up to byte {position + len(data)} of a file of {self.size}"
            )
        for start, end in _pieces(len(data)):
            with self.journal.lock:
                self._store(self.journal.step(), position + start, data[start:end])
                self.journal.done("store", path)

    def resize(self, size: int, path: str) -> None:
        """Set the size; new bytes read as zero."""
        _check_position(size, 0)
        with self.journal.lock:
            self._resize(self.journal.step(), size, path)
            self.journal.done("resize", path)

    def sync(self, path: str) -> None:
        """Make bytes and size safe. The name is none of its business."""
        with self.journal.lock:
            self.journal.step()
            for page, versions in self.versions.items():
                self.safe[page] = versions[-1][1]
            self.safe_size = self.size
            self.versions, self.sizes, self._safe_key = {}, [], None
            self.journal.dirty.pop(self, None)
            self.journal.done("sync", path)

    def fail_sync(self, path: str) -> None:
        """Lose what a sync was to make safe, as Linux does when it cannot write: it counts as written from now on.

        It can still be read, until the power goes; no later sync tries it again.
        """
        with self.journal.lock:
            self.journal.step()
            self.versions, self.sizes = {}, []
            self.journal.dirty.pop(self, None)
            self.journal.done("failed sync", path)

    # ---- how it is done

    def _store(self, step: int, position: int, data: bytes) -> None:
        end = position + len(data)
        self.live[position:end] = data
        self.modified_ms = self.journal.time_ms()
        for page in range(position // PAGE_BYTES, -(-end // PAGE_BYTES)):
            self._note_page(step, page)

    def _resize(self, step: int, size: int, path: str) -> None:
        journal, old_size = self.journal, self.size
        if journal.capacity_bytes is not None:
            free_bytes = journal.capacity_bytes - journal.used_bytes
            if size - old_size > max(free_bytes, 0):
                attempt = f"add {size - old_size} bytes, {max(free_bytes, 0)} are free"
                raise disk_full(path, attempt, errno.ENOSPC)
        journal.used_bytes += size - old_size
        self.size = size
        self.modified_ms = journal.time_ms()
        room = -(-size // PAGE_BYTES) * PAGE_BYTES
        if room > len(self.live):
            self.live.extend(bytes(room - len(self.live)))
        if size < old_size:
            self.live[size:room] = bytes(room - size)
            if size < room:
                self._note_page(step, size // PAGE_BYTES)
            for page in range(room // PAGE_BYTES, len(self.live) // PAGE_BYTES):
                if page in self.safe or page in self.versions:
                    self.live[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = ZERO_PAGE
                    self._note_page(step, page)
            del self.live[room:]
        if journal.is_recording:
            self.sizes.append((step, size))
            journal.dirty[self] = None
        else:
            self.safe_size = size

    def _note_page(self, step: int, page: int) -> None:
        data = bytes(self.live[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])
        if self.journal.is_recording:
            self.versions.setdefault(page, []).append((step, data))
            self.journal.dirty[self] = None
        else:
            self.safe[page] = data

    # ---- after a crash

    def version_at(self, step: int) -> FileVersion:
        """Return the file as if everything up to *step* had reached the disk and nothing later."""
        pages = dict(self.safe)
        for page, versions in self.versions.items():
            for number, data in versions:
                if number > step:
                    break
                pages[page] = data
        size = self.safe_size
        for number, value in self.sizes:
            if number <= step:
                size = value
        return FileVersion(pages, size)

    def without(self, step: int) -> FileVersion:
        """Return the file as if the pages, or the size, that *step* changed were never written since."""
        pages, size = dict(self.safe), self.safe_size
        for page, versions in self.versions.items():
            lost = any(number == step for number, _ in versions)
            for number, data in versions:
                if lost and number >= step:
                    break
                pages[page] = data
        if not any(number == step for number, _ in self.sizes):
            size = self.size
        else:
            for number, value in self.sizes:
                if number < step:
                    size = value
        return FileVersion(pages, size)

    @property
    def safe_key(self) -> int:
        """Tells two safe contents apart."""
        if self._safe_key is None or not self.journal.is_recording:
            self._safe_key = key_of(FileVersion(self.safe, self.safe_size))
        return self._safe_key

    def twin(self, journal: CrashJournal) -> CrashContent:
        """Return a copy with everything that is not safe yet, as a process finds it after another was killed."""
        copy = CrashContent(journal)
        copy.live, copy.size = bytearray(self.live), self.size
        copy.safe, copy.safe_size = dict(self.safe), self.safe_size
        copy.versions = {page: list(versions) for page, versions in self.versions.items()}
        copy.sizes = list(self.sizes)
        copy.modified_ms = self.modified_ms
        if self in self.journal.dirty:
            journal.dirty[copy] = None
        return copy


def key_of(version: FileVersion) -> int:
    """Return a number that tells this version from others: the same for the same pages below the size."""
    whole, rest = divmod(version.size, PAGE_BYTES)
    pages, keys = version.pages, []
    for page in sorted(pages):
        data = pages[page]
        if page < whole:
            if data != ZERO_PAGE:
                keys.append((page, hash(data)))  # which the interpreter computes once for each page
        elif page == whole and rest and any(data[:rest]):
            keys.append((page, hash(data[:rest])))
    return hash((version.size, tuple(keys)))


def cut_to_size(version: FileVersion) -> FileVersion:
    """Return *version* without what lies behind its size, where a file that grows again reads zero."""
    whole, rest = divmod(version.size, PAGE_BYTES)
    pages = {page: data for page, data in version.pages.items() if page < whole}
    if rest and whole in version.pages:
        pages[whole] = version.pages[whole][:rest].ljust(PAGE_BYTES, b"\0")
    return FileVersion(pages, version.size)


def _pieces(size: int) -> list[tuple[int, int]]:
    if size <= _ATOMIC_BYTES:
        return [(0, size)] if size else []
    # A different place for each size, and the same in each run.
    middle = 1 + (size * 2_654_435_761 >> 7) % (size - 1)
    return [(0, middle), (middle, size)]


def _check_position(position: int, size: int) -> None:
    if position < 0 or size < 0:
        raise OSError(errno.EINVAL, f"Invalid position {position} or size {size}")

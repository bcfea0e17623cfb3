"""A file system whose calls go wrong when a plan says so."""

# The methods are documented where they are declared, in `FileSystem`.
# ruff: noqa: D102
from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from streamlog.runtime import LOCK_FILE_NAME, TEMPORARY_SUFFIX, FileSystem, join_path
from streamlog.runtime.atomic_write import replace_file
from streamlog.runtime.disk_errors import injected_error, raise_translated
from streamlog.testing.faulty_file import FaultyFile

if TYPE_CHECKING:
    from streamlog.runtime import DirectoryLock, File, Mapping, Words
    from streamlog.testing.fault_plan import FaultPlan


class FaultyFileSystem(FileSystem):
    """Passes every call on to *inner*, unless *plan* has it fail, cut short or take long.

    Around any file system: one in memory, a real one, one that simulates a loss of power. How the
    program behaves when its disk fills up, in full:

    >>> import errno
    >>> from streamlog import Broker, DiskFullError, Producer
    >>> from streamlog.testing import FaultPlan, FaultyFileSystem, MemoryFileSystem, VirtualClock
    >>> plan = FaultPlan()
    >>> disk = FaultyFileSystem(MemoryFileSystem(), plan)
    >>> with Broker("data", filesystem=disk, clock=VirtualClock()) as broker:
    ...     with Producer(broker, retries=0) as producer:
    ...         print("offset", producer.send("orders", b"first").result().offset)
    ...         full = plan.fail("allocate", errno.ENOSPC, times=None)
    ...         try:
    ...             producer.send("orders", bytes(100_000)).result()
    ...         except DiskFullError as error:
    ...             print("no room, nothing stored")
    ...         full.end()
    ...         print("offset", producer.send("orders", bytes(100_000)).result().offset)
    offset 0
    no room, nothing stored
    offset 1

    Around a `CrashFileSystem` a sync that fails loses what it was to write, as on Linux: it can be read,
    counts as written, is tried by no later sync, and is gone after a power cut.

    ``write_atomically`` is made of its steps here (make, write, sync and close a temporary file, rename
    it, sync the directory), whatever *inner* does, so that each of them can fail. ``prefault``, ``words``,
    ``is_network`` and ``boot_id`` never fail anywhere and are not counted. Stores into a map make no calls.

    Threads: as *inner*.
    """

    __slots__ = ("_temporary_number", "inner", "plan")

    def __init__(self, inner: FileSystem, plan: FaultPlan) -> None:
        self.inner = inner
        """The file system that holds the files."""
        self.plan = plan
        """What goes wrong; it may be changed at any time."""
        self._temporary_number = itertools.count(1)

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        self._check("open", path, "open the file")
        file = self.inner.open(path, create=create, exclusive=exclusive, read_only=read_only)
        return FaultyFile(file, self.plan)

    def exists(self, path: str) -> bool:
        self._check("exists", path)
        return self.inner.exists(path)

    def is_dir(self, path: str) -> bool:
        self._check("is_dir", path)
        return self.inner.is_dir(path)

    def list_dir(self, path: str) -> list[str]:
        self._check("list_dir", path)
        return self.inner.list_dir(path)

    def make_dir(self, path: str) -> None:
        self._check("make_dir", path, "make the directory")
        self.inner.make_dir(path)

    def remove_dir(self, path: str) -> None:
        self._check("remove_dir", path, "remove the directory")
        self.inner.remove_dir(path)

    def rename(self, source: str, target: str) -> None:
        fault = self.plan.check("rename", target)
        if fault is not None and fault.errno is not None:
            error = injected_error(fault.errno, source, target)
            raise_translated(error, target, f"rename {source}")
        self.inner.rename(source, target)

    def unlink(self, path: str) -> None:
        self._check("unlink", path, "remove the name")
        self.inner.unlink(path)

    def sync_dir(self, path: str) -> None:
        self._check("sync_dir", path, "sync the directory")
        self.inner.sync_dir(path)

    def file_size(self, path: str) -> int:
        self._check("file_size", path)
        return self.inner.file_size(path)

    def modified_ms(self, path: str) -> int:
        self._check("modified_ms", path)
        return self.inner.modified_ms(path)

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        self._check("read_file", path, "open the file")
        return self.inner.read_file(path, limit_bytes)

    def write_atomically(self, path: str, data: bytes) -> None:
        temporary, file = self._open_temporary(path)
        replace_file(self, path, data, temporary, file)

    def _open_temporary(self, path: str) -> tuple[str, File]:
        while True:
            temporary = f"{path}.{next(self._temporary_number)}{TEMPORARY_SUFFIX}"
            try:
                return temporary, self.open(temporary, exclusive=True)
            except FileExistsError:
                continue  # could not be removed after an earlier failure

    def lock_dir(self, path: str) -> DirectoryLock:
        self._check("lock_dir", join_path(path, LOCK_FILE_NAME), "make the lock file")
        return self.inner.lock_dir(path)

    def free_bytes(self, path: str) -> int:
        self._check("free_bytes", path)
        return self.inner.free_bytes(path)

    def is_network(self, path: str) -> bool:
        return self.inner.is_network(path)

    def boot_id(self) -> str:
        return self.inner.boot_id()

    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        self.inner.prefault(mapping, start, end)

    def words(self, mapping: Mapping) -> Words:
        return self.inner.words(mapping)

    def _check(self, call: str, path: str, attempt: str | None = None) -> None:
        """Raise what *plan* has in store for this call; calls without an *attempt* need no room."""
        fault = self.plan.check(call, path)
        if fault is None or fault.errno is None:
            return
        error = injected_error(fault.errno, path)
        if attempt is None:
            raise error
        raise_translated(error, path, attempt)

    def __repr__(self) -> str:
        return f"FaultyFileSystem({self.inner!r}, {self.plan!r})"

"""Files as the storage layer sees them: the surface that real and in-memory files share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from streamlog.runtime import host

if TYPE_CHECKING:
    from streamlog.runtime.mapping import Mapping, Words

LOCK_FILE_NAME = "LOCK"
"""The file that `FileSystem.lock_dir` locks and never deletes."""

TEMPORARY_SUFFIX = ".tmp"
"""How the names end that `FileSystem.write_atomically` uses; leftovers of a crash may be deleted."""


class File(ABC):
    """One open file. Made by ``filesystem.open``; ends with `close` or with the last reference.

    Every method raises ClosedError after `close`, DiskFullError where there is no room, quota or
    file size left (naming the file and what was asked for), and OSError as the system gives it
    otherwise.

    Threads: any number may read; writing, `allocate` and `truncate` by one at a time.
    """

    __slots__ = ("__weakref__",)

    path: str
    """The path it was opened by; a later rename does not change it."""

    @abstractmethod
    def size(self) -> int:
        """Return the size in bytes."""

    @abstractmethod
    def allocate(self, start: int, end: int) -> None:
        """Give the bytes ``start <= position < end`` room on the disk; new ones read as zero.

        The file grows to at least *end*. Stores through a map below that end cannot run out of
        space any more, which would kill the process. On failure the size is what it was before.
        """

    @abstractmethod
    def truncate(self, size: int) -> None:
        """Cut the file at *size*, or extend it by a hole that has no room yet.

        Never cut below a position that a map still reads: on a real file that kills the process.
        """

    @abstractmethod
    def read_at(self, position: int, size: int) -> bytes:
        """Return *size* bytes from *position*; fewer only where the file ends."""

    @abstractmethod
    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of *data* at *position*, growing the file as needed.

        After an error any part of it may have been written.
        """

    @abstractmethod
    def map(self, size: int, *, writable: bool) -> Mapping:
        """Return the first *size* bytes of the file as a `Mapping`.

        The mapping may be longer than *size* (it is, in memory); rely on what was allocated and
        not on ``len(mapping)``. A map does not grow with the file: after `allocate`, map again and
        write through the new one only. Older maps stay readable up to their length and show at
        least what was stored before.

        Raises ValueError for a size of 0 or beyond the end of the file.
        """

    @abstractmethod
    def sync_data(self) -> None:
        """Return once the content, stores through maps included, and the size are on the disk.

        After an error nothing is known about what is on the disk, and a later success proves
        nothing either. Other threads run meanwhile.
        """

    @abstractmethod
    def sync(self) -> None:
        """As `sync_data`, and the file's times and modes as well."""

    @abstractmethod
    def close(self) -> None:
        """Give the file back without syncing. Maps stay valid. Closing again changes nothing."""


class DirectoryLock(ABC):
    """The exclusive right to use one directory. Made by ``filesystem.lock_dir``.

    It ends with the process at the latest, however that dies.

    Threads: any.
    """

    __slots__ = ("__weakref__",)

    path: str
    """The directory."""

    @abstractmethod
    def release(self) -> None:
        """Let the directory go. Releasing again changes nothing."""

    @abstractmethod
    def abandon(self) -> None:
        """Forget the lock in a forked child, without taking it from the parent.

        Runs by itself after a fork; calling it again changes nothing.
        """


class FileSystem(ABC):
    """A tree of directories and files. Paths are strings; new files are 0600, directories 0700.

    Every method raises DiskFullError where there is no room, quota or file size left, and OSError
    as the system gives it otherwise (FileNotFoundError, PermissionError, ...).

    Threads: any.
    """

    __slots__ = ("__weakref__",)

    @abstractmethod
    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        """Open the regular file *path*.

        *create* makes an empty one if there is none; *exclusive* insists on making it and raises
        FileExistsError otherwise. A symbolic link is refused, and so is anything else that is not
        a regular file.
        """

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether the name *path* is taken, be it by a file, a directory or a link."""

    @abstractmethod
    def is_dir(self, path: str) -> bool:
        """Return whether *path* is a directory; a symbolic link to one is not."""

    @abstractmethod
    def list_dir(self, path: str) -> list[str]:
        """Return the names in directory *path*, sorted."""

    @abstractmethod
    def make_dir(self, path: str) -> None:
        """Make directory *path* and its missing parents. One that exists is fine and unchanged.

        It survives a power loss only after a `sync_dir` of its parent.
        """

    @abstractmethod
    def remove_dir(self, path: str) -> None:
        """Remove the empty directory *path*."""

    @abstractmethod
    def rename(self, source: str, target: str) -> None:
        """Give *source* the name *target*, replacing a file of that name in one step."""

    @abstractmethod
    def unlink(self, path: str) -> None:
        """Remove the name *path*. The bytes stay readable through open files and maps."""

    @abstractmethod
    def sync_dir(self, path: str) -> None:
        """Return once names made, changed and removed in directory *path* are on the disk."""

    @abstractmethod
    def file_size(self, path: str) -> int:
        """Return the size of the file *path* in bytes, without opening it."""

    @abstractmethod
    def modified_ms(self, path: str) -> int:
        """Return when *path* was last written, in milliseconds since 1970-01-01 UTC."""

    @abstractmethod
    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """Return the whole content of the file *path*.

        Raises StorageError if that is more than *limit_bytes*.
        """

    @abstractmethod
    def write_atomically(self, path: str, data: bytes) -> None:
        """Put *data* in place of the file *path*: after a crash it is the old content or the new.

        Returns once the new content is on the disk. If it raises, the old file is untouched and
        nothing is left behind; only when the very last step fails, the sync of the directory, the
        new content is in place but a power loss may bring the old one back.
        """

    @abstractmethod
    def lock_dir(self, path: str) -> DirectoryLock:
        """Lock directory *path* against every other user, here and in other processes.

        Raises AlreadyOpenError, naming the owner, if it is locked; under which of its names does
        not matter.
        """

    @abstractmethod
    def free_bytes(self, path: str) -> int:
        """Return how much room is left for files below *path*."""

    @abstractmethod
    def is_network(self, path: str) -> bool:
        """Return whether *path* is on a network file system, as far as can be told."""

    def boot_id(self) -> str:
        """Return a name that changes whenever bytes may have been lost that nobody synced.

        Two equal names prove that the system did not go down in between; "" proves nothing. The
        name of the machine's boot, unless the file system has power cuts of its own.
        """
        return host.boot_id()

    @abstractmethod
    def prefault(self, mapping: Mapping, start: int, end: int) -> None:
        """Load the pages of ``start <= position < end`` for writing, where the system can do that.

        A hint that saves a page fault per 4 KiB later (3 to 6 us each on ext4, 2 us in one go). It
        never fails. Only for positions that were allocated. Every other thread stands still
        meanwhile, 0.5 ms per MiB: ask for a stretch at a time.
        """

    @abstractmethod
    def words(self, mapping: Mapping) -> Words:
        """Return *mapping* as unsigned 32-bit numbers in the machine's byte order.

        Storing one is a single store of the processor: another reader sees the old or the new
        number. The view keeps the mapping alive. A rest of up to three bytes is left out.
        """

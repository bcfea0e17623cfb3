"""The calls that differ between platforms. Linux is the reference, the others are best effort.

Nothing outside this module asks which platform it is on to touch a file.
"""

from __future__ import annotations

import errno
import os
import sys

from streamlog.runtime.threads import Lock

OPEN_FLAGS = (
    getattr(os, "O_CLOEXEC", 0)  # a child program must not keep our locks alive
    | getattr(os, "O_NOINHERIT", 0)
    | getattr(os, "O_NOFOLLOW", 0)  # a link planted in the directory must not lead out of it
    | getattr(os, "O_NONBLOCK", 0)  # a pipe planted there must not hang us; no effect on files
    | getattr(os, "O_BINARY", 0)
)
FILE_MODE = 0o600
_ZEROS = bytes(1 << 20)
_NO_FALLOCATE = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

if sys.platform == "win32":
    import msvcrt

    _seek_lock = Lock()  # no positioned reads and writes there: two calls that belong together

    def pread(fd: int, size: int, position: int) -> bytes:
        """Read up to *size* bytes at *position*."""
        with _seek_lock:
            os.lseek(fd, position, os.SEEK_SET)
            return os.read(fd, size)

    def pwrite(fd: int, data: memoryview, position: int) -> int:
        """Write some of *data* at *position*; return how many bytes."""
        with _seek_lock:
            os.lseek(fd, position, os.SEEK_SET)
            return os.write(fd, data)

    def sync_directory(path: str) -> None:
        """Do nothing: a directory cannot be synced there, NTFS journals names by itself."""

    def lock_exclusively(fd: int) -> bool:
        """Lock the file; return False if somebody else has."""
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # past the note, which others must be able to read
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

    def unlock(fd: int) -> None:
        """Give up the lock."""
        os.lseek(fd, 1 << 30, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    pread = os.pread
    pwrite = os.pwrite

    def sync_directory(path: str) -> None:
        """Bring the names in directory *path* to the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock_exclusively(fd: int) -> bool:
        """Lock the file; return False if somebody else has.

        flock and not lockf: the latter lets the same process in twice and is lost when any other
        descriptor of the file is closed.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Give up the lock, also for descriptors that a child inherited."""
        fcntl.flock(fd, fcntl.LOCK_UN)


if sys.platform == "darwin":

    def sync_file(fd: int) -> None:
        """Bring the file to the medium; plain fsync there stops at the drive's cache."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

    sync_file_data = sync_file
else:
    sync_file = os.fsync
    sync_file_data = getattr(os, "fdatasync", os.fsync)


def make_file(path: str, flags: int) -> int:
    """Make the file *path*, readable by nobody else, and return its descriptor."""
    fd = os.open(path, flags | OPEN_FLAGS | os.O_CREAT | os.O_EXCL, FILE_MODE)
    if hasattr(os, "fchmod"):
        try:
            os.fchmod(fd, FILE_MODE)  # whatever the umask took away
        except OSError:
            pass  # a file system without modes
    return fd


def fill_with_zeros(fd: int, start: int, end: int) -> None:
    """Allocate by writing zeros over ``start <= position < end``."""
    position = start
    while position < end:
        position += pwrite(fd, memoryview(_ZEROS)[: end - position], position)


def allocate(fd: int, start: int, end: int, size: int) -> None:
    """Give ``start <= position < end`` of a file that is *size* long room on the disk.

    May leave the file longer on failure; the caller knows the old size and cuts it back.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, start, end - start)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
        else:
            return
    # The platform or this file system cannot do it. Only what lies past the end may be overwritten.
    fill_with_zeros(fd, max(start, size), end)

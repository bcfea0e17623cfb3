"""A disk whose power can fail: an ext4 file system in an image file.

What the image file holds is what the disk has. What the file system keeps in memory (pages nobody synced, journal entries not yet
committed) is not in it, and that is exactly what a power cut takes. Needs root. Everything is mounted in a name space of this process
only, and is gone with it, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_SYNC_FILE_RANGE_ALL = 7
_PAGE = 4096

IMAGE_BYTES = 96 << 20
MOUNT_OPTIONS = ("data=ordered", "data=writeback", "nodelalloc", "commit=1")


class NotPossibleError(Exception):
    """Why there can be no such disk here."""


def enter_own_mounts() -> None:
    """See to it that what this process mounts is gone with it. Raises NotPossibleError."""
    if sys.platform != "linux":
        raise NotPossibleError("loop devices are Linux's")
    if os.geteuid() != 0:
        raise NotPossibleError("only root may mount")
    if not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
        raise NotPossibleError("no loop devices or no mkfs.ext4")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, _MS_REC_PRIVATE, None):
        raise NotPossibleError(f"no mounts of our own: {os.strerror(ctypes.get_errno())}")


class LoopDisk:
    """An image file and where it is mounted. Raises NotPossibleError when mounting does not work."""

    def __init__(self, directory: str, name: str, options: str) -> None:
        self.image = f"{directory}/{name}.img"
        self.path = f"{directory}/{name}"
        self._options = options
        self._is_mounted = False
        os.mkdir(self.path)

    def format(self) -> None:
        """Make an empty file system in it."""
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        journal = ["-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
        _run("mkfs.ext4", "-q", "-F", *journal, self.image)

    def mount(self) -> None:
        """Mount it; what the journal says is done first."""
        # autoclear: the loop device goes with the mount
        _run("mount", "-t", "ext4", "-o", f"loop,{self._options}", self.image, self.path)
        self._is_mounted = True

    def copy_to(self, other: LoopDisk) -> None:
        """Give *other* what the disk has at this moment: the moment when two copies in a row are the same.

        The kernel may be writing on its own account, whoever has been stopped.
        """
        extents = _extents(self.image)
        while (again := _extents(self.image)) != extents:
            extents = again
        with open(other.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
            for position, data in extents.items():
                os.pwrite(file.fileno(), data, position)

    def write_back_some(self, rng: random.Random) -> None:
        """Do what the kernel may do at any time: write some pages back and not others, commit the journal or not."""
        if rng.random() < 0.4:
            return
        logs = sorted(Path(self.path).rglob("*.log"))
        for path in rng.sample(logs, min(len(logs), rng.randrange(1, 6))):
            size = path.stat().st_size
            descriptor = os.open(path, os.O_RDWR)
            try:
                for _ in range(rng.randrange(1, 4)):
                    start = rng.randrange(size // _PAGE + 1) * _PAGE
                    libc = ctypes.CDLL(None)
                    length = ctypes.c_int64(rng.randrange(1, 4) * _PAGE)
                    libc.sync_file_range(
                        descriptor, ctypes.c_int64(start), length, _SYNC_FILE_RANGE_ALL
                    )
            finally:
                os.close(descriptor)
        if rng.random() < 0.5:
            # Any sync commits the one journal of all files: names and sizes, and which blocks have been written.
            descriptor = os.open(f"{self.path}/other", os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, b"x")
            os.fsync(descriptor)
            os.close(descriptor)

    def unmount(self) -> None:
        """Unmount it, if it is mounted."""
        if self._is_mounted:
            _run("umount", self.path)
            self._is_mounted = False

    def remove(self) -> None:
        """Unmount it and remove the image."""
        self.unmount()
        os.rmdir(self.path)
        Path(self.image).unlink(missing_ok=True)


def _extents(path: str) -> dict[int, bytes]:
    """Return what a sparse file holds, by position."""
    found: dict[int, bytes] = {}
    with open(path, "rb") as file:
        end, position = file.seek(0, os.SEEK_END), 0
        while position < end:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:  # only a hole is left
                break
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found[start] = os.pread(file.fileno(), position - start, start)
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossibleError(f"{' '.join(command)}: {done.stderr.strip()}")

"""Errors below `OsFileSystem`: the calls to the operating system themselves go wrong by a `FaultPlan`.

Here the code that talks to the real system is exercised as well: short reads and writes that have to be continued, a
``posix_fallocate`` that leaves the file extended, a descriptor to give back on the way out.
"""

from __future__ import annotations

import errno
import os
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from streamlog.runtime import os_directory_lock, os_file, os_filesystem, system_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.testing import FaultPlan

#: By path. `close` is by descriptor as well, but the descriptor is gone whatever the system says.
_BY_PATH = ("open", "mkdir", "rmdir", "replace", "unlink", "listdir", "lstat", "stat", "chmod")
_BY_DESCRIPTOR = ("fstat", "ftruncate", "fchmod", "posix_fallocate", "fsync", "fdatasync")
_BY_DESCRIPTOR += ("pread", "pwrite")

SYSTEM_CALLS = frozenset((*_BY_PATH, *_BY_DESCRIPTOR, "close", "mmap", "flock", "statvfs"))


def path_of(fd: int) -> str:
    """Return what the descriptor is open on; "" when that cannot be told."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


class FaultySystem:
    """Stands in for the module `os`: what it does not define goes straight through."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name in _BY_PATH:
            return self._by_path(name, real)
        if name in _BY_DESCRIPTOR:
            return self._by_descriptor(name, real)
        return real

    def _by_path(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: str, *arguments: Any, **options: Any) -> Any:
            target = arguments[0] if name == "replace" else None
            fault = self._plan.check(name, target or path)
            if fault is not None and fault.errno is not None:
                raise OSError(fault.errno, os.strerror(fault.errno), path, None, target)
            return real(path, *arguments, **options)

        return call

    def _by_descriptor(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int, *arguments: Any) -> Any:
            fault = self._plan.check(name, path_of(fd))
            if fault is None:
                return real(fd, *arguments)
            if fault.is_short and name == "pwrite":
                data, position = arguments
                if len(data) > 1:
                    return real(fd, data[: len(data) // 2], position)
            if name == "posix_fallocate":
                # As ext4 does it: the file has grown, by half of what was wanted, when the room runs out.
                start, length = arguments
                os.ftruncate(fd, max(os.fstat(fd).st_size, start + length // 2))
            self._fail(fault.errno)
            return real(fd, *arguments)  # it only took long

        return call

    def close(self, fd: int) -> None:
        fault = self._plan.check("close", path_of(fd))
        os.close(fd)
        if fault is not None:
            self._fail(fault.errno)

    @staticmethod
    def _fail(number: int | None) -> None:
        if number is not None:
            raise OSError(number, os.strerror(number))


@contextmanager
def faulty_system(plan: FaultPlan) -> Iterator[None]:
    """Let `OsFileSystem` see a system that goes wrong as *plan* says. The plan's calls are `SYSTEM_CALLS`."""
    system = FaultySystem(plan)

    def make_map(fd: int, size: int, *arguments: Any) -> Any:
        _raise(plan, "mmap", path_of(fd))
        return real_map(fd, size, *arguments)

    def lock(fd: int) -> bool:
        _raise(plan, "flock", path_of(fd))
        return real_lock(fd)

    def disk_usage(path: str) -> Any:
        fault = plan.check("statvfs", path)
        if fault is not None and fault.errno is not None:
            raise OSError(fault.errno, os.strerror(fault.errno), path)
        return real_usage(path)

    real_map, real_lock = os_file._map, system_calls.lock_exclusively
    real_usage = os_filesystem.shutil.disk_usage
    with pytest.MonkeyPatch.context() as patch:
        for module in (os_file, os_filesystem, os_directory_lock, system_calls):
            patch.setattr(module, "os", system)
        patch.setattr(system_calls, "pread", system.pread)
        patch.setattr(system_calls, "pwrite", system.pwrite)
        patch.setattr(system_calls, "sync_file", system.fsync)
        patch.setattr(system_calls, "sync_file_data", system.fdatasync)
        patch.setattr(system_calls, "lock_exclusively", lock)
        patch.setattr(os_file, "_map", make_map)
        usage = types.SimpleNamespace(disk_usage=disk_usage)
        patch.setattr(os_filesystem, "shutil", usage)
        yield


def _raise(plan: FaultPlan, call: str, path: str) -> None:
    fault = plan.check(call, path)
    if fault is not None:
        FaultySystem._fail(fault.errno)


NUMBERS = (
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EINTR,
    errno.EMFILE,
    errno.EACCES,
)
"""What the loops fail calls with."""

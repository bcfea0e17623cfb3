"""The real file system with a hook before every call that may leave a trace on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime import OsFileSystem
from tests.support.hooked_files import CHANGING_CALLS, HookedFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime import DirectoryLock, File


def pass_by(call: str, path: str) -> None:
    """Do nothing, as a hook."""


class SeamFileSystem(OsFileSystem):
    """Calls ``hook(call, path)`` before each changing call, also before those that replacing a file is made of."""

    __slots__ = ("_boot", "_hook")

    def __init__(self, hook: Callable[[str, str], None], boot: str = "") -> None:
        """*boot* in place of the machine's: another one than last time means that the power has failed."""
        self._hook = hook
        self._boot = boot

    def boot_id(self) -> str:
        return self._boot or super().boot_id()

    def hook(self, call: str, path: str) -> None:
        if call in CHANGING_CALLS:
            self._hook(call, path)

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        if (create or exclusive) and not self.exists(path):
            self.hook("make", path)
        file = super().open(path, create=create, exclusive=exclusive, read_only=read_only)
        return HookedFile(file, self)

    def make_dir(self, path: str) -> None:
        self.hook("make_dir", path)
        super().make_dir(path)

    def remove_dir(self, path: str) -> None:
        self.hook("remove_dir", path)
        super().remove_dir(path)

    def rename(self, source: str, target: str) -> None:
        self.hook("rename", source)
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.hook("unlink", path)
        super().unlink(path)

    def sync_dir(self, path: str) -> None:
        self.hook("sync_dir", path)
        super().sync_dir(path)

    def lock_dir(self, path: str) -> DirectoryLock:
        self.hook("lock_dir", path)
        return super().lock_dir(path)

"""A disk that fails a sync once, and a kernel that takes the pages it could not write for written ("fsyncgate")."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from tests.support.hooked_files import HookedFile, HookedFileSystem

if TYPE_CHECKING:
    from streamlog.runtime import File, FileSystem

PAGE_BYTES = 4096


class ForgetfulFileSystem(HookedFileSystem):
    """Keeps, for each ``.log`` file, what is on the disk beside what is in the cache.

    While `failing`, a sync raises EIO and marks the pages that it should have written as written. A later sync succeeds and skips
    them, unless they were stored to since.
    """

    __slots__ = ("_durable", "_forgotten", "failing")

    def __init__(self, inner: FileSystem) -> None:
        super().__init__(inner)
        self.failing = False
        self._durable: dict[str, bytes] = {}
        # Pages that are marked as written, with the content that was not.
        self._forgotten: dict[str, dict[int, bytes]] = {}

    def open(
        self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False
    ) -> File:
        file = super().open(path, create=create, exclusive=exclusive, read_only=read_only)
        return ForgetfulFile(cast("HookedFile", file), self) if path.endswith(".log") else file

    def synced(self, path: str) -> None:
        cached, durable = pages(self.inner.read_file(path, 1 << 30)), pages(self._durable[path])
        changed = {n: page for n, page in enumerate(cached) if [page] != durable[n : n + 1]}
        forgotten = self._forgotten.setdefault(path, {})
        if self.failing:
            forgotten.update(changed)
            raise OSError(errno.EIO, "Input/output error", path)
        for number, page in changed.items():
            if forgotten.get(number) == page:
                cached[number] = durable[number] if number < len(durable) else bytes(len(page))
            else:
                forgotten.pop(number, None)
        self._durable[path] = b"".join(cached)

    def made(self, path: str) -> None:
        self._durable.setdefault(path, b"")

    def stored(self, path: str, start: int, end: int) -> None:
        for number in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)):
            self._forgotten.get(path, {}).pop(number, None)

    def drop_cache(self) -> None:
        """Let every file be what is on the disk: the power failed, or the kernel needed the memory of unwritten pages."""
        for path, durable in self._durable.items():
            file = self.inner.open(path)
            file.truncate(0)
            file.write_at(0, durable)
            file.close()


class ForgetfulFile(HookedFile):
    """A log file of a `ForgetfulFileSystem`."""

    __slots__ = ("_disk",)

    def __init__(self, hooked: HookedFile, disk: ForgetfulFileSystem) -> None:
        super().__init__(hooked._inner, disk)
        self._disk = disk
        disk.made(self.path)

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        super().write_at(position, data)
        self._disk.stored(self.path, position, position + len(data))

    def sync_data(self) -> None:
        super().sync_data()
        self._disk.synced(self.path)

    def sync(self) -> None:
        super().sync()
        self._disk.synced(self.path)


def pages(data: bytes) -> list[bytes]:
    return [data[start : start + PAGE_BYTES] for start in range(0, len(data), PAGE_BYTES)]

"""Fixtures for the storage tests: both file systems, one log in them, and a machine that restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.runtime import MemoryFileSystem, OsFileSystem, host
from tests.support.storage import Disk, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["os", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "os":
        return Disk(OsFileSystem(), str(tmp_path))
    return memory_disk_of()


@pytest.fixture
def memory_disk() -> Disk:
    return memory_disk_of()


def memory_disk_of(capacity_bytes: int | None = None) -> Disk:
    filesystem = MemoryFileSystem(capacity_bytes)
    filesystem.make_dir("/root")
    return Disk(filesystem, "/root")


@pytest.fixture
def store(disk: Disk) -> Iterator[Store]:
    """A log with segments of 1 KiB and an index entry for each batch, on both file systems."""
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
    yield store
    store.directory.close()


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it between a kill and an open: the machine was restarted in between."""
    boots = iter(range(1, 1000))

    def restart() -> None:
        name = f"boot {next(boots)}"
        monkeypatch.setattr(host, "boot_id", lambda: name)

    return restart

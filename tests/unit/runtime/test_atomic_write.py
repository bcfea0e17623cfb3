"""The steps of replacing a file, on any file system that has them."""

from __future__ import annotations

from streamlog.runtime import MemoryFileSystem
from streamlog.runtime.atomic_write import replace_file
from tests.support.hooked_files import CallLog, HookedFileSystem


def test_the_bytes_are_synced_before_the_name_and_the_directory_last() -> None:
    log = CallLog("write_at", "sync", "sync_data", "rename", "sync_dir", "unlink")
    filesystem = HookedFileSystem(MemoryFileSystem(), log)
    replace_file(
        filesystem, "/META", b"new", "/META.1.tmp", filesystem.open("/META.1.tmp", exclusive=True)
    )
    assert log.calls == ["write_at", "sync", "rename", "sync_dir"]
    assert filesystem.read_file("/META", 3) == b"new"
    assert filesystem.list_dir("/") == ["META"]

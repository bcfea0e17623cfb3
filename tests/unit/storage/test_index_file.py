"""Index files: appended to in checksummed blocks, read as far as they are good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DiskFullError
from streamlog.storage.index_file import (
    IndexContent,
    append_entries,
    read_entries,
    replace_entries,
)
from tests.support.hooked_files import HookedFileSystem
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from tests.support.storage import Disk

LOG_BYTES = 10_000


def read(disk: Disk) -> IndexContent:
    return read_entries(disk.filesystem, disk.path("x.idx"), LOG_BYTES)


def append(disk: Disk, entries: bytes, covers: int) -> None:
    append_entries(disk.filesystem, disk.path("x.idx"), entries, covers)


def test_a_missing_file_is_whole_and_covers_nothing(disk: Disk) -> None:
    assert read(disk) == IndexContent(b"", 0, True)


def test_an_empty_file_is_whole_and_covers_nothing(disk: Disk) -> None:
    disk.write(disk.path("x.idx"), b"")
    assert read(disk) == IndexContent(b"", 0, True)


@pytest.mark.parametrize("call", ["file_size", "read_file"])
def test_a_file_that_another_process_deletes_meanwhile_is_as_a_missing_one(
    memory_disk: Disk, call: str
) -> None:
    append(memory_disk, b"one", 100)
    filesystem = memory_disk.filesystem

    def delete(called: str, path: str) -> None:
        if called == call:
            filesystem.unlink(path)

    found = read_entries(HookedFileSystem(filesystem, delete), memory_disk.path("x.idx"), LOG_BYTES)
    assert found == IndexContent(b"", 0, True)


def test_blocks_are_joined_and_the_last_says_what_they_cover(disk: Disk) -> None:
    append(disk, b"one", 100)
    append(disk, b"", 200)
    append(disk, b"two", 300)
    assert read(disk) == IndexContent(b"onetwo", 300, True, 54)


def test_replacing_leaves_one_block(disk: Disk) -> None:
    append(disk, b"one", 100)
    replace_entries(disk.filesystem, disk.path("x.idx"), b"all", 150)
    assert read(disk) == IndexContent(b"all", 150, True, 19)


def test_a_file_cut_anywhere_gives_whole_blocks_and_says_that_it_is_torn(disk: Disk) -> None:
    append(disk, b"one", 100)
    append(disk, b"two", 200)
    data = disk.read(disk.path("x.idx"))
    half = len(data) // 2
    for size in range(len(data) + 1):
        disk.write(disk.path("x.idx"), data[:size])
        entries, covers = [(b"", 0), (b"one", 100), (b"onetwo", 200)][size // half]
        assert read(disk) == IndexContent(entries, covers, size % half == 0, size // half * half)


def test_every_flipped_byte_is_noticed(disk: Disk) -> None:
    append(disk, b"one", 100)
    append(disk, b"two", 200)
    data = disk.read(disk.path("x.idx"))
    half = len(data) // 2
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        disk.write(disk.path("x.idx"), bytes(damaged))
        expected = (
            IndexContent(b"", 0, False)
            if position < half
            else IndexContent(b"one", 100, False, half)
        )
        assert read(disk) == expected


def test_a_file_larger_than_its_log_can_need_is_not_read(disk: Disk) -> None:
    disk.write(disk.path("x.idx"), bytes(LOG_BYTES + 1025))
    assert read(disk) == IndexContent(b"", 0, False)


def test_a_full_disk_leaves_the_file_as_it_was() -> None:
    disk = memory_disk_of(100)
    append(disk, b"one", 100)
    with pytest.raises(DiskFullError):
        append(disk, bytes(200), 200)
    assert read(disk) == IndexContent(b"one", 100, True, 19)


def test_the_index_of_another_log_or_segment_is_not_believed(disk: Disk) -> None:
    for name in ("a-0", "b-0"):
        disk.filesystem.make_dir(disk.path(name))
    path = disk.path("a-0/1.idx")
    replace_entries(disk.filesystem, path, b"entries", 100)
    expected = IndexContent(b"entries", 100, True, 23)
    assert read_entries(disk.filesystem, path, LOG_BYTES) == expected
    for other in ("b-0/1.idx", "a-0/2.idx", "a-0/1.tix"):
        disk.write(disk.path(other), disk.read(path))
        found = read_entries(disk.filesystem, disk.path(other), LOG_BYTES)
        assert found == IndexContent(b"", 0, False)

"""The file that a pass writes."""

from __future__ import annotations

import errno
import logging

import pytest

from streamlog.errors import DiskFullError, StorageError
from streamlog.storage.compaction.cleaned_file import CleanedFile
from streamlog.storage.room import Room
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.storage import Disk, Store
from tests.unit.storage.conftest import memory_disk_of


def cleaned(disk: Disk, base_offset: int = 0, room: Room | None = None) -> CleanedFile:
    room = room or Room(disk.filesystem, disk.root, 0)
    return CleanedFile(disk.filesystem, disk.root, base_offset, room)


def batches_of(disk: Disk, count: int) -> list[bytes]:
    store = Store(disk)
    store.fill(count)
    return [store.log.read(offset, 1) for offset in range(count)]


def test_it_holds_what_was_put_into_it(disk: Disk) -> None:
    data = batches_of(disk, 5)
    file = cleaned(disk)
    for batch in data:
        file.put(batch)
    assert file.size_bytes == len(b"".join(data))
    file.finish(5)
    assert file.path.endswith("/00000000000000000000.log.cleaned")
    assert disk.read(file.path) == b"".join(data)
    assert file.size_bytes == len(b"".join(data))
    file.close(unlink=False)
    assert disk.filesystem.exists(file.path)


def test_it_takes_the_place_of_one_that_was_left(disk: Disk) -> None:
    data = batches_of(disk, 2)
    disk.write(f"{disk.root}/{0:020d}.log.cleaned", b"x" * 1000)
    file = cleaned(disk)
    for batch in data:
        file.put(batch)
    file.finish(2)
    assert disk.read(file.path) == b"".join(data)
    file.close(unlink=True)
    assert not disk.filesystem.exists(file.path)
    file.close(unlink=True)


def test_large_content_is_written_piece_by_piece(disk: Disk) -> None:
    store = Store(disk)
    for _ in range(3):
        store.append(b"x" * 200_000)
    data = [store.log.read(offset, 1) for offset in range(3)]
    size = len(data[0])
    file = cleaned(disk)
    for batch, written in zip(data, (0, 2, 2), strict=True):
        file.put(batch)
        assert disk.filesystem.file_size(file.path) == written * size
    file.finish(3)
    assert disk.filesystem.file_size(file.path) == 3 * size


def test_what_was_left_out_at_the_front_is_filled_in_from_its_end(disk: Disk) -> None:
    data = batches_of(disk, 5)
    file = cleaned(disk)
    head, size = b"".join(data[:3]), len(b"".join(data))
    file.leave_out(len(head))
    assert (file.size_bytes, file.left_out_bytes) == (0, len(head))
    file.put(data[3])
    file.put(data[4])
    assert file.size_bytes == size - len(head)
    file.fill(10, head[10:])
    assert (file.size_bytes, file.left_out_bytes) == (size - 10, 10)
    file.fill(0, head[:10])
    file.finish(5)
    assert (file.size_bytes, file.left_out_bytes) == (size, 0)
    assert disk.read(file.path) == b"".join(data)


def test_filling_in_leaves_the_reserve_alone_as_well() -> None:
    disk = memory_disk_of(1 << 20)
    file = cleaned(
        disk, room=Room(disk.filesystem, disk.root, disk.filesystem.free_bytes(disk.root))
    )
    file.leave_out(100)
    with pytest.raises(DiskFullError, match="in reserve"):
        file.fill(0, bytes(100))


@pytest.mark.parametrize("what", ["a batch", "the first", "the end", "a body"])
def test_what_is_not_whole_is_refused(disk: Disk, what: str) -> None:
    data = batches_of(disk, 5)
    if what == "a body":
        data[2] = data[2][:90] + b"?" + data[2][91:]
    elif what != "the end":
        del data[2 if what == "a batch" else 0]
    file = cleaned(disk)
    for batch in data:
        file.put(batch)
    found = {"a batch": 2, "the first": 0, "the end": 5, "a body": 2}[what]
    end = 6 if what == "the end" else 5
    with pytest.raises(StorageError, match=f"up to offset {end} in .* found {found} in"):
        file.finish(end)


def test_it_leaves_the_reserve_alone() -> None:
    disk = memory_disk_of(1 << 20)
    data = batches_of(disk, 1)
    file = cleaned(
        disk, room=Room(disk.filesystem, disk.root, disk.filesystem.free_bytes(disk.root))
    )
    file.put(data[0])
    with pytest.raises(DiskFullError, match="in reserve"):
        file.finish(1)
    file.close(unlink=True)
    assert not disk.filesystem.exists(file.path)


def test_a_file_that_cannot_be_deleted_is_left_to_the_next_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = FaultPlan()
    disk = memory_disk_of()
    file = cleaned(Disk(FaultyFileSystem(disk.filesystem, plan), disk.root))
    plan.fail("unlink", errno.EIO, path="*.cleaned")
    with caplog.at_level(logging.WARNING):
        file.close(unlink=True)
    assert "not deleted" in caplog.text

"""Walking a file across damage: every byte is in exactly one item, and what is good is found."""

from __future__ import annotations

import pytest

from streamlog.config import TopicConfig
from streamlog.record import build_batch
from streamlog.runtime import MemoryFileSystem, Runtime, VirtualClock
from streamlog.runtime.randomness import RandomSource
from streamlog.storage import DataDirectory
from streamlog.storage.verification.batch_walk import BadBytes, Room, StoredBatch, walk_batches
from streamlog.storage.verification.file_bytes import FileBytes

PATH = "/data/topics/orders-0/00000000000000000000.log"
BATCHES = 6


@pytest.fixture
def filesystem() -> MemoryFileSystem:
    """A log of batches of two records, closed."""
    filesystem = MemoryFileSystem()
    directory = DataDirectory.open("/data", Runtime(VirtualClock(), filesystem, RandomSource(1)))
    directory.create_log_directory("orders", 0)
    log = directory.open_log("orders", 0, "id", TopicConfig())
    for number in range(BATCHES):
        log.append(build_batch([b"v%d" % number, b"w" * 50], 1_000 + number))
    directory.close()
    return filesystem


def walk(
    filesystem: MemoryFileSystem, *, is_growing: bool = False
) -> list[StoredBatch | BadBytes | Room]:
    content = FileBytes.open(filesystem, PATH)
    return list(walk_batches(content, 0, is_growing=is_growing))


def offsets(items: list[StoredBatch | BadBytes | Room]) -> list[int]:
    return [item.header.base_offset for item in items if isinstance(item, StoredBatch)]


def write(filesystem: MemoryFileSystem, position: int, data: bytes) -> None:
    filesystem.open(PATH).write_at(position, data)


def test_a_whole_file_is_its_batches(filesystem: MemoryFileSystem) -> None:
    items = walk(filesystem)
    assert offsets(items) == list(range(0, 2 * BATCHES, 2))
    assert all(isinstance(item, StoredBatch) and item.is_valid for item in items)


def test_zeros_behind_the_last_batch_are_room(filesystem: MemoryFileSystem) -> None:
    size = filesystem.file_size(PATH)
    write(filesystem, size, bytes(4096))
    assert walk(filesystem)[-1] == Room(size, size + 4096)


def test_a_bad_header_is_stepped_over_to_the_next_good_one(filesystem: MemoryFileSystem) -> None:
    first, second = (
        item.position for item in walk(filesystem)[2:4] if isinstance(item, StoredBatch)
    )
    write(filesystem, first + 20, b"?")
    items = walk(filesystem)
    assert offsets(items) == [0, 2, 6, 8, 10]
    assert BadBytes(first, second, 4, 6, False) in items


def test_a_bad_body_is_a_batch_that_is_not_valid(filesystem: MemoryFileSystem) -> None:
    write(filesystem, 90, b"?")
    items = walk(filesystem)
    assert [item.is_valid for item in items if isinstance(item, StoredBatch)] == [False] + [
        True
    ] * 5


@pytest.mark.parametrize("is_growing", [False, True])
def test_a_length_of_zero_at_the_end_is_unfinished(
    filesystem: MemoryFileSystem, is_growing: bool
) -> None:
    last = walk(filesystem)[-1]
    write(filesystem, last.position, bytes(4))
    items = walk(filesystem, is_growing=is_growing)
    size = filesystem.file_size(PATH)
    assert items[-1] == BadBytes(last.position, size, 10, None, True)


def test_a_length_of_zero_with_good_batches_behind_is_damage(filesystem: MemoryFileSystem) -> None:
    write(filesystem, 0, bytes(4))
    found = walk(filesystem)[0]
    assert isinstance(found, BadBytes)
    assert (found.is_unfinished, found.next_offset) == (False, 2)


def test_a_batch_that_is_finished_meanwhile_is_read(filesystem: MemoryFileSystem) -> None:
    last = walk(filesystem)[-1]
    length = filesystem.open(PATH).read_at(last.position, 4)
    write(filesystem, last.position, bytes(4))
    content = FileBytes.open(filesystem, PATH)
    found = []
    for item in walk_batches(content, 0, is_growing=True):
        found.append(item)
        write(filesystem, last.position, length)  # its writer stores the length, behind the window
    assert offsets(found)[-1] == 10


def test_every_byte_belongs_to_one_item_whatever_the_bytes_are(
    filesystem: MemoryFileSystem,
) -> None:
    size = filesystem.file_size(PATH)
    whole = filesystem.read_file(PATH, 1 << 20)
    for position in range(0, size, 7):
        write(filesystem, position, bytes([whole[position] ^ 0x40]))
        end = 0
        for item in walk(filesystem):
            assert item.position == end
            end = (
                item.position + item.header.aligned_size
                if isinstance(item, StoredBatch)
                else item.end
            )
        assert end == size
        write(filesystem, position, whole[position : position + 1])

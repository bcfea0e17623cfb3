"""The file under a segment: promised room, maps that come and go, syncs. No records here."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import ClosedError, DiskFullError
from streamlog.runtime import OsFileSystem, TokenLock
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.room import Room
from streamlog.storage.segment import Segment
from streamlog.storage.segment_file import FIRST_CHUNK_BYTES, MAX_CHUNK_BYTES, SegmentFile
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.hooked_files import CallLog, HookedFileSystem
from tests.support.storage import Disk, Store, holding
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def segment_on(disk: Disk, base_offset: int = 0, capacity: int = 100) -> SegmentFile:
    return SegmentFile(disk.filesystem, disk.root, base_offset, OpenSegments(capacity), TokenLock())


def store_bytes(segment: SegmentFile, data: bytes, cap: int = GIB) -> None:
    """Store at the end, as an append does."""
    end = segment.position + len(data)
    mapping = segment.reserve(end, cap)
    mapping[segment.position : end] = data
    segment.position = end


# ---- room


def test_a_new_segment_has_no_file_until_something_is_stored(disk: Disk) -> None:
    segment = segment_on(disk)
    assert not disk.filesystem.exists(segment.path)
    store_bytes(segment, b"12345678")
    assert segment.mapping_for_read()[:8] == b"12345678"
    assert disk.filesystem.file_size(segment.path) == FIRST_CHUNK_BYTES


def test_room_grows_fourfold_then_in_steps_of_8_mib(memory_disk: Disk) -> None:
    segment = segment_on(memory_disk)
    sizes = []
    for end in (8, 1 << 17, 1 << 20, 1 << 22, 1 << 24, 1 << 25):
        segment.reserve(end, GIB)
        sizes.append(memory_disk.filesystem.file_size(segment.path))
    kib = 1024
    assert sizes == [64 * kib, 256 * kib, 1024 * kib, 4096 * kib, 16 * 1024 * kib, 32 * 1024 * kib]
    assert sizes[5] - sizes[4] == 2 * MAX_CHUNK_BYTES


def test_room_stops_at_the_cap_rounded_up_to_8(disk: Disk) -> None:
    segment = segment_on(disk)
    segment.reserve(8, 1001)
    assert disk.filesystem.file_size(segment.path) == 1008
    assert segment.limit == 1008


def test_the_limit_never_passes_the_room(disk: Disk) -> None:
    segment = segment_on(disk)
    for end in (8, 70_000, 5 << 20, 6 << 20, 20 << 20):
        segment.reserve(end, GIB)
        assert end <= segment.limit <= disk.filesystem.file_size(segment.path)
        segment.position = end


def test_the_limit_never_passes_the_room_when_a_trimmed_busy_segment_grows_again(
    disk: Disk,
) -> None:
    # The mark of the pages loaded ahead survived the trim and let appends store behind the room.
    segment = segment_on(disk)
    store_bytes(segment, bytes(5 << 20))
    segment._trim()
    segment.reserve(segment.position + 8, GIB)
    assert segment.limit <= disk.filesystem.file_size(segment.path)
    store_bytes(segment, b"x" * 8)


def test_a_full_disk_changes_nothing_and_freed_space_helps() -> None:
    disk = memory_disk_of(100_000)
    segment = segment_on(disk)
    store_bytes(segment, b"a" * 8)
    ballast = disk.filesystem.open("/root/ballast", create=True)
    ballast.allocate(0, disk.filesystem.free_bytes("/root"))
    limit = segment.limit
    with pytest.raises(DiskFullError, match=segment.path):
        segment.reserve(FIRST_CHUNK_BYTES + 8, GIB)
    assert segment.limit == limit
    assert disk.filesystem.file_size(segment.path) == FIRST_CHUNK_BYTES
    assert segment.mapping_for_read()[:8] == b"a" * 8
    disk.filesystem.unlink("/root/ballast")
    segment.reserve(FIRST_CHUNK_BYTES + 8, FIRST_CHUNK_BYTES + 8)


def test_nothing_is_stored_through_a_map_that_could_not_be_made(memory_disk: Disk) -> None:
    # The room was there and its map was not: the next small append found no map, and left half a batch behind.
    plan = FaultPlan()
    segment = segment_on(Disk(FaultyFileSystem(memory_disk.filesystem, plan), memory_disk.root))
    store_bytes(segment, b"a" * 8)
    plan.fail("map", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        segment.reserve(FIRST_CHUNK_BYTES + 8, GIB)
    assert segment.limit == 0, "an append has to come by here first"
    store_bytes(segment, b"b" * 8)
    assert segment.mapping_for_read()[:16] == b"a" * 8 + b"b" * 8


def test_the_last_bytes_of_a_disk_are_used() -> None:
    # A chunk of 192 KiB was refused although the record needed a hundred bytes of the 100,000 that were free.
    disk = memory_disk_of(FIRST_CHUNK_BYTES + 10_000)
    segment = segment_on(disk)
    segment.reserve(FIRST_CHUNK_BYTES, GIB)
    segment.reserve(FIRST_CHUNK_BYTES + 8, GIB)
    segment.reserve(FIRST_CHUNK_BYTES + 5000, GIB)
    assert segment.limit == FIRST_CHUNK_BYTES + 8192
    with pytest.raises(DiskFullError):
        segment.reserve(FIRST_CHUNK_BYTES + 8200, GIB)
    segment.reserve(FIRST_CHUNK_BYTES + 8200, FIRST_CHUNK_BYTES + 9000)


def test_the_reserve_of_the_disk_is_not_touched() -> None:
    disk = memory_disk_of(200_000)
    segment = segment_on(disk)
    with pytest.raises(DiskFullError, match="in reserve"):
        segment.reserve(8, GIB, Room(disk.filesystem, disk.root, 199_000))
    assert disk.filesystem.file_size(segment.path) == 0
    segment.reserve(8, GIB, Room(disk.filesystem, disk.root, 100_000))


def test_a_file_that_was_found_is_allocated_again_from_the_end_of_its_content(
    tmp_path: Path,
) -> None:
    # A copied directory has holes where the preallocated zeros were: a store there could kill the process.
    path = tmp_path / f"{0:020d}.log"
    with path.open("wb") as file:
        file.write(b"content!")
        file.truncate(1 << 20)
    segment = SegmentFile(OsFileSystem(), str(tmp_path), 0, OpenSegments(10), TokenLock())
    segment.position = 8
    segment.reserve(16, GIB)
    assert path.stat().st_blocks * 512 >= FIRST_CHUNK_BYTES
    assert segment.limit == FIRST_CHUNK_BYTES + 8


def test_trimming_gives_the_rest_back_also_when_the_file_is_not_open(disk: Disk) -> None:
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    segment._drop_files()
    segment._trim()
    assert disk.read(segment.path) == b"12345678"
    segment._trim()  # nothing left to give back
    segment_on(disk, 7)._trim()  # nor is there a file


def test_trimming_spares_what_a_damaged_segment_has_behind_its_end(disk: Disk) -> None:
    disk.write(disk.path(f"{0:020d}.log"), b"12345678 damaged")
    segment = segment_on(disk)
    segment.position, segment.keeps_tail = 8, True
    segment.mapping_for_read()
    segment._trim()
    assert disk.read(segment.path) == b"12345678 damaged"


def test_erasing_zeroes_what_an_interrupted_append_left(disk: Disk) -> None:
    segment = segment_on(disk)
    segment.erase(100)  # nothing was reserved: nothing to do
    store_bytes(segment, b"12345678")
    mapping = segment.reserve(64, GIB)
    mapping[8:30] = b"half a batch, no commit"[:22]
    segment.erase(22)
    assert mapping[:64] == b"12345678" + bytes(56)
    segment.erase(1 << 30)  # never behind the room
    assert len(disk.read(segment.path)) == FIRST_CHUNK_BYTES


# ---- maps for readers


def test_a_reader_maps_what_is_there_and_shares_the_map(disk: Disk) -> None:
    disk.write(disk.path(f"{0:020d}.log"), b"12345678")
    segment = segment_on(disk)
    segment.position = 8
    mapping = segment.mapping_for_read()
    assert mapping[:8] == b"12345678"
    assert segment.mapping_for_read() is mapping


def test_a_reader_who_was_first_does_not_leave_the_writer_a_read_only_map(disk: Disk) -> None:
    disk.write(disk.path(f"{0:020d}.log"), b"12345678")
    segment = segment_on(disk)
    segment.position = 8
    reader = segment.mapping_for_read()
    store_bytes(segment, b"abcdefgh")
    assert reader[:8] == b"12345678"
    assert segment.mapping_for_read()[:16] == b"12345678abcdefgh"


def test_reader_and_writer_change_the_map_under_one_lock(memory_disk: Disk) -> None:
    # Without it a reader's read-only map could take the place of the writer's: appends raised TypeError.
    locked: dict[str, bool] = {}

    def hook(call: str, path: str) -> None:
        if call in ("map_to_read", "map_to_write"):
            locked[call] = segment._open_lock.locked()

    memory_disk.write(memory_disk.path(f"{0:020d}.log"), b"12345678")
    segment = segment_on(Disk(HookedFileSystem(memory_disk.filesystem, hook), memory_disk.root))
    segment.position = 8
    segment.mapping_for_read()
    store_bytes(segment, b"abcdefgh")
    assert locked == {"map_to_read": True, "map_to_write": True}


def test_a_released_segment_is_not_opened_again(disk: Disk) -> None:
    # A reader that still held a closed log opened its files again, behind the directory's lock.
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    mapping = segment.mapping_for_read()
    segment.release_files()
    with pytest.raises(ClosedError, match="closed or deleted"):
        segment.mapping_for_read()
    assert mapping[:8] == b"12345678", "who has the map already reads on"
    segment.sync()  # nothing to do for a segment that was deleted
    assert segment.synced_position == 0


# ---- giving descriptors back


def test_an_idle_segment_gives_its_files_back_and_takes_them_again(disk: Disk) -> None:
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    assert not segment.try_release_files(), "it was just appended to"
    assert segment.try_release_files()
    assert segment.limit == 0, "an append has to come by reserve"
    assert segment._file is None
    store_bytes(segment, b"abcdefgh")
    assert segment.mapping_for_read()[:16] == b"12345678abcdefgh"


def test_a_segment_that_is_read_or_locked_keeps_its_files(disk: Disk) -> None:
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    segment.try_release_files()
    segment.mapping_for_read()
    assert not segment.try_release_files(), "it was just read"
    with holding(segment._owner_lock):
        assert not segment.try_release_files(), "the writer is in it"
    with segment._open_lock:
        assert not segment.try_release_files(), "somebody is opening it"
    assert segment.try_release_files()


def test_a_sealed_segment_leaves_without_the_lock_of_the_log(disk: Disk) -> None:
    # A roll opens the next file with the log's lock held: without this its own sealed segments could never leave.
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    segment.sealed = True
    with holding(segment._owner_lock):
        assert not segment.try_release_files()
        assert segment.try_release_files()


def test_a_segment_unsealed_meanwhile_stays(disk: Disk) -> None:
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    assert not segment._release_idle_files(sealed=True)
    assert segment._file is not None


@pytest.fixture
def calls() -> CallLog:
    """Notes syncs of files and directories, and fails them on request."""
    return CallLog("sync", "sync_data", "sync_dir")


@pytest.fixture
def segment(memory_disk: Disk, calls: CallLog) -> SegmentFile:
    """A segment whose syncs are noted."""
    return segment_on(Disk(HookedFileSystem(memory_disk.filesystem, calls), memory_disk.root))


def test_unsynced_bytes_are_synced_before_the_descriptor_goes(
    segment: SegmentFile, calls: CallLog
) -> None:
    # The system reports an error of writeback to descriptors that were open when it happened.
    store_bytes(segment, b"12345678")
    segment.try_release_files()
    assert segment.try_release_files()
    assert calls.taken() == ["sync_data"]
    segment.sync()
    store_bytes(segment, b"12345678")
    segment.sync()
    assert calls.taken() == ["sync", "sync_dir", "sync_data"]
    segment.try_release_files()
    assert segment.try_release_files()
    assert calls.taken() == [], "everything was synced already"


def test_a_sync_that_fails_while_the_descriptor_goes_is_reported_by_the_next_sync(
    segment: SegmentFile, calls: CallLog
) -> None:
    store_bytes(segment, b"12345678")
    segment.try_release_files()
    calls.failures["sync"] = calls.failures["sync_data"] = OSError(5, "I/O error")
    assert not segment.try_release_files()
    calls.failures.clear()
    with pytest.raises(OSError, match="I/O error"):
        segment.sync()


# ---- sync


def test_the_first_sync_makes_the_name_durable_as_well(
    segment: SegmentFile, calls: CallLog
) -> None:
    segment.sync()
    assert calls.taken() == [], "nothing was ever stored"
    store_bytes(segment, b"12345678")
    segment.sync()
    assert calls.taken() == ["sync", "sync_dir"]
    assert segment.synced_position == 8
    store_bytes(segment, b"12345678")
    segment.sync()
    assert calls.taken() == ["sync_data"]
    assert segment.synced_position == 16


def test_a_sync_opens_the_file_when_need_be_and_lets_it_go_again(disk: Disk) -> None:
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    segment.try_release_files()
    segment.try_release_files()
    segment.sync()
    assert segment.synced_position == 8
    assert segment._file is None


def test_a_sync_in_progress_keeps_neither_appends_nor_readers_waiting(memory_disk: Disk) -> None:
    # Group commit syncs all the time: an append that needs room must not wait for the disk.
    read: list[bytes] = []

    def hook(call: str, path: str) -> None:
        if call == "sync":
            store_bytes(segment, b"abcdefgh" * 20_000)
            read.append(segment.mapping_for_read()[8:16])

    segment = segment_on(Disk(HookedFileSystem(memory_disk.filesystem, hook), memory_disk.root))
    store_bytes(segment, b"12345678")
    segment.sync()
    assert read == [b"abcdefgh"]
    assert segment.synced_position == 8, "what came during the sync is not covered by it"


def test_a_sync_that_loses_its_file_to_retention_is_no_failure(memory_disk: Disk) -> None:
    # It was one, and a failed sync is final: the whole log refused appends from then on.
    def hook(call: str, path: str) -> None:
        if call == "sync_dir":
            segment.release_files()
            raise FileNotFoundError(2, "No such file or directory", path)

    segment = segment_on(Disk(HookedFileSystem(memory_disk.filesystem, hook), memory_disk.root))
    store_bytes(segment, b"12345678")
    segment.sync()


def test_an_error_of_the_sync_reaches_the_caller(segment: SegmentFile, calls: CallLog) -> None:
    store_bytes(segment, b"12345678")
    calls.failures["sync"] = calls.failures["sync_data"] = OSError(5, "I/O error")
    with pytest.raises(OSError, match="I/O error"):
        segment.sync()
    assert segment.synced_position == 0


# ---- the rest


def test_creating_makes_an_empty_file(disk: Disk) -> None:
    segment = segment_on(disk, 12)
    segment.create()
    path = disk.path("00000000000000000012.log")
    assert disk.filesystem.file_size(path) == 0
    segment_on(
        disk, 12
    ).create()  # an interrupted roll left one: the next one failed, and all later ones
    disk.write(path, b"x")
    with pytest.raises(FileExistsError, match="expected no file yet, found 1 bytes"):
        segment_on(disk, 12).create()


def test_abandoning_takes_no_lock(disk: Disk) -> None:
    segment = segment_on(disk)
    store_bytes(segment, b"12345678")
    with segment._open_lock, holding(segment._owner_lock):
        segment.abandon()
    assert segment._file is None
    assert segment.limit == 0


def test_its_repr_names_path_offsets_and_bytes(disk: Disk) -> None:
    segment = segment_on(disk, 5)
    assert repr(segment) == f"<Segment {segment.path} offsets 5..5 bytes 0>"


def test_an_append_that_waits_for_an_eviction_goes_on_after_it(
    memory_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(memory_disk)
    store.append(b"a")
    segment, lock = store.log.segments[0], store.log.lock
    original = Segment._release_idle_files
    appending = threading.Thread(target=store.append, args=(b"b",))

    def release(self: Segment, *, sealed: bool) -> bool:
        appending.start()
        while not lock.waiting:
            pass
        return original(self, sealed=sealed)

    monkeypatch.setattr(Segment, "_release_idle_files", release)
    assert not segment.try_release_files(), "used since the last time"
    assert segment.try_release_files()
    appending.join(20)
    assert store.values() == [b"a", b"b"]
    store.close()

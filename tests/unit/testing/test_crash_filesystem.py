"""The disk that can lose its power: a file system like any other, until the power goes."""

from __future__ import annotations

import errno

import pytest

from streamlog.errors import AlreadyOpenError, ClosedError, DiskFullError, StorageError
from streamlog.runtime import RandomSource
from streamlog.testing import CrashFileSystem
from streamlog.testing.crash_images import CrashImage, kill_image, power_images
from tests.support.os_errors import raises_errno


def put(disk: CrashFileSystem, path: str, data: bytes, *, sync: bool = False) -> None:
    file = disk.open(path, create=True)
    file.write_at(0, data)
    if sync:
        file.sync_data()
    file.close()


def images(disk: CrashFileSystem, seed: int = 1, subsets: int = 32) -> list[CrashImage]:
    return list(power_images(disk, RandomSource(seed).stream("images"), subsets=subsets))


def contents(disk: CrashFileSystem, path: str, seed: int = 1) -> set[bytes | None]:
    """Return everything that a power cut can leave of a file; None for no such name."""
    found: set[bytes | None] = set()
    for image in images(disk, seed):
        left = image.filesystem()
        found.add(left.read_file(path, 1 << 20) if left.exists(path) else None)
    return found


# ---- as a file system


def test_what_was_written_is_read_and_listed() -> None:
    disk = CrashFileSystem()
    disk.make_dir("/a/b")
    put(disk, "/a/b/f", b"hello world")
    assert disk.read_file("/a/b/f", 100) == b"hello world"
    assert disk.list_dir("/a") == ["b"]
    assert disk.list_dir("/a/b") == ["f"]
    assert disk.is_dir("/a/b")
    assert not disk.is_dir("/a/b/f")
    assert disk.file_size("/a/b/f") == 11
    assert not disk.is_network("/a")


def test_a_file_read_beyond_its_limit_is_refused() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"12345")
    with pytest.raises(StorageError, match="at most 4"):
        disk.read_file("/f", 4)


def test_maps_show_what_is_stored_through_another_and_through_words() -> None:
    disk = CrashFileSystem()
    file = disk.open("/f", create=True)
    file.allocate(0, 100)
    writer, reader = file.map(100, writable=True), file.map(50, writable=False)
    writer[10:16] = b"stored"
    words = disk.words(writer)
    words[1] = 7
    assert reader[10:16] == b"stored"
    assert words[1] == 7
    assert reader[4] + reader[7] == 7
    assert (len(reader), len(words)) == (50, 25)
    assert reader.find(b"stored") == 10
    assert reader.find(b"stored", 0, 12) == -1
    writer[3] = 9
    assert reader[3] == 9
    with pytest.raises(TypeError, match="for reading"):
        reader[0:1] = b"x"
    with pytest.raises(IndexError):
        writer[0:2] = b"x"


def test_a_map_used_behind_the_end_of_its_file_dies_as_on_a_real_system() -> None:
    disk = CrashFileSystem()
    file = disk.open("/f", create=True)
    file.allocate(0, 8192)
    mapping = file.map(8192, writable=True)
    file.truncate(100)
    with pytest.raises(RuntimeError, match="SIGBUS"):
        mapping[5000:5001] = b"x"
    with pytest.raises(RuntimeError, match="SIGBUS"):
        mapping[4000:5000]


def test_a_file_cut_and_grown_again_reads_zero() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"x" * 10_000, sync=True)
    file = disk.open("/f")
    file.truncate(5)
    file.truncate(10_000)
    assert file.read_at(0, 10_000) == b"x" * 5 + bytes(9_995)


def test_wrong_paths_and_wrong_files_raise_what_the_system_raises() -> None:
    disk = CrashFileSystem()
    disk.make_dir("/d/e")
    put(disk, "/f", b"1")
    cases = {
        errno.ENOENT: [
            lambda: disk.open("/none"),
            lambda: disk.unlink("/none"),
            lambda: disk.rename("/none", "/x"),
            lambda: disk.list_dir("/none"),
            lambda: disk.file_size("/none"),
        ],
        errno.EEXIST: [lambda: disk.open("/f", exclusive=True), lambda: disk.make_dir("/f")],
        errno.ENOTEMPTY: [lambda: disk.remove_dir("/d"), lambda: disk.rename("/d/e", "/d")],
        errno.ENOTDIR: [lambda: disk.list_dir("/f"), lambda: disk.rename("/d", "/f")],
        errno.EISDIR: [
            lambda: disk.rename("/f", "/d"),
            lambda: disk.open("/d"),
            lambda: disk.unlink("/d"),
        ],
        errno.EINVAL: [lambda: disk.rename("/d", "/d/e/x"), lambda: disk.open("/f").read_at(-1, 1)],
        errno.EBUSY: [lambda: disk.remove_dir("/")],
        errno.EACCES: [lambda: disk.open("/f", read_only=True).write_at(0, b"2")],
    }
    disk.make_dir("/d/e/g")
    for number, calls in cases.items():
        for call in calls:
            if number == errno.EBUSY:
                disk_of_nothing = CrashFileSystem()
                with raises_errno(errno.EBUSY):
                    disk_of_nothing.remove_dir("/")
                continue
            with raises_errno(number):
                call()


def test_a_closed_file_is_closed() -> None:
    disk = CrashFileSystem()
    file = disk.open("/f", create=True)
    with pytest.raises(ValueError, match="cannot map"):
        file.map(1, writable=True)
    file.close()
    with pytest.raises(ClosedError):
        file.size()
    assert "closed" in repr(file)


def test_a_directory_is_locked_once_and_not_after_a_crash() -> None:
    disk = CrashFileSystem()
    disk.make_dir("/d")
    lock = disk.lock_dir("/d")
    with pytest.raises(AlreadyOpenError):
        disk.lock_dir("/d")
    kill_image(disk).filesystem().lock_dir("/d").abandon()
    lock.release()
    lock.release()
    disk.lock_dir("/d").release()


def test_a_full_disk_says_so_and_room_comes_back() -> None:
    disk = CrashFileSystem(capacity_bytes=10_000)
    put(disk, "/f", b"x" * 6_000)
    file = disk.open("/g", create=True)
    with pytest.raises(DiskFullError, match="4000 are free"):
        file.allocate(0, 4_001)
    assert (file.size(), disk.free_bytes("/")) == (0, 4_000)
    disk.unlink("/f")
    file.allocate(0, 10_000)
    assert disk.free_bytes("/") == 0
    assert kill_image(disk).filesystem().free_bytes("/") == 0
    assert CrashFileSystem().free_bytes("/") > 1 << 60


def test_a_disk_switched_off_changes_no_more() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"1")
    file = disk.open("/f")
    disk.switch_off()
    for call in (
        lambda: file.write_at(0, b"2"),
        lambda: file.sync(),
        lambda: disk.unlink("/f"),
        lambda: disk.sync_dir("/"),
    ):
        with raises_errno(errno.EIO):
            call()
    assert disk.read_file("/f", 1) == b"1"


# ---- when the process dies


def test_a_kill_keeps_everything_and_the_power_may_still_take_it() -> None:
    disk = CrashFileSystem()
    disk.make_dir("/d")
    put(disk, "/d/f", b"stored")
    put(disk, "/d/g", b"gone")
    disk.unlink("/d/g")
    after = kill_image(disk).filesystem()
    assert after.boot_id() == disk.boot_id()
    assert after.list_dir("/d") == ["f"]
    assert after.read_file("/d/f", 10) == b"stored"
    assert contents(after, "/d/f") == contents(disk, "/d/f")
    # From here on they are two disks.
    put(disk, "/d/f", b"STORED")
    assert after.read_file("/d/f", 10) == b"stored"


def test_each_change_is_a_step_and_a_copy_is_two() -> None:
    disk = CrashFileSystem()
    seen: list[tuple[str, bytes]] = []
    disk.on_step = lambda what: seen.append((what, disk.read_file("/f", 100)))
    put(disk, "/f", b"0123456789")
    file = disk.open("/f")
    file.map(10, writable=True)[0:4] = b"abcd"
    file.sync()
    assert disk.on_step is not None
    assert [what for what, _ in seen] == ["make /f", "write /f", "write /f", "store /f", "sync /f"]
    assert b"0123456789".startswith(seen[1][1])
    assert 0 < len(seen[1][1]) < 10
    assert seen[-1][1] == b"abcd456789"


# ---- when the power goes


def test_what_was_synced_with_its_name_survives_every_power_cut() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"safe", sync=True)
    disk.sync_dir("/")
    boots = {image.filesystem().boot_id() for image in images(disk)}
    assert contents(disk, "/f") == {b"safe"}
    assert disk.boot_id() not in boots


def test_a_synced_file_whose_name_was_not_synced_may_be_gone() -> None:
    """F23: fsync of a new file does not promise its name."""
    disk = CrashFileSystem()
    put(disk, "/f", b"safe", sync=True)
    assert contents(disk, "/f") == {b"safe", None}


def test_an_unsynced_file_may_be_empty_whole_torn_or_of_zeros() -> None:
    disk = CrashFileSystem()
    file = disk.open("/f", create=True)
    disk.sync_dir("/")
    file.write_at(0, b"x" * 1024)
    found = contents(disk, "/f")
    assert {b"", b"x" * 1024, bytes(1024), b"x" * 512 + bytes(512)} <= found
    assert None not in found


def test_pages_reach_the_disk_out_of_order() -> None:
    """F22: a late page new, an early page old."""
    disk = CrashFileSystem()
    put(disk, "/f", b"1" * 8192, sync=True)
    disk.sync_dir("/")
    file = disk.open("/f")
    file.write_at(0, b"2")
    file.write_at(4096, b"2")
    found = {(data[0:1], data[4096:4097]) for data in contents(disk, "/f") if data}
    assert found == {(b"1", b"1"), (b"2", b"1"), (b"1", b"2"), (b"2", b"2")}


def test_a_page_may_be_caught_in_any_version() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"0", sync=True)
    disk.sync_dir("/")
    for value in (b"1", b"2", b"3"):
        put(disk, "/f", value)
    assert contents(disk, "/f") == {b"0", b"1", b"2", b"3"}


def test_an_unsynced_removal_may_be_undone() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"safe", sync=True)
    disk.sync_dir("/")
    disk.unlink("/f")
    assert contents(disk, "/f") == {b"safe", None}
    disk.sync_dir("/")
    assert contents(disk, "/f") == {None}


def test_an_unsynced_replacement_is_the_old_file_or_the_new() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"old", sync=True)
    disk.sync_dir("/")
    put(disk, "/g", b"new", sync=True)
    disk.rename("/g", "/f")
    assert contents(disk, "/f") == {b"old", b"new"}
    # As a whole: what is under the new name is no longer under the old one.
    for image in images(disk):
        left = image.filesystem()
        assert not (left.exists("/g") and left.read_file("/f", 3) == b"new")


def test_a_directory_moved_to_another_is_in_one_of_them() -> None:
    disk = CrashFileSystem()
    disk.make_dir("/from/d")
    disk.make_dir("/to")
    put(disk, "/from/d/f", b"safe", sync=True)
    for path in ("/from/d", "/from", "/"):
        disk.sync_dir(path)
    disk.rename("/from/d", "/to/d")
    places = {
        (left.exists("/from/d/f"), left.exists("/to/d/f"))
        for left in (image.filesystem() for image in images(disk))
    }
    assert places == {(True, False), (False, True)}
    disk.make_dir("/from/d")
    disk.sync_dir("/from")
    for image in images(disk):
        assert image.filesystem().read_file("/to/d/f", 4) == b"safe"


def test_changes_of_one_name_are_never_out_of_order() -> None:
    disk = CrashFileSystem()
    for value in (b"1", b"2", b"3"):
        put(disk, "/new", value, sync=True)
        disk.rename("/new", "/f")
        put(disk, "/new", b"", sync=True)
        disk.unlink("/new")
    for image in images(disk, subsets=64):
        left = image.filesystem()
        assert left.list_dir("/") in ([], ["new"], ["f"], ["f", "new"])
    assert contents(disk, "/f") == {None, b"1", b"2", b"3"}


def test_write_atomically_leaves_the_old_content_or_the_new() -> None:
    disk = CrashFileSystem()
    disk.write_atomically("/META", b"old" * 1000)
    assert contents(disk, "/META") == {b"old" * 1000}
    found: set[bytes | None] = set()
    disk.on_step = lambda what: found.update(contents(disk, "/META"))
    disk.write_atomically("/META", b"new" * 1000)
    assert found == {b"old" * 1000, b"new" * 1000}
    assert contents(disk, "/META") == {b"new" * 1000}


def test_equal_images_have_equal_keys_and_others_not() -> None:
    disk = CrashFileSystem()
    put(disk, "/f", b"1" * 5000)
    by_key: dict[int, tuple[list[str], bytes]] = {}
    for image in images(disk):
        left = image.filesystem()
        names = left.list_dir("/")
        state = (names, left.read_file("/f", 5000) if names else b"")
        assert by_key.setdefault(image.key(), state) == state
    states = [(tuple(names), data) for names, data in by_key.values()]
    assert len(set(states)) == len(states)


def test_the_same_seed_leaves_the_same_images() -> None:
    disk = CrashFileSystem()
    for number in range(5):
        put(disk, f"/f{number}", b"x" * 9000)
    keys = [[image.key() for image in images(disk, seed)] for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


def test_a_disk_that_does_not_record_has_nothing_to_lose() -> None:
    disk = kill_image(CrashFileSystem()).filesystem(recording=False)
    put(disk, "/f", b"x" * 5000)
    disk.open("/f").truncate(10)
    assert contents(disk, "/f") == {b"x" * 10}
    assert len({image.key() for image in images(disk)}) == 1

"""What holds for every file system: each test runs on the real one and on the one in memory."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import AlreadyOpenError, ClosedError, StorageError
from streamlog.runtime import (
    LOCK_FILE_NAME,
    TEMPORARY_SUFFIX,
    File,
    FileSystem,
    MemoryFileSystem,
    OsFileSystem,
    boot_id,
)
from tests.support.os_errors import raises_errno

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.runtime.conftest import Disk

MIB = 1 << 20


def made(disk: Disk, name: str, data: bytes = b"") -> File:
    file = disk.filesystem.open(disk.path(name), create=True)
    file.write_at(0, data)
    return file


# ---- open


def test_open_of_a_missing_file_raises(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.filesystem.open(disk.path("missing"))
    assert not disk.filesystem.exists(disk.path("missing"))


def test_open_with_create_makes_an_empty_file_once(disk: Disk) -> None:
    with_data = made(disk, "a", b"data")
    again = disk.filesystem.open(disk.path("a"), create=True)
    assert again.read_at(0, 10) == b"data"
    assert again.path == with_data.path == disk.path("a")


def test_open_exclusive_makes_the_file_or_refuses(disk: Disk) -> None:
    disk.filesystem.open(disk.path("a"), exclusive=True)
    with pytest.raises(FileExistsError):
        disk.filesystem.open(disk.path("a"), exclusive=True)
    with pytest.raises(FileExistsError):
        disk.filesystem.open(disk.path("a"), create=True, exclusive=True)


def test_open_below_a_missing_directory_or_a_file_raises(disk: Disk) -> None:
    made(disk, "file")
    with pytest.raises(FileNotFoundError):
        disk.filesystem.open(disk.path("missing/a"), create=True)
    with pytest.raises(NotADirectoryError):
        disk.filesystem.open(disk.path("file/a"), create=True)


@pytest.mark.parametrize("read_only", [True, False])
def test_open_of_a_directory_is_refused(disk: Disk, read_only: bool) -> None:
    with raises_errno(errno.EISDIR):
        disk.filesystem.open(disk.root, read_only=read_only)


def test_file_opened_for_reading_refuses_to_write(disk: Disk) -> None:
    made(disk, "a", b"data")
    file = disk.filesystem.open(disk.path("a"), read_only=True)
    attempts: list[Callable[[], object]] = [
        lambda: file.write_at(0, b"x"),
        lambda: file.allocate(0, 100),
        lambda: file.truncate(0),
        lambda: file.map(4, writable=True),
    ]
    for attempt in attempts:
        with pytest.raises((OSError, ClosedError)):
            attempt()
    assert file.read_at(0, 10) == b"data"
    assert file.map(4, writable=False)[:4] == b"data"


# ---- reading and writing


def test_read_at_gives_fewer_bytes_only_at_the_end(disk: Disk) -> None:
    file = made(disk, "a", b"0123456789")
    assert file.read_at(2, 3) == b"234"
    assert file.read_at(8, 100) == b"89"
    assert file.read_at(10, 1) == b""
    assert file.read_at(99, 1) == b""
    assert file.read_at(0, 0) == b""


def test_write_at_overwrites_and_grows_with_zeros_in_between(disk: Disk) -> None:
    file = made(disk, "a", b"0123456789")
    file.write_at(4, b"xx")
    file.write_at(12, b"end")
    assert file.read_at(0, 99) == b"0123xx6789\0\0end"
    assert file.size() == disk.filesystem.file_size(disk.path("a")) == 15


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_write_at_takes_any_kind_of_bytes(disk: Disk, make: Callable[[bytes], bytes]) -> None:
    file = made(disk, "a", b"")
    file.write_at(0, make(b"data"))
    file.write_at(4, make(b""))
    assert file.read_at(0, 9) == b"data"


def test_two_open_files_of_one_name_see_each_other(disk: Disk) -> None:
    one = made(disk, "a", b"one")
    other = disk.filesystem.open(disk.path("a"))
    other.write_at(0, b"two")
    assert one.read_at(0, 9) == b"two"


@pytest.mark.parametrize("position", [-1, -100])
def test_negative_position_is_refused(disk: Disk, position: int) -> None:
    file = made(disk, "a", b"data")
    for attempt in (
        lambda: file.read_at(position, 1),
        lambda: file.write_at(position, b"x"),
        lambda: file.truncate(position),
    ):
        with raises_errno(errno.EINVAL):
            attempt()
    assert file.read_at(0, 9) == b"data"


def test_truncate_cuts_and_what_grows_back_is_zero(disk: Disk) -> None:
    file = made(disk, "a", b"x" * 10_000)
    file.truncate(5)
    assert file.size() == 5
    file.truncate(9_000)
    assert file.read_at(0, 99_000) == b"xxxxx" + bytes(8_995)
    file.truncate(0)
    file.allocate(0, 3)
    assert file.read_at(0, 9) == b"\0\0\0"


# ---- allocate and map


def test_allocate_grows_with_zeros_and_keeps_what_was_there(disk: Disk) -> None:
    file = made(disk, "a", b"data")
    file.allocate(4, 65_536)
    assert file.size() == 65_536
    assert file.read_at(0, 99_999) == b"data" + bytes(65_532)


def test_allocate_within_the_file_changes_nothing(disk: Disk) -> None:
    file = made(disk, "a", b"0123456789")
    file.allocate(0, 5)
    file.allocate(5, 5)
    file.allocate(9, 3)
    assert file.read_at(0, 99) == b"0123456789"


def test_map_shows_the_file_and_stores_into_it(mapped_disk: Disk) -> None:
    file = made(mapped_disk, "a", b"0123456789")
    file.allocate(10, 8192)
    mapping = file.map(8192, writable=True)
    assert len(mapping) >= 8192
    assert mapping[2:5] == b"234"
    assert mapping[0] == ord("0")
    mapping[2:5] = b"abc"
    mapping[9] = ord("!")
    assert file.read_at(0, 10) == b"01abc5678!"
    file.write_at(0, b"X")
    assert mapping[:3] == b"X1a"
    assert (mapping.find(b"c5", 0, 100), mapping.find(b"c5", 5, 100)) == (4, -1)
    assert bytes(memoryview(mapping)[2:5]) == b"abc"


def test_stores_through_words_and_prefaulted_pages_reach_the_file(disk: Disk) -> None:
    file = made(disk, "a", b"")
    file.allocate(0, 8192)
    mapping = file.map(8192, writable=True)
    disk.filesystem.prefault(mapping, 100, 5000)
    disk.filesystem.words(mapping)[1] = 0xFFFF_FFFF
    assert file.read_at(0, 12) == bytes(4) + b"\xff" * 4 + bytes(4)


def test_slice_of_another_length_is_refused(disk: Disk) -> None:
    file = made(disk, "a", bytes(100))
    with pytest.raises((IndexError, ValueError)):
        file.map(100, writable=True)[0:4] = b"12345"


def test_map_of_nothing_or_of_more_than_the_file_is_refused(disk: Disk) -> None:
    file = made(disk, "a", b"data")
    for size in (0, -1, 5, 1 << 20):
        with pytest.raises(ValueError, match=rf"/a: cannot map {size} "):
            file.map(size, writable=True)
    with pytest.raises(ValueError, match="cannot map"):
        made(disk, "empty").map(1, writable=True)


@pytest.mark.parametrize("gone", ["unlink", "replace", "close", "grow"])
def test_map_stays_readable_whatever_happens_to_the_file(mapped_disk: Disk, gone: str) -> None:
    """Readers hold maps without a lock while retention and rolls go on (durability 3.16)."""
    filesystem = mapped_disk.filesystem
    file = made(mapped_disk, "a", b"old bytes")
    mapping = file.map(9, writable=False)
    view = memoryview(mapping)[:3]
    if gone == "unlink":
        filesystem.unlink(mapped_disk.path("a"))
        assert not filesystem.exists(mapped_disk.path("a"))
    elif gone == "replace":
        filesystem.write_atomically(mapped_disk.path("a"), b"new")
    elif gone == "close":
        file.close()
    else:
        file.allocate(9, 4 * MIB)
        new = file.map(4 * MIB, writable=True)
        new[9:13] = b" new"
        assert new[:13] == b"old bytes new"
    del file
    assert mapping[:9] == b"old bytes"
    assert bytes(view) == b"old"


def test_file_stays_usable_after_its_name_is_gone(disk: Disk) -> None:
    file = made(disk, "a", b"data")
    disk.filesystem.unlink(disk.path("a"))
    file.write_at(4, b" and more")
    assert file.read_at(0, 99) == b"data and more"
    assert disk.filesystem.list_dir(disk.root) == []


def test_syncs_return(disk: Disk) -> None:
    file = made(disk, "a", b"data")
    file.sync_data()
    file.sync()
    disk.filesystem.sync_dir(disk.root)
    with pytest.raises(FileNotFoundError):
        disk.filesystem.sync_dir(disk.path("missing"))


def test_every_method_of_a_closed_file_raises_closed_error(disk: Disk) -> None:
    file = made(disk, "a", b"data")
    file.close()
    file.close()
    attempts: list[Callable[[], object]] = [
        file.size,
        lambda: file.allocate(0, 10),
        lambda: file.truncate(0),
        lambda: file.read_at(0, 1),
        lambda: file.write_at(0, b"x"),
        lambda: file.map(1, writable=True),
        lambda: file.map(1, writable=False),
        file.sync_data,
        file.sync,
    ]
    for attempt in attempts:
        with pytest.raises(ClosedError, match="/a: the file is closed"):
            attempt()
    assert "closed" in repr(file)


# ---- names


def test_list_dir_is_sorted_and_shows_only_its_own_names(disk: Disk) -> None:
    for name in ("b", "a", "C", "10", "9"):
        made(disk, name)
    disk.filesystem.make_dir(disk.path("dir"))
    made(disk, "dir/inner")
    assert disk.filesystem.list_dir(disk.root) == ["10", "9", "C", "a", "b", "dir"]
    assert disk.filesystem.list_dir(disk.path("dir")) == ["inner"]


def test_list_dir_of_a_file_or_of_nothing_raises(disk: Disk) -> None:
    made(disk, "a")
    with pytest.raises(NotADirectoryError):
        disk.filesystem.list_dir(disk.path("a"))
    with pytest.raises(FileNotFoundError):
        disk.filesystem.list_dir(disk.path("missing"))


def test_make_dir_makes_parents_and_takes_what_exists(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("x/y/z"))
    disk.filesystem.make_dir(disk.path("x/y/z"))
    disk.filesystem.make_dir(disk.root)
    assert disk.filesystem.is_dir(disk.path("x/y"))
    assert disk.filesystem.exists(disk.path("x/y/z"))


def test_make_dir_over_or_below_a_file_is_refused(disk: Disk) -> None:
    made(disk, "a")
    with pytest.raises(FileExistsError):
        disk.filesystem.make_dir(disk.path("a"))
    with pytest.raises(NotADirectoryError):
        disk.filesystem.make_dir(disk.path("a/b"))


def test_is_dir_and_exists_tell_files_directories_and_nothing_apart(disk: Disk) -> None:
    made(disk, "a")
    filesystem = disk.filesystem
    names = [disk.root, disk.path("a"), disk.path("missing"), disk.path("a/below")]
    assert [filesystem.is_dir(name) for name in names] == [True, False, False, False]
    assert [filesystem.exists(name) for name in names] == [True, True, False, False]


def test_remove_dir_takes_empty_directories_only(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("x/y"))
    with raises_errno(errno.ENOTEMPTY):
        disk.filesystem.remove_dir(disk.path("x"))
    disk.filesystem.remove_dir(disk.path("x/y"))
    disk.filesystem.remove_dir(disk.path("x"))
    assert disk.filesystem.list_dir(disk.root) == []
    with pytest.raises(FileNotFoundError):
        disk.filesystem.remove_dir(disk.path("x"))


def test_unlink_of_nothing_or_of_a_directory_raises(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("x"))
    with pytest.raises(FileNotFoundError):
        disk.filesystem.unlink(disk.path("missing"))
    with raises_errno(errno.EISDIR, errno.EPERM):
        disk.filesystem.unlink(disk.path("x"))
    assert disk.filesystem.is_dir(disk.path("x"))


def test_rename_replaces_the_target(disk: Disk) -> None:
    made(disk, "a", b"new")
    made(disk, "b", b"old")
    disk.filesystem.rename(disk.path("a"), disk.path("b"))
    disk.filesystem.rename(disk.path("b"), disk.path("b"))
    assert disk.filesystem.list_dir(disk.root) == ["b"]
    assert disk.filesystem.read_file(disk.path("b"), 99) == b"new"


def test_rename_of_a_directory_takes_its_content_along(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("x/y"))
    disk.filesystem.make_dir(disk.path("empty"))
    made(disk, "x/y/a", b"data")
    disk.filesystem.rename(disk.path("x"), disk.path("empty"))
    assert disk.filesystem.list_dir(disk.root) == ["empty"]
    assert disk.filesystem.read_file(disk.path("empty/y/a"), 99) == b"data"


@pytest.mark.parametrize(
    ("source", "target", "number"),
    [
        ("missing", "b", errno.ENOENT),
        ("file", "missing/b", errno.ENOENT),
        ("file", "file/b", errno.ENOTDIR),
        ("file", "full", errno.EISDIR),
        ("full", "file", errno.ENOTDIR),
        ("empty", "full", errno.ENOTEMPTY),
        ("full", "full/inside", errno.EINVAL),
    ],
)
def test_rename_that_makes_no_sense_changes_nothing(
    disk: Disk, source: str, target: str, number: int
) -> None:
    disk.filesystem.make_dir(disk.path("full"))
    disk.filesystem.make_dir(disk.path("empty"))
    made(disk, "full/inner")
    made(disk, "file")
    with raises_errno(number):
        disk.filesystem.rename(disk.path(source), disk.path(target))
    assert disk.filesystem.list_dir(disk.root) == ["empty", "file", "full"]
    assert disk.filesystem.list_dir(disk.path("full")) == ["inner"]


# ---- whole files


def test_read_file_gives_all_of_it_up_to_the_limit(disk: Disk) -> None:
    made(disk, "a", b"12345")
    assert disk.filesystem.read_file(disk.path("a"), 5) == b"12345"
    with pytest.raises(StorageError, match="/a: expected at most 4 bytes, found 5"):
        disk.filesystem.read_file(disk.path("a"), 4)
    made(disk, "empty")
    assert disk.filesystem.read_file(disk.path("empty"), 0) == b""
    with pytest.raises(FileNotFoundError):
        disk.filesystem.read_file(disk.path("missing"), 5)


def test_write_atomically_makes_and_replaces_and_leaves_nothing_else(disk: Disk) -> None:
    for data in (b"first", b"", b"second" * 100_000):
        disk.filesystem.write_atomically(disk.path("META"), data)
        assert disk.filesystem.read_file(disk.path("META"), 1 << 20) == data
        assert disk.filesystem.list_dir(disk.root) == ["META"]


def test_write_atomically_over_a_directory_or_below_nothing_is_refused(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("dir"))
    with pytest.raises(IsADirectoryError):
        disk.filesystem.write_atomically(disk.path("dir"), b"data")
    with pytest.raises(FileNotFoundError):
        disk.filesystem.write_atomically(disk.path("missing/a"), b"data")
    assert disk.filesystem.list_dir(disk.root) == ["dir"]


def test_modified_ms_is_a_time_of_now(disk: Disk) -> None:
    made(disk, "a", b"data")
    assert disk.filesystem.modified_ms(disk.path("a")) > 1_600_000_000_000
    with pytest.raises(FileNotFoundError):
        disk.filesystem.modified_ms(disk.path("missing"))


def test_a_local_disk_has_room_and_is_not_a_network(disk: Disk) -> None:
    assert disk.filesystem.free_bytes(disk.root) > 0
    assert not disk.filesystem.is_network(disk.root)


# ---- the directory lock


def test_second_lock_is_refused_until_the_first_is_released(disk: Disk) -> None:
    lock = disk.filesystem.lock_dir(disk.root)
    with pytest.raises(AlreadyOpenError) as caught:
        disk.filesystem.lock_dir(disk.root)
    assert caught.value.path == disk.root
    assert caught.value.pid is not None
    assert caught.value.since is not None
    assert caught.value.since in str(caught.value)
    assert "in use by this process" in str(caught.value)
    lock.release()
    lock.release()
    disk.filesystem.lock_dir(disk.root).release()


def test_release_does_not_give_up_the_lock_of_the_next_owner(disk: Disk) -> None:
    first = disk.filesystem.lock_dir(disk.root)
    first.release()
    second = disk.filesystem.lock_dir(disk.root)
    first.release()
    first.abandon()
    with pytest.raises(AlreadyOpenError):
        disk.filesystem.lock_dir(disk.root)
    second.release()


def test_lock_file_is_never_deleted(disk: Disk) -> None:
    disk.filesystem.lock_dir(disk.root).release()
    assert disk.filesystem.list_dir(disk.root) == [LOCK_FILE_NAME]


def test_other_spelling_of_the_path_is_the_same_directory(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("x"))
    lock = disk.filesystem.lock_dir(disk.root)
    with pytest.raises(AlreadyOpenError):
        disk.filesystem.lock_dir(disk.path("x/../."))
    lock.release()


def test_directories_are_locked_one_by_one(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("x"))
    locks = [disk.filesystem.lock_dir(disk.root), disk.filesystem.lock_dir(disk.path("x"))]
    for lock in locks:
        lock.release()


def test_lock_of_a_missing_directory_raises(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.filesystem.lock_dir(disk.path("missing"))


def test_names_of_temporary_files_can_be_told(disk: Disk) -> None:
    assert TEMPORARY_SUFFIX == ".tmp"


# ---- both agree, whatever is done

_names = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/a"])
_sizes = st.sampled_from([0, 1, 5, 4095, 4096, 4097, 70_000])
_step = st.one_of(
    st.tuples(st.just("write"), _names, _sizes, st.binary(max_size=20)),
    st.tuples(st.just("allocate"), _names, _sizes, _sizes),
    st.tuples(st.just("truncate"), _names, _sizes),
    st.tuples(st.just("store"), _names, st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("atomic"), _names, st.binary(max_size=20)),
    st.tuples(st.just("open"), _names, st.booleans(), st.booleans()),
    st.tuples(st.sampled_from(["unlink", "make_dir", "remove_dir", "list", "lookup"]), _names),
    st.tuples(st.just("rename"), _names, _names),
)


def perform(filesystem: FileSystem, root: str, step: tuple[object, ...]) -> object:
    """Do one step; return what can be seen of it, the kind of error included."""
    verb, name, *rest = step
    path = f"{root}/{name}"
    try:
        if verb == "open":
            create, exclusive = rest
            return filesystem.open(path, create=bool(create), exclusive=bool(exclusive)).size()
        if verb in ("write", "allocate", "truncate", "store"):
            file = filesystem.open(path, create=True)
            if verb == "write":
                file.write_at(*rest)  # type: ignore[arg-type]
            elif verb == "allocate":
                file.allocate(*rest)  # type: ignore[arg-type]
            elif verb == "truncate":
                file.truncate(*rest)  # type: ignore[arg-type]
            else:
                (data,) = rest
                assert isinstance(data, bytes)
                if file.size() >= len(data):
                    file.map(file.size(), writable=True)[: len(data)] = data
            return file.size(), file.read_at(0, 200_000)
        if verb == "atomic":
            filesystem.write_atomically(path, *rest)  # type: ignore[arg-type]
        elif verb == "rename":
            filesystem.rename(path, f"{root}/{rest[0]}")
        elif verb == "list":
            return filesystem.list_dir(path)
        elif verb == "lookup":
            return filesystem.exists(path), filesystem.is_dir(path)
        else:
            getattr(filesystem, str(verb))(path)
    except OSError as error:
        # Where several errors apply to a rename, kernels differ in which one they name.
        return "refused" if verb == "rename" else errno.errorcode[error.errno or 0]
    return filesystem.list_dir(root)


@given(st.lists(_step, max_size=25))
def test_any_program_does_the_same_on_disk_and_in_memory(steps: list[tuple[object, ...]]) -> None:
    memory = MemoryFileSystem()
    memory.make_dir("/root")
    with tempfile.TemporaryDirectory() as root:
        for step in steps:
            on_disk = perform(OsFileSystem(), root, step)
            assert perform(memory, "/root", step) == on_disk, step


def test_the_boot_is_the_machines_and_stays_the_same(mapped_disk: Disk) -> None:
    assert mapped_disk.filesystem.boot_id() == boot_id()
    assert mapped_disk.filesystem.boot_id() == mapped_disk.filesystem.boot_id()

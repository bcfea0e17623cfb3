from __future__ import annotations

import errno
import mmap
import os
import sys
from typing import TYPE_CHECKING

import pytest

from streamlog.runtime import MemoryFileSystem, memory_file
from streamlog.runtime.memory_file import MemoryContent, MemoryFile

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = mmap.PAGESIZE
MIB = 1 << 20


@pytest.fixture
def file() -> MemoryFile:
    file = MemoryFileSystem().open("/a", create=True)
    assert isinstance(file, MemoryFile)
    return file


def test_map_is_the_same_object_until_the_file_outgrows_it(file: MemoryFile) -> None:
    file.allocate(0, PAGE)
    first = file.map(10, writable=True)
    assert file.map(PAGE, writable=False) is first
    file.allocate(PAGE, 2 * PAGE)
    second = file.map(2 * PAGE, writable=True)
    assert second is not first


def _grow(file: MemoryFile, first: int, last: int) -> list[int]:
    """Grow *file* from *first* to *last* bytes, by as much each time; return the lengths of its maps."""
    maps = []
    for end in range(first, last + first, first):
        file.allocate(end - first, end)
        maps.append(file.map(end, writable=True))
    return list({id(mapping): len(mapping) for mapping in maps}.values())


def test_file_that_is_no_longer_small_grows_without_being_copied_again(file: MemoryFile) -> None:
    assert len(_grow(file, MIB, 65 * MIB)) == 2  # the first one and that of the rest


def test_small_file_grows_without_much_copying_and_without_a_map_of_a_gigabyte(
    file: MemoryFile,
) -> None:
    assert _grow(file, PAGE, 256 * PAGE) == [PAGE, 16 * PAGE, 256 * PAGE]


def _refuse_large_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    anonymous_map = memory_file._anonymous_map

    def limited(size: int) -> mmap.mmap:
        if size > 128 * MIB:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return anonymous_map(size)

    monkeypatch.setattr(memory_file, "_anonymous_map", limited)


def _be_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.parametrize("restrict", [_refuse_large_maps, _be_on_windows])
def test_maps_double_where_room_is_not_to_be_had_or_not_for_nothing(
    file: MemoryFile, monkeypatch: pytest.MonkeyPatch, restrict: Callable[..., None]
) -> None:
    restrict(monkeypatch)
    assert _grow(file, MIB, 65 * MIB) == [n * MIB for n in (1, 2, 4, 8, 16, 32, 64, 128)]


def test_content_survives_growth_and_the_old_map_stays_as_it_was(file: MemoryFile) -> None:
    file.write_at(0, b"first")
    file.write_at(100_000, b"second")
    old = file.map(100_006, writable=True)
    file.allocate(100_006, 10 * MIB)
    new = file.map(10 * MIB, writable=True)
    new[0:5] = b"FIRST"
    assert (old[0:5], old[100_000:100_006]) == (b"first", b"second")
    assert (new[0:5], new[100_000:100_006]) == (b"FIRST", b"second")
    assert new.find(b"second", 0, 10 * MIB) == 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory in /proc")
def test_thousand_idle_files_cost_little_memory(run_python: Callable[..., str]) -> None:
    """A broker in memory with 1,000 idle partitions stays below 64 MiB: 8 KiB a file at most."""
    answer = run_python(
        """
        import os
        from streamlog.runtime import MemoryFileSystem
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
        filesystem = MemoryFileSystem()
        files = []
        before = resident()
        for number in range(1000):
            file = filesystem.open(f"/{number}", create=True)
            file.allocate(0, 65_536)
            file.allocate(65_536, 10_485_760)
            file.map(10_485_760, writable=True)[0:4] = b"head"
            files.append(file)
        print((resident() - before) // 1000)
        """
    )
    assert int(answer) < 8 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory in /proc")
def test_prefaulted_pages_are_there_before_they_are_written(run_python: Callable[..., str]) -> None:
    try:
        mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).madvise(23)
    except OSError:
        pytest.skip("a kernel before 5.14")
    answer = run_python(
        """
        import os
        from streamlog.runtime import MemoryFileSystem
        def resident_mib():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
        filesystem = MemoryFileSystem()
        file = filesystem.open("/a", create=True)
        file.allocate(0, 64 << 20)
        before = resident_mib()
        filesystem.prefault(file.map(64 << 20, writable=True), 1 << 20, 33 << 20)
        print(resident_mib() - before)
        """
    )
    assert 30 <= int(answer) <= 34


@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory in /proc")
def test_growing_and_truncating_give_memory_back(run_python: Callable[..., str]) -> None:
    answer = run_python(
        """
        import os
        from streamlog.runtime import MemoryFileSystem
        def resident_mib():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
        file = MemoryFileSystem().open("/a", create=True)
        before = resident_mib()
        file.write_at(0, b"x" * (64 << 20))
        file.write_at(100 << 20, b"y")
        grown = resident_mib() - before
        file.truncate(1 << 20)
        print(grown < 80, resident_mib() - before < 8, file.read_at(0, 2 << 20).count(b"x") == 1 << 20)
        """
    )
    assert answer == "True True True"


def test_modification_time_comes_from_the_clock_it_was_given() -> None:
    now = [5]
    filesystem = MemoryFileSystem(time_ms=lambda: now[0])
    file = filesystem.open("/a", create=True)
    assert filesystem.modified_ms("/a") == 5
    for step, change in enumerate(
        (lambda: file.write_at(0, b"x"), lambda: file.allocate(0, 9), lambda: file.truncate(1))
    ):
        now[0] = 10 + step
        change()
        assert filesystem.modified_ms("/a") == 10 + step


def test_forked_child_writes_into_its_own_copy(run_python: Callable[..., str]) -> None:
    answer = run_python(
        """
        import os
        from streamlog.runtime import MemoryFileSystem
        file = MemoryFileSystem().open("/a", create=True)
        file.write_at(0, b"parent")
        mapping = file.map(6, writable=True)
        if os.fork() == 0:
            mapping[0:6] = b"child!"
            file.write_at(6, b"!")
            os._exit(0)
        os.wait()
        print(file.read_at(0, 99))
        """
    )
    assert answer == "b'parent'"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_platforms_clear_and_map_without_advice(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    content = MemoryContent(lambda *_: None, lambda: 0)
    content.write_at(0, b"x" * 200_000)
    content.resize(3)
    content.resize(200_000)
    assert content.read_at(0, 200_000) == b"xxx" + bytes(199_997)


def test_repr_names_the_file(file: MemoryFile) -> None:
    assert repr(file) == "<MemoryFile /a>"
    assert os.sep == "/"

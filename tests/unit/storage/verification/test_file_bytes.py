"""Reading a file a window at a time gives what the file holds, wherever the windows fall."""

from __future__ import annotations

import pytest

from streamlog.runtime import MemoryFileSystem
from streamlog.storage.verification import file_bytes
from streamlog.storage.verification.file_bytes import FileBytes

CONTENT = bytes(range(251)) * 7


@pytest.fixture
def filesystem(monkeypatch: pytest.MonkeyPatch) -> MemoryFileSystem:
    monkeypatch.setattr(file_bytes, "_WINDOW_BYTES", 64)
    filesystem = MemoryFileSystem()
    filesystem.make_dir("/d")
    file = filesystem.open("/d/f", create=True)
    file.write_at(0, CONTENT)
    return filesystem


def test_any_slice_is_that_of_the_content(filesystem: MemoryFileSystem) -> None:
    found = FileBytes.open(filesystem, "/d/f")
    size = len(CONTENT)
    assert len(found) == size
    for start in (0, 1, 63, 64, 65, 1000, size - 1, size, size + 5):
        for length in (0, 1, 63, 64, 65, 500):
            assert found[start : start + length] == CONTENT[start : start + length]
    assert found[:] == CONTENT
    assert [found[0], found[100], found[size - 1]] == [CONTENT[0], CONTENT[100], CONTENT[-1]]


def test_find_sees_across_the_edges_of_windows(filesystem: MemoryFileSystem) -> None:
    found = FileBytes.open(filesystem, "/d/f")
    for place in (0, 62, 63, 64, 126, 250, 900):
        wanted = CONTENT[place : place + 9]
        for start in (0, 10, place, place + 1):
            assert found.find(wanted, start, len(CONTENT)) == CONTENT.find(wanted, start)
    assert found.find(b"nothing", 0, len(CONTENT)) == -1
    assert found.find(CONTENT[100:109], 0, 108) == -1
    assert found.find(CONTENT[100:109], 0, 109) == 100


def test_refresh_shows_what_was_written_since(filesystem: MemoryFileSystem) -> None:
    found = FileBytes.open(filesystem, "/d/f")
    assert found[0:2] == CONTENT[:2]
    filesystem.open("/d/f").write_at(0, b"zz")
    filesystem.open("/d/f").write_at(len(CONTENT), b"more")
    assert found[0:2] == CONTENT[:2]
    assert found.refresh() == len(CONTENT) + 4
    assert found[0:2] == b"zz"
    assert found[len(CONTENT) :] == b"more"

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamlog.runtime import MemoryFileSystem
from streamlog.storage import read_only_file
from streamlog.storage.read_only_file import WINDOW_BYTES, FileView

CONTENT = bytes(range(251)) * 2000

Made = Callable[[bytes], "tuple[CountedFile, FileView]"]


class CountedFile:
    """What a view needs of a file, with the reads that it made."""

    path = "/log"

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []

    def read_at(self, position: int, size: int) -> bytes:
        self.reads.append((position, size))
        return self.content[position : position + size]


def view_of(content: bytes, size: int | None = None) -> tuple[CountedFile, FileView]:
    file = CountedFile(content)
    return file, FileView(file, len(content) if size is None else size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (80, 160), (5, 5), (9, 3), (0, len(CONTENT)), (300_000, 300_080), (502_000, 600_000)],
)
def test_any_range_is_that_of_the_file(start: int, stop: int) -> None:
    _, view = view_of(CONTENT)
    assert view[start:stop] == CONTENT[start:stop]
    assert view[start:stop] == CONTENT[start:stop]
    assert len(view) == len(CONTENT)


def test_small_ranges_side_by_side_take_one_read() -> None:
    file, view = view_of(CONTENT)
    parts = [view[start : start + 80] for start in range(0, 8000, 80)]
    assert b"".join(parts) == CONTENT[:8000]
    assert file.reads == [(0, WINDOW_BYTES)]
    assert view[7000:7080] == CONTENT[7000:7080]
    assert (
        view[WINDOW_BYTES - 40 : WINDOW_BYTES + 40]
        == CONTENT[WINDOW_BYTES - 40 : WINDOW_BYTES + 40]
    )
    assert file.reads[1:] == [(WINDOW_BYTES - 40, WINDOW_BYTES)]


def test_a_large_range_is_read_as_it_is() -> None:
    file, view = view_of(CONTENT)
    assert view[100 : 100 + WINDOW_BYTES] == CONTENT[100 : 100 + WINDOW_BYTES]
    assert file.reads == [(100, WINDOW_BYTES)]


def test_nothing_behind_the_size_is_read_or_returned() -> None:
    file, view = view_of(CONTENT, 100)
    assert view[80:200] == CONTENT[80:100]
    assert view[100:180] == b""
    assert file.reads == [(80, 20)]


def test_what_was_cut_off_reads_as_zeros() -> None:
    file, view = view_of(CONTENT, 1000)
    file.content = CONTENT[:100]
    assert view[50:200] == CONTENT[50:100] + bytes(100)
    assert view.find(b"\0" * 9) == 100


def test_one_byte_is_a_number() -> None:
    _, view = view_of(CONTENT)
    assert (view[0], view[250], view[251]) == (0, 250, 0)


@pytest.mark.parametrize("at", [0, 37, 4090, 4093, 4096, 9999])
def test_bytes_are_found_wherever_they_are(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across the end of what is read at once."""
    monkeypatch.setattr(read_only_file, "_SEARCH_BYTES", 4096)
    content = bytes(at) + b"needle" + bytes(100)
    _, view = view_of(content)
    assert view.find(b"needle") == at
    assert view.find(b"needle", at) == at
    assert view.find(b"needle", 0, at + 6) == at
    assert view.find(b"needle", at + 1) == -1
    assert view.find(b"needle", 0, at + 5) == -1
    assert view.find(b"needles", 0, 10**9) == -1


def test_a_view_is_for_reading_and_not_in_memory() -> None:
    _, view = view_of(CONTENT)
    with pytest.raises(TypeError, match="/log: open for reading only"):
        view[0] = 1
    with pytest.raises(TypeError, match="/log: not in memory"):
        view.__buffer__(0)


def test_a_real_file_is_read() -> None:
    disk = MemoryFileSystem()
    file = disk.open("/f", create=True)
    file.write_at(0, CONTENT)
    assert FileView(disk.open("/f", read_only=True), 300)[250:300] == CONTENT[250:300]

from __future__ import annotations

import mmap

import pytest

from streamlog.runtime.mapping import prefault_pages, view_as_words

PAGE = mmap.PAGESIZE


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (1, 2), (PAGE - 1, PAGE + 1), (0, 4 * PAGE), (PAGE, 99 * PAGE), (5, 5), (9, 3)],
)
def test_prefault_takes_any_range_and_changes_nothing(start: int, end: int) -> None:
    mapping = mmap.mmap(-1, 4 * PAGE)
    mapping[PAGE : PAGE + 4] = b"kept"
    prefault_pages(mapping, start, end)
    assert mapping.find(b"kept") == PAGE
    assert mapping[:].count(0) == 4 * PAGE - 4


def test_prefault_beyond_the_end_does_nothing() -> None:
    prefault_pages(mmap.mmap(-1, PAGE), 10 * PAGE, 11 * PAGE)


def test_prefault_of_a_map_for_reading_or_on_an_old_kernel_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefault_pages(mmap.mmap(-1, PAGE, access=mmap.ACCESS_READ), 0, PAGE)
    monkeypatch.setattr("streamlog.runtime.mapping._POPULATE_WRITE", 9999)
    prefault_pages(mmap.mmap(-1, PAGE), 0, PAGE)


def test_words_store_four_bytes_at_once() -> None:
    mapping = mmap.mmap(-1, PAGE)
    words = view_as_words(mapping)
    words[2] = 0xFFFF_FFFF
    assert (len(words), words[2], mapping[7:13]) == (
        PAGE // 4,
        0xFFFF_FFFF,
        b"\0\xff\xff\xff\xff\0",
    )


@pytest.mark.parametrize(("length", "count"), [(1, 0), (4, 1), (7, 1), (8, 2)])
def test_words_leave_out_a_rest_of_less_than_four_bytes(length: int, count: int) -> None:
    assert len(view_as_words(mmap.mmap(-1, length))) == count


def test_words_keep_the_mapping_alive() -> None:
    mapping = mmap.mmap(-1, PAGE)
    words = view_as_words(mapping)
    with pytest.raises(BufferError):
        mapping.close()
    del mapping
    words[0] = 7
    assert words[0] == 7

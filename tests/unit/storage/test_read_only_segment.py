from __future__ import annotations

import pytest

from streamlog.errors import ClosedError
from streamlog.runtime import TokenLock
from streamlog.storage.batch_scan import header_at
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.read_only_file import FileView
from streamlog.storage.read_only_segment import ReadOnlySegment
from tests.support.frozen_files import FrozenFileSystem
from tests.support.storage import Store


@pytest.fixture
def segment(store: Store) -> ReadOnlySegment:
    """The first of several segments, as it was when nothing was in it."""
    store.fill(40)
    return made(store)


def made(store: Store, base_offset: int = 0) -> ReadOnlySegment:
    filesystem = FrozenFileSystem(store.disk.filesystem)
    return ReadOnlySegment(
        filesystem, store.log_path, base_offset, OpenSegments(4), TokenLock(), 0, 1 << 20
    )


def grown(store: Store, segment: ReadOnlySegment, count: int = 2) -> None:
    size = store.disk.filesystem.file_size(segment.path)
    view = FileView(store.disk.filesystem.open(segment.path, read_only=True), size)
    batches, position = [], segment.position
    for _ in range(count):
        header = header_at(view, position, size)
        assert header is not None
        batches.append((position, header))
        position += header.aligned_size
    segment.grow(batches)


def test_what_grows_can_be_read_and_is_indexed(store: Store, segment: ReadOnlySegment) -> None:
    assert segment.read(0, 100, None) is None
    for end in (2, 4):
        grown(store, segment)
        assert (segment.next_offset, segment.synced_position) == (end, segment.position)
        assert segment.read(end - 1, 1, None) == store.log.read(end - 1, 1)
    assert [offset for offset, _ in segment.offset_index.entries()] == [1, 2, 3]
    assert segment.max_timestamp_ms == store.clock.time_ms()
    segment.end()
    assert segment.sealed


def test_one_that_ends_before_anybody_looked_into_it_opens_nothing(
    store: Store, segment: ReadOnlySegment
) -> None:
    segment.end()
    assert segment.sealed
    assert segment._file is None
    assert not segment._index_loaded


def test_a_file_is_opened_once_and_counted(store: Store, segment: ReadOnlySegment) -> None:
    grown(store, segment)
    view = segment.mapping_for_read()
    assert segment.mapping_for_read() is view
    assert segment.open_file() is segment.open_file()
    assert len(segment._open_segments) == 1
    assert not segment.try_release_files()  # it was just used
    assert segment.try_release_files()
    assert segment._file is None
    grown(store, segment)  # with nothing open
    assert segment.read(3, 1, None) == store.log.read(3, 1)


def test_a_view_covers_what_was_published_when_it_was_asked_for(
    store: Store, segment: ReadOnlySegment
) -> None:
    grown(store, segment)
    assert len(segment.mapping_for_read()) == segment.position
    grown(store, segment)
    assert len(segment.mapping_for_read()) == segment.position


def test_another_thread_may_have_opened_it_meanwhile(
    store: Store, segment: ReadOnlySegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(store, segment)
    open_file, made_by_others = ReadOnlySegment.open_file, []

    def open_and_lose(one: ReadOnlySegment) -> object:
        file = open_file(one)
        with one._open_lock:
            one._mapping = FileView(file, one.position)
        made_by_others.append(one._mapping)
        return file

    segment._drop_files()
    monkeypatch.setattr(ReadOnlySegment, "open_file", open_and_lose)
    assert segment.mapping_for_read() is made_by_others[0]


def test_of_two_who_open_it_one_does(
    store: Store, segment: ReadOnlySegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = segment._filesystem.open(segment.path, read_only=True)

    class LateLock:
        """Held by another thread, which has opened the file when it lets go."""

        def __enter__(self) -> None:
            segment._file = other

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(segment, "_open_lock", LateLock())
    assert segment.open_file() is other


def test_a_sealed_one_is_known_by_size_and_end(store: Store, segment: ReadOnlySegment) -> None:
    following = store.base_offsets()[1]
    segment.load_sealed(following)
    assert segment.sealed
    assert segment.is_still(following)
    assert not segment.is_still(following + 1)
    store.disk.cut(segment.path, 80)
    assert not segment.is_still(following)


def test_a_closed_one_opens_nothing(store: Store, segment: ReadOnlySegment) -> None:
    grown(store, segment)
    segment.close()
    with pytest.raises(ClosedError, match="closed or deleted"):
        segment.open_file()
    with pytest.raises(ClosedError, match="closed or deleted"):
        segment.mapping_for_read()


def test_a_missing_file_is_said_so(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        made(store, 77).open_file()

"""Reading a segment whole, or not at all."""

from __future__ import annotations

import pytest

from streamlog.errors import ClosedError, CorruptLogError
from streamlog.storage.compaction.batch_source import batches_of
from tests.support.storage import Store

BATCH = 104


@pytest.fixture
def sealed(store: Store) -> Store:
    """Nine batches in a sealed segment."""
    store.fill(10)
    assert store.base_offsets() == [0, 9]
    return store


def offsets(store: Store, start_offset: int = 0) -> list[int]:
    return [batch.base_offset for batch in batches_of(store.log.segments[0], start_offset)]


def test_all_batches_come_from_the_one_that_holds_the_offset(sealed: Store) -> None:
    assert offsets(sealed) == list(range(9))
    assert offsets(sealed, 5) == [5, 6, 7, 8]
    assert offsets(sealed, 9) == []


@pytest.mark.parametrize("at", [4 * BATCH + 30, 4 * BATCH + 95])
def test_damage_ends_it_there(sealed: Store, at: int) -> None:
    sealed.reopen()
    sealed.disk.flip(sealed.segment_path(), at)
    source = batches_of(sealed.log.segments[0], 0)
    assert [next(source).base_offset for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(CorruptLogError, match="readable again from offset 5") as caught:
        next(source)
    assert (caught.value.first_bad_offset, caught.value.next_good_offset) == (4, 5)


def test_a_missing_batch_is_damage(sealed: Store) -> None:
    data = sealed.disk.read(sealed.segment_path())
    sealed.close()
    sealed.disk.write(sealed.segment_path(), data[: 4 * BATCH] + data[5 * BATCH : 9 * BATCH])
    sealed.open()
    with pytest.raises(CorruptLogError, match="expected the batch of offset 4"):
        offsets(sealed)


def test_a_file_that_ends_early_is_damage(sealed: Store) -> None:
    sealed.close()
    sealed.disk.cut(sealed.segment_path(), 8 * BATCH)
    sealed.open()
    with pytest.raises(CorruptLogError, match="found the end of the file") as caught:
        offsets(sealed)
    assert caught.value.first_bad_offset == 8


def test_a_segment_that_was_taken_away_is_closed(sealed: Store) -> None:
    segment = sealed.log.segments[0]
    segment.ensure_indexes()
    segment.release_files()
    with pytest.raises(ClosedError):
        next(batches_of(segment, 0))

from __future__ import annotations

import pytest

from streamlog.record import ProducerStamp
from streamlog.record.sequence import MAX_SEQUENCE
from streamlog.storage.producer_entry import KEPT_BATCHES, ProducerEntry


def entry_of(*recent: tuple[int, int, int, int]) -> ProducerEntry:
    return ProducerEntry(7, 3, recent)


def test_next_sequence_follows_the_last_batch_and_wraps_around() -> None:
    """IDM-1."""
    assert entry_of().next_sequence == 0
    assert entry_of((10, 14, 0, 0)).next_sequence == 15
    assert entry_of((10, MAX_SEQUENCE, 0, 0)).next_sequence == 0


def test_idm_2_the_last_five_batches_are_kept() -> None:
    entry = entry_of(*((n, n, n, 0) for n in range(7)))
    assert KEPT_BATCHES == 5
    assert [batch[0] for batch in entry.recent] == [2, 3, 4, 5, 6]


def test_idm_5_last_time_is_that_of_what_came_last() -> None:
    assert entry_of().last_timestamp_ms == -1
    entry = entry_of((0, 0, 5, 100))
    assert entry.last_timestamp_ms == 100
    entry.marker_offset, entry.marker_timestamp_ms = 6, 50
    assert entry.last_timestamp_ms == 50
    entry.recent.append((1, 1, 7, 60))
    assert entry.last_timestamp_ms == 60


def test_only_the_stamp_that_was_linked_last_appends_unchecked() -> None:
    entry, first, second = entry_of(), ProducerStamp(7, 3), ProducerStamp(7, 3)
    entry.unlink()
    entry.link(first)
    entry.link(first)
    assert first.remember == entry.recent.append
    entry.link(second)
    assert first.remember is None
    assert second.remember == entry.recent.append
    entry.unlink()
    assert second.remember is None
    assert entry.stamp is None


def test_packed_entry_is_unpacked_as_it_was() -> None:
    entry = entry_of((1, 2, 3, 4), (3, 3, 9, 5))
    entry.first_open_offset, entry.coordinator_epoch = 3, 11
    entry.marker_offset, entry.marker_timestamp_ms = 2, 77
    found = ProducerEntry.unpack(entry.pack())
    assert repr(found) == repr(entry)
    assert found.pack() == entry.pack()
    assert "open from 3" in repr(entry)


@pytest.mark.parametrize("fields", [[], [1, 2, 3, 4, 5], [1] * 7, [1, 2, 3, 4, 5, None]])
def test_anything_else_is_refused(fields: list[int]) -> None:
    with pytest.raises(ValueError, match="expected 6 integers and fours of them"):
        ProducerEntry.unpack(fields)

"""Reading a log whose segments go away, are damaged or are missing while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamlog.errors import ClosedError, CorruptLogError, DataLossError, OffsetOutOfRangeError
from streamlog.record import split_batches
from streamlog.record.layout import HEADER_SIZE
from streamlog.storage import log_reader
from streamlog.storage.segment import Segment
from tests.support.storage import Store, read_values

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 104


def during_read(
    monkeypatch: pytest.MonkeyPatch, step_in: Callable[[], object], *, wanted: Segment
) -> None:
    """Have *step_in* run once, when a read has found *wanted* and not read it yet."""
    pending = [step_in]
    original = Segment.read

    def read(segment: Segment, offset: int, max_bytes: int, bound: int | None) -> bytes | None:
        if pending and segment is wanted:
            pending.pop()()
        return original(segment, offset, max_bytes, bound)

    monkeypatch.setattr(Segment, "read", read)


def test_nothing_is_read_behind_a_bound_that_is_inside_of_a_batch(store: Store) -> None:
    store.append(b"0", b"1", b"2")
    for offset in (1, 2):
        assert store.log.read_batches(offset, 1000, 1) == []
        assert store.log.read(offset, 1000, 1) == b""


def test_txn_13_what_is_appended_during_a_read_is_behind_its_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound at the log end was taken for no bound, and a record of an open transaction was delivered."""
    store.fill(3)
    original = log_reader.read_batches

    def append_first(*arguments: Any) -> Any:
        store.append(b"of an open transaction")
        return original(*arguments)

    with monkeypatch.context() as patching:
        patching.setattr(log_reader, "read_batches", append_first)
        found = store.log.read_batches(0, 1 << 20, 3)
    assert found[-1].next_offset == 3
    during_read(monkeypatch, lambda: store.append(b"of another one"), wanted=store.log.segments[-1])
    assert split_batches(store.log.read(0, 1 << 20, 4))[-1].next_offset == 4
    assert store.log.log_end_offset == 5


def test_a_segment_deleted_while_it_is_found_is_out_of_range(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RET-7."""
    store.fill(30)
    store.reopen()
    store.with_config(retention_bytes=1000)
    during_read(monkeypatch, lambda: store.log.delete_expired(0, 30), wanted=store.log.segments[0])
    with pytest.raises(OffsetOutOfRangeError, match="expected 18 to 30"):
        store.log.read(3, 100)


def test_a_log_closed_while_it_is_read_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(30)
    during_read(monkeypatch, store.log.close, wanted=store.log.segments[0])
    with pytest.raises(ClosedError, match="t-0"):
        store.log.read(3, 100)


def test_a_reader_that_has_the_map_reads_on_after_the_deletion(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = store.fill(30)
    first = store.log.segments[0]
    mapping = first.mapping_for_read()
    monkeypatch.setattr(Segment, "mapping_for_read", lambda self: mapping)
    during_read(
        monkeypatch,
        lambda: store.log.delete_expired(0, 30),
        wanted=first,
    )
    store.with_config(retention_bytes=1000)
    assert b"".join(values[3:4]) in store.log.read(3, BATCH)


@pytest.mark.parametrize("what", ["gone", "too short"])
def test_a_file_that_somebody_took_away_is_reported_with_where_to_go_on(
    store: Store, what: str
) -> None:
    values = store.fill(30)
    store.reopen()
    path = store.segment_path(9)
    store.log.segments[1].ensure_indexes()
    store.log.segments[1]._drop_files()
    if what == "gone":
        store.disk.filesystem.unlink(path)
    else:
        store.disk.cut(path, BATCH)
    for read in (store.log.read, store.log.read_batches):
        with pytest.raises(CorruptLogError, match="expected a file of 936 bytes") as caught:
            read(12, 100)
        error = caught.value
        assert (error.first_bad_offset, error.next_good_offset) == (12, 18)
        assert (error.topic_partition, error.file) == (store.log.topic_partition, path)
    assert [v for _, v in read_values(store.log, 18)] == values[18:]


def test_the_active_file_taken_away_has_nowhere_to_go_on(store: Store) -> None:
    store.fill(3)
    store.reopen()
    store.log.segments[0].ensure_indexes()
    store.log.segments[0]._drop_files()
    store.disk.filesystem.unlink(store.segment_path(0))
    with pytest.raises(CorruptLogError) as caught:
        store.log.read(1, 100)
    assert caught.value.next_good_offset is None
    store.disk.write(store.segment_path(0), bytes(3 * BATCH))  # so that it can be closed


def test_batches_missing_at_the_end_of_a_file_are_reported(store: Store) -> None:
    values = store.fill(30)
    store.close()
    store.disk.cut(store.segment_path(9), 4 * BATCH)
    store.open()
    for read in (store.log.read, store.log.read_batches):
        with pytest.raises(CorruptLogError, match="expected batches up to offset 17") as caught:
            read(14, 100)
        assert (caught.value.first_bad_offset, caught.value.next_good_offset) == (14, 18)
    assert [v for _, v in read_values(store.log, 18)] == values[18:]


def test_a_batch_stored_but_not_yet_told_of_is_not_there_yet(store: Store) -> None:
    store.fill(3)
    store.log._next_offset = 5  # as if the segment lagged behind
    assert store.log.read(4, 100) == b""
    assert store.log.read_batches(3, 100) == []
    store.log._next_offset = 3


def test_a_log_without_a_segment_for_the_offset_is_out_of_range(store: Store) -> None:
    store.fill(30)
    first, second, *_ = store.log.segments
    store.log._segments.remove(first)
    store.log._segments.remove(second)
    with pytest.raises(OffsetOutOfRangeError):
        store.log.read(3, 100)
    store.log._segments.add(first)
    store.log._segments.add(second)


def test_damage_found_by_batches_ends_what_is_returned(store: Store) -> None:
    store.fill(9)
    store.close()
    store.disk.flip(store.segment_path(0), 4 * BATCH + 20)
    store.open()
    assert [b.base_offset for b in store.log.read_batches(0, 1 << 20)] == [0, 1, 2, 3]
    with pytest.raises(CorruptLogError) as caught:
        store.log.read_batches(4, 1 << 20)
    assert caught.value.topic_partition == store.log.topic_partition
    assert [b.base_offset for b in store.log.read_batches(5, 1 << 20)] == [5, 6, 7, 8]


def test_ends_of_reads_are_remembered_and_forgotten(store: Store) -> None:
    store.with_config(segment_bytes=1 << 20)
    store.log.roll()
    store.fill(150)
    segment = store.log._active
    for offset in range(150):
        (batch,) = store.log.read_batches(offset, 1)
        assert batch.base_offset == offset
    assert len(segment._hints) <= 64
    segment._hints.clear()
    segment._hints[7] = 9 * BATCH
    assert store.log.read_batches(7, 1)[0].base_offset == 7


# ---- batches that are good by themselves, in the wrong place (docs/decisions/0002)


def rearrange(store: Store, *numbers: int) -> None:
    """Let the first, closed segment hold these of its batches, in this order."""
    path = store.segment_path(0)
    data = store.disk.read(path)
    pieces = [data[n * BATCH : (n + 1) * BATCH] for n in numbers]
    store.disk.write(path, b"".join(pieces))


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ([0, 1, 2, 4, 5, 6, 7, 8], [3]),
        ([1, 2, 3, 4, 5, 6, 7, 8], [0]),
        ([0, 1, 2, 3, 4, 5, 6, 7], [8]),
        ([0, 1, 2, 3, 3, 4, 5, 6, 7, 8], []),
        ([0, 1, 2, 3, 0, 4, 5, 6, 7, 8], []),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 0], []),
    ],
)
def test_a_batch_that_is_missing_or_comes_again_is_neither_skipped_over_nor_returned_twice(
    store: Store, numbers: list[int], missing: list[int], indexed: bool
) -> None:
    values = store.fill(20)
    store.close()
    rearrange(store, *numbers)
    if not indexed:
        for suffix in (".idx", ".tix"):
            store.disk.filesystem.unlink(store.segment_path(0, suffix))
    try:
        store.open()
    except DataLossError:
        # A closed log knows how long its closed segments were.
        assert missing
        store.open_directory()
        return
    found: dict[int, bytes | None] = {}
    offset = 0
    while offset < store.log.log_end_offset:
        try:
            batches = store.log.read_batches(offset, 1 << 20)
        except CorruptLogError as error:
            names = (error.topic_partition, error.first_bad_offset, error.next_good_offset)
            if names != (store.log.topic_partition, offset, offset + 1):
                raise
            offset += 1
            continue
        assert [b.base_offset for b in batches] == list(range(offset, offset + len(batches)))
        found |= {b.base_offset: b.values()[0] for b in batches}
        offset = batches[-1].next_offset
    assert found == {n: value for n, value in enumerate(values) if n not in missing}


def test_a_batch_that_comes_again_changes_no_lookup_by_time(store: Store) -> None:
    store.fill(3)
    stamps = [store.clock.time_ms() + n for n in range(17)]
    for stamp in stamps:
        store.append(b"12345678", timestamp_ms=stamp)
    store.close()
    rearrange(store, 0, 1, 2, 3, 0, 4, 5, 6, 7, 8)
    for suffix in (".idx", ".tix"):
        store.disk.filesystem.unlink(store.segment_path(0, suffix))
    store.open()
    for number, stamp in enumerate(stamps[1:], 4):
        found = store.log.offset_for_timestamp(stamp)
        assert found is not None
        assert found.offset == number


def test_what_lies_behind_a_recovery_point_that_moved_is_named_and_not_waited_for(
    store: Store,
) -> None:
    # A batch was put in front of the recovery point, so that the last one begins behind it.
    store.fill(5)
    store.close()
    rearrange(store, 0, 1, 1, 2, 3, 4)
    store.open()
    assert store.log.log_end_offset == 5
    assert [b.base_offset for b in store.log.read_batches(2, 1 << 20)] == [2, 3]
    with pytest.raises(CorruptLogError, match="before offset 4"):
        store.log.read_batches(4, 1 << 20)


def test_a_segment_file_that_was_put_in_place_of_another_hides_none_of_those_behind_it(
    store: Store,
) -> None:
    store.fill(30)
    store.close()
    first, last = store.segment_path(0), store.segment_path(18)
    data = store.disk.read(first)
    store.disk.write(first, store.disk.read(last))
    store.disk.write(last, data)
    store.open()
    for bad, next_good in ((0, 9), (18, 27)):
        with pytest.raises(CorruptLogError) as caught:
            store.log.read(bad, 100)
        assert caught.value.next_good_offset == next_good
    assert store.log.read_batches(9, 1)[0].values() == [b"00000009"]
    assert store.log.read_batches(27, 1)[0].values() == [b"00000027"]


# ---- damage that a reader found


def test_wrong_content_is_named_with_its_place_and_where_reading_goes_on(store: Store) -> None:
    store.fill(30)
    damaged = store.log.damage_at(12, "checksum")
    assert (damaged.first_bad_offset, damaged.next_good_offset) == (12, 13)
    assert (damaged.file, damaged.position) == (store.segment_path(9), 3 * BATCH)
    assert damaged.topic_partition == ("t", 0)
    assert str(damaged) == (
        f"t-0: {damaged.file}: byte {damaged.position}: checksum; readable again from offset 13"
    )


def test_wrong_content_names_the_batch_it_is_in(store: Store) -> None:
    store.fill(2)
    store.append(b"a", b"b", b"c")
    store.fill(2)
    damaged = store.log.damage_at(4, "checksum")
    assert (damaged.first_bad_offset, damaged.next_good_offset) == (2, 5)
    assert damaged.position == 2 * BATCH


def test_reading_goes_on_behind_all_damage(store: Store) -> None:
    store.fill(30)
    store.close()
    for number in (3, 4):
        store.disk.flip(store.segment_path(9), number * BATCH + HEADER_SIZE + 16)
    for number in (7, 8):
        store.disk.flip(store.segment_path(18), number * BATCH + HEADER_SIZE + 16)
    for number in (1, 2):
        store.disk.flip(store.segment_path(27), number * BATCH + HEADER_SIZE + 16)
    store.open()
    found = [store.log.damage_at(offset, "checksum") for offset in (12, 25, 28)]
    assert [error.next_good_offset for error in found] == [14, 27, 30]
    store.append(b"new")
    assert [batch.base_offset for batch in store.log.read_batches(30, 100)] == [30]


def test_a_damaged_batch_that_begins_before_the_log_is_named_from_the_log_start_on(
    store: Store,
) -> None:
    # Damage there was said to be an offset out of range.
    store.append(b"a", b"b", b"c")
    store.fill(2)
    store.log.advance_log_start(2)
    damaged = store.log.damage_at(0, "checksum")
    assert (damaged.first_bad_offset, damaged.next_good_offset) == (2, 3)
    assert (damaged.file, damaged.position) == (store.segment_path(), 0)


def test_damage_in_a_segment_that_has_gone_meanwhile_is_named_without_a_place(
    store: Store,
) -> None:
    store.fill(30)
    store.with_config(retention_bytes=1000)
    store.log.delete_expired(0, 30)
    damaged = store.log.damage_at(3, "checksum")
    assert (damaged.first_bad_offset, damaged.next_good_offset) == (3, 18)
    assert (damaged.file, damaged.position) == (store.log_path, 0)
    assert str(damaged) == "t-0: checksum; readable again from offset 18"


def test_damage_cannot_be_named_once_the_log_is_closed(store: Store) -> None:
    store.fill(3)
    store.log.discard(ClosedError("the topic was deleted"))
    with pytest.raises(ClosedError, match="was deleted"):
        store.log.damage_at(1, "checksum")


def test_a_place_whose_header_or_file_went_bad_as_well_is_named_by_that(store: Store) -> None:
    store.fill(30)
    store.close()
    store.disk.flip(store.segment_path(9), 3 * BATCH + 20)
    store.open()
    found = store.log.damage_at(12, "checksum")
    assert "no valid batch header" in str(found)
    assert found.topic_partition == ("t", 0)
    store.disk.filesystem.unlink(store.segment_path(0))
    with pytest.raises(CorruptLogError, match="t-0") as caught:
        store.log.damage_at(3, "checksum")
    assert caught.value.file == store.segment_path(0)


def test_wrong_content_that_is_deleted_meanwhile_is_readable_from_the_log_start_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(30)
    store.reopen()
    store.with_config(retention_bytes=1000)
    original = Segment.damage_at

    def damage_at(segment: Segment, offset: int, reason: str) -> CorruptLogError:
        monkeypatch.undo()
        store.log.delete_expired(0, 30)
        return original(segment, offset, reason)

    monkeypatch.setattr(Segment, "damage_at", damage_at)
    damaged = store.log.damage_at(3, "checksum")
    assert damaged.first_bad_offset == 3
    assert damaged.next_good_offset == store.log.log_start_offset > 3
